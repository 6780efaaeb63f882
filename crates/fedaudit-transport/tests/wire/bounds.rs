//! Deadlines, sizes and compression.

use std::io::Write as _;
use std::time::{Duration, Instant};

use fedaudit_core::{Context, ErrorKind};
use fedaudit_transport::Bounds;

use crate::server::{Does, Server, TOKEN, signed, soon, within};

#[tokio::test]
async fn the_deadline_covers_waiting_reading_and_trying_again() {
    let slow = Does::Trickles(1000, Duration::from_millis(50));
    let unavailable = Does::status(503, "retry-after: 1\r\n", b"");
    for does in [Does::Waits, slow, unavailable] {
        let server = Server::start(vec![does]).await;
        let begun = Instant::now();
        let outcome = server.client().send(&within(Duration::from_millis(1500)), signed("/log")).await;
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(15), "{took:?}");
        match outcome {
            Ok(response) => assert_eq!(response.status, 503),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}"),
        }
    }
}

#[tokio::test]
async fn one_exchange_has_an_end_without_any_deadline() {
    let server = Server::start(vec![Does::Trickles(1000, Duration::from_millis(50))]).await;
    let bounds = Bounds { exchange: Duration::from_millis(400), ..Bounds::default() };
    let cx = Context { deadline: None, ..soon() };
    let begun = Instant::now();
    let error = server.client().bounded(bounds).send(&cx, signed("/log").attempts(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(begun.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_an_error_and_not_half_an_answer() {
    let server = Server::start(vec![Does::status(200, "", &[b'x'; 5000])]).await;
    let client = server.client().bounded(Bounds { body: 4999, ..Bounds::default() });
    let error = client.send(&soon(), signed("/log")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert_eq!(server.asked().len(), 1, "asking again makes it no shorter");
    let client = server.client().bounded(Bounds { body: 5000, ..Bounds::default() });
    assert_eq!(client.send(&soon(), signed("/log")).await.unwrap().body.len(), 5000);
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn gzip_is_asked_for_and_undone() {
    let server = Server::start(vec![Does::status(200, "content-encoding: gzip\r\n", &gzip(b"many records"))]).await;
    let cx = soon();
    let response = server.client().send(&cx, signed("/log")).await.unwrap();
    assert_eq!(&response.body[..], b"many records");
    assert_eq!(cx.meter.read().bytes, 12, "bytes are counted as they are read");
    assert!(server.asked()[0].head.to_lowercase().contains("accept-encoding: gzip"), "{:?}", server.asked());
}

#[tokio::test]
async fn a_small_answer_that_unpacks_into_a_huge_one_is_refused() {
    let bomb = gzip(&vec![0; 8 << 20]);
    assert!(bomb.len() < 20_000);
    let server = Server::start(vec![Does::status(200, "content-encoding: gzip\r\n", &bomb)]).await;
    let client = server.client().bounded(Bounds { body: 1 << 20, ..Bounds::default() });
    assert_eq!(client.send(&soon(), signed("/log")).await.unwrap_err().kind(), ErrorKind::Malformed);
}

#[tokio::test]
async fn errors_and_debug_show_no_secret() {
    let long = "y".repeat(40);
    for does in [
        Does::Closes(Vec::new()),
        Does::Waits,
        Does::status(302, "location: https://127.0.0.2/x?state=hidden\r\n", b""),
    ] {
        let server = Server::start(vec![does]).await;
        let client = server.client();
        let outcome = client.send(&within(Duration::from_millis(900)), signed(&format!("/log?user={long}"))).await;
        let shown = match outcome {
            Ok(response) => format!("{:?}", fedaudit_transport::error_for(&response)),
            Err(error) => format!("{error:?} {client:?}"),
        };
        for secret in [TOKEN, "hidden", &long] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
    let refused = signed("/log").secret_header("x-token", fedaudit_core::Secret::new("line\nbreak-in-a-secret"));
    let server = Server::start(vec![Does::ok()]).await;
    let error = server.client().send(&soon(), refused).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(!format!("{error:?}").contains("break-in"), "{error:?}");
    assert!(server.asked().is_empty());
}
