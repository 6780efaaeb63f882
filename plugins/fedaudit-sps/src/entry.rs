//! One entry of a session's list, in any of its forms, as an event: what was typed, an alert, a channel, a download.

use std::borrow::Cow;
use std::collections::HashMap;

use fedaudit_core::address::Address;
use fedaudit_core::{Action, EventBuilder, EventRow, Outcome, Time, TimeQuality, Window};

use crate::config::Detail;
use crate::normalize::common;
use crate::object::{Object, Rest, Tape};
use crate::record::{Account, Record, read_time};
use crate::verdict;

/// How far outside its session an entry may lie before the zone of its time is in doubt.
const SLACK: i64 = 60 * 1_000_000;

/// What all entries of a page have in common.
#[derive(Debug)]
pub(crate) struct Terms<'t> {
    pub(crate) detail: Detail,
    pub(crate) window: Window,
    /// Seconds east of UTC of times without a zone.
    pub(crate) naive_offset: i64,
    pub(crate) now: Time,
    pub(crate) version: Option<&'t str>,
}

/// Entries of one session whose key parts have been seen, and how often: one command may match two rules.
pub(crate) type Seen = HashMap<(String, Option<i64>, String), u32>;

/// An entry's own time.
struct Moment<'a> {
    original: Option<Cow<'a, str>>,
    /// As far as it is known, and the same before the zone was applied, which no configuration changes.
    time: Option<(Time, i64)>,
    quality: TimeQuality,
}

impl Terms<'_> {
    /// Appends an entry of a session, unless it lies outside the window. Says whether it lies outside its session, or
    /// why it is no entry.
    pub(crate) fn push(
        &self,
        builder: &mut EventBuilder,
        session: &Record<'_>,
        item: &str,
        seen: &mut Seen,
    ) -> Result<bool, String> {
        let tape = Tape::parse(item)?;
        let mut outer = tape.root();
        // Early releases wrap channels as they wrap sessions.
        let wrapped = outer.peek("body").is_some();
        let mut body = if wrapped { outer.object("body") } else { std::mem::take(&mut outer) };
        if body.is_empty() {
            return Err("an entry without members".to_owned());
        }
        let mut flags = Vec::new();
        let moment = self.moment(&mut body, &mut flags);
        let outside = self.outside(session, moment.time);
        if outside {
            flags.push("outside_session");
        }
        let mut row = self.base(session);
        (row.time, row.time_quality) = match (moment.time, session.start.time) {
            (Some((time, _)), _) => (time, moment.quality),
            (None, Some(start)) => (start, TimeQuality::Logged),
            (None, None) => (self.now, TimeQuality::Fetched),
        };
        row.time_original = moment.original.as_deref();
        row.raw = item;

        let kind = first(&mut body, &["type", "psm.events.type", "alert_type"]);
        let number = first(&mut body, &["record_id", "psm.events.record_id"]);
        let content = first(&mut body, &["content", "psm.events.content", "matched_content"]);
        let command = body.text("command");
        let rule = body.text("rule_name");
        let matched_action = body.text("matched_action");
        let verdict = body.text("verdict").map(verdict::normal_form);
        let path = body.text("scp_path");
        let who = body.text("username").map(|name| Account::of(name, None, None));
        let from = body.text("ip_address");
        let address = from.as_deref().map(Address::parse).unwrap_or_default();
        let wrapped_key = outer.text("key");

        row.event_code = kind.as_deref().unwrap_or(self.detail.path());
        row.record_id = number.as_deref().or(wrapped_key.as_deref());
        row.sequence = number.as_deref().and_then(|number| number.parse().ok());
        match self.detail {
            Detail::Events => {
                // Early releases say `adp.event.command`.
                if kind.as_deref().is_some_and(|kind| kind.rsplit('.').next() == Some("command")) {
                    (row.action, row.operation) = (Action::ExecRun, content.as_deref());
                } else {
                    row.message = content.as_deref();
                }
            }
            Detail::Alerts => {
                row.message = content.as_deref();
                row.policy = rule.as_deref();
                row.outcome_code = matched_action.as_deref();
            }
            Detail::Channels => {
                if kind.as_deref().is_some_and(|kind| kind.contains("exec")) {
                    row.action = Action::ExecRun;
                }
                row.operation = command.as_deref();
                row.outcome = verdict.as_deref().map_or(Outcome::Unknown, |verdict| verdict::meaning(verdict).0);
                row.outcome_code = verdict.as_deref();
                if let Some(path) = path.as_deref() {
                    (row.target_type, row.target_name) = (Some("file"), Some(path));
                }
            }
            Detail::TrailDownloads => {
                row.action = Action::LogRead;
                row.outcome = Outcome::Success;
                row.event_code = "trail_download";
                row.target_type = Some("recording");
                row.target_name = session.alt_id.as_deref().or(Some(&session.key));
                row.target_uid = Some(&session.key);
                if let Some(who) = &who {
                    row.user_name = who.name.as_deref();
                    row.user_domain = who.domain.as_deref();
                    row.user_uid = who.uid.as_deref();
                    row.user_original = who.original.as_deref();
                    row.user_type = who.kind;
                }
                (row.src_ip, row.src_port) = (address.ip.as_deref(), address.port);
                (row.src_host, row.src_kind) = (address.host.as_deref(), address.kind);
                row.src_original = from.as_deref();
            }
        }
        if body.wrong_types() + outer.wrong_types() > 0 {
            flags.push("wrong_type");
        }
        let mut rest = Rest::default();
        rest.all(&outer);
        rest.all(&body);
        let unmapped = rest.finish();
        (row.unmapped, row.quality_flags) = (unmapped.as_deref(), &flags);
        let written = moment.time.map(|(_, written)| written);
        if written.is_some() && !self.window.contains(row.time) {
            return Ok(false);
        }
        self.add(builder, session, &row, (number.as_deref(), written, kind.as_deref()), seen);
        Ok(outside)
    }

    /// The key of an entry: session, list, number, time as written, type; and how often these have been seen.
    fn add(
        &self,
        builder: &mut EventBuilder,
        session: &Record<'_>,
        row: &EventRow<'_>,
        (number, written, kind): (Option<&str>, Option<i64>, Option<&str>),
        seen: &mut Seen,
    ) {
        let same = (number.unwrap_or_default().to_owned(), written, kind.unwrap_or_default().to_owned());
        let count = seen.entry(same).and_modify(|count| *count += 1).or_insert(0);
        let again = (*count > 0).then(|| count.to_string());
        let written = written.map(|micros| micros.to_string());
        let key =
            [Some(session.key.as_ref()), Some(self.detail.path()), number, written.as_deref(), kind, again.as_deref()];
        builder.push(&key, &[Some(&session.key)], row);
    }

    /// What an entry says of its session: everything, but for downloads, whose user and address are others.
    fn base<'r>(&'r self, session: &'r Record<'_>) -> EventRow<'r> {
        match self.detail {
            Detail::TrailDownloads => EventRow {
                session_id: Some(&session.key),
                source_node: session.node.as_deref(),
                product_version: self.version,
                ..EventRow::new()
            },
            _ => EventRow { auth_method: None, ..common(session, self.version) },
        }
    }

    fn moment<'a>(&self, body: &mut Object<'_, 'a>, flags: &mut Vec<&'static str>) -> Moment<'a> {
        let original = first(body, &["time", "psm.events.time", "start_time"]);
        let Some((written, quality, leap_second)) = original.as_deref().and_then(read_time) else {
            flags.push(if original.is_some() { "time_unparsed" } else { "time_missing" });
            return Moment { original, time: None, quality: TimeQuality::Fetched };
        };
        if leap_second {
            flags.push("leap_second");
        }
        let assumed = quality == TimeQuality::AssumedZone;
        let offset = if assumed { self.naive_offset * 1_000_000 } else { 0 };
        if assumed {
            flags.push("assumed_zone");
        }
        let time = Some((Time::from_micros(written.micros() - offset), written.micros()));
        Moment { original, time, quality }
    }

    fn outside(&self, session: &Record<'_>, time: Option<(Time, i64)>) -> bool {
        if self.detail == Detail::TrailDownloads {
            return false;
        }
        let Some((time, _)) = time else { return false };
        session.start.time.is_some_and(|start| time.micros() < start.micros() - SLACK)
            || session.end.time.is_some_and(|end| time.micros() > end.micros() + SLACK)
    }
}

/// Takes the first member that is there.
fn first<'a>(object: &mut Object<'_, 'a>, names: &[&str]) -> Option<Cow<'a, str>> {
    names.iter().find_map(|name| object.text(name))
}

/// Why the contents of a recording were not extracted, if they were not; early releases number the reasons.
pub(crate) fn not_indexed<'r>(session: &'r Record<'_>) -> Option<&'r str> {
    let status = session.index_status.as_deref()?;
    match status {
        "INDEXED" | "3" | "NO_TRAIL" | "6" => None,
        "0" => Some("CHANNEL_OPEN"),
        "1" => Some("NOT_INDEXED"),
        "2" => Some("INDEXING_IN_PROGRESS"),
        "4" => Some("INDEXING_NOT_REQUIRED"),
        "5" => Some("INDEXING_FAILED"),
        other => Some(other),
    }
}
