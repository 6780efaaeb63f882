//! The suite that every source passes.

use std::sync::{Arc, LazyLock};

use fedaudit_canvas::Canvas;
use fedaudit_core::Time;
use fedaudit_plugin::subject::{example, isolated_example};
use fedaudit_testkit::canvas::{Extra, OAuthClient, Options, StandIn};
use fedaudit_testkit::conformance::{Condition, Fact, Product, Subject, Suite, Truth};
use fedaudit_testkit::{Settings, World};

const TOKEN: &str = "7~suite-token";

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let to = Time::parse("2026-03-15T00:00:00Z").unwrap().time.micros();
    let mut world = World::generate(&Settings { events: 3000, people: 12, ..Settings::new(5, to) });
    world.canvas.events.truncate(50);
    world
});

#[allow(clippy::unnecessary_wraps, reason = "the suite takes products that lack a condition, too")]
fn product(condition: Condition) -> Result<Product, &'static str> {
    let mut world = WORLD.clone();
    let events = &mut world.canvas.events;
    match condition {
        Condition::Empty => events.clear(),
        Condition::Ties => {
            let second = events[0].created_at;
            *events = (0..230).map(|n| world_event(events, n, second)).collect();
            events.sort_by(|a, b| b.id.cmp(&a.id));
        }
        Condition::Healthy | Condition::BadRecord | Condition::NoRight => {}
    }
    let facts =
        events.iter().map(|event| Fact::new(&event.id, Time::from_seconds(event.created_at).unwrap_or_default()));
    let facts = facts.collect();
    let bad = |event: &fedaudit_testkit::records::CanvasEvent| Extra {
        created_at: event.created_at,
        json: r#"{"id":"bad","created_at":"yesterday","event_type":"login","links":{}}"#.to_owned(),
    };
    let options = Options {
        token: TOKEN.to_owned(),
        oauth: Some(OAuthClient {
            client_id: "1".to_owned(),
            client_secret: TOKEN.to_owned(),
            refresh_token: TOKEN.to_owned(),
        }),
        extra: events.get(20).filter(|_| condition == Condition::BadRecord).map(bad).into_iter().collect(),
        may_view: condition != Condition::NoRight,
        ..Options::default()
    };
    let now = Time::from_micros(world.to);
    Ok(Product {
        router: Some(StandIn::new(Arc::new(world), options).router()),
        credential: TOKEN.to_owned(),
        settings: String::new(),
        truths: vec![Truth::new("audit.authentication", &["record_id"], facts)],
        now,
        end_logins: None,
        held: None,
    })
}

fn world_event(
    events: &[fedaudit_testkit::records::CanvasEvent],
    number: usize,
    created_at: i64,
) -> fedaudit_testkit::records::CanvasEvent {
    let event = events[number % events.len()].clone();
    fedaudit_testkit::records::CanvasEvent { id: format!("00000000-0000-4000-8000-{number:012}"), created_at, ..event }
}

fn suite(subject: Subject, settings: &'static str) -> Suite {
    const ELSEWHERE: &str = "the stand-in's own courses tell the truth about it, in the plugin's other tests";
    Suite::new(subject, settings, product).untold("audit.course", ELSEWHERE).untold("audit.grade_change", ELSEWHERE)
}

async fn with_a_token_of(subject: Subject) {
    let settings = "url = \"{url}\"\ntoken = \"file:{secret}\"\ntls = { ca_file = \"{ca}\" }";
    suite(subject, settings).sample(include_str!("../../README.md")).run().await;
}

#[tokio::test]
async fn with_a_token() {
    with_a_token_of(Subject::of::<Canvas>()).await;
}

#[tokio::test]
async fn with_the_refresh_grant() {
    let settings = "url = \"{url}\"\ntls = { ca_file = \"{ca}\" }\n\
        oauth = { client_id = \"1\", client_secret = \"file:{secret}\", refresh_token = \"file:{secret}\" }";
    suite(Subject::of::<Canvas>(), settings).run().await;
}

#[tokio::test]
async fn loaded_at_run_time() {
    with_a_token_of(example("canvas").unwrap()).await;
}

#[tokio::test]
async fn in_a_process_of_its_own() {
    with_a_token_of(isolated_example("canvas").unwrap()).await;
}
