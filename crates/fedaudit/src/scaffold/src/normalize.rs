//! From a record of the product to a row of `events`.

use std::borrow::Cow;
use std::net::IpAddr;

use fedaudit_core::{Action, AddressKind, EventBuilder, EventRow, Outcome, Time};
use serde::Deserialize;

/// A record as the product writes it.
#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    at: Cow<'a, str>,
    #[serde(borrow)]
    user: Option<Cow<'a, str>>,
    #[serde(borrow)]
    what: Cow<'a, str>,
    ok: bool,
    #[serde(borrow)]
    from: Option<Cow<'a, str>>,
}

/// Appends a record's row. What is not known stays NULL; what cannot be read is the reason to reject the record.
pub(crate) fn push(raw: &str, rows: &mut EventBuilder) -> Result<(), String> {
    let record: Record<'_> = serde_json::from_str(raw).map_err(|error| error.to_string())?;
    let time = Time::parse(&record.at).ok_or_else(|| format!("at: '{}' is no time", record.at))?.time;
    let user = record.user.as_deref().filter(|user| !user.is_empty()).map(str::to_lowercase);
    let address = record.from.as_deref().and_then(|from| from.parse::<IpAddr>().ok()).map(|ip| ip.to_string());
    let row = EventRow {
        time,
        event_code: &record.what,
        action: match &*record.what {
            "login" => Action::Login,
            "logout" => Action::Logout,
            _ => Action::Other,
        },
        outcome: if record.ok { Outcome::Success } else { Outcome::Failure },
        user_name: user.as_deref(),
        src_ip: address.as_deref(),
        src_kind: if address.is_some() { AddressKind::Ip } else { AddressKind::None },
        record_id: Some(&record.id),
        raw,
        ..EventRow::new()
    };
    // What makes a record this record, wherever and whenever it is read.
    rows.push(&[Some(&record.id)], &[], &row);
    Ok(())
}
