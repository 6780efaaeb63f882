//! Field for field: what a row says about a record, for a representative of every kind.

use std::collections::HashMap;
use std::sync::Arc;

use fedaudit_core::{PageRequest, Window};
use fedaudit_testkit::World;
use fedaudit_testkit::canvas::{Extra, Form, Options};
use fedaudit_testkit::records::{Canvas, CanvasEvent, CanvasLogin, CanvasPageView, CanvasUser};
use serde_json::json;

use crate::bench::{Reading, STREAM, bench_of, world};

const VIEW: &str = "0b8a6c1e-55d2-4b0f-8a52-0f9d3f1c7e21";

/// One user, one login with a page view, one logout without.
fn small_world() -> Arc<World> {
    let event = |id: &str, created_at, event_type, page_view: Option<&str>| CanvasEvent {
        id: id.to_owned(),
        created_at,
        event_type,
        login_id: 9101,
        account_id: 1,
        user_id: 10_000_000_000_123,
        page_view: page_view.map(str::to_owned),
    };
    let view = CanvasPageView {
        id: VIEW.to_owned(),
        remote_ip: "::ffff:192.0.2.10".to_owned(),
        user_agent: "Mozilla/5.0 \"quoted\"",
    };
    let canvas = Canvas {
        root_account_id: 1,
        root_account_name: "Example U".to_owned(),
        root_account_uuid: "rootUuid".to_owned(),
        events: vec![
            event(
                "6f3c1a52-0d0e-4a7d-9b1a-7f6f1f4c2b11",
                1_772_446_530,
                "logout",
                Some("a request without a page view"),
            ),
            event("6f3c1a52-0d0e-4a7d-9b1a-7f6f1f4c2b10", 1_772_439_330, "login", Some(VIEW)),
        ],
        logins: vec![CanvasLogin {
            id: 9101,
            user_id: 10_000_000_000_123,
            account_id: 1,
            unique_id: "Ada@Corp.Example".to_owned(),
        }],
        users: vec![CanvasUser {
            id: 10_000_000_000_123,
            name: "Ada L".to_owned(),
            login_id: "ada@corp.example".to_owned(),
        }],
        page_views: HashMap::from([(VIEW.to_owned(), view)]),
    };
    Arc::new(World { canvas, ..(*world()).clone() })
}

async fn read_all(options: Options) -> (Reading, String) {
    let bench = bench_of(small_world(), options, json!({})).await;
    let reading = bench.read(PageRequest::first(STREAM, Window::ALL)).await.unwrap();
    assert!(reading.rejected.is_empty(), "{:?}", reading.rejected);
    (reading, bench.server.origin.clone())
}

#[tokio::test]
async fn a_login_with_its_page_view() {
    let (reading, origin) = read_all(Options::default()).await;
    let host = origin.trim_start_matches("https://");
    let raw = format!(
        r#"{{"id":"6f3c1a52-0d0e-4a7d-9b1a-7f6f1f4c2b10","created_at":"2026-03-02T08:15:30Z","event_type":"login","links":{{"login":9101,"account":1,"user":10000000000123,"page_view":"{VIEW}"}}}}"#
    );
    let login = r#"{"id":9101,"user_id":10000000000123,"account_id":1,"unique_id":"Ada@Corp.Example","sis_user_id":null,"integration_id":null,"authentication_provider_id":1,"authentication_provider_type":"canvas"}"#;
    let user = r#"{"id":10000000000123,"name":"Ada L","sortable_name":"L, Ada","short_name":"Ada L","login_id":"ada@corp.example"}"#;
    let account = r#"{"id":1,"name":"Example U","parent_account_id":null,"root_account_id":null,"workflow_state":"active","default_time_zone":"America/Denver"}"#;
    let view = format!(
        r#"{{"id":"{VIEW}","app_name":null,"url":"https://{host}/login/canvas","context_type":null,"asset_type":null,"controller":"login/canvas","action":"create","contributed":false,"interaction_seconds":null,"created_at":"2026-03-02T08:15:30Z","user_request":true,"render_time":0.214,"participated":false,"http_method":"post","user_agent":"Mozilla/5.0 \"quoted\"","remote_ip":"::ffff:192.0.2.10","links":{{"user":10000000000123,"context":null,"asset":null,"real_user":null,"account":1}}}}"#
    );
    let expected = format!(
        "time 2026-03-02T08:15:30Z\ntime_original 2026-03-02T08:15:30Z\ntime_quality seconds\nevent_code login\n\
         action auth.login\noutcome success\nseverity_id 1\nclass_uid 3002\nactivity_id 1\n\
         user_name ada\nuser_domain corp.example\nuser_uid 10000000000123\nuser_original Ada@Corp.Example\n\
         user_type unknown\naccount_id 9101\nsrc_ip 192.0.2.10\nsrc_kind ip\nsrc_original ::ffff:192.0.2.10\n\
         user_agent Mozilla/5.0 \"quoted\"\nservice Canvas\nis_remote true\ncorrelation_id {VIEW}\n\
         record_id 6f3c1a52-0d0e-4a7d-9b1a-7f6f1f4c2b10\ntenant 1\nquality_flags before_second_factor\n\
         unmapped {{\"linked\":{{\"login\":{login},\"user\":{user},\"account\":{account},\"page_view\":{view}}}}}\nraw {raw}\n"
    );
    assert_eq!(reading.row("event_code", "login"), expected);

    let logout = reading.row("event_code", "logout");
    for line in [
        "action auth.logout\n",
        "outcome success\n",
        "class_uid 3002\n",
        "activity_id 2\n",
        "src_kind none\n",
        "user_name ada\n",
    ] {
        assert!(logout.contains(line), "{line} {logout}");
    }
    assert!(!logout.contains("quality_flags") && !logout.contains("src_ip"));
}

#[tokio::test]
async fn the_sample_of_the_first_documentation() {
    let raw = "{\n  \"created_at\": \"2012-07-19T15:00:00-06:00\",\n  \"event_type\": \"login\",\n  \"pseudonym_id\": 9478,\n  \"account_id\": 2319,\n  \"user_id\": 362\n}";
    let extra = vec![Extra { created_at: 1_342_731_600, json: raw.to_owned() }];
    let (reading, _) = read_all(Options { form: Form::Flat, extra, ..Options::default() }).await;
    assert_eq!(
        reading.row("account_id", "9478"),
        format!(
            "time 2012-07-19T21:00:00Z\ntime_original 2012-07-19T15:00:00-06:00\ntime_quality seconds\nevent_code login\n\
             action auth.login\noutcome success\nseverity_id 1\nclass_uid 3002\nactivity_id 1\nuser_uid 362\n\
             user_type unknown\naccount_id 9478\nsrc_kind none\nservice Canvas\nis_remote true\ntenant 2319\n\
             quality_flags before_second_factor,login_not_linked\nraw {raw}\n"
        )
    );
    // Flat forms name the account like the rest.
    assert!(reading.row("account_id", "9101").contains("user_name ada\n"));
}

#[tokio::test]
async fn odd_records() {
    let at = 1_772_439_330;
    let record = |json: &str| Extra { created_at: at, json: json.to_owned() };
    let extra = vec![
        record(
            r#"{"id":"tomb","created_at":"2026-03-02T08:15:30Z","event_type":"corrupted","links":{"login":null,"account":null,"user":null,"page_view":null}}"#,
        ),
        record(
            r#"{"id":9223372036854775807,"created_at":"2026-03-02T08:15:30.25Z","event_type":"impersonated","links":{"login":"9101","account":"1","user":null,"device":7},"zone":"b"}"#,
        ),
        record(r#"{"id":"local","created_at":"2026-03-02T08:15:30","event_type":"logout","links":{}}"#),
    ];
    let (reading, _) = read_all(Options { extra, list_reader: true, ..Options::default() }).await;
    let tomb = reading.row("record_id", "tomb");
    assert!(tomb.contains("event_code corrupted\naction other\noutcome unknown\n"), "{tomb}");
    assert!(!tomb.contains("user_") || tomb.contains("user_type unknown\n"));
    assert!(!tomb.contains("is_remote") && !tomb.contains("unmapped"), "{tomb}");
    let odd = reading.row("record_id", "9223372036854775807");
    for line in [
        "time 2026-03-02T08:15:30.25Z\n",
        "time_quality exact\n",
        "event_code impersonated\n",
        "user_uid 10000000000123\n",
        "user_name ada\n",
    ] {
        // The login is side-loaded with the page, so that it can say whose it is.
        assert!(odd.contains(line), "{line} {odd}");
    }
    assert!(odd.contains(r#""links":{"device":7},"zone":"b"}"#), "{odd}");
    assert!(reading.row("record_id", "local").contains("time_quality assumed_zone\n"));
    let own = reading.row("user_uid", "990001");
    assert!(
        own.contains("quality_flags before_second_factor,own_reader\n") && own.contains("user_name auditor\n"),
        "{own}"
    );
}

#[tokio::test]
async fn nothing_side_loaded() {
    let (reading, _) = read_all(Options { form: Form::IntegerIds, ..Options::default() }).await;
    let login = reading.row("record_id", "1");
    assert!(login.contains("quality_flags before_second_factor,login_not_linked\n"), "{login}");
    assert!(!login.contains("user_name") && !login.contains("unmapped"), "{login}");
}
