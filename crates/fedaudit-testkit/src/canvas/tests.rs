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

#[tokio::test]
async fn names_of_objects() {
    let peer = Peer::new(Options::default());
    let status = async |target: &str| {
        let target = format!("/api/v1/audit/authentication/{target}");
        peer.get_as(&target, &[("authorization", "Bearer 7~stand-in")]).await.status
    };
    let (login, user) = (&peer.world.canvas.logins[0], &peer.world.canvas.users[0]);
    for (target, expected) in [
        (format!("logins/{}", login.id), 200),
        (format!("pseudonyms/{}", login.id), 200),
        // Logins go by plain numbers only.
        (format!("logins/sis_login_id:{}", login.unique_id), 404),
        ("logins/self".to_owned(), 404),
        (format!("users/1~{}", user.id), 200),
        (format!("users/sis_login_id:{}", user.login_id), 200),
        ("users/self".to_owned(), 200),
        ("accounts/default".to_owned(), 200),
        ("accounts/1~1".to_owned(), 200),
        ("accounts/990101".to_owned(), 404),
    ] {
        assert_eq!(status(&target).await, expected, "{target}");
    }
}

#[tokio::test]
async fn each_token_has_a_bucket() {
    let client = OAuthClient {
        client_id: "1".to_owned(),
        client_secret: "not-a-secret".to_owned(),
        refresh_token: "not-a-token".to_owned(),
    };
    let limits = Limits { outflow: 0.0, extra_cost: 700.0, ..Limits::default() };
    let peer = Peer::new(Options { limits, oauth: Some(client), refreshes: Some(1), ..Options::default() });
    let grant = "grant_type=refresh_token&client_id=1&client_secret=not-a-secret&refresh_token=not-a-token";
    let buy = async || {
        let request = Request::post("/login/oauth2/token").body(Body::from(grant)).unwrap();
        let response = peer.router.clone().call(request).await.unwrap();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice::<Value>(&body).unwrap())
    };
    let (status, bought) = buy().await;
    assert_eq!((status, bought["expires_in"].as_i64()), (200, Some(3600)));
    assert!(bought.get("refresh_token").is_none(), "the old one is kept");
    assert_eq!(
        buy().await,
        (400, serde_json::json!({"error": "invalid_grant", "error_description": "refresh_token revoked"}))
    );

    assert_eq!(peer.log("").await.status, 200);
    assert_eq!(peer.log("").await.status, 403);
    let token = format!("Bearer {}", bought["access_token"].as_str().unwrap());
    let target = "/api/v1/audit/authentication/accounts/1";
    assert_eq!(peer.get_as(target, &[("authorization", &token)]).await.status, 200);
    assert_eq!(peer.get_as(target, &[("authorization", &token)]).await.status, 403);
}

#[tokio::test]
async fn what_a_client_says_of_itself() {
    let peer = Peer::new(Options { needs_user_agent: true, ..Options::default() });
    let target = "/api/v1/audit/authentication/accounts/1";
    let headers = [("authorization", "Bearer 7~stand-in"), ("user-agent", "test/1")];
    assert_eq!(peer.get_as(target, &headers).await.status, 200);
    assert_eq!(peer.get_as(target, &headers[..1]).await.status, 403);
}

fn peer_with_courses(options: Options) -> (Peer, Arc<Gradebook>) {
    let world = Peer::new(Options::default()).world;
    let gradebook = Arc::new(Gradebook::generate(&world, 5, 9, 200));
    (Peer::new(Options { gradebook: Arc::clone(&gradebook), ..options }), gradebook)
}

#[tokio::test]
async fn grade_queries() {
    let (peer, book) = peer_with_courses(Options::default());
    let get = async |query: &str| {
        let target = format!("/api/v1/audit/grade_change{query}");
        peer.get_as(&target, &[("authorization", "Bearer 7~stand-in")]).await
    };
    let answer = get("").await;
    assert_eq!(answer.status, 400);
    assert!(answer.json()["message"].is_string());
    let change = book.grade_changes.iter().find(|c| !c.is_hidden && c.student_id.is_some() && c.grader_id.is_some());
    let change = change.unwrap();
    let (student, grader) = (change.student_id.unwrap(), change.grader_id.unwrap());
    let query = format!("?course_id={}&student_id={student}&grader_id={grader}&per_page=100", change.course_id);
    let found = get(&query).await.events();
    assert!(found.iter().any(|found| found["id"] == change.id.as_str()));
    assert!(found.iter().all(|found| found["links"]["student"] == student.to_string().as_str()));
    let overrides = get("/assignments/override?per_page=100").await.events();
    assert!(!overrides.is_empty() && overrides.iter().all(|found| found["links"].get("assignment").is_none()));
}

#[tokio::test]
async fn pages_are_cut_before_rows_are_taken_out() {
    let (peer, book) = peer_with_courses(Options::default());
    let live = book.courses.iter().find(|course| !course.is_deleted).unwrap().id;
    let mut next = Some(format!("/api/v1/audit/grade_change/courses/{live}?per_page=1"));
    let (mut empty, mut rows) = (0, 0);
    while let Some(target) = next {
        let answer = peer.get_as(&target, &[("authorization", "Bearer 7~stand-in")]).await;
        next = answer.link("next");
        rows += answer.events().len();
        empty += usize::from(answer.events().is_empty() && next.is_some());
    }
    let of_course = || book.grade_changes.iter().filter(|change| change.course_id == live);
    assert_eq!(rows, of_course().filter(|change| !change.is_hidden).count());
    assert!(empty > 0, "an empty page with a next link");
}

#[tokio::test]
async fn the_course_log_of_an_account() {
    let (peer, book) = peer_with_courses(Options::default());
    let count = async |id: &str| {
        let target = format!("/api/v1/audit/course/accounts/{id}?per_page=100&start_time=2000-01-01");
        let mut next = Some(target);
        let mut rows = 0;
        while let Some(target) = next {
            let answer = peer.get_as(&target, &[("authorization", "Bearer 7~stand-in")]).await;
            next = answer.link("next");
            rows += answer.events().len();
        }
        rows
    };
    let of = |account: i64| {
        book.course_changes.iter().filter(|change| book.course(change.course_id).unwrap().account_id == account).count()
    };
    for (name, account) in [("self", 1), ("990100", 990_100), ("990101", 990_101)] {
        assert_eq!(count(name).await, of(account), "{name}");
    }
}
