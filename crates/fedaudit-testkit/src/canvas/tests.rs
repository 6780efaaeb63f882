//! The stand-in keeps the server's odd manners: nobody may rely on kinder ones.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request};
use serde_json::Value;
use tower::Service as _;

use super::*;
use crate::Settings;

const TO: i64 = 1_773_532_800;

struct Peer {
    router: Router,
    world: Arc<World>,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Peer {
    fn new(options: Options) -> Self {
        let settings = Settings { events: 2000, people: 10, ..Settings::new(3, TO * 1_000_000) };
        let world = Arc::new(World::generate(&settings));
        Self { router: StandIn::new(Arc::clone(&world), options).router(), world }
    }

    async fn get_as(&self, target: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::get(target).header("host", "lms.example");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.router.clone().call(request.body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let text = String::from_utf8(to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap();
        Answer { status: parts.status.as_u16(), headers: parts.headers, text }
    }

    async fn log(&self, query: &str) -> Answer {
        let target = format!("/api/v1/audit/authentication/accounts/self{query}");
        self.get_as(&target, &[("authorization", "Bearer 7~stand-in")]).await
    }
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    fn events(&self) -> Vec<Value> {
        self.json()["events"].as_array().unwrap().clone()
    }

    fn link(&self, rel: &str) -> Option<String> {
        let links = self.headers["link"].to_str().unwrap();
        let link = links.split(",<").find(|link| link.ends_with(&format!("rel=\"{rel}\"")))?;
        Some(
            link.trim_start_matches('<')
                .split('>')
                .next()
                .unwrap()
                .trim_start_matches("https://lms.example")
                .to_owned(),
        )
    }
}

#[tokio::test]
async fn parameters_are_never_an_error() {
    let peer = Peer::new(Options::default());
    for (query, expected) in
        [("", 10), ("?per_page=0", 1), ("?per_page=many", 1), ("?per_page=500", 100), ("?per_page=-4", 1)]
    {
        assert_eq!(peer.log(query).await.events().len(), expected, "{query}");
    }
    let first = peer.log("").await.events();
    for query in ["?page=2", "?page=bookmark:gone", "?start_time=whenever", "?end_time=2026-03-02T00:00:00+02:00"] {
        // The plus sign is a space by the time the server reads it.
        assert_eq!(peer.log(query).await.events(), first, "{query}");
    }
    assert!(peer.log("?start_time=2026-03-10T00:00:00Z&end_time=2026-03-09T00:00:00Z").await.events().is_empty());
}

#[tokio::test]
async fn bounds_are_inclusive_and_local_without_a_zone() {
    let peer = Peer::new(Options::default());
    let event = peer.world.canvas.events[5].clone();
    let second = document::timestamp(event.created_at);
    let inside = peer.log(&format!("?start_time={second}&end_time={second}")).await.events();
    assert!(inside.iter().any(|found| found["id"] == event.id.as_str()));
    let fraction = second.replace('Z', ".5Z");
    let hidden = peer.log(&format!("?start_time={fraction}&end_time={second}")).await.events();
    assert!(hidden.is_empty());
    let local = document::timestamp(event.created_at - 7 * 3600).replace('Z', "");
    assert_eq!(peer.log(&format!("?start_time={local}&end_time={local}")).await.events(), inside);
}

#[tokio::test]
async fn links_as_the_server_writes_them() {
    let peer = Peer::new(Options::default());
    let mut answer = peer.log("?start_time=2026-03-01T00:00:00Z&per_page=100&access_token=x").await;
    assert!(answer.headers["link"].to_str().unwrap().starts_with(
        "<https://lms.example/api/v1/audit/authentication/accounts/1?start_time=2026-03-01T00%3A00%3A00Z&page=first&per_page=100>; rel=\"current\",<"
    ));
    let mut count = answer.events().len();
    while let Some(next) = answer.link("next") {
        assert_eq!(answer.link("last"), None);
        answer = peer.get_as(&next, &[("authorization", "Bearer 7~stand-in")]).await;
        count += answer.events().len();
    }
    assert_eq!(answer.link("last"), answer.link("current"));
    assert_eq!(count, peer.world.canvas.events.len());
}

#[tokio::test]
async fn who_may_not_ask() {
    let peer = Peer::new(Options { may_view: false, permission_status: 401, ..Options::default() });
    let target = "/api/v1/audit/authentication/accounts/1";
    for headers in [vec![], vec![("authorization", "Bearer wrong")]] {
        let answer = peer.get_as(target, &headers).await;
        assert_eq!(answer.status, 401);
        assert!(answer.headers.contains_key("www-authenticate"));
    }
    let answer = peer.log("").await;
    assert_eq!(answer.status, 401);
    assert!(!answer.headers.contains_key("www-authenticate"));
    // What does not exist is not there for anybody, and sub-accounts have no log.
    for id in ["990100", "424242", "none"] {
        let target = format!("/api/v1/audit/authentication/accounts/{id}");
        assert_eq!(peer.get_as(&target, &[("authorization", "Bearer 7~stand-in")]).await.status, 404, "{id}");
    }
    let own = "/api/v1/audit/authentication/users/self.json";
    assert_eq!(peer.get_as(own, &[("authorization", "Bearer 7~stand-in")]).await.status, 200);
}

#[tokio::test]
async fn ids_become_texts_only_where_the_name_says_id() {
    let peer = Peer::new(Options::default());
    let headers = [("authorization", "Bearer 7~stand-in"), ("accept", "application/json+canvas-string-ids")];
    let json = peer.get_as("/api/v1/audit/authentication/accounts/1", &headers).await.json();
    assert!(json["linked"]["logins"][0]["user_id"].is_string());
    assert!(json["events"][0]["links"]["user"].is_number());
}

#[tokio::test]
async fn a_spent_budget_is_refused_with_the_marker() {
    let limits = Limits { outflow: 0.0, extra_cost: 700.0, ..Limits::default() };
    for (throttle_status, marker) in
        [(403, "403 Forbidden (Rate Limit Exceeded)\n"), (429, "429 Too Many Requests (Rate Limit Exceeded)\n")]
    {
        let peer = Peer::new(Options { limits, throttle_status, ..Options::default() });
        let served = peer.log("").await;
        assert!(served.headers.contains_key("x-request-cost"));
        let refused = peer.log("").await;
        assert_eq!((refused.status, refused.text.as_str()), (throttle_status, marker));
        assert_eq!(refused.headers["x-rate-limit-remaining"], "0.0");
        assert!(!refused.headers.contains_key("x-request-cost") && !refused.headers.contains_key("retry-after"));
    }
}
