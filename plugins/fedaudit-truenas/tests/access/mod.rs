//! Ways in, ways of being refused, and what must never be seen of a secret.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use fedaudit_core::{ErrorKind, PageRequest, Plugin as _, Window};
use fedaudit_testkit::truenas::Options;
use fedaudit_truenas::{Config, Service, TrueNasPlugin};
use serde_json::json;

use crate::bench::*;

const PASSWORD: &str = "not-a-secret";
const TOKEN: &str = "no-secret-token-either";

fn release(version: &str) -> Options {
    Options {
        versions: vec![version.to_owned()],
        password: Some(PASSWORD.to_owned()),
        token: Some(TOKEN.to_owned()),
        ..options()
    }
}

#[tokio::test]
async fn every_way_to_log_in_reads_the_same() {
    let world = world(600);
    let mut answers = Vec::new();
    for (version, credential, secret, mechanism) in [
        ("v25.10.7", "api_key", KEY, "API_KEY_PLAIN"),
        ("v25.10.7", "password", PASSWORD, "PASSWORD_PLAIN"),
        ("v25.10.7", "token", TOKEN, "TOKEN_PLAIN"),
        ("v26.0.0", "api_key", KEY, "SCRAM"),
        ("v26.0.0", "password", PASSWORD, "PASSWORD_PLAIN"),
    ] {
        let bench = bench_with(Arc::clone(&world), release(version), credential, secret).await;
        answers.push(read(&bench, all(Service::Smb)).await.ids());
        let log = bench.log.entries();
        assert!(log.iter().any(|entry| entry.target == format!("auth.login_ex {mechanism}")), "{version} {credential}");
        assert_eq!(bench.cx.meter.read().logins, 1);
        bench.source.close(&bench.cx).await.unwrap();
        assert_eq!(bench.stand_in.logins(), 0);
    }
    assert!(answers[0].len() > 100 && answers.iter().all(|ids| *ids == answers[0]));
}

#[tokio::test]
async fn a_token_needs_no_account() {
    let bench = bench_of(world(300), release("v25.10.7"), "token", TOKEN, json!({"username": ""})).await;
    assert_eq!(bench.source.check(&bench.cx).await.unwrap().account.as_deref(), Some("auditor"));
}

#[tokio::test]
async fn the_key_itself_does_not_travel_where_scram_is_offered() {
    let bench = bench(world(300), release("v26.0.0")).await;
    bench.source.check(&bench.cx).await.unwrap();
    let logins: Vec<String> =
        bench.log.entries().into_iter().map(|entry| entry.target).filter(|target| target.contains("login")).collect();
    assert_eq!(logins, ["auth.login_ex SCRAM", "auth.login_ex SCRAM"]);
    // A wrong key is not tried in clear afterwards.
    let wrong = bench_with(world(300), release("v26.0.0"), "api_key", "4-wrong").await;
    assert_eq!(wrong.source.check(&wrong.cx).await.unwrap_err().kind(), ErrorKind::Unauthenticated);
    assert!(wrong.log.entries().iter().all(|entry| !entry.target.contains("PLAIN")));
}

#[tokio::test]
async fn a_server_that_does_not_know_the_key_is_refused() {
    let bench = bench(world(300), Options { false_server: true, ..release("v26.0.0") }).await;
    let error = bench.source.fetch(&bench.cx, &all(Service::Smb)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.to_string().contains("could not prove"), "{error}");
    assert!(bench.log.entries().iter().all(|entry| !entry.target.starts_with("audit.query")));
}

#[tokio::test]
async fn refused_logins_have_names_and_hints() {
    for (options, kind, says) in [
        (Options { login_answer: Some("DENIED"), ..options() }, ErrorKind::Denied, "may not use the API"),
        (Options { login_answer: Some("EXPIRED"), ..options() }, ErrorKind::Unauthenticated, "expired or revoked"),
        (Options { login_answer: Some("NEWS"), ..options() }, ErrorKind::Unsupported, "NEWS"),
        (Options { assurance_level_2: true, ..options() }, ErrorKind::Unsupported, "assurance level"),
        (Options { secure: false, ..options() }, ErrorKind::Unauthenticated, "expired or revoked"),
        (Options { standby: true, ..options() }, ErrorKind::Unavailable, "standby"),
    ] {
        let bench = bench(world(300), options).await;
        let error = bench.source.check(&bench.cx).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(says), "{error}");
        assert!(says == "NEWS" || error.hint_text().is_some(), "{error}");
        // One attempt, however often it is asked for.
        bench.source.fetch(&bench.cx, &all(Service::Smb)).await.unwrap_err();
        let attempts = bench.log.entries().iter().filter(|entry| entry.target.starts_with("auth.login")).count();
        assert!(attempts == 1 || kind == ErrorKind::Unsupported, "{attempts} for {error}");
    }
    let standby = bench(world(300), Options { standby: true, ..options() }).await;
    let error = standby.source.check(&standby.cx).await.unwrap_err();
    assert!(error.hint_text().unwrap().contains("nas-1-active.example"));
}

#[tokio::test]
async fn an_address_that_is_not_allowed_is_denied() {
    let bench = bench(world(300), Options { forbidden: true, ..options() }).await;
    let error = bench.source.fetch(&bench.cx, &all(Service::Smb)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(error.hint_text().unwrap().contains("addresses"));
}

#[tokio::test]
async fn releases_without_the_api_are_named() {
    let bench = bench(world(300), Options { versions: Vec::new(), ..options() }).await;
    let error = bench.source.check(&bench.cx).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.hint_text().unwrap().contains("25.04"));
}

#[tokio::test]
async fn nothing_secret_leaves_without_tls() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    for credential in ["api_key", "token"] {
        let config: Config =
            serde_json::from_value(json!({"url": url, "username": "auditor", credential: "env:PATH"})).unwrap();
        let error = TrueNasPlugin::build("nas-1", config).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.hint_text().unwrap().contains("https"));
    }
    let contact = tokio::time::timeout(Duration::from_millis(100), listener.accept()).await;
    assert!(contact.is_err(), "somebody was called");
    for wrong in [
        json!({"url": "https://nas-1.example", "username": "a"}),
        json!({"url": "https://nas-1.example", "api_key": "env:PATH"}),
        json!({"url": "https://nas-1.example", "username": "a", "api_key": "env:PATH", "token": "env:PATH"}),
    ] {
        let config: Config = serde_json::from_value(wrong).unwrap();
        assert_eq!(TrueNasPlugin::build("nas-1", config).unwrap_err().kind(), ErrorKind::Config);
    }
    let unknown = json!({"url": "https://nas-1.example", "username": "a", "api_kye": "env:PATH"});
    assert!(serde_json::from_value::<Config>(unknown).unwrap_err().to_string().contains("api_kye"));
}

#[tokio::test]
async fn no_secret_is_ever_shown() {
    for (options, credential, secret) in [
        (release("v25.10.7"), "api_key", KEY),
        (release("v26.0.0"), "api_key", KEY),
        (release("v25.10.7"), "password", PASSWORD),
        (release("v25.10.7"), "token", TOKEN),
    ] {
        for options in [
            Options { list_reader: true, ..options.clone() },
            Options { login_answer: Some("EXPIRED"), list_reader: true, ..options.clone() },
            Options { assurance_level_2: true, ..options.clone() },
            Options { false_server: true, ..options },
        ] {
            let bench = bench_with(world(300), options, credential, secret).await;
            let mut shown = format!("{:?} {:?}", bench.source, bench.source.check(&bench.cx).await);
            for stream in ["audit.MIDDLEWARE", "auth.sessions"] {
                let page = bench.source.fetch(&bench.cx, &PageRequest::first(stream, Window::ALL)).await;
                let _ = write!(shown, "{page:?}");
            }
            let part = secret.split_once('-').filter(|_| credential == "api_key").map_or(secret, |(_, part)| part);
            assert!(!shown.contains(part), "{credential} is in {shown}");
        }
    }
}

#[tokio::test]
async fn a_denied_list_of_sessions_is_not_an_empty_one() {
    let mut options = options();
    options.roles.sessions_read = false;
    let bench = bench(world(300), options).await;
    let health = bench.source.check(&bench.cx).await.unwrap();
    assert_eq!(health.denied.iter().map(|(stream, _)| stream.as_str()).collect::<Vec<_>>(), ["auth.sessions"]);
    let request = PageRequest::first("auth.sessions", Window::ALL);
    for request in [request.clone(), PageRequest { follow: Some(Duration::from_millis(10)), ..request }] {
        let error = bench.source.fetch(&bench.cx, &request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(error.hint_text().unwrap().contains("AUTH_SESSIONS_READ"));
    }
}

/// What the plugin keeps to is what the stand-in enforces: else keeping to it would show nothing.
#[tokio::test]
async fn the_stand_in_enforces_the_limits_of_the_product() {
    use fedaudit_transport::{Origin, TlsConfig, WebSocket};

    let bench = bench(world(300), Options { latency: Duration::from_millis(30), ..options() }).await;
    let tls: TlsConfig = serde_json::from_value(json!({"ca_file": bench.folder.path().join("ca.pem")})).unwrap();
    let origin = Origin::parse(&bench.server.origin).unwrap();
    let connect = async || WebSocket::connect(&bench.cx, &origin, "/api/current", &tls).await.unwrap();
    let call = |id: u32, method: &str, params: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#)
    };

    let mut socket = connect().await;
    for (text, expected) in [
        ("no JSON".to_owned(), "-32700"),
        ("[]".to_owned(), "Batch messages are not supported at this time"),
        (r#"{"id":1,"method":"core.ping"}"#.to_owned(), "-32600"),
        (call(1, "no.such.method", "[]"), "ENOTAUTHENTICATED"),
        (call(2, "core.ping", "[]"), "pong"),
    ] {
        socket.send(&bench.cx, text).await.unwrap();
        let answer = socket.next(&bench.cx).await.unwrap();
        assert!(answer.contains(expected), "{answer}");
    }
    socket.send(&bench.cx, call(3, "core.ping", &format!("[\"{}\"]", "x".repeat(8200)))).await.unwrap();
    assert!(socket.next(&bench.cx).await.unwrap_err().to_string().contains("1007"));

    let mut socket = connect().await;
    let login = json!([{"mechanism": "API_KEY_PLAIN", "username": "auditor", "api_key": KEY}]).to_string();
    socket.send(&bench.cx, call(1, "auth.login_ex", &login)).await.unwrap();
    assert!(socket.next(&bench.cx).await.unwrap().contains("SUCCESS"));
    for id in 0..25 {
        socket.send(&bench.cx, call(id, "core.ping", "[]")).await.unwrap();
    }
    let mut refused = 0;
    for _ in 0..25 {
        refused += usize::from(socket.next(&bench.cx).await.unwrap().contains("-32000"));
    }
    assert_eq!(refused, 5);
    socket.send(&bench.cx, call(3, "core.ping", &format!("[\"{}\"]", "x".repeat(66_000)))).await.unwrap();
    assert!(socket.next(&bench.cx).await.unwrap_err().to_string().contains("1009"));
}
