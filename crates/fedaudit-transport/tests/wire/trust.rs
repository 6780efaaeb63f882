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
    let pin = TlsConfig::Pinned("00".repeat(32));
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
        let pin: TlsConfig = toml::from_str(&format!("pin_sha256 = \"{form}\"")).unwrap();
        assert_eq!(reads(&server.origin, &pin).await, Ok(200));
    }
    // Another certificate of the same authority is another certificate.
    let other = Server::start(vec![Does::ok()]).await;
    let pin = TlsConfig::Pinned(right);
    assert_eq!(reads(&other.origin, &pin).await, Err(ErrorKind::Config));
    assert!(other.asked().is_empty());
}

#[tokio::test]
async fn insecure_trusts_anybody() {
    let server = Server::start_as(&Authority::new().unwrap(), &["nas.example"], vec![Does::ok()]).await;
    let tls = TlsConfig::Insecure;
    assert_eq!(reads(&server.origin, &tls).await, Ok(200));
}

#[test]
fn settings_that_contradict_each_other_are_errors() {
    for wrong in [
        "insecure = true\npin_sha256 = \"00\"".to_owned(),
        "ca_file = \"a.pem\"\ninsecure = true".to_owned(),
        format!("ca_file = \"a.pem\"\npin_sha256 = \"{}\"", "00".repeat(32)),
        "pin_sha256 = \"00\"".to_owned(),
        format!("pin_sha256 = \"{}\"", "zz".repeat(32)),
        "ca_fil = \"x\"".to_owned(),
        "insecure = \"yes\"".to_owned(),
    ] {
        assert!(toml::from_str::<TlsConfig>(&wrong).is_err(), "{wrong}");
    }
    assert_eq!(toml::from_str("insecure = false"), Ok(TlsConfig::System));
}

/// The file is this source's trouble, told when it is asked something, and not the end of the program.
#[tokio::test]
async fn a_ca_file_that_cannot_be_read_keeps_the_source_from_sending() {
    let server = Server::start(vec![Does::ok()]).await;
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("none.pem", None),
        ("empty.pem", Some("")),
        ("text.pem", Some("no certificate")),
        ("broken.pem", Some(broken)),
    ] {
        let file = folder.path().join(name);
        if let Some(text) = text {
            std::fs::write(&file, text).unwrap();
        }
        let tls = TlsConfig::CaFile(file);
        let client = HttpClient::new(Origin::parse(&server.origin).unwrap(), &tls).unwrap();
        let error = client.send(&soon(), signed("/log")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    assert!(server.asked().is_empty());
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
    let trusted = [TlsConfig::CaFile(folder.path().join("ca.pem")), TlsConfig::Pinned(pin), TlsConfig::Insecure];
    for tls in trusted {
        let mut socket = WebSocket::connect(&soon(), &origin, "/api", &tls).await.unwrap();
        socket.send(&soon(), "hello".to_owned()).await.unwrap();
        assert_eq!(socket.next(&soon()).await.unwrap(), "hello");
        socket.close().await;
    }
    // The authority's own certificate is not the server's.
    let own = CertificateDer::from_pem_slice(authority.ca_pem().as_bytes()).unwrap();
    let own = String::from_utf8(sha256_hex(&own).to_vec()).unwrap();
    let distrusted = [TlsConfig::default(), TlsConfig::Pinned(own)];
    for tls in distrusted {
        let error = WebSocket::connect(&soon(), &origin, "/api", &tls).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
    }
    drop(Arc::new(server));
}
