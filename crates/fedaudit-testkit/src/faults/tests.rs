//! What a client sees of each fault.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Fault, Faults, Plan, Product, RetryAfter, What};
use crate::serve::ServerHandle;
use crate::tls::Authority;

const BODY: &str = "0123456789";

struct Bench {
    server: ServerHandle,
    authority: Authority,
    faults: Faults,
}

impl Bench {
    async fn new(faults: Vec<Fault>) -> Self {
        let authority = Authority::new().unwrap();
        let faults = Faults::new(&Plan { seed: 0, faults }, 0);
        let router = Router::new().fallback(get(|| async { BODY }));
        let server = faults.serve(Product::Canvas, router, &authority).await.unwrap();
        Self { server, authority, faults }
    }

    /// The whole answer to a GET on a connection of its own.
    async fn ask(&self, path: &str) -> io::Result<String> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.ca_pem().as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(self.server.address).await?;
        let name = ServerName::from(self.server.address.ip());
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        // What came before a connection broke counts, too.
        match stream.read_to_end(&mut answer).await {
            Err(error) if answer.is_empty() => Err(error),
            _ => Ok(String::from_utf8_lossy(&answer).into_owned()),
        }
    }
}

fn fault(on: &'static str, nth: u32, times: Option<u32>, what: What) -> Fault {
    Fault { product: Product::Canvas, on, nth, times, what }
}

/// What a client sees of it.
async fn seen(what: What) -> Result<String, io::ErrorKind> {
    let bench = Bench::new(vec![fault("", 1, Some(1), what)]).await;
    let asked = tokio::time::timeout(Duration::from_secs(1), bench.ask("/"));
    let answer = asked.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    assert!(bench.ask("/").await.unwrap().ends_with(BODY), "one request was meant");
    answer.map_err(|error| error.kind())
}

#[tokio::test]
async fn connections_end() {
    for what in [What::Unheard, What::Unanswered, What::NoHandshake, What::Gone(Some(0)), What::Closed(1001)] {
        seen(what.clone()).await.expect_err(&what.to_string());
    }
    assert_eq!(seen(What::Silent).await, Err(io::ErrorKind::TimedOut));
    let cut = seen(What::Cut(500)).await.unwrap();
    assert!(cut.contains("content-length: 10\r\n") && cut.ends_with("\r\n\r\n01234"), "{cut}");
    let cut = seen(What::Cut(1000)).await.unwrap();
    assert!(cut.ends_with("012345678"), "something is missing in any case: {cut}");
}

#[tokio::test]
async fn answers_lie() {
    let truncated = seen(What::Truncated(500)).await.unwrap();
    assert!(truncated.contains("content-length: 5\r\n") && truncated.ends_with("\r\n\r\n01234"), "{truncated}");
    for (what, head, body) in [
        (What::Garbage, "200", "garbage"),
        (What::Nothing, "content-length: 0", "\r\n\r\n"),
        (What::LoginPage { xhtml: false }, "text/html", "</html>"),
        (What::LoginPage { xhtml: true }, "application/xhtml+xml", "</html>"),
        (What::Status(503), "503 ", "</html>"),
        (What::Throttled(RetryAfter::Seconds(7)), "retry-after: 7", "</html>"),
        (What::Throttled(RetryAfter::Date(7)), "GMT\r\n", "</html>"),
        (What::Denied, "403 ", "}"),
        (What::LoginLost, "www-authenticate: Bearer", "}"),
        (What::OtherType, "text/plain", BODY),
        (What::Late(Duration::from_millis(20)), "200", BODY),
        // There is no answer before.
        (What::Repeated, "200", BODY),
    ] {
        let answer = seen(what.clone()).await.unwrap();
        assert!(answer.contains(head) && answer.ends_with(body), "{what}: {answer}");
    }
}

#[tokio::test]
async fn the_named_requests_are_hit_and_no_others() {
    let bench =
        Bench::new(vec![fault("audit", 2, Some(2), What::Status(500)), fault("self", 1, None, What::Denied)]).await;
    let mut statuses = Vec::new();
    for path in ["/audit/", "/accounts/1", "/audit/", "/users/self", "/audit/", "/audit/", "/users/self"] {
        statuses.push(bench.ask(path).await.unwrap()[9..12].to_owned());
    }
    assert_eq!(statuses, ["200", "200", "500", "403", "500", "200", "403"]);
    let hits: Vec<String> = bench.faults.hits().into_iter().map(|hit| hit.request).collect();
    assert_eq!(hits, ["audit", "self", "audit", "self"]);
}

#[tokio::test]
async fn what_goes_away_may_come_back() {
    let bench = Bench::new(vec![fault("", 2, Some(1), What::Gone(Some(2)))]).await;
    let mut answered = Vec::new();
    for _ in 0..6 {
        answered.push(bench.ask("/").await.is_ok());
    }
    assert_eq!(answered, [true, false, false, false, true, true]);
    let bench = Bench::new(vec![fault("", 1, Some(1), What::Gone(None))]).await;
    for _ in 0..5 {
        bench.ask("/").await.unwrap_err();
    }
}
