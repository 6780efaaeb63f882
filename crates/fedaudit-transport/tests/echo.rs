//! A server that answers with the request it got: nothing of the login may come back in what can be quoted.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests may panic")]

use std::sync::Arc;

use fedaudit_core::{Clock, Context, Secret, Time};
use fedaudit_transport::{HttpClient, HttpRequest, HttpResponse, Origin, TlsConfig, error_for};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now(&self) -> Time {
        Time::EPOCH
    }
}

/// Sends a request to a server that repeats it, headers and body, in a body of this type and in `Location`.
async fn echoed(status: &'static str, kind: &'static str, request: HttpRequest) -> HttpResponse {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = Origin::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut got = vec![0; 64 << 10];
        let mut length = 0;
        loop {
            length += socket.read(&mut got[length..]).await.unwrap();
            let text = String::from_utf8_lossy(&got[..length]).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let expected = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() < expected.map_or(0, |length| length.parse().unwrap()) {
                continue;
            }
            let login = head.lines().find_map(|line| line.strip_prefix("authorization: ")).unwrap_or_default();
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\nlocation: /login?{login}\r\ncontent-length: {}\r\n\r\n{text}",
                text.len()
            );
            return socket.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let cx = Context {
        source: "peer".into(),
        source_key: "peer".into(),
        clock: Arc::new(Still),
        deadline: None,
        meter: Arc::default(),
    };
    let response = HttpClient::new(origin, &TlsConfig::default()).unwrap().send(&cx, request).await.unwrap();
    server.await.unwrap();
    response
}

/// All that can be quoted of an answer.
fn said(response: &HttpResponse) -> String {
    let body = String::from_utf8_lossy(&response.body);
    format!("{} {} {:?} {body}", error_for(response), response.text_excerpt(), response.headers)
}

#[tokio::test]
async fn tokens_do_not_come_back() {
    for status in ["401 Unauthorized", "403 Forbidden", "400 Bad Request", "307 Temporary Redirect"] {
        let token = Secret::new("Bearer not-a-token");
        let request =
            HttpRequest::post("/api", "text/plain", "again: not-a-token").secret_header("authorization", token);
        let said = said(&echoed(status, "text/plain", request).await);
        assert!(said.contains("again: ***") && !said.contains("not-a-token"), "{said}");
    }
    let cookie = Secret::new("session_id=not-a-cookie; other=\"not-either\"");
    let request = HttpRequest::post("/", "text/plain", "not-a-cookie not-either").secret_header("cookie", cookie);
    let said = said(&echoed("403 Forbidden", "text/plain", request).await);
    assert!(said.contains("POST / HTTP/1.1") && said.contains("*** ***"), "{said}");
    assert!(!said.contains("not-a-cookie") && !said.contains("not-either"), "{said}");
}

#[tokio::test]
async fn basic_logins_do_not_come_back_in_any_form() {
    // reader:not-a-secret
    let request =
        HttpRequest::post("/login", "text/plain", "the password not-a-secret of reader, bm90LWEtc2VjcmV0, again")
            .secret_header("authorization", Secret::new("Basic cmVhZGVyOm5vdC1hLXNlY3JldA=="));
    let said = said(&echoed("401 Unauthorized", "application/json", request).await);
    for secret in ["cmVhZGVyOm5vdC1hLXNlY3JldA", "not-a-secret", "bm90LWEtc2VjcmV0"] {
        assert!(!said.contains(secret), "{said}");
    }
    assert!(said.contains("of reader") && said.contains("again"), "{said}");
}

#[tokio::test]
async fn secrets_of_bodies_do_not_come_back_as_json_xml_or_forms_write_them() {
    let secret = r#"not "a" <secret> & more\"#;
    for body in [
        r#"{"password":"not \"a\" <secret> & more\\"}"#,
        "<password>not \"a\" &lt;secret&gt; &amp; more\\</password>",
        "<password>not &quot;a&quot; &lt;secret&gt; &amp; more\\</password>",
        "password=not%20%22a%22%20%3Csecret%3E%20%26%20more%5C&grant=x",
        "password=not+%22a%22+%3Csecret%3E+%26+more%5C&grant=x",
    ] {
        let request = HttpRequest::post("/login", "text/plain", body).hiding(Secret::new(secret));
        let said = said(&echoed("500 Internal Server Error", "text/html", request).await);
        assert!(said.contains("password") && !said.contains("secret"), "{said}");
    }
}

#[tokio::test]
async fn data_stays_as_it_was_received() {
    let get = || HttpRequest::get("/").secret_header("authorization", Secret::new("Bearer not-a-token"));
    let answer = echoed("200 OK", "application/json", get()).await;
    assert!(String::from_utf8_lossy(&answer.body).contains("not-a-token"));
    // What is no data is quoted, whatever its status.
    assert!(!said(&echoed("200 OK", "text/plain", get()).await).contains("not-a-token"));
}
