//! The list of live API sessions.

use std::borrow::Cow;
use std::fmt::Write as _;

use arrow_array::RecordBatch;
use fedaudit_core::address::Address;
use fedaudit_core::principal::{BareNames, Principal};
use fedaudit_core::{
    AddressKind, Confidence, EndCause, Error, ErrorKind, Outcome, Rejected, Result, SessionBuilder, SessionRow,
    SessionState, Time, UserType,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::credential::Credential;
use crate::normalize::{Decoded, Reading};
use crate::redact::splice;
use crate::wire::{Scalar, instant, truth};

/// What stands in place of a login id that the product could not find.
const NO_LOGIN_ID: &str = "<ERROR";

#[derive(Deserialize)]
struct Session<'a> {
    #[serde(borrow)]
    id: Scalar<'a>,
    #[serde(borrow, default)]
    current: Option<&'a RawValue>,
    #[serde(borrow, default)]
    internal: Option<&'a RawValue>,
    #[serde(borrow, default)]
    origin: Scalar<'a>,
    #[serde(borrow, default)]
    credentials: Scalar<'a>,
    #[serde(borrow, default)]
    credentials_data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    created_at: Option<&'a RawValue>,
    #[serde(borrow, default)]
    secure_transport: Option<&'a RawValue>,
}

/// Decodes a whole answer of `auth.sessions`, the JSON-RPC envelope included, to rows in the page schema of `sessions`.
pub fn decode_sessions(bytes: &[u8], source_key: &str, reading: &Reading<'_>) -> Result<Decoded> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        result: Vec<&'a RawValue>,
    }
    let malformed = |reason: String| Error::new(ErrorKind::Malformed, reason).at("auth.sessions");
    let text = std::str::from_utf8(bytes).map_err(|error| malformed(format!("the answer is no UTF-8: {error}")))?;
    let answer: Answer<'_> = serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
    let (rows, rejected) = decode(&answer.result, source_key, reading)?;
    Ok(Decoded { rows, rejected, records: answer.result.len() })
}

/// Decodes the list.
pub(crate) fn decode(
    list: &[&RawValue],
    source_key: &str,
    reading: &Reading<'_>,
) -> Result<(RecordBatch, Vec<Rejected>)> {
    let mut builder = SessionBuilder::new(source_key);
    let mut rejected = Vec::new();
    for raw in list {
        rejected.extend(add(&mut builder, raw.get(), Fate::Listed, reading).err());
    }
    Ok((builder.finish()?, rejected))
}

/// What became of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is in the list.
    Listed,
    /// It was in the list until then, and is not any more.
    Vanished(Time),
    /// The product said that it ended, and that was heard at this time.
    Ended(Time),
}

/// Adds the row of one session as the product described it. A text that describes none is given back with the reason.
pub(crate) fn add(
    builder: &mut SessionBuilder,
    raw: &str,
    fate: Fate,
    reading: &Reading<'_>,
) -> std::result::Result<(), Rejected> {
    let rejected = |reason: String| Rejected { raw: raw.to_owned(), reason };
    let session: Session<'_> = serde_json::from_str(raw).map_err(|error| rejected(error.to_string()))?;
    if session.id.as_str().is_empty() {
        return Err(rejected("the session has no id".to_owned()));
    }
    push(builder, raw, &session, &fate, reading);
    Ok(())
}

/// Whose session a description tells of, and how it was logged in: what does not change while the session lasts.
pub(crate) fn identity(raw: &str) -> Option<(String, String)> {
    let session: Session<'_> = serde_json::from_str(raw).ok()?;
    let data = session.credentials_data.map_or("null", RawValue::get);
    Some((session.id.some()?.into_owned(), format!("{} {data}", session.credentials.as_str())))
}

fn push(builder: &mut SessionBuilder, raw: &str, session: &Session<'_>, fate: &Fate, reading: &Reading<'_>) {
    let mut flags = Vec::new();
    let mut cuts = Vec::new();
    // Kind and data are two members here and one object in audit records.
    let joined = format!(
        r#"{{"credentials":{},"credentials_data":{}}}"#,
        crate::normalize::quoted(session.credentials.as_str()),
        session.credentials_data.map_or("null", RawValue::get)
    );
    let credential: Credential<'_> = serde_json::from_str(&joined).unwrap_or_else(|_| {
        flags.push("unexpected_data");
        Credential::default()
    });
    // The list never holds presented secrets: a session exists only once they were accepted.
    let mut proof = credential.proof(&mut cuts);
    cuts.clear();
    if proof.too_deep {
        flags.push("token_chain_deep");
    }
    if proof.login_id.as_deref().is_some_and(|id| id.starts_with(NO_LOGIN_ID)) {
        flags.push("login_id_unknown");
        proof.login_id = None;
    }
    let user = proof.username.take();
    let principal = user.as_deref().map(|user| Principal::parse(user, BareNames::KeepCase)).unwrap_or_default();
    let origin = session.origin.clone().some();
    let address = origin.as_deref().map(Address::parse_with_port).unwrap_or_default();
    if address.kind == AddressKind::Unparsed {
        flags.push("ip_unparsed");
    }
    let by_address = match address.kind {
        AddressKind::Ip | AddressKind::Host | AddressKind::Proxy => Some(true),
        AddressKind::UnixSocket | AddressKind::Loopback => Some(false),
        AddressKind::None | AddressKind::Unparsed => None,
    };
    let current = truth(session.current) == Some(true);
    let own_key = proof.key_id.is_some() && proof.key_id.as_deref() == reading.own_key;
    let own_session = reading.own_session == Some(session.id.as_str());
    if current || own_session || own_key {
        flags.push("own_reader");
    }
    let created = instant(session.created_at).or(instant(proof.login_at));
    let mut unmapped = String::from("{");
    for (name, value) in [("current", session.current), ("credentials_data", session.credentials_data)] {
        if let Some(value) = value {
            if unmapped.len() > 1 {
                unmapped.push(',');
            }
            let _ = write!(unmapped, "\"{name}\":");
            splice(value.get(), &cuts, &mut unmapped);
        }
    }
    unmapped.push('}');
    let user_type = match principal.user_type {
        UserType::Unknown if proof.is_node => UserType::Node,
        known => known,
    };
    let id: Option<Cow<'_, str>> = session.id.clone().some();
    let (last_seen, end_time, end_reason, reason) = match *fate {
        Fate::Listed => (reading.now, None, None, "live_poll"),
        // It ended at some time between two looks.
        Fate::Vanished(seen) => (seen, None, Some(EndCause::Vanished), "vanished"),
        // The message carries no time: it is that of hearing it.
        Fate::Ended(heard) => (heard, Some(heard), Some(EndCause::Disconnect), "end_from_feed"),
    };
    let row = SessionRow {
        session_id: id.as_deref(),
        alt_session_id: proof.login_id.as_deref(),
        user_name: principal.name.as_deref(),
        user_domain: principal.domain.as_deref(),
        user_uid: principal.uid.as_deref(),
        user_original: user.as_deref(),
        user_type,
        account_id: proof.key_id.as_deref(),
        start_time: created.and_then(|created| created.time),
        start_time_original: created.map(|created| created.text),
        end_time,
        last_seen_at: Some(last_seen),
        is_active: Some(*fate == Fate::Listed),
        state: if *fate == Fate::Listed { SessionState::Active } else { SessionState::Closed },
        end_reason,
        outcome: Outcome::Success,
        auth_method: proof.method.as_deref(),
        auth_root_method: proof.root_method.as_deref(),
        is_mfa: proof.is_mfa,
        is_remote: proof.is_remote.or(by_address),
        is_internal: truth(session.internal),
        secure_transport: truth(session.secure_transport),
        client_ip: address.ip.as_deref(),
        client_port: address.port,
        client_host: address.host.as_deref(),
        client_kind: address.kind,
        client_original: origin.as_deref(),
        protocol: Some("WEBSOCKET"),
        derived: false,
        confidence: if *fate == Fate::Listed { Confidence::High } else { Confidence::Medium },
        confidence_reason: Some(reason),
        record_id: id.as_deref(),
        product_version: reading.product_version,
        quality_flags: &flags,
        unmapped: (unmapped.len() > 2).then_some(unmapped.as_str()),
        raw,
        ..SessionRow::new()
    };
    // The same key as the session's audit rows have.
    builder.push(&[id.as_deref()], &row);
}
