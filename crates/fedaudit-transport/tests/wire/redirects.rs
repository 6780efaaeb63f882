//! Redirects and links: at home they are followed, elsewhere nothing is ever sent.

use fedaudit_core::ErrorKind;
use fedaudit_transport::{HttpRequest, error_for};

use crate::server::{Does, Server, TOKEN, signed, soon};

fn to(place: &str, status: u16) -> Does {
    Does::status(status, &format!("location: {place}\r\n"), b"")
}

#[tokio::test]
async fn a_redirect_at_home_is_followed_with_the_login() {
    for status in [301, 302, 303, 307, 308] {
        for place in ["/api/v2/log?page=1", "../v2/log?page=1"] {
            let server = Server::start(vec![to(place, status), Does::ok()]).await;
            let response = server.client().send(&soon(), signed("/api/v1/log")).await.unwrap();
            assert_eq!(response.status, 200, "{status}");
            let asked = server.asked();
            assert!(asked[1].head.starts_with("GET /api/v2/log?page=1 "), "{asked:?}");
            assert!(asked[1].head.contains(TOKEN));
        }
    }
    let server = Server::start(vec![Does::ok()]).await;
    let absolute = Server::start(vec![to(&server.origin, 302)]).await;
    let response = absolute.client().send(&soon(), signed("/")).await.unwrap();
    assert_eq!((response.status, server.asked().len()), (302, 0));
}

#[tokio::test]
async fn elsewhere_nothing_is_sent() {
    let elsewhere = Server::start(vec![Does::ok()]).await;
    let plain = Server::plain(vec![Does::ok()]).await;
    let port = elsewhere.origin.rsplit(':').next().unwrap().to_owned();
    for status in [301, 302, 303, 307, 308] {
        for place in [
            format!("{}/log", elsewhere.origin),
            format!("{}/log", plain.origin),
            format!("//127.0.0.1:{port}/log"),
            format!("https://localhost:{port}/log"),
        ] {
            let server = Server::start(vec![to(&place, status)]).await;
            let response = server.client().send(&soon(), signed("/log")).await.unwrap();
            assert_eq!(response.status, status);
            let error = error_for(&response);
            assert_eq!(error.kind(), ErrorKind::Malformed);
            assert!(error.hint_text().is_some() && error.to_string().contains("not followed"), "{error:?}");
        }
    }
    assert!(elsewhere.asked().is_empty() && plain.asked().is_empty(), "{:?} {:?}", elsewhere.asked(), plain.asked());
}

#[tokio::test]
async fn a_downgrade_to_plain_http_is_not_followed() {
    let server = Server::start(vec![Does::ok()]).await;
    let downgrade = server.origin.replace("https", "http");
    let first = Server::start(vec![to(&downgrade, 301)]).await;
    assert_eq!(first.client().send(&soon(), signed("/log")).await.unwrap().status, 301);
}

#[tokio::test]
async fn going_round_ends() {
    let server = Server::start(vec![to("/log", 302)]).await;
    let response = server.client().send(&soon(), signed("/log")).await.unwrap();
    assert_eq!((response.status, server.asked().len()), (302, 6));
}

#[tokio::test]
async fn what_changes_something_is_not_repeated_at_another_address() {
    for status in [301, 302, 303, 307, 308] {
        let server = Server::start(vec![to("/other", status), Does::ok()]).await;
        let request = HttpRequest::post("/login", "text/plain", "password=not-a-secret");
        assert_eq!(server.client().send(&soon(), request).await.unwrap().status, status);
        assert_eq!(server.asked().len(), 1);
    }
}
