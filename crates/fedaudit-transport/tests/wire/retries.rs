//! Retries, throttling and pace.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use fedaudit_core::ErrorKind;
use fedaudit_transport::{HttpClient, HttpRequest, Origin, Pace, error_for};

use crate::server::{Does, Server, signed, soon, within};

async fn after(server: &Server) -> (u16, Duration) {
    let begun = Instant::now();
    let response = server.client().send(&soon(), signed("/log")).await.unwrap();
    (response.status, begun.elapsed())
}

#[tokio::test]
async fn retry_after_in_seconds_is_waited_for() {
    let server = Server::start(vec![Does::status(429, "retry-after: 1\r\n", b""), Does::ok()]).await;
    let cx = soon();
    let response = server.client().send(&cx, signed("/log")).await.unwrap();
    assert_eq!(response.status, 200);
    let asked = server.asked();
    let pause = asked[1].at - asked[0].at;
    assert!((Duration::from_secs(1)..Duration::from_secs(15)).contains(&pause), "{pause:?}");
    let meter = cx.meter.read();
    assert_eq!((meter.requests, meter.retries, meter.throttled), (2, 1, 1));
}

#[tokio::test]
async fn retry_after_as_a_date_is_held_against_the_servers_clock() {
    // The server's clock is a year slow; what counts is the two seconds between its own two dates.
    let year = Duration::from_hours(365 * 24);
    let date = |at: SystemTime| httpdate(at);
    let now = SystemTime::now() - year;
    let headers = format!("date: {}\r\nretry-after: {}\r\n", date(now), date(now + Duration::from_secs(2)));
    let server = Server::start(vec![Does::status(503, &headers, b""), Does::ok()]).await;
    let (status, took) = after(&server).await;
    assert_eq!(status, 200);
    assert!((Duration::from_secs(2)..Duration::from_secs(15)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn a_moment_in_the_past_and_nonsense_are_short_waits() {
    for header in ["retry-after: Wed, 01 Jan 2020 00:00:00 GMT\r\n", "retry-after: soon\r\n", "retry-after: -5\r\n", ""]
    {
        let server = Server::start(vec![Does::status(429, header, b""), Does::ok()]).await;
        let (status, took) = after(&server).await;
        assert_eq!(status, 200, "{header}");
        assert!(took < Duration::from_secs(15), "{header} {took:?}");
    }
}

#[tokio::test]
async fn more_patience_than_there_is_is_not_begun() {
    let server = Server::start(vec![Does::status(429, "retry-after: 3600\r\n", b"")]).await;
    let begun = Instant::now();
    let response = server.client().send(&soon(), signed("/log")).await.unwrap();
    assert_eq!(response.status, 429);
    let error = error_for(&response);
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    assert_eq!(error.message(), "HTTP 429; it may be asked again in 3600 s");
    // Without any deadline, too: nobody waits for an hour unasked.
    let cx = fedaudit_core::Context { deadline: None, ..soon() };
    assert_eq!(server.client().send(&cx, signed("/log")).await.unwrap().status, 429);
    assert!(begun.elapsed() < Duration::from_secs(15));
    let date = "Sat, 21 Nov 2026 07:28:00 GMT";
    let headers = format!("date: Sat, 21 Nov 2026 06:28:00 GMT\r\nretry-after: {date}\r\n");
    let server = Server::start(vec![Does::status(503, &headers, b"closed")]).await;
    let error = error_for(&server.client().send(&soon(), signed("/log")).await.unwrap());
    assert_eq!(error.message(), format!("HTTP 503: closed; it may be asked again from {date} on"));
}

#[tokio::test]
async fn temporary_failures_are_tried_again_and_others_are_not() {
    for status in [500, 502, 503, 504] {
        let server = Server::start(vec![Does::status(status, "", b""), Does::ok()]).await;
        assert_eq!(after(&server).await.0, 200, "{status}");
    }
    for status in [400, 401, 403, 404, 410, 501] {
        let server = Server::start(vec![Does::status(status, "", b""), Does::ok()]).await;
        assert_eq!(after(&server).await.0, status);
        assert_eq!(server.asked().len(), 1);
    }
    for broken in [b"".to_vec(), b"HTTP/1.1 200 X\r\ncontent-length: 90\r\n\r\n{".to_vec(), b"HTTP/1.1 200".to_vec()] {
        let server = Server::start(vec![Does::Closes(broken), Does::ok()]).await;
        assert_eq!(after(&server).await.0, 200);
    }
}

#[tokio::test]
async fn tries_are_counted_and_end() {
    let server = Server::start(vec![Does::status(503, "retry-after: 0\r\n", b"")]).await;
    let response = server.client().send(&soon(), signed("/log")).await.unwrap();
    assert_eq!((response.status, server.asked().len()), (503, 4));
    let once = Server::start(vec![Does::status(503, "retry-after: 0\r\n", b"")]).await;
    once.client().send(&soon(), signed("/log").attempts(1)).await.unwrap();
    assert_eq!(once.asked().len(), 1);
}

#[tokio::test]
async fn what_changes_something_is_sent_once() {
    for does in [Does::status(503, "", b""), Does::Closes(Vec::new())] {
        let server = Server::start(vec![does, Does::ok()]).await;
        let request = HttpRequest::post("/login", "text/plain", "x");
        let outcome = server.client().send(&soon(), request).await;
        assert!(outcome.is_err() || outcome.unwrap().status == 503);
        assert_eq!(server.asked().len(), 1);
    }
    // What was throttled was not done.
    let server = Server::start(vec![Does::status(429, "retry-after: 1\r\n", b""), Does::ok()]).await;
    let request = HttpRequest::post("/login", "text/plain", "x");
    assert_eq!(server.client().send(&soon(), request).await.unwrap().status, 200);
    let server = Server::start(vec![Does::status(503, "", b""), Does::ok()]).await;
    let request = HttpRequest::post("/query", "text/plain", "x").idempotent(true);
    assert_eq!(server.client().send(&soon(), request).await.unwrap().status, 200);
    assert!(server.asked().iter().all(|asked| asked.head.ends_with("\r\n\r\nx")));
}

#[tokio::test]
async fn a_plugin_may_wait_out_a_throttle_itself() {
    let server = Server::start(vec![Does::status(429, "", b""), Does::ok()]).await;
    let response = server.client().without_throttle_retries().send(&soon(), signed("/log")).await.unwrap();
    assert_eq!(response.status, 429);
}

#[tokio::test]
async fn a_pace_is_kept_by_all_who_share_it() {
    let server = Server::start(vec![Does::ok()]).await;
    let pace = Arc::new(Pace::new(4, Duration::from_millis(800)));
    let (one, two) = (server.client().paced(Arc::clone(&pace)), server.client().paced(pace));
    let cx = soon();
    let ask = async |client: &HttpClient| {
        for _ in 0..5 {
            client.send(&cx, signed("/log")).await.unwrap();
        }
    };
    futures::join!(ask(&one), ask(&two));
    let asked = server.asked();
    assert_eq!(asked.len(), 10);
    // A burst of four, then one each 200 ms.
    let span = asked[9].at - asked[0].at;
    assert!((Duration::from_millis(1100)..Duration::from_secs(15)).contains(&span), "{span:?}");
    for five in asked.windows(5) {
        assert!(five[4].at - five[0].at >= Duration::from_millis(100));
    }
}

#[tokio::test]
async fn a_pace_beyond_the_deadline_is_an_error_at_once() {
    let server = Server::start(vec![Does::ok()]).await;
    let client = server.client().paced(Arc::new(Pace::new(1, Duration::from_hours(1))));
    client.send(&soon(), signed("/log")).await.unwrap();
    let begun = Instant::now();
    let error = client.send(&soon(), signed("/log").attempts(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    assert!(begun.elapsed() < Duration::from_secs(15));
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn so_many_at_once_and_no_more() {
    let server = Server::start(vec![Does::Trickles(3, Duration::from_millis(30))]).await;
    let client = server.client().paced(Arc::new(Pace::new(1000, Duration::from_secs(1)).at_once(2)));
    let cx = soon();
    let begun = Instant::now();
    futures::future::join_all((0..6).map(|_| client.send(&cx, signed("/log")))).await;
    // Three rounds of two.
    assert!(begun.elapsed() >= Duration::from_millis(270), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn connections_are_used_again() {
    let server = Server::start(vec![Does::ok()]).await;
    let client = server.client();
    for _ in 0..5 {
        client.send(&soon(), signed("/log")).await.unwrap();
    }
    let asked = server.asked();
    assert!(asked.iter().all(|each| each.peer == asked[0].peer), "{asked:?}");
}

#[tokio::test]
async fn nobody_there_is_said_with_the_address() {
    let port = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap().port();
    let origin = Origin::parse(&format!("http://127.0.0.1:{port}")).unwrap();
    let client = HttpClient::new(origin, &fedaudit_transport::TlsConfig::default()).unwrap();
    let error = client.send(&within(Duration::from_secs(15)), signed("/log?user=ana")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains(&format!("127.0.0.1:{port}/log")), "{error}");
    assert!(!error.to_string().contains("ana"), "a query names people: {error}");
    assert!(error.hint_text().is_some());
}

fn httpdate(at: SystemTime) -> String {
    let seconds = at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
    chrono::DateTime::from_timestamp(seconds, 0).unwrap().format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
