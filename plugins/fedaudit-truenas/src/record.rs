//! One item of `audit.query`, borrowed from the answer.

use std::borrow::Cow;

use serde_json::Result;

use crate::walk::Walk;
use crate::wire::Scalar;

/// Places for what is remembered by session; sessions may share one.
pub(crate) const PLACES: usize = 64;

/// The members every audit record has, and whatever a newer release adds.
#[derive(Debug, Default)]
pub(crate) struct Record<'a> {
    pub(crate) audit_id: Scalar<'a>,
    /// JSON, as the others without a type of their own.
    pub(crate) message_timestamp: Option<&'a str>,
    pub(crate) timestamp: Option<&'a str>,
    pub(crate) address: Scalar<'a>,
    pub(crate) username: Scalar<'a>,
    pub(crate) session: Scalar<'a>,
    pub(crate) service: Scalar<'a>,
    pub(crate) service_data: Option<&'a str>,
    pub(crate) event: Scalar<'a>,
    pub(crate) event_data: Option<&'a str>,
    pub(crate) success: Option<&'a str>,
    pub(crate) rest: Vec<(Cow<'a, str>, &'a str)>,
}

/// Service data of sessions that were met: the records of one mostly repeat them byte for byte, and what was read once need
/// not be read again.
#[derive(Debug)]
pub(crate) struct Met<'a>([&'a str; PLACES]);

impl Default for Met<'_> {
    fn default() -> Self {
        Self([""; PLACES])
    }
}

impl<'a> Record<'a> {
    /// Reads a record where one stands.
    pub(crate) fn read(walk: &mut Walk<'a>, met: &mut Met<'a>) -> Result<Self> {
        let mut record = Self::default();
        walk.expect(b'{')?;
        if walk.passes(b'}') {
            return Ok(record);
        }
        loop {
            let name = walk.name()?;
            match &*name {
                "audit_id" => record.audit_id = scalar(walk)?,
                "message_timestamp" => record.message_timestamp = given(walk)?,
                "timestamp" => record.timestamp = given(walk)?,
                "address" => record.address = scalar(walk)?,
                "username" => record.username = scalar(walk)?,
                "session" => record.session = scalar(walk)?,
                "service" => record.service = scalar(walk)?,
                "service_data" => {
                    let known = &mut met.0[record.place()];
                    let data = walk.again(known).map_or_else(|| walk.json(), Ok)?;
                    *known = data;
                    record.service_data = Some(data).filter(|data| *data != "null");
                }
                "event" => record.event = scalar(walk)?,
                "event_data" => record.event_data = given(walk)?,
                "success" => record.success = given(walk)?,
                _ => record.rest.push((name, walk.json()?)),
            }
            if !walk.passes(b',') {
                walk.expect(b'}')?;
                return Ok(record);
            }
        }
    }

    /// Where things of this record's session are remembered.
    pub(crate) fn place(&self) -> usize {
        let end = self.session.as_str().bytes().rev().take(4);
        end.fold(0, |sum, byte| sum * 31 + usize::from(byte)) % PLACES
    }
}

/// The bytes of a value that is not null.
fn given<'a>(walk: &mut Walk<'a>) -> Result<Option<&'a str>> {
    Ok(Some(walk.json()?).filter(|json| *json != "null"))
}

fn scalar<'a>(walk: &mut Walk<'a>) -> Result<Scalar<'a>> {
    match walk.plain_text() {
        Some(text) => Ok(text.into()),
        None => walk.value(),
    }
}
