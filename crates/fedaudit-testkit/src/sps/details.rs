//! The lists that hang below a session: what was typed, which alerts it raised, its channels, and who fetched the
//! recording. They follow from the session's key, so that a test can compute what it has to find.

use std::fmt::Write as _;

use super::body::push_time;
use super::listing::{Params, quote};
use super::shape::{Generation, Shape};
use super::{Answer, Options};
use crate::random::Random;
use crate::records::SpsSession;

const SECOND: i64 = 1_000_000;
const LARGEST_PAGE: usize = 500;
const REACH: usize = 10_000;

/// The lists of a session by their path.
pub const LISTS: [&str; 4] = ["events", "alerts", "channels", "trail_downloads"];

/// Something seen on the screen or typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentEvent {
    /// When, microseconds, whole milliseconds.
    pub time: i64,
    /// `command` or `window title`.
    pub kind: &'static str,
    /// The text.
    pub content: String,
    /// Number within the session.
    pub record_id: i64,
}

/// A rule of a content policy that matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// When, microseconds.
    pub time: i64,
    /// Name of the rule.
    pub rule: &'static str,
    /// The text that matched.
    pub matched: String,
    /// Number within the session.
    pub record_id: i64,
}

/// A channel inside the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// When it was opened, microseconds, whole seconds.
    pub start: i64,
    /// When it was closed.
    pub end: Option<i64>,
    /// `session shell`, `session exec`, …
    pub kind: &'static str,
    /// Whether it was let in.
    pub accepted: bool,
    /// Command of an exec channel.
    pub command: Option<&'static str>,
    /// Who agreed, where two people had to.
    pub authorizer: Option<&'static str>,
}

/// Somebody fetched the recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// When, microseconds, whole milliseconds.
    pub time: i64,
    /// Who.
    pub username: &'static str,
    /// From where.
    pub ip: &'static str,
    /// By the interface rather than the web page.
    pub from_api: bool,
}

/// Everything that hangs below one session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// `…/events`
    pub events: Vec<ContentEvent>,
    /// `…/alerts`
    pub alerts: Vec<Alert>,
    /// `…/channels`
    pub channels: Vec<Channel>,
    /// `…/trail_downloads`
    pub downloads: Vec<Download>,
}

/// What hangs below a session; nothing where there is no recording.
pub fn details_of(session: &SpsSession) -> Details {
    let mut details = Details::default();
    if !session.has_trail {
        return details;
    }
    let seed = session.key.bytes().fold(7_u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let mut random = Random::new(seed);
    let length = session.end.map_or(600 * SECOND, |end| (end - session.start).max(SECOND));
    let shell = session.protocol == "SSH";
    for record_id in 0..random.range(0, 5) {
        let time = session.start + random.range(0, length / 1000) * 1000;
        let (kind, content) = if shell {
            ("command", random.pick(&["ls -l /srv", "sudo systemctl restart web", "cat \"notes.txt\"", "exit"]))
        } else {
            ("window title", random.pick(&["Registry Editor", "Services — local", "Notepad"]))
        };
        details.events.push(ContentEvent { time, kind, content: content.to_owned(), record_id });
    }
    details.events.sort_by_key(|event| (event.time, event.record_id));
    // One command may match two rules: the same record, the same instant.
    for event in details.events.iter().filter(|event| event.content.starts_with("sudo")) {
        for rule in ["privileged commands", "service changes"] {
            let (time, matched, record_id) = (event.time + 123, event.content.clone(), event.record_id);
            details.alerts.push(Alert { time, rule, matched, record_id });
        }
    }
    let start = session.start.div_euclid(SECOND) * SECOND;
    let end = session.end.map(|end| end.div_euclid(SECOND) * SECOND);
    let authorizer = random.chance(0.2).then_some("second-pair");
    let kind = if shell { "session shell" } else { "drawing" };
    details.channels.push(Channel { start, end, kind, accepted: true, command: None, authorizer });
    if shell && random.chance(0.4) {
        let accepted = random.chance(0.7);
        let (kind, command) = ("session exec", Some("uptime"));
        details.channels.push(Channel { start: start + SECOND, end, kind, accepted, command, authorizer: None });
    }
    if let Some(end) = session.end.filter(|_| random.chance(0.3)) {
        for number in 0..random.range(1, 3) {
            details.downloads.push(Download {
                time: end / 1000 * 1000 + random.range(1, 72) * 3600 * SECOND + number,
                username: random.pick(&["auditor", "reviewer", "CORP\\auditor"]),
                ip: random.pick(&["192.0.2.200", "192.0.2.201"]),
                from_api: random.chance(0.5),
            });
        }
        details.downloads.iter_mut().for_each(|download| download.time = download.time / 1000 * 1000);
        details.downloads.sort_by_key(|download| download.time);
        details.downloads.dedup_by_key(|download| download.time);
    }
    details
}

/// The items of a list as JSON texts.
fn items(session: &SpsSession, list: &str, options: &Options) -> Vec<String> {
    let shape = Shape::of(options);
    let details = details_of(session);
    let unindexed = !options.indexing;
    match list {
        "events" if unindexed => Vec::new(),
        "events" => details.events.iter().map(|event| content_event(event, shape)).collect(),
        "alerts" => details.alerts.iter().map(|event| alert(event, shape)).collect(),
        "channels" => details.channels.iter().enumerate().map(|(at, it)| channel(it, at, session, shape)).collect(),
        _ => details.downloads.iter().map(download).collect(),
    }
}

fn content_event(event: &ContentEvent, shape: Shape) -> String {
    let time = naive(event.time, shape, 3);
    let content = quote(&event.content);
    if shape.generation == Generation::Early {
        let kind = if event.kind == "command" { "adp.event.command" } else { "adp.event.title" };
        return format!(
            "{{\"psm.channels.id\":\"1\",\"psm.events.content\":{content},\"psm.events.record_id\":{},\
             \"psm.events.time\":\"{time}\",\"psm.events.type\":\"{kind}\"}}",
            event.record_id
        );
    }
    format!(
        "{{\"action\":null,\"channels_id\":\"1\",\"content\":{content},\"record_id\":{},\"time\":\"{time}\",\"type\":\"{}\"}}",
        event.record_id, event.kind
    )
}

fn alert(alert: &Alert, shape: Shape) -> String {
    format!(
        "{{\"alert_type\":\"adp.event.command\",\"channel_id\":\"1\",\"matched_action\":\"notify\",\"matched_content\":{},\
         \"matched_regexp\":\"^sudo\",\"record_id\":{},\"rule_name\":\"{}\",\"time\":\"{}\"}}",
        quote(&alert.matched),
        alert.record_id,
        alert.rule,
        naive(alert.time, shape, 6)
    )
}

fn channel(channel: &Channel, at: usize, session: &SpsSession, shape: Shape) -> String {
    let command = channel.command.map_or(String::new(), |command| format!("\"command\":\"{command}\","));
    let duration = channel.end.map_or("null".to_owned(), |end| ((end - channel.start) / SECOND).to_string());
    if shape.generation != Generation::Current {
        let end = channel.end.map_or("null".to_owned(), |end| (end / SECOND).to_string());
        let verdict = if channel.accepted { "accept" } else { "deny" };
        return format!(
            "{{\"key\":\"{at}\",\"meta\":{{\"href\":\"/api/audit/sessions/{key}/channels/{at}\"}},\"body\":{{{command}\
             \"connected.address\":\"{address}\",\"connected.port\":{port},\"duration\":{duration},\"end_time\":{end},\
             \"start_time\":{start},\"type\":\"{kind}\",\"verdict\":\"{verdict}\"}}}}",
            key = encoded(&session.key),
            address = session.target_ip,
            port = session.target_port,
            start = channel.start / SECOND,
            kind = channel.kind,
        );
    }
    let time = |micros: i64| {
        let mut out = vec![b'"'];
        push_time(&mut out, micros, shape.zone);
        out.push(b'"');
        String::from_utf8_lossy(&out).into_owned()
    };
    let verdict = if channel.accepted { "ACCEPT" } else { "DENY" };
    let authorizer = channel.authorizer.map_or("null".to_owned(), quote);
    format!(
        "{{{command}\"duration\":{duration},\"end_time\":{},\"four_eyes_authorizer\":{authorizer},\
         \"four_eyes_description\":null,\"start_time\":{},\"type\":\"{}\",\"verdict\":\"{verdict}\"}}",
        channel.end.map_or("null".to_owned(), time),
        time(channel.start),
        channel.kind,
    )
}

fn download(download: &Download) -> String {
    let mut time = Vec::new();
    push_time(&mut time, download.time, 0);
    format!(
        "{{\"from_api\":{},\"ip_address\":\"{}\",\"time\":\"{}\",\"username\":{}}}",
        download.from_api,
        download.ip,
        String::from_utf8_lossy(&time),
        quote(download.username)
    )
}

/// A time without a zone: UTC, or by a switch the appliance's own.
fn naive(micros: i64, shape: Shape, digits: usize) -> String {
    let zone = if shape.naive_local { shape.zone } else { 0 };
    let local = micros + i64::from(zone) * 60 * SECOND;
    let mut text = Vec::new();
    push_time(&mut text, local, 0);
    // 2018-10-11T09:23:38.000Z
    let mut text = String::from_utf8_lossy(&text[..19]).into_owned();
    let fraction = format!("{:06}", local.rem_euclid(SECOND));
    let _ = write!(text, ".{}", &fraction[..digits]);
    text
}

/// A key as it stands in a path.
pub(super) fn encoded(key: &str) -> String {
    let mut text = String::with_capacity(key.len());
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// Answers `…/<key>/<list>`; `added` are items that a test put there.
pub(super) fn answer(
    session: Option<&SpsSession>,
    key: &str,
    list: &str,
    added: &[String],
    params: &Params,
    options: &Options,
    remaining: u64,
) -> Answer {
    let mut items = session.map_or_else(Vec::new, |session| items(session, list, options));
    items.extend_from_slice(added);
    let number = |name: &str| params.get(name).and_then(|text| text.parse::<usize>().ok());
    let limit = number("limit").unwrap_or(LARGEST_PAGE).clamp(1, LARGEST_PAGE);
    // As in the list of sessions: what lies too far away is ignored without a word.
    let offset = number("offset").filter(|offset| *offset <= REACH).unwrap_or(0);
    let first = offset.min(items.len());
    let last = (first + limit).min(items.len());
    // Downloads name another list in their links, with another limit.
    let (place, shown) = if list == "trail_downloads" { ("indexer", 5) } else { (list, limit) };
    let link =
        |offset: usize| quote(&format!("/api/audit/sessions/{}/{place}?limit={shown}&offset={offset}", encoded(key)));
    let body = format!(
        "{{\"items\":[{}],\"meta\":{{\"fields\":[],\"first\":{},\"href\":{},\"last\":{},\"limit\":{shown},\"match_count\":{},\
         \"next\":{},\"offset\":{offset},\"parent\":{},\"previous\":null,\"remaining_seconds\":{remaining}}}}}",
        items[first..last].join(","),
        link(0),
        quote(&format!("/api/audit/sessions/{}/{place}", encoded(key))),
        link(items.len().saturating_sub(1) / limit * limit),
        items.len().min(REACH),
        if last < items.len().min(REACH) { link(last) } else { "null".to_owned() },
        quote(&format!("/api/audit/sessions/{}", encoded(key))),
    );
    let mut answer = Answer::json(body);
    answer.records = (last - first) as u64;
    answer
}

/// A list as other answers of the product name it.
pub(super) fn list_named(name: &str) -> Option<&'static str> {
    LISTS.into_iter().find(|list| *list == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_without_a_zone() {
        let shape = Shape { generation: Generation::Current, zone: 120, naive_local: true };
        assert_eq!(naive(1_537_008_780_123_456, shape, 3), "2018-09-15T12:53:00.123");
        assert_eq!(
            naive(1_537_008_780_123_456, Shape { naive_local: false, ..shape }, 6),
            "2018-09-15T10:53:00.123456"
        );
    }
}
