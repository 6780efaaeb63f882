//! One item of `audit.query`, borrowed from the answer.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::wire::Scalar;

/// The members every audit record has, and whatever a newer release adds.
#[derive(Debug, Default)]
pub(crate) struct Record<'a> {
    pub(crate) audit_id: Scalar<'a>,
    pub(crate) message_timestamp: Option<&'a RawValue>,
    pub(crate) timestamp: Option<&'a RawValue>,
    pub(crate) address: Scalar<'a>,
    pub(crate) username: Scalar<'a>,
    pub(crate) session: Scalar<'a>,
    pub(crate) service: Scalar<'a>,
    pub(crate) service_data: Option<&'a RawValue>,
    pub(crate) event: Scalar<'a>,
    pub(crate) event_data: Option<&'a RawValue>,
    pub(crate) success: Option<&'a RawValue>,
    pub(crate) rest: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Record<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Record<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an audit record")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut record = Record::default();
                while let Some(name) = map.next_key::<Scalar<'de>>()? {
                    match name.as_str() {
                        "audit_id" => record.audit_id = map.next_value()?,
                        "message_timestamp" => record.message_timestamp = map.next_value()?,
                        "timestamp" => record.timestamp = map.next_value()?,
                        "address" => record.address = map.next_value()?,
                        "username" => record.username = map.next_value()?,
                        "session" => record.session = map.next_value()?,
                        "service" => record.service = map.next_value()?,
                        "service_data" => record.service_data = map.next_value()?,
                        "event" => record.event = map.next_value()?,
                        "event_data" => record.event_data = map.next_value()?,
                        "success" => record.success = map.next_value()?,
                        _ => record.rest.push((name.some().unwrap_or_default(), map.next_value()?)),
                    }
                }
                Ok(record)
            }
        }
        deserializer.deserialize_map(Members)
    }
}
