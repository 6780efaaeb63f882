//! From an answer of `audit.query` to rows: a pure function of its bytes. What a record means depends on its service; the
//! four modules beside this one fill a [`Draft`], and this one makes the row.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use arrow_array::RecordBatch;
use fedaudit_core::address::Address;
use fedaudit_core::key::sha256_hex;
use fedaudit_core::principal::{BareNames, Principal};
use fedaudit_core::{
    Action, AddressKind, Error, ErrorKind, EventBuilder, EventRow, Outcome, Rejected, Result, Time, TimeQuality,
    UserType,
};
use serde::Deserialize;

use crate::credential::Proof;
use crate::items::{Item, Items};
use crate::middleware::Callers;
use crate::paths::{self, Known, Use};
use crate::record::Record;
use crate::redact::{self, Cut, splice};
use crate::streams::Service;
use crate::wire::{Scalar, instant_in, number, truth_in};
use crate::{middleware, smb, sudo, system};

/// Times further ahead of the clock than this are flagged.
const FUTURE: Duration = Duration::from_hours(24);

/// Bytes of a short record, to make room for a page of them.
const TYPICAL: usize = 512;

/// Less than the distance between any two time zones.
const ZONE: Duration = Duration::from_mins(10);

/// What is known besides the bytes of a page.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reading<'a> {
    /// The time now.
    pub now: Time,
    /// Version of the product.
    pub product_version: Option<&'a str>,
    /// Which controller of an HA pair was read.
    pub source_node: Option<&'a str>,
    /// Session id of this reader's own connection.
    pub own_session: Option<&'a str>,
    /// Id of the API key that this reader uses.
    pub own_key: Option<&'a str>,
}

/// A decoded page.
#[derive(Debug)]
pub struct Decoded {
    /// Rows in the page schema of the stream's table.
    pub rows: RecordBatch,
    /// Records that could not be decoded.
    pub rejected: Vec<Rejected>,
    /// Records in the page.
    pub records: usize,
}

/// Decodes a whole answer of `audit.query`, the JSON-RPC envelope included.
pub fn decode_page(bytes: &[u8], service: Service, source_key: &str, reading: &Reading<'_>) -> Result<Decoded> {
    let malformed = |text: String| Error::new(ErrorKind::Malformed, text).at("audit.query");
    let text = std::str::from_utf8(bytes).map_err(|error| malformed(format!("the answer is no UTF-8: {error}")))?;
    let broken = |error: serde_json::Error| malformed(error.to_string());
    let mut items = Items::of(text).map_err(broken)?;
    let mut decoder = Decoder::new(service, source_key, *reading, bytes.len());
    let mut records = 0;
    while let Some(item) = items.next().map_err(broken)? {
        decoder.add(item, &HashSet::new());
        records += 1;
    }
    let (rows, rejected, uses) = decoder.finish()?;
    let (found, _) = paths::resolve(&uses, &mut Known::default());
    let rows = if found.is_empty() { rows } else { paths::fill(&rows, &found)? };
    Ok(Decoded { rows, rejected, records })
}

/// What became of a record.
#[derive(Debug)]
pub(crate) enum Added<'a> {
    /// It is new; a row, or rejected for what it says.
    New(Mark<'a>),
    /// It was seen before, and stands at this second.
    Repeated(Option<i64>),
    /// It is no record.
    Rejected,
}

/// Where a record stands in the product's order.
#[derive(Debug)]
pub(crate) struct Mark<'a> {
    pub(crate) second: Option<i64>,
    pub(crate) audit_id: Option<Cow<'a, str>>,
}

/// Turns records into rows, one page long.
pub(crate) struct Decoder<'a, 'r> {
    service: Service,
    reading: Reading<'r>,
    builder: EventBuilder,
    rejected: Vec<Rejected>,
    callers: Callers<'a>,
    addresses: HashMap<String, Address>,
    unmapped: String,
    raw: String,
    ordinals: HashMap<String, usize>,
    uses: Vec<Use>,
    is_partial: bool,
}

impl<'a, 'r> Decoder<'a, 'r> {
    /// For a page of so many bytes.
    pub(crate) fn new(service: Service, source_key: &str, reading: Reading<'r>, bytes: usize) -> Self {
        Self {
            service,
            reading,
            builder: EventBuilder::sized(source_key, bytes / TYPICAL, bytes),
            rejected: Vec::new(),
            callers: Callers::default(),
            addresses: HashMap::new(),
            unmapped: String::new(),
            raw: String::new(),
            ordinals: HashMap::new(),
            uses: Vec::new(),
            is_partial: false,
        }
    }

    /// The rows, what could not be decoded, and the rows that open or use handles.
    pub(crate) fn finish(mut self) -> Result<(RecordBatch, Vec<Rejected>, Vec<Use>)> {
        Ok((self.builder.finish()?, self.rejected, self.uses))
    }

    /// Keeps a record whose meaning cannot be made out.
    pub(crate) fn reject(&mut self, raw: &str, reason: String) {
        let (mut cuts, mut kept) = (Vec::new(), String::new());
        redact::find(self.service, raw, &mut cuts);
        cuts.sort_by_key(Cut::address);
        splice(raw, &cuts, &mut kept);
        self.rejected.push(Rejected { raw: kept, reason });
    }

    /// Adds a record unless its id was seen before; says where it stands.
    pub(crate) fn add(&mut self, item: Item<'a>, seen: &HashSet<&str>) -> Added<'a> {
        let Item { raw, record } = item;
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                self.reject(raw, error.to_string());
                return Added::Rejected;
            }
        };
        let second = record.message_timestamp.and_then(number);
        let audit_id = record.audit_id.clone().some();
        if audit_id.as_deref().is_some_and(|id| seen.contains(id)) {
            return Added::Repeated(second);
        }
        if record.event.as_str().is_empty() {
            self.reject(raw, "the record has no event".to_owned());
        } else {
            self.row(raw, &record, second);
        }
        Added::New(Mark { second, audit_id })
    }

    /// Adds a record whose data the product cannot show: a row of what is there, and a rejected record for what is not.
    pub(crate) fn add_partial(&mut self, item: Item<'a>, seen: &HashSet<&str>, reason: &str) -> Added<'a> {
        let raw = item.raw;
        self.is_partial = true;
        let added = self.add(item, seen);
        self.is_partial = false;
        if matches!(added, Added::New(_)) {
            self.reject(raw, reason.to_owned());
        }
        added
    }

    fn row(&mut self, raw: &'a str, record: &Record<'a>, second: Option<i64>) {
        let mut draft = Draft::of(record);
        match self.service {
            Service::Middleware => middleware::map(record, &mut draft, &mut self.callers),
            Service::Smb => smb::map(record, &mut draft),
            Service::Sudo => sudo::map(record, &mut draft),
            Service::System => system::map(record, &mut draft),
        }
        if self.may_hold_secrets(record, &draft) {
            for json in [record.service_data, record.event_data].into_iter().flatten() {
                redact::find(self.service, json, &mut draft.cuts);
            }
        }
        self.push(raw, record, second, &mut draft);
    }

    /// Remembers a row that opens a handle, or uses one without a path.
    fn note_use(&mut self, record: &Record<'a>, draft: &Draft<'a>, at: i64, second: Option<i64>) {
        let (Some(tree), Some(handle)) = (&draft.tree, &draft.target_uid) else { return };
        let opens = match (record.event.as_str(), draft.outcome, draft.target_name.as_deref()) {
            ("CREATE", Outcome::Success, Some(path)) => Some(path.into()),
            (_, _, None) => None,
            _ => return,
        };
        self.uses.push(Use {
            row: self.builder.len(),
            key: smb::key(draft.session_id.as_deref().unwrap_or_default(), tree.as_str(), handle),
            session: record.session.as_str().into(),
            at,
            logged: second.unwrap_or(at),
            opens,
        });
    }

    /// Most records cannot: they are not searched.
    fn may_hold_secrets(&self, record: &Record<'_>, draft: &Draft<'_>) -> bool {
        let is_odd =
            draft.flags.iter().any(|flag| matches!(*flag, "bad_json" | "unexpected_data" | "token_chain_deep"));
        let event = record.event.as_str();
        match self.service {
            Service::Middleware => is_odd || !middleware::is_harmless(event),
            Service::Sudo => true,
            Service::System => {
                is_odd || event == "TTY_RECORD" || record.event_data.is_some_and(|data| data.contains("type=TTY"))
            }
            Service::Smb => false,
        }
    }

    fn push(&mut self, raw: &'a str, record: &Record<'a>, second: Option<i64>, draft: &mut Draft<'a>) {
        let reading = self.reading;
        let times = Times::of(record, second, self.service, reading.now, &mut draft.flags);

        if self.is_partial {
            draft.flags.push("data_unreadable");
        }
        self.note_use(record, draft, times.time.seconds(), second);

        let user = draft.user.take();
        let principal = user.as_deref().map(|user| Principal::parse(user, BareNames::KeepCase)).unwrap_or_default();
        let user_type = match principal.user_type {
            UserType::Unknown if draft.is_node => UserType::Node,
            known => known,
        };

        let source = draft.source.take();
        let address = Client::of(source.as_deref(), draft.port_may_follow, &mut self.addresses);
        if address.kind == AddressKind::Unparsed {
            draft.flags.push("ip_unparsed");
        }
        let server = draft.server.as_deref().map(Address::parse).unwrap_or_default();
        let host = draft.source_host.take().map(|host| host.trim_start_matches('\\').to_ascii_lowercase());
        let by_address = match address.kind {
            AddressKind::Ip | AddressKind::Host | AddressKind::Proxy => Some(true),
            AddressKind::UnixSocket | AddressKind::Loopback => Some(false),
            AddressKind::None | AddressKind::Unparsed => None,
        };

        let own_session = draft.session_id.is_some() && draft.session_id.as_deref() == reading.own_session;
        let own_key = draft.account_id.is_some() && draft.account_id.as_deref() == reading.own_key;
        if own_session || own_key {
            draft.flags.push("own_reader");
        }

        self.raw.clear();
        let raw = if draft.cuts.is_empty() {
            raw
        } else {
            draft.flags.push("redacted");
            draft.cuts.sort_by_key(Cut::address);
            splice(raw, &draft.cuts, &mut self.raw);
            &self.raw
        };
        self.unmapped.clear();
        unmapped(&mut self.unmapped, record, draft);

        let row = EventRow {
            time: times.time,
            time_original: times.original,
            time_quality: times.quality,
            logged_time: times.logged,
            event_code: record.event.as_str(),
            action: draft.action,
            outcome: draft.outcome,
            outcome_code: draft.outcome_code.as_deref(),
            outcome_reason: draft.outcome_reason.as_deref(),
            message: draft.message.as_deref(),
            user_name: principal.name.as_deref(),
            user_domain: principal.domain.as_deref(),
            user_uid: draft.user_uid.as_deref().or(principal.uid.as_deref()),
            user_original: user.as_deref(),
            user_type,
            account_id: draft.account_id.as_deref(),
            target_user: draft.target_user.as_deref(),
            src_ip: address.ip,
            src_port: address.port,
            src_host: host.as_deref().filter(|host| !host.is_empty()).or(address.host),
            src_kind: address.kind,
            src_original: source.as_deref(),
            dst_ip: server.ip.as_deref(),
            dst_port: server.port,
            service: Some(match record.service.as_str() {
                "" => self.service.as_str(),
                said => said,
            }),
            protocol: draft.protocol.as_deref(),
            auth_method: draft.auth_method.as_deref(),
            is_mfa: draft.is_mfa,
            is_remote: draft.is_remote.or(by_address),
            operation: draft.operation.as_deref(),
            target_type: draft.target_type.as_deref(),
            target_name: draft.target_name.as_deref(),
            target_uid: draft.target_uid.as_deref(),
            resources: draft.resources.as_deref(),
            session_id: draft.session_id.as_deref(),
            correlation_id: draft.correlation_id.as_deref(),
            record_id: Some(record.audit_id.as_str()).filter(|id| !id.is_empty()),
            source_node: reading.source_node,
            product_version: reading.product_version,
            quality_flags: &draft.flags,
            unmapped: (self.unmapped.len() > 2).then_some(self.unmapped.as_str()),
            raw,
            ..EventRow::new()
        };
        let opened_at;
        let session: [Option<&str>; 3] = match draft.session {
            Session::None => [None; 3],
            Session::Api => [row.session_id, None, None],
            Session::Smb => [Some("smb"), row.session_id, Some(record.address.as_str())],
            Session::System => {
                opened_at = times.time.micros().to_string();
                [Some("system"), row.correlation_id, Some(&opened_at)]
            }
        };
        let session = match draft.session {
            Session::None => &session[..0],
            Session::Api => &session[..1],
            Session::Smb | Session::System => &session[..],
        };
        let stream = Some(self.service.stream());
        if let Some(id) = row.record_id {
            self.builder.push(&[stream, Some(id)], session, &row);
        } else {
            // A record without an id is told apart by what it says, and identical ones by their order in the page.
            let digest = sha256_hex(record.event_data.unwrap_or_default().as_bytes());
            let digest = String::from_utf8_lossy(&digest);
            let ordinal = self.ordinals.entry(raw.to_owned()).or_default();
            *ordinal += 1;
            let ordinal = ordinal.to_string();
            let parts = [
                stream,
                record.message_timestamp,
                row.time_original,
                Some(record.address.as_str()),
                Some(record.username.as_str()),
                Some(record.session.as_str()),
                Some(row.event_code),
                Some(&digest),
                Some(&ordinal),
            ];
            self.builder.push(&parts, session, &row);
        }
    }
}

/// A parsed address field, borrowed.
struct Client<'x> {
    ip: Option<&'x str>,
    port: Option<i32>,
    host: Option<&'x str>,
    kind: AddressKind,
}

impl<'x> Client<'x> {
    fn of(text: Option<&'x str>, port_may_follow: bool, known: &'x mut HashMap<String, Address>) -> Self {
        let Some(text) = text else { return Self { ip: None, port: None, host: None, kind: AddressKind::None } };
        // The text of most clients is already the canonical one.
        if let Ok(ip) = text.parse::<Ipv4Addr>() {
            let kind = if ip.is_loopback() { AddressKind::Loopback } else { AddressKind::Ip };
            return Self { ip: Some(text), port: None, host: None, kind };
        }
        if !known.contains_key(text) {
            let parsed = if port_may_follow { Address::parse_with_port(text) } else { Address::parse(text) };
            known.insert(text.to_owned(), parsed);
        }
        let known = &known[text];
        Self { ip: known.ip.as_deref(), port: known.port, host: known.host.as_deref(), kind: known.kind }
    }
}

/// The times of a record.
struct Times<'a> {
    time: Time,
    original: Option<&'a str>,
    quality: TimeQuality,
    logged: Option<Time>,
}

impl<'a> Times<'a> {
    fn of(
        record: &Record<'a>,
        second: Option<i64>,
        service: Service,
        now: Time,
        flags: &mut Vec<&'static str>,
    ) -> Self {
        let logged = second.and_then(Time::from_seconds);
        let event = record.timestamp.and_then(instant_in);
        if event.is_some_and(|event| event.odd_form) {
            flags.push("odd_time_form");
        }
        if event.is_some_and(|event| event.time.is_none()) || (second.is_some() && logged.is_none()) {
            flags.push("time_out_of_range");
        }
        // Some releases stored the times of this service in local time. No time zone is a few minutes away from UTC: a time
        // close to that of storing is right.
        let is_local = |event: Option<Time>| match (event, logged) {
            (Some(event), Some(logged)) => event.micros().abs_diff(logged.micros()) > ZONE.as_micros() as u64,
            _ => false,
        };
        let trusted = event.filter(|event| service != Service::System || !is_local(event.time));
        let (time, quality) = match (trusted.and_then(|event| event.time), logged) {
            (Some(time), _) if trusted.is_some_and(|event| event.whole_second) => (time, TimeQuality::Seconds),
            (Some(time), _) => (time, TimeQuality::Exact),
            (None, Some(logged)) => (logged, TimeQuality::Logged),
            (None, None) => (now, TimeQuality::Fetched),
        };
        if time > now.plus(FUTURE) {
            flags.push("future_time");
        }
        Self { time, original: event.map(|event| event.text), quality, logged }
    }
}

/// How the session of a row is named in its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Session {
    #[default]
    None,
    /// Connection id of the API, the same as in `auth.sessions`.
    Api,
    /// Samba's session id and the client address: the id starts anew with the server.
    Smb,
    /// The kernel's session number and the time of the login: the number starts anew with the system.
    System,
}

/// A row in the making.
#[derive(Debug, Default)]
pub(crate) struct Draft<'a> {
    pub(crate) action: Action,
    pub(crate) outcome: Outcome,
    pub(crate) outcome_code: Option<Cow<'a, str>>,
    pub(crate) outcome_reason: Option<Cow<'a, str>>,
    pub(crate) message: Option<Cow<'a, str>>,
    /// As the product wrote it.
    pub(crate) user: Option<Cow<'a, str>>,
    pub(crate) user_uid: Option<Cow<'a, str>>,
    pub(crate) is_node: bool,
    pub(crate) account_id: Option<Cow<'a, str>>,
    pub(crate) target_user: Option<Cow<'a, str>>,
    /// As the product wrote it.
    pub(crate) source: Option<Cow<'a, str>>,
    pub(crate) port_may_follow: bool,
    pub(crate) source_host: Option<Cow<'a, str>>,
    pub(crate) server: Option<Cow<'a, str>>,
    pub(crate) protocol: Option<Cow<'a, str>>,
    pub(crate) auth_method: Option<Cow<'a, str>>,
    pub(crate) is_mfa: Option<bool>,
    pub(crate) is_remote: Option<bool>,
    pub(crate) operation: Option<Cow<'a, str>>,
    pub(crate) target_type: Option<Cow<'a, str>>,
    pub(crate) target_name: Option<Cow<'a, str>>,
    pub(crate) target_uid: Option<Cow<'a, str>>,
    pub(crate) resources: Option<String>,
    pub(crate) session_id: Option<Cow<'a, str>>,
    pub(crate) session: Session,
    pub(crate) correlation_id: Option<Cow<'a, str>>,
    /// Tree of the handle in `target_uid`.
    pub(crate) tree: Option<Scalar<'a>>,
    /// Process id of `sudo`.
    pub(crate) pid: Option<Cow<'a, str>>,
    pub(crate) cuts: Vec<Cut>,
    pub(crate) flags: Vec<&'static str>,
}

impl<'a> Draft<'a> {
    fn of(record: &Record<'a>) -> Self {
        Self {
            outcome: match record.success.and_then(truth_in) {
                Some(true) => Outcome::Success,
                Some(false) => Outcome::Failure,
                None => Outcome::Unknown,
            },
            user: record.username.clone().some(),
            source: record.address.clone().some(),
            ..Self::default()
        }
    }

    /// Takes a name from the record's data, but only where the record itself names no account: a filter on `username` has to
    /// find every row with that `user_name`.
    pub(crate) fn user_unless_named(&mut self, name: Option<Cow<'a, str>>) {
        let named =
            self.user.as_deref().is_some_and(|user| !user.trim().is_empty() && !user.trim_start().starts_with('.'));
        if !named && name.is_some() {
            self.user = name;
        }
    }

    /// Takes what a credential tells.
    pub(crate) fn proof(&mut self, proof: Proof<'a>) {
        self.auth_method = proof.method.or(self.auth_method.take());
        self.is_mfa = proof.is_mfa.or(self.is_mfa);
        self.is_remote = proof.is_remote.or(self.is_remote);
        self.account_id = proof.key_id.or(self.account_id.take());
        self.is_node |= proof.is_node;
        if proof.too_deep {
            self.flags.push("token_chain_deep");
        }
    }

    /// Takes the outcome of an operation where the record itself does not say it.
    pub(crate) fn refused(&mut self, reason: &'static str) {
        self.outcome = Outcome::Failure;
        self.outcome_reason = Some(reason.into());
    }
}

/// Reads the data of an event; a shape that is not the documented one is flagged, never a reason to lose the record.
pub(crate) fn data<'a, T: Default + Deserialize<'a>>(json: Option<&'a str>, draft: &mut Draft<'_>) -> T {
    let Some(json) = json else { return T::default() };
    serde_json::from_str(json).unwrap_or_else(|_| {
        draft.flags.push(if json.starts_with('"') { "bad_json" } else { "unexpected_data" });
        T::default()
    })
}

/// The parts of a record without a column of their own, as one JSON object made of their own bytes.
fn unmapped(out: &mut String, record: &Record<'_>, draft: &Draft<'_>) {
    out.push('{');
    let mut member = |name: &str, json: &str| {
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(name);
        out.push(':');
        splice(json, &draft.cuts, out);
    };
    for (name, value) in [("\"service_data\"", record.service_data), ("\"event_data\"", record.event_data)] {
        if let Some(value) = value {
            member(name, value);
        }
    }
    if let Some(pid) = &draft.pid {
        member("\"pid\"", &quoted(pid));
    }
    for (name, value) in &record.rest {
        member(&quoted(name), value);
    }
    out.push('}');
}

/// A text as JSON.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_else(|_| "null".to_owned())
}

/// A list of `{type,name}` as JSON.
pub(crate) fn resources(kind: &str, names: &[&str]) -> String {
    let items: Vec<String> =
        names.iter().map(|name| format!("{{\"type\":{},\"name\":{}}}", quoted(kind), quoted(name))).collect();
    format!("[{}]", items.join(","))
}

/// In lower case, borrowed where it is already.
pub(crate) fn lower(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) { text.to_ascii_lowercase().into() } else { text }
}

/// In upper case, borrowed where it is already.
pub(crate) fn upper(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_lowercase()) { text.to_ascii_uppercase().into() } else { text }
}

/// A record's text member with a value.
pub(crate) fn text(scalar: Scalar<'_>) -> Option<Cow<'_, str>> {
    scalar.some()
}
