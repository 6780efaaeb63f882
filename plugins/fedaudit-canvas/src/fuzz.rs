//! Fuzz targets for everything that Canvas sends. `docs/fuzzing.md` tells how they run.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use fedaudit_core::{Clock, Context, Cursor, ErrorKind, StreamKind, Time, Window};
use fedaudit_fuzz::Depth;
use fedaudit_testkit::conformance::{texts, unsound};
use fedaudit_transport::{HttpResponse, PATIENCE, Spoken, retry_after};
use futures::FutureExt as _;
use http::{HeaderName, HeaderValue};
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::accounts::{AccountObject, Identified, UserObject, parse};
use crate::api::{Api, LARGEST_BUDGET, refusal, throttled, units_left};
use crate::budget::Budget;
use crate::config::Config;
use crate::links::{Bookmark, is_other_page, link_in};
use crate::normalize::{Decoder, Edge, Frame, Ties, Twice, identities};
use crate::stream::Stream;
use crate::walk::Walk;

const NOW: Time = Time::from_micros(1_795_317_601_000_000);

fn decoder(stream: Stream) -> Decoder<'static> {
    Decoder::new(Frame { stream, source_key: "k", reader: Some("7"), now: NOW })
}

/// How many events a general parser finds in a document; none where it has no list of them.
fn events_in(input: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(input);
    let document: Value = serde_json::from_str(text.strip_prefix("while(1);").unwrap_or(&text)).ok()?;
    let primary = document["meta"]["primaryCollection"].as_str().unwrap_or("events");
    let list = document.get(primary).unwrap_or(&document["events"]);
    list.as_array().map(Vec::len)
}

/// Every event is a row or rejected with its bytes, in all three logs; what has no list of events is an error, and so is a
/// document that was cut off.
#[test]
fn document() {
    fedaudit_fuzz::target!("document", |input| {
        let mut rows = 0;
        for stream in Stream::ALL {
            let mut decoder = decoder(stream);
            let mut edge = Edge::default();
            let Ok(seen) = decoder.add(input, Some("1"), &mut Ties::default(), Twice::Remember(&mut edge)) else {
                return Depth::Refused;
            };
            let page = decoder.finish().expect("rows");
            if let Some(count) = events_in(input) {
                assert_eq!(page.records, count as u64);
            }
            assert_eq!((page.rows.num_rows() + page.rejected.len()) as u64, page.records);
            assert_eq!(unsound(&page.rows, StreamKind::Events), None);
            assert_eq!(seen.last.is_some(), page.rows.num_rows() > 0);
            assert!(identities(input).is_ok_and(|list| list.len() as u64 <= page.records));
            let sent = String::from_utf8_lossy(input);
            let raws = texts(&page.rows, "raw");
            assert!(
                raws.iter().flatten().chain(page.rejected.iter().map(|bad| &bad.raw)).all(|raw| sent.contains(raw))
            );
            // The same page again brings nothing of its last second; where it is out of order, the engine sees to that.
            let mut again = self::decoder(stream);
            again.add(input, Some("1"), &mut Ties::default(), Twice::Skip(&edge)).expect("the same page");
            let again = again.finish().expect("rows");
            let last = seen.last.map_or(0, Time::seconds);
            let in_last = |time: &Option<String>| {
                time.as_deref().and_then(|micros| micros.parse().ok()).map(|micros| Time::from_micros(micros).seconds())
                    == Some(last)
            };
            let in_order = seen.last.is_some() && seen.is_descending;
            assert!(!in_order || !texts(&again.rows, "time").iter().any(in_last));
            rows += page.rows.num_rows();
        }
        let end = input.trim_ascii_end().len();
        for short in [1, 2, 3, 40, end / 2] {
            let beginning = &input[..end.saturating_sub(short)];
            assert!(decoder(Stream::Course).add(beginning, None, &mut Ties::default(), Twice::Never).is_err());
        }
        Depth::reached(rows > 0)
    });
}

/// A link is a piece of its header between angle brackets, and written anew it is the same link, of which no beginning is
/// the end of a list.
#[test]
fn links() {
    fedaudit_fuzz::target!("links", |input| {
        let text = String::from_utf8_lossy(input);
        for rel in ["next", "current"] {
            let Ok(Some(link)) = link_in(&text, rel) else { continue };
            assert!(text.contains(&format!("<{link}>")));
            let whole = format!("<x>; rel=\"other\",<{link}>; rel=\"{rel}\"");
            assert_eq!(link_in(&whole, rel).expect("whole"), Some(link));
            let second = whole.find(",<").expect("two links") + 2;
            let mut ends = (second..whole.len()).filter(|end| whole.is_char_boundary(*end));
            assert!(ends.all(|end| link_in(&whole[..end], rel).is_err()));
            let _ = Bookmark::of(link);
        }
        Depth::reached(matches!(link_in(&text, "next"), Ok(Some(_))))
    });
}

/// A connection to nowhere.
static API: LazyLock<Api> = LazyLock::new(|| {
    let config: Config = toml::from_str("url = \"https://c.example\"\ntoken = \"env:T\"").expect("a configuration");
    Api::new(config.origin().expect("an origin"), config, &Spoken::default()).expect("a client")
});

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Time {
        NOW
    }
}

/// A status line, then headers.
fn response(input: &[u8]) -> HttpResponse {
    let mut lines = input.split(|byte| *byte == b'\n');
    let status = lines.next().and_then(|line| std::str::from_utf8(line).ok()?.parse().ok()).unwrap_or(200);
    let header = |line: &[u8]| {
        let colon = line.windows(2).position(|pair| pair == b": ")?;
        let value = HeaderValue::from_bytes(&line[colon + 2..]).ok()?;
        Some((HeaderName::from_bytes(&line[..colon]).ok()?, value))
    };
    HttpResponse { status, headers: lines.filter_map(header).collect(), body: b"[]".to_vec().into() }
}

/// Everything that is read of an answer's head: the end of a list is the end of it, the pace stays one that can be kept, and
/// a pause is as long as was asked for or as a reader waits.
#[test]
fn headers() {
    fedaudit_fuzz::target!("headers", |input| {
        let response = response(input);
        let cx = Context {
            source: "s".into(),
            source_key: "k".into(),
            clock: Arc::new(Noon),
            deadline: None,
            meter: Arc::default(),
        };
        let links: Vec<&[u8]> = response.headers.get_all("link").iter().map(HeaderValue::as_bytes).collect();
        let next = API.next(&response);
        match &next {
            Ok(Some(path)) => assert!(path.starts_with("/api/v1/")),
            // Whatever begins also ends.
            Ok(None) => assert!(links.iter().all(|header| {
                let header = String::from_utf8_lossy(header);
                header.is_ascii()
                    && header.matches('"').count().is_multiple_of(2)
                    && header.contains('<') <= header.contains('>')
            })),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Malformed),
        }
        let _ = is_other_page("/api/v1/x?page=bookmark:a", &response);
        let units = units_left(&response);
        assert!(units.is_none_or(|units| units.abs() <= LARGEST_BUDGET));
        assert!(throttled(&response) == (response.status == 429) || response.status == 403);
        assert_eq!(refusal(&response).kind() == ErrorKind::RateLimited, throttled(&response));
        let challenged = response.status == 401 && response.headers.contains_key("www-authenticate");
        assert!(!challenged || refusal(&response).kind() == ErrorKind::Unauthenticated);
        let budget = Budget::default();
        let permits: Vec<_> = (0..3).filter_map(|_| budget.admit(&cx).now_or_never()?.ok()).collect();
        assert_eq!(permits.len(), 3);
        for permit in permits {
            permit.answered(units);
        }
        let asked = retry_after(&response, &cx);
        let budget = Budget::default();
        let wait = budget.admit(&cx).now_or_never().expect("nobody before").expect("a turn").refused(units, asked);
        match asked {
            Some(asked) => assert!(wait >= asked.min(PATIENCE) && wait <= asked),
            None => assert!(wait >= Duration::from_secs(1) && wait <= Duration::from_mins(1)),
        }
        Depth::reached(matches!(next, Ok(Some(_))) || units.is_some() || asked.is_some())
    });
}

/// Accounts, courses and users: as many as a general parser finds, each with its id, or an error.
#[test]
fn objects() {
    fedaudit_fuzz::target!("objects", |input| {
        let user = parse::<UserObject<'_>>(input);
        let (accounts, named) = (parse::<Vec<AccountObject<'_>>>(input), parse::<Vec<Identified<'_>>>(input));
        let count = serde_json::from_slice::<Vec<IgnoredAny>>(input).map(|list| list.len()).ok();
        for found in [accounts.map(|list| list.len()), named.map(|list| list.len())].into_iter().flatten() {
            assert_eq!(Some(found), count);
        }
        Depth::reached(count.is_some_and(|count| count > 0) || user.is_ok())
    });
}

/// A cursor is read back as it was written, and whatever it says, there is a next request.
#[test]
fn cursor() {
    fedaudit_fuzz::target!("cursor", |input| {
        let Ok(mut walk) = serde_json::from_slice::<Walk>(input) else { return Depth::Refused };
        let again: Walk = Cursor::new(&walk).and_then(|cursor| cursor.read()).expect("a cursor");
        assert_eq!(again, walk);
        for target in &walk.targets {
            let window = Window::new(Time::EPOCH, NOW);
            assert!(target.first_page(window, Some(0)).starts_with("/api/v1/"));
        }
        if !walk.targets.is_empty() {
            let _ = walk.follow(Some("/api/v1/x?page=bookmark:a".to_owned()));
            let _ = walk.follow(None);
        }
        Depth::Decoded
    });
}

/// No configuration panics; one that is taken sends its token over TLS, or nowhere but to this machine.
#[test]
fn config() {
    fedaudit_fuzz::target!("config", |input| {
        let text = String::from_utf8_lossy(input);
        let Ok(config) = toml::from_str::<Config>(&text) else { return Depth::Refused };
        let origin = config.origin();
        if let Ok(origin) = &origin {
            assert!(origin.is_tls() || matches!(origin.host(), "localhost" | "127.0.0.1" | "::1"));
            assert!(config.token.is_some() != config.oauth.is_some());
        }
        Depth::reached(origin.is_ok())
    });
}
