//! One session document, decoded and normalised. Everything that has no column goes to `unmapped`, and the text as
//! received stays in `raw`.

use std::borrow::Cow;

use fedaudit_core::address::{Address, parse_ip};
use fedaudit_core::principal::{BareNames, Principal, fold};
use fedaudit_core::{AddressKind, Confidence, EndCause, Outcome, SessionState, Time, TimeQuality, UserType, Window};

use crate::object::{Object, Rest, Tape, first_text, text_of};
use crate::verdict;

/// How far an end may precede its start before the two contradict each other.
const SKEW: i64 = fedaudit_core::rows::SKEW;
const DAY: std::time::Duration = std::time::Duration::from_hours(24);

/// An instant and its text.
#[derive(Debug, Default)]
pub(crate) struct Stamp<'a> {
    pub(crate) time: Option<Time>,
    pub(crate) original: Option<Cow<'a, str>>,
    pub(crate) quality: TimeQuality,
}

/// One side of a connection.
#[derive(Debug, Default)]
pub(crate) struct Endpoint<'a> {
    pub(crate) ip: Option<String>,
    pub(crate) port: Option<i32>,
    pub(crate) host: Option<String>,
    pub(crate) kind: AddressKind,
    pub(crate) original: Option<Cow<'a, str>>,
}

/// The account that used the gateway.
#[derive(Debug, Default)]
pub(crate) struct Account<'a> {
    pub(crate) name: Option<String>,
    pub(crate) domain: Option<String>,
    pub(crate) uid: Option<Cow<'a, str>>,
    pub(crate) original: Option<Cow<'a, str>>,
    pub(crate) kind: UserType,
}

/// A session document in our words.
#[derive(Debug, Default)]
pub(crate) struct Record<'a> {
    pub(crate) raw: &'a str,
    pub(crate) key: Cow<'a, str>,
    pub(crate) alt_id: Option<Cow<'a, str>>,
    pub(crate) user: Account<'a>,
    pub(crate) target_user: Option<Cow<'a, str>>,
    pub(crate) start: Stamp<'a>,
    pub(crate) end: Stamp<'a>,
    /// When the document was made: not a time of the session.
    pub(crate) created: Option<Time>,
    pub(crate) duration: Option<i64>,
    pub(crate) active: Option<bool>,
    pub(crate) state: SessionState,
    pub(crate) end_reason: Option<EndCause>,
    pub(crate) outcome: Outcome,
    pub(crate) verdict: Option<Cow<'a, str>>,
    pub(crate) deny_reason: Option<Cow<'a, str>>,
    pub(crate) auth_method: Option<Cow<'a, str>>,
    pub(crate) is_remote: Option<bool>,
    pub(crate) is_privileged: Option<bool>,
    pub(crate) client: Endpoint<'a>,
    pub(crate) server: Endpoint<'a>,
    pub(crate) gateway: Endpoint<'a>,
    pub(crate) protocol: Option<Cow<'a, str>>,
    pub(crate) policy: Option<Cow<'a, str>>,
    pub(crate) risk: Option<i32>,
    pub(crate) has_recording: Option<bool>,
    pub(crate) recording_ref: Option<Cow<'a, str>>,
    /// Whether the contents of the recording were extracted: the word, or the number of early releases.
    pub(crate) index_status: Option<Cow<'a, str>>,
    pub(crate) confidence: Confidence,
    pub(crate) confidence_reason: &'static str,
    pub(crate) revision: Option<i64>,
    pub(crate) node: Option<Cow<'a, str>>,
    pub(crate) flags: Vec<&'static str>,
    pub(crate) unmapped: Option<String>,
}

impl<'a> Record<'a> {
    /// Decodes one item of a list; the tape is used again for the next. The error says why it is no session document.
    pub(crate) fn decode(item: &'a str, tape: &mut Tape<'a>, now: Time) -> Result<Self, String> {
        tape.read(item)?;
        let mut outer = tape.root();
        let key = outer.text("key").ok_or("no key")?;
        outer.peek("body").ok_or("no body, although all fields were asked for")?;
        let mut body = outer.object("body");
        if outer.wrong_types() > 0 {
            return Err("the body is no object".to_owned());
        }
        let mut recording = body.object("recording");
        let mut user = body.object("user");
        // Stays whole in `unmapped`; two facts of it have columns too.
        let mut analytics = body.peek_object("analytics");
        let mut log = body.object("log");
        let mut rest = Rest::with_capacity(item.len() / 2);
        rest.all(&outer);

        let mut record = Self { raw: item, key, ..Self::default() };
        record.start = record.stamp(&mut body, "start_time", now);
        record.end = record.stamp(&mut body, "end_time", now);
        record.created =
            body.peek("creation_time").and_then(text_of).and_then(|text| read_time(&text)).map(|read| read.0);
        record.duration = body.int("duration").filter(|seconds| *seconds >= 0);
        record.active = body.boolean("active");
        record.revision = body.int("revision");
        record.node = body.text("node_id");
        record.protocol = body.text("protocol").map(upper_case);
        record.verdict = body.text("verdict").map(verdict::normal_form);

        record.alt_id = recording.text("session_id");
        record.auth_method = recording.text("auth_method").or_else(|| log.text("auth_method"));
        record.policy = recording.text("connection_policy");
        record.deny_reason = recording.text("deny_reason");
        let accepted_channel = recording.boolean("has_accepted_channel");
        let recording_verdict = recording.take("verdict");
        record.index_status = recording.peek("index_status").and_then(text_of);
        let trail = record.trail(&mut recording, &mut body);

        let mut endpoints = [body.object("client"), body.object("server"), recording.object("server_local")];
        let gateway_name = endpoints[2].peek("name");
        let [client, server, gateway] = endpoints.each_mut().map(Endpoint::take);
        record.is_remote = match client.kind {
            AddressKind::Ip | AddressKind::Host => Some(true),
            _ => None,
        };
        (record.client, record.server, record.gateway) = (client, server, gateway);
        let mut wanted = recording.peek_object("target");
        let target = recording.take("target");
        if record.server.ip.is_none() && record.server.host.is_none() {
            // Nothing was reached; what the client asked for is the best answer to "where".
            record.server = Endpoint::take(&mut wanted);
        }

        record.user = Account::take(&mut user);
        if record.user.kind == UserType::Unknown
            && analytics.peek("scripted").is_some_and(|scripted| scripted == "true")
        {
            record.user.kind = UserType::Service;
        }
        record.target_user = user.peek("server_username").and_then(first_text).filter(|name| !name.is_empty());
        record.risk = analytics
            .object("score")
            .int("aggregated")
            .and_then(|score| i32::try_from(score).ok())
            .filter(|score| (0..=100).contains(score));

        record.judge(accepted_channel, recording_verdict);
        record.trust(&body);

        let wrong_types =
            [&outer, &body, &recording, &user, &analytics, &log].iter().any(|object| object.wrong_types() > 0)
                || endpoints.iter().any(|object| object.wrong_types() > 0);
        if wrong_types {
            record.flags.push("wrong_type");
        }
        if let Some(policy_id) = recording.take("connection_policy_id") {
            rest.member("policy_id", policy_id);
        }
        if let Some(verdict) = recording_verdict {
            rest.member("recording_verdict", verdict);
        }
        if let Some(target) = target {
            rest.member("target", target);
        }
        // A host name of the gateway's own side has no column.
        if let Some(name) = gateway_name.filter(|_| record.gateway.host.is_some()) {
            rest.member("gateway_name", name);
        }
        rest.object("audit_trail", &trail);
        for (name, object) in ["client", "server", "server_local"].into_iter().zip(&endpoints).chain([("user", &user)])
        {
            rest.object(name, object);
        }
        rest.object("recording", &recording);
        rest.object("log", &log);
        rest.all(&body);
        record.unmapped = rest.finish();
        Ok(record)
    }

    /// Whether any part of the session may lie in the window. Without a start nothing can be excluded.
    pub(crate) fn overlaps(&self, window: &Window) -> bool {
        let Some(start) = self.start.time else { return true };
        let end = self.end.time;
        // Of an end before its start nobody knows which is right; both count.
        window.to.is_none_or(|to| end.map_or(start, |end| end.min(start)) < to)
            && window.from.is_none_or(|from| end.is_none_or(|end| end.max(start) >= from))
    }

    fn stamp(&mut self, body: &mut Object<'_, 'a>, name: &str, now: Time) -> Stamp<'a> {
        let Some(original) = body.text(name) else { return Stamp::default() };
        // Old releases write 0 for an end that has not come.
        if matches!(original.as_ref(), "0" | "1970-01-01T00:00:00Z" | "1970-01-01T00:00:00+00:00") {
            self.flags.push("zero_time");
            return Stamp { original: Some(original), ..Stamp::default() };
        }
        let Some((time, quality, leap_second)) = read_time(&original) else {
            let dated = original.len() > 4 && original.bytes().take(4).all(|byte| byte.is_ascii_digit());
            self.flags.push(if dated { "time_out_of_range" } else { "time_unparsed" });
            return Stamp { original: Some(original), ..Stamp::default() };
        };
        for (found, flag) in [
            (leap_second, "leap_second"),
            (quality == TimeQuality::AssumedZone, "assumed_zone"),
            (time > now.plus(DAY), "future_time"),
        ] {
            if found && !self.flags.contains(&flag) {
                self.flags.push(flag);
            }
        }
        Stamp { time: Some(time), original: Some(original), quality }
    }

    /// The recorded trail, by version in one of two places. The link is kept, never followed: fetching it is itself an
    /// audited act. Returns what else is said of the trail.
    fn trail<'t>(&mut self, recording: &mut Object<'t, 'a>, body: &mut Object<'_, 'a>) -> Object<'t, 'a> {
        let recorded = !recording.is_empty();
        let mut trail = recording.object("audit_trail");
        let present = !trail.is_empty();
        let mut download = trail.peek_object("download");
        let link = download.text("href");
        self.recording_ref = link.or_else(|| body.text("trail_download_link"));
        if download.is_empty() {
            trail.take("download");
        }
        self.has_recording = match (present || self.recording_ref.is_some(), recorded) {
            (true, _) => Some(true),
            (false, true) => Some(false),
            (false, false) => None,
        };
        trail
    }

    /// Outcome, state and cause of the end.
    fn judge(&mut self, accepted_channel: Option<bool>, recording_verdict: Option<&'a str>) {
        let (by_verdict, end_reason) = self.verdict.as_deref().map_or((Outcome::Unknown, None), verdict::meaning);
        let by_recording = recording_verdict
            .and_then(text_of)
            .map_or(Outcome::Unknown, |text| verdict::meaning(&verdict::normal_form(text)).0);
        self.outcome = match (accepted_channel, by_verdict) {
            // Traffic flowed: the strongest sign of success there is.
            (Some(true), _) => Outcome::Success,
            (_, Outcome::Unknown) => by_recording,
            (_, known) => known,
        };
        let known = [
            by_verdict,
            by_recording,
            if accepted_channel == Some(true) { Outcome::Success } else { Outcome::Unknown },
        ];
        if known.contains(&Outcome::Success) && known.contains(&Outcome::Failure) {
            self.flags.push("verdict_conflict");
        }
        self.end_reason = end_reason;
        self.state = match (self.outcome, self.active, self.end.time) {
            (Outcome::Failure, _, _) => SessionState::Rejected,
            (_, Some(true), _) => SessionState::Active,
            (_, Some(false), _) | (_, None, Some(_)) => SessionState::Closed,
            (_, None, None) => SessionState::Unknown,
        };
    }

    /// How far the row can be trusted.
    fn trust(&mut self, body: &Object<'_, 'a>) {
        let is = |name: &str| body.peek(name).is_some_and(|value| value == "true");
        let reversed = matches!((self.start.time, self.end.time), (Some(start), Some(end)) if end.micros() < start.micros() - SKEW);
        if reversed {
            self.flags.push("end_before_start");
        }
        let ended_yet_active = self.active == Some(true) && self.end.time.is_some();
        if ended_yet_active {
            self.flags.push("active_with_end");
        }
        let recorded =
            body.peek("origin").and_then(text_of).is_some_and(|origin| origin.eq_ignore_ascii_case("RECORDING"));
        self.is_privileged = recorded.then_some(true);
        let whole = self.start.time.is_some() && (self.end.time.is_some() || self.active == Some(true));
        (self.confidence, self.confidence_reason) = if reversed || ended_yet_active {
            (Confidence::Low, "conflict")
        } else if is("phantom") {
            (Confidence::Low, "phantom")
        } else if is("hidden") || !recorded {
            (Confidence::Medium, "fragment")
        } else if whole {
            (Confidence::High, "product_row")
        } else {
            (Confidence::Medium, "incomplete")
        };
    }
}

impl<'a> Endpoint<'a> {
    /// Takes address, name and port out of an object.
    fn take(object: &mut Object<'_, 'a>) -> Self {
        let port = object.port("port").filter(|port| *port > 0);
        let ip_text = object.text("ip");
        let address = ip_text.as_deref().map(Address::parse).unwrap_or_default();
        // The appliance repeats the address where it knows no name.
        let name = object.peek("name").and_then(text_of);
        let named = name.as_deref().filter(|_| name != ip_text).map(Address::parse).unwrap_or_default();
        let repeats = name == ip_text || (named.ip.is_some() && named.ip == address.ip);
        if repeats || (named.host.is_some() && address.host.is_none()) {
            object.take("name");
        }
        let kind = if address.kind == AddressKind::None { named.kind } else { address.kind };
        Self {
            ip: address.ip.or(named.ip),
            port: port.or(address.port),
            host: address.host.or(named.host),
            kind,
            original: ip_text.or(name),
        }
    }
}

impl<'a> Account<'a> {
    /// The gateway user where there was a gateway login, else the user of the far server.
    fn take(user: &mut Object<'_, 'a>) -> Self {
        let (original, realm) = match user.text("gateway_username") {
            Some(name) => (Some(name), user.text("gateway_username_domain")),
            None => (user.text("name"), user.text("name_domain")),
        };
        let id = user.text("id");
        match original {
            Some(original) => Self::of(original, realm.as_deref(), id),
            None => Self { uid: id, ..Self::default() },
        }
    }

    /// An account by its name, its realm where that comes on its own, and its id.
    pub(crate) fn of(original: Cow<'a, str>, realm: Option<&str>, id: Option<Cow<'a, str>>) -> Self {
        let principal = Principal::parse(&original, BareNames::KeepCase);
        let kind = principal.user_type;
        let name = principal.name.as_deref();
        let (name, domain) = match (&principal.domain, realm) {
            (None, Some(realm)) => (name.map(|name| fold(name).into_owned()), Some(fold(realm.trim()).into_owned())),
            (domain, _) => (name.map(str::to_owned), domain.as_deref().map(str::to_owned)),
        };
        let uid = id.or_else(|| principal.uid.as_deref().map(|uid| Cow::Owned(uid.to_owned())));
        Self { name, domain, uid, kind, original: Some(original) }
    }
}

fn upper_case(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()) {
        return text;
    }
    Cow::Owned(text.trim().to_uppercase())
}

/// ISO 8601 with or without a zone, or Unix seconds as releases before 5 LTS wrote them.
pub(crate) fn read_time(text: &str) -> Option<(Time, TimeQuality, bool)> {
    if let Ok(seconds) = text.parse::<i64>() {
        return Time::from_number(seconds).map(|time| (time, TimeQuality::Seconds, false));
    }
    let parsed = Time::parse(text)?;
    let quality = if parsed.assumed_zone {
        TimeQuality::AssumedZone
    } else if text.contains(['.', ',']) {
        TimeQuality::Exact
    } else {
        TimeQuality::Seconds
    };
    Some((parsed.time, quality, parsed.leap_second))
}

/// Whether a text is an IPv4 address in its one canonical form.
pub(crate) fn is_plain_ipv4(text: &str) -> bool {
    parse_ip(text).is_some_and(|ip| ip.is_ipv4() && ip.to_string() == text)
}
