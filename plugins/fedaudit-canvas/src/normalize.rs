//! From an answer's bytes to rows of `events`. Pure: no network, no clock.

use std::time::Duration;

use arrow_array::RecordBatch;
use fedaudit_core::address::Address;
use fedaudit_core::principal::{BareNames, Principal};
use fedaudit_core::{Action, AddressKind, EventBuilder, EventRow, Outcome, Rejected, Result, Time, TimeQuality};
use serde::{Deserialize, Serialize};

use crate::wire::{Document, Event, Linked, Scalar};

/// What does not stand in the answer itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) source_key: &'a str,
    /// The user that we read as.
    pub(crate) reader: Option<&'a str>,
    pub(crate) now: Time,
}

/// Rows of one answer.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) rows: RecordBatch,
    pub(crate) rejected: Vec<Rejected>,
    pub(crate) records: u64,
    /// Time of the last record that has one.
    pub(crate) last: Option<Time>,
    pub(crate) notes: Vec<String>,
}

/// Tells events of the newest second apart where the product gives them no id. Carried from page to page, because a
/// second may be cut by a page boundary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ties {
    second: i64,
    seen: Vec<(String, u32)>,
}

impl Ties {
    /// How many equal events came before this one in its second.
    fn ordinal(&mut self, time: Time, event: &str) -> u32 {
        if self.second != time.seconds() {
            self.second = time.seconds();
            self.seen.clear();
        }
        if let Some((_, count)) = self.seen.iter_mut().find(|(known, _)| known == event) {
            *count += 1;
            return *count;
        }
        self.seen.push((event.to_owned(), 0));
        0
    }
}

/// Events of one second that were handed out already, where that second is read again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Edge {
    pub(crate) second: i64,
    events: Vec<String>,
}

impl Edge {
    /// Whether nothing is remembered.
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

/// What to do about events that may come twice.
#[derive(Debug)]
pub(crate) enum Twice<'e> {
    /// They do not.
    Never,
    /// Remember those of the last second.
    Remember(&'e mut Edge),
    /// Leave out those remembered.
    Skip(&'e Edge),
}

/// Decodes an answer. A record that cannot be read is rejected with its bytes and the rest goes on.
pub(crate) fn decode(body: &[u8], frame: Frame<'_>, ties: &mut Ties, mut twice: Twice<'_>) -> Result<Decoded> {
    let text = String::from_utf8_lossy(body);
    let document = Document::parse(&text)?;
    let mut builder = EventBuilder::new(frame.source_key);
    let mut decoded = Decoded {
        rows: RecordBatch::new_empty(fedaudit_core::rows::EVENTS.page_schema()),
        rejected: Vec::new(),
        records: document.events.len() as u64,
        last: None,
        notes: Vec::new(),
    };
    if matches!(text, std::borrow::Cow::Owned(_)) {
        decoded.notes.push("an answer held bytes that are no UTF-8; they are replaced by U+FFFD in raw".to_owned());
    }
    let mut scratch = Scratch::default();
    for raw in &document.events {
        match push(&mut builder, raw.get(), &document, frame, ties, &mut twice, &mut scratch) {
            Ok(time) => decoded.last = Some(time),
            Err(reason) => decoded.rejected.push(Rejected { raw: raw.get().to_owned(), reason }),
        }
    }
    decoded.rows = builder.finish()?;
    Ok(decoded)
}

/// Buffers used again for every record.
#[derive(Default)]
struct Scratch {
    unmapped: String,
    flags: Vec<&'static str>,
}

/// Decodes one record and appends its row. An event without a readable time is refused and so shows up in the receipt;
/// under an invented time it would drop out of every question unseen.
fn push(
    builder: &mut EventBuilder,
    raw: &str,
    document: &Document<'_>,
    frame: Frame<'_>,
    ties: &mut Ties,
    twice: &mut Twice<'_>,
    scratch: &mut Scratch,
) -> Result<Time, String> {
    let Scratch { unmapped, flags } = scratch;
    flags.clear();
    let event: Event<'_> = serde_json::from_str(raw).map_err(|error| error.to_string())?;
    let code = text(event.event_type.as_ref()).ok_or("event_type is missing")?;
    let original = text(event.created_at.as_ref()).ok_or("created_at is missing")?;
    let parsed =
        Time::parse(original).ok_or_else(|| format!("created_at '{original}' is no time that can be stored"))?;
    let time = parsed.time;
    if parsed.leap_second {
        flags.push("leap_second");
    }
    if time > frame.now.plus(DAY) {
        flags.push("future_time");
    }
    let (action, outcome) = match code {
        // Written once the first factor is accepted; whether a second one was asked for and given is not recorded.
        "login" => {
            flags.push("before_second_factor");
            (Action::Login, Outcome::Success)
        }
        "logout" => (Action::Logout, Outcome::Success),
        _ => (Action::Other, Outcome::Unknown),
    };

    let login = event.login().and_then(|id| document.logins.get(id));
    let page_view = event.page_view().and_then(|id| document.page_views.get(id));
    // Both equal those of the login by definition, so the login can fill a gap.
    let account = event.account().or_else(|| login.and_then(|login| text(login.members.account_id.as_ref())));
    let user = event.user().or_else(|| login.and_then(|login| text(login.members.user_id.as_ref())));
    let name = login.and_then(|login| text(login.members.unique_id.as_ref()));
    if event.login().is_some() && name.is_none() {
        flags.push("login_not_linked");
    }
    if user.is_some() && user == frame.reader {
        flags.push("own_reader");
    }
    let principal = name.map(|name| Principal::parse(name, BareNames::Fold)).unwrap_or_default();
    // A login name made of digits (a student number) is a name here: ids have columns of their own.
    let user_name = principal.name.as_deref().or(principal.uid.as_deref());
    let address_text = page_view.and_then(|view| text(view.members.remote_ip.as_ref()));
    let address = address_text.map(Address::parse).unwrap_or_default();
    if address.kind == AddressKind::Unparsed {
        flags.push("ip_unparsed");
    }
    if page_view.is_some_and(|view| view.members.is_masquerade()) {
        flags.push("masquerade");
    }
    write_unmapped(
        unmapped,
        &event,
        &[
            ("login", login),
            ("user", user.and_then(|id| document.users.get(id))),
            ("account", account.and_then(|id| document.accounts.get(id))),
            ("page_view", page_view),
        ],
    );

    let id = text(event.id.as_ref());
    let (micros, ordinal);
    let parts: &[Option<&str>] = if id.is_some() {
        &[id]
    } else {
        micros = time.micros().to_string();
        let same = [account, user, event.login(), Some(code)].map(Option::unwrap_or_default).join("\u{1f}");
        ordinal = ties.ordinal(time, &same).to_string();
        &[account, user, event.login(), Some(code), Some(&micros), Some(&ordinal)]
    };
    if twice.is_new(time, parts) {
        let known = action != Action::Other;
        let row = EventRow {
            time,
            time_original: Some(original),
            time_quality: match (parsed.assumed_zone, time.micros() % 1_000_000) {
                (true, _) => TimeQuality::AssumedZone,
                (false, 0) => TimeQuality::Seconds,
                (false, _) => TimeQuality::Exact,
            },
            event_code: code,
            action,
            outcome,
            user_name,
            user_domain: principal.domain.as_deref(),
            user_uid: user,
            user_original: name,
            user_type: principal.user_type,
            account_id: event.login(),
            src_ip: address.ip.as_deref(),
            src_port: address.port,
            src_host: address.host.as_deref(),
            src_kind: address.kind,
            src_original: address_text,
            user_agent: page_view.and_then(|view| text(view.members.user_agent.as_ref())),
            service: Some("Canvas"),
            is_remote: known.then_some(true),
            correlation_id: event.page_view(),
            record_id: id,
            tenant: account,
            quality_flags: flags,
            unmapped: (!unmapped.is_empty()).then_some(unmapped),
            raw,
            ..EventRow::new()
        };
        builder.push(parts, &[], &row);
    }
    Ok(time)
}

const DAY: Duration = Duration::from_hours(24);

fn text<'t>(scalar: Option<&'t Scalar<'_>>) -> Option<&'t str> {
    scalar.map(Scalar::text).filter(|text| !text.is_empty())
}

/// Side-loaded objects under `linked`, as received; then the event's own members that have no column.
fn write_unmapped(out: &mut String, event: &Event<'_>, linked: &[(&str, Option<&Linked<'_>>)]) {
    out.clear();
    let member = |out: &mut String, key: &str, value: &str| {
        out.push(if out.is_empty() { '{' } else { ',' });
        write_key(out, key);
        out.push_str(value);
    };
    if linked.iter().any(|(_, object)| object.is_some()) {
        let mut objects = String::with_capacity(
            linked.iter().flat_map(|(_, object)| object).map(|object| object.raw.len() + 16).sum(),
        );
        for (key, object) in linked {
            if let Some(object) = object {
                member(&mut objects, key, object.raw);
            }
        }
        objects.push('}');
        member(out, "linked", &objects);
    }
    if let Some(links) = event.links.as_ref().filter(|links| !links.further.is_empty()) {
        let mut further = String::new();
        for (key, value) in &links.further {
            member(&mut further, key.text(), value.get());
        }
        further.push('}');
        member(out, "links", &further);
    }
    for (key, value) in &event.further {
        member(out, key.text(), value.get());
    }
    if !out.is_empty() {
        out.push('}');
    }
}

fn write_key(out: &mut String, key: &str) {
    if key.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        out.push('"');
        out.push_str(key);
        out.push_str("\":");
    } else {
        out.push_str(&serde_json::Value::from(key).to_string());
        out.push(':');
    }
}

impl Twice<'_> {
    fn is_new(&mut self, time: Time, parts: &[Option<&str>]) -> bool {
        let name = || parts.iter().map(|part| part.unwrap_or("\u{1e}")).collect::<Vec<_>>().join("\u{1f}");
        match self {
            Self::Never => true,
            Self::Remember(edge) => {
                if edge.second != time.seconds() {
                    edge.second = time.seconds();
                    edge.events.clear();
                }
                edge.events.push(name());
                true
            }
            Self::Skip(edge) => edge.second != time.seconds() || !edge.events.contains(&name()),
        }
    }
}
