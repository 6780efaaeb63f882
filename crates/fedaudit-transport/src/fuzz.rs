//! Fuzz targets for what stands around data: headers, links, addresses, echoes. `docs/fuzzing.md` tells how they run.

use std::sync::Arc;

use base64::Engine as _;
use fedaudit_core::{Clock, Context, Meter, Secret, Time};
use fedaudit_fuzz::Depth;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde::de::value::{Error as ValueError, StrDeserializer};
use url::Url;

use crate::echo::without_echo;
use crate::proxy::{Route, excludes};
use crate::retry::wait_asked_for;
use crate::{HttpResponse, Origin, ProxyConfig, SecretRef, TlsConfig, error_for, retry_after};

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Time {
        Time::from_micros(1_795_300_000_000_000)
    }
}

fn context() -> Context {
    Context {
        source: "s".into(),
        source_key: "k".into(),
        clock: Arc::new(Noon),
        deadline: None,
        meter: Arc::<Meter>::default(),
    }
}

/// A status line, headers, an empty line, a body.
fn response(input: &[u8]) -> HttpResponse {
    let end = input.windows(2).position(|pair| pair == b"\n\n").unwrap_or(input.len());
    let (head, body) = input.split_at(end);
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let status = lines.next().and_then(|status| status.parse().ok()).unwrap_or(200);
    let header = |line: &str| {
        let (name, value) = line.split_once(": ")?;
        Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_bytes(value.as_bytes()).ok()?))
    };
    let headers: HeaderMap = lines.filter_map(header).collect();
    HttpResponse { status, headers, body: body.get(2..).unwrap_or_default().to_vec().into() }
}

/// A wait is never negative and never so long that it cannot be counted; the error for any answer is one short line that
/// shows nothing behind a question mark.
#[test]
fn headers() {
    fedaudit_fuzz::target!("headers", |input| {
        let (response, cx) = (response(input), context());
        let wait = retry_after(&response, &cx);
        if let Some(seconds) = response.header("retry-after").and_then(|text| text.trim().parse().ok()) {
            assert_eq!(wait.map(|wait| wait.as_secs()), Some(seconds));
        }
        if let Some(later) = wait_asked_for(&response, &cx) {
            assert!(wait.is_some_and(|wait| wait <= later));
            assert!(cx.now().plus(later) >= cx.now());
        }
        assert!(response.server_time().is_none_or(Time::is_storable));
        let error = error_for(&response);
        assert!(!error.message().chars().any(char::is_control), "{error}");
        let place = response.header("location").filter(|_| (300..400).contains(&response.status));
        assert!(error.message().chars().count() < 300 + place.map_or(0, str::len));
        if let Some(Ok(place)) = place.map(|place| format!("{place}?state=s3cret").parse()) {
            let mut redirected = response.clone();
            redirected.headers.insert("location", place);
            assert!(!error_for(&redirected).to_string().contains("s3cret"), "{error}");
        }
        Depth::reached(wait.is_some() || response.server_time().is_some())
    });
}

/// An address, and a link that a product sent: whatever they say, requests stay at one origin, and no error shows a login.
#[test]
fn origin() {
    fedaudit_fuzz::target!("origin", |input| {
        let text = String::from_utf8_lossy(input);
        let (address, link) = text.split_once('\n').unwrap_or((&text, ""));
        for secret in [format!("https://ana:s3cret@{address}"), format!("https://ana@{address}?key=s3cret")] {
            let shown = Origin::parse(&secret).expect_err("it holds more than an origin").to_string();
            assert!(!shown.contains("s3cret"), "{shown}");
        }
        let Ok(origin) = Origin::parse(address) else { return Depth::Refused };
        assert_eq!(Origin::parse(origin.as_str()).expect("an origin"), Origin::parse(origin.as_str()).expect("one"));
        assert!(!origin.host().is_empty() && origin.is_tls() == origin.as_str().starts_with("https://"));
        for page in ["/", "/api/v1/log?page=1"] {
            let Ok(path) = origin.resolve_from(page, link) else { continue };
            assert!(path.starts_with('/') && !path.contains(char::is_whitespace), "{path:?}");
            let target = Url::parse(&format!("{}{path}", origin.as_str())).expect("a URL");
            assert_eq!(target.origin().ascii_serialization(), origin.as_str(), "{path}");
            // What is asked for next is the same place again, from wherever it is read.
            assert_eq!(origin.resolve(&format!("{}{path}", origin.as_str())).expect("its own link"), path);
        }
        Depth::Decoded
    });
}

/// The address of a proxy, and a list of what needs none: no error and no debug text shows a password.
#[test]
fn proxy() {
    fedaudit_fuzz::target!("proxy", |input| {
        let text = String::from_utf8_lossy(input);
        let (address, list) = text.split_once('\n').unwrap_or((&text, ""));
        for address in [address.to_owned(), format!("http://ana:s3cret@{address}")] {
            let shown = match Route::parse(&address) {
                Ok(route) => format!("{route:?}"),
                Err(error) => format!("{error:?} {error}"),
            };
            assert!(!shown.contains("s3cret") || address.matches("s3cret").count() > 1, "{shown}");
        }
        for origin in ["https://nas-1.corp.example:8443", "https://192.0.2.7", "https://[2001:db8::7]"] {
            let origin = Origin::parse(origin).expect("an origin");
            for entry in list.split([',', ' ']) {
                let excluded = excludes(entry.trim(), &origin);
                assert!(!excluded || !entry.trim().is_empty());
                assert!(excludes(&entry.trim().to_uppercase(), &origin) == excluded, "{entry}");
            }
            assert!(excludes("*", &origin) && excludes(origin.host(), &origin));
        }
        Depth::reached(Route::parse(address).is_ok())
    });
}

/// No form of a secret is left in an answer that is no data, and an answer without any is left as it was.
#[test]
fn echo() {
    fedaudit_fuzz::target!("echo", |input| {
        const SECRET: &str = "tok\"en & <1>/ü'\\é%+=";
        let json: String = SECRET.replace('\\', "\\\\").replace('"', "\\\"");
        let ascii: String = json
            .chars()
            .map(|c| if c.is_ascii() { c.to_string() } else { format!("\\u{:04x}", u32::from(c)) })
            .collect();
        let escaped = |byte: u8| match byte {
            b'a'..=b'z' | b'0'..=b'9' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        };
        let url: String = SECRET.bytes().map(escaped).collect();
        let base64 = base64::engine::general_purpose::STANDARD.encode(SECRET);
        let xml = SECRET.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let html = json.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e");
        let forms = [
            ("{PLAIN}", SECRET),
            ("{JSON}", &json),
            ("{HTML}", &html),
            ("{ASCII}", &ascii),
            ("{URL}", &url),
            ("{BASE64}", &base64),
            ("{XML}", &xml),
        ];
        let mut before = response(input);
        let mut body = String::from_utf8_lossy(&before.body).into_owned();
        let mut told = false;
        for (mark, form) in forms {
            told |= body.contains(mark);
            body = body.replace(mark, form);
        }
        before.body = body.clone().into();
        let after = without_echo(before.clone(), &[Secret::new(SECRET), Secret::new(format!("Bearer {SECRET}"))]);
        let is_data = (200..300).contains(&before.status)
            && before.header("content-type").is_some_and(|kind| kind.contains("json") || kind.contains("xml"));
        let text = String::from_utf8_lossy(&after.body);
        if is_data {
            return Depth::Refused;
        }
        for (mark, form) in forms {
            assert!(!text.contains(form), "{mark} is left in {text}");
        }
        if !told {
            // What follows a space may be the secret behind a scheme.
            assert!(text == body || text.contains("***"), "{text} {body}");
        }
        Depth::reached(told)
    });
}

/// Trust, proxy and secrets in a configuration: nothing panics, and what is no reference to a secret is not repeated.
#[test]
fn config() {
    #[derive(Deserialize)]
    struct Source {
        #[serde(default)]
        tls: TlsConfig,
        #[serde(default)]
        proxy: ProxyConfig,
        password: Option<SecretRef>,
    }
    fedaudit_fuzz::target!("config", |input| {
        let text = String::from_utf8_lossy(input);
        if let Err(error) = SecretRef::deserialize(StrDeserializer::<ValueError>::new(&text)) {
            assert!(text.len() < 20 || !error.to_string().contains(&*text), "{error}");
        }
        let Ok(source) = toml::from_str::<Source>(&text) else { return Depth::Refused };
        let origin = Origin::parse("https://nas-1.example").expect("an origin");
        if let TlsConfig::Pinned(pin) = &source.tls {
            assert!(pin.len() == 64 && pin.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{pin}");
        }
        // The system's own roots and a CA file are read from files.
        if matches!(source.tls, TlsConfig::Pinned(_) | TlsConfig::Insecure) {
            source.tls.client_config(&origin, &[]).expect("whom to trust");
        }
        let secret = source.password.map(|place| place.to_string());
        assert!(secret.is_none_or(|place| place.starts_with("env:") || place.starts_with("file:")));
        let proxy = ProxyConfig { username: None, password: None, ..source.proxy };
        let _ = proxy.route(&origin);
        Depth::Decoded
    });
}
