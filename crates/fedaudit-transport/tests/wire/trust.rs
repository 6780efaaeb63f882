//! Whom the clients trust, over HTTP and WebSocket alike.

use std::sync::Arc;

use axum::Router;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::routing::get;
use fedaudit_core::ErrorKind;
use fedaudit_core::key::sha256_hex;
use fedaudit_testkit::{Authority, serve};
use fedaudit_transport::{HttpClient, Origin, TlsConfig, WebSocket};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::server::{Does, Server, signed, soon};

async fn reads(origin: &str, tls: &TlsConfig) -> Result<u16, ErrorKind> {
    let origin = Origin::parse(origin).unwrap();
    let client = HttpClient::new(origin, tls).map_err(|error| error.kind())?;
    client.send(&soon(), signed("/log")).await.map(|response| response.status).map_err(|error| error.kind())
}

#[tokio::test]
async fn a_ca_file_is_trusted_and_nobody_else() {
    let authority = Authority::new().unwrap();
    let server = Server::start_as(&authority, &["127.0.0.1"], vec![Does::ok()]).await;
    assert_eq!(reads(&server.origin, &server.trusting()).await, Ok(200));
    let stranger = Server::start(vec![Does::ok()]).await;
    assert_eq!(reads(&stranger.origin, &server.trusting()).await, Err(ErrorKind::Config));
    // The system's roots do not know it either.
    assert_eq!(reads(&stranger.origin, &TlsConfig::default()).await, Err(ErrorKind::Config));
    assert!(stranger.asked().is_empty(), "a request was sent to somebody who is not trusted");
    // The right authority, and another name.
    let misnamed = Server::start_as(&authority, &["nas.example"], vec![Does::ok()]).await;
    assert_eq!(reads(&misnamed.origin, &server.trusting()).await, Err(ErrorKind::Config));
    assert!(misnamed.asked().is_empty());
}

#[tokio::test]
async fn an_untrusted_certificate_is_not_tried_again_and_says_what_to_do() {
    let server = Server::start(vec![Does::ok()]).await;
    let client = HttpClient::new(Origin::parse(&server.origin).unwrap(), &TlsConfig::default()).unwrap();
    let cx = soon();
    let error = client.send(&cx, signed("/log")).await.unwrap_err();
    assert_eq!(cx.meter.read().requests, 1);
    assert!(error.hint_text().is_some_and(|hint| hint.contains("ca_file") && hint.contains("pin_sha256")), "{error:?}");
}

/// The fingerprint of a server's certificate, as the refusal of a wrong pin tells it.
async fn fingerprint(origin: &str) -> String {
    let pin = TlsConfig { pin_sha256: Some("00".repeat(32)), ..TlsConfig::default() };
    let client = HttpClient::new(Origin::parse(origin).unwrap(), &pin).unwrap();
    let error = client.send(&soon(), signed("/log")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let text = error.to_string();
    let told = text.split("SHA-256 is ").nth(1).unwrap();
    told.chars().take(64).collect()
}

#[tokio::test]
async fn a_pin_is_one_certificate() {
    let server = Server::start(vec![Does::ok()]).await;
    let right = fingerprint(&server.origin).await;
    assert!(server.asked().is_empty(), "a request was sent before the certificate was known");
    let colons: Vec<String> =
        right.to_uppercase().as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair).into()).collect();
    for form in [right.clone(), colons.join(":")] {
        let pin = TlsConfig { pin_sha256: Some(form), ..TlsConfig::default() };
        assert_eq!(reads(&server.origin, &pin).await, Ok(200));
    }
    // Another certificate of the same authority is another certificate.
    let other = Server::start(vec![Does::ok()]).await;
    let pin = TlsConfig { pin_sha256: Some(right), ..TlsConfig::default() };
    assert_eq!(reads(&other.origin, &pin).await, Err(ErrorKind::Config));
    assert!(other.asked().is_empty());
}

#[tokio::test]
async fn insecure_trusts_anybody() {
    let server = Server::start_as(&Authority::new().unwrap(), &["nas.example"], vec![Does::ok()]).await;
    let tls = TlsConfig { insecure: true, ..TlsConfig::default() };
    assert_eq!(reads(&server.origin, &tls).await, Ok(200));
}

#[test]
fn settings_that_contradict_or_cannot_be_read_are_errors() {
    let origin = || Origin::parse("https://nas.example").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).unwrap();
        format!("ca_file = \"{}\"", folder.path().join(name).display())
    };
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for wrong in [
        "insecure = true\npin_sha256 = \"00\"".to_owned(),
        format!("{}\ninsecure = true", file("a.pem", "")),
        format!("{}\npin_sha256 = \"{}\"", file("a.pem", ""), "00".repeat(32)),
        "pin_sha256 = \"00\"".to_owned(),
        format!("pin_sha256 = \"{}\"", "zz".repeat(32)),
        "ca_file = \"no-such-file.pem\"".to_owned(),
        file("empty.pem", ""),
        file("text.pem", "no certificate"),
        file("broken.pem", broken),
    ] {
        let tls: TlsConfig = toml::from_str(&wrong).unwrap();
        let error = HttpClient::new(origin(), &tls).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{wrong}");
    }
    assert!(toml::from_str::<TlsConfig>("ca_fil = \"x\"").is_err());
    assert!(toml::from_str::<TlsConfig>("insecure = \"yes\"").is_err());
}

async fn echo(upgrade: WebSocketUpgrade) -> axum::response::Response {
    upgrade.on_upgrade(|mut socket| async move {
        while let Some(Ok(Message::Text(text))) = socket.recv().await {
            let _ = socket.send(Message::Text(text)).await;
        }
    })
}

#[tokio::test]
async fn a_websocket_trusts_the_same() {
    let authority = Authority::new().unwrap();
    let server = serve(Router::new().route("/api", get(echo)), &authority).await.unwrap();
    let origin = Origin::parse(&server.origin).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), authority.ca_pem()).unwrap();
    let pin = fingerprint(&server.origin).await;
    let trusted = [
        TlsConfig { ca_file: Some(folder.path().join("ca.pem")), ..TlsConfig::default() },
        TlsConfig { pin_sha256: Some(pin), ..TlsConfig::default() },
        TlsConfig { insecure: true, ..TlsConfig::default() },
    ];
    for tls in trusted {
        let mut socket = WebSocket::connect(&soon(), &origin, "/api", &tls).await.unwrap();
        socket.send(&soon(), "hello".to_owned()).await.unwrap();
        assert_eq!(socket.next(&soon()).await.unwrap(), "hello");
        socket.close().await;
    }
    // The authority's own certificate is not the server's.
    let own = CertificateDer::from_pem_slice(authority.ca_pem().as_bytes()).unwrap();
    let own = String::from_utf8(sha256_hex(&own).to_vec()).unwrap();
    let distrusted = [TlsConfig::default(), TlsConfig { pin_sha256: Some(own), ..TlsConfig::default() }];
    for tls in distrusted {
        let error = WebSocket::connect(&soon(), &origin, "/api", &tls).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
    }
    drop(Arc::new(server));
}
