//! The suite that every source passes.

use std::sync::{Arc, LazyLock};

use fedaudit_core::Time;
use fedaudit_plugin::subject::{example, isolated_example};
use fedaudit_sps::Sps;
use fedaudit_testkit::conformance::{Condition, Fact, Product, Subject, Suite, Truth};
use fedaudit_testkit::records::SpsSession;
use fedaudit_testkit::sps::{Options, StandIn};
use fedaudit_testkit::{Settings, World};

const PASSWORD: &str = "not-a-secret-word";

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let to = Time::parse("2026-03-02T00:00:00Z").unwrap().time.micros();
    let mut world = World::generate(&Settings { events: 4000, ..Settings::new(11, to) });
    world.sps.sessions.truncate(32);
    world
});

/// A login for each session, a logout for each that was let in and has ended.
fn events_of(session: &SpsSession) -> Vec<Fact> {
    let fact = |action: &str, time| Fact::new(format!("{}/{action}", session.key), Time::from_micros(time));
    let end = session.end.filter(|_| session.has_accepted_channel);
    std::iter::once(fact("auth.login", session.start)).chain(end.map(|end| fact("auth.logout", end))).collect()
}

fn product_of(condition: Condition, firmware: &str) -> Product {
    let mut world = WORLD.clone();
    let sessions = &mut world.sps.sessions;
    match condition {
        Condition::Empty => sessions.clear(),
        Condition::Ties => {
            let (start, model) = (sessions[0].start, sessions[0].clone());
            let end = model.end.map(|_| start + 1_000_000);
            *sessions =
                (0..130).map(|n| SpsSession { key: format!("tie{n:04}"), start, end, ..model.clone() }).collect();
        }
        Condition::Healthy | Condition::BadRecord | Condition::NoRight => {}
    }
    let listed = sessions.iter().map(|session| Fact::new(&session.key, Time::from_micros(session.start))).collect();
    let events = sessions.iter().flat_map(events_of).collect();
    let bad = sessions.get(12).map(|session| session.start);
    let now = Time::from_micros(world.to);
    let options = Options {
        password: PASSWORD.to_owned(),
        firmware: firmware.to_owned(),
        may_search: condition != Condition::NoRight,
        ..Options::default()
    };
    let stand_in = StandIn::new(Arc::new(world), options);
    if let Some(start) = bad.filter(|_| condition == Condition::BadRecord) {
        stand_in.insert_item(start, "bad", r#"{"body":{"active":true}}"#);
    }
    let (ending, counting) = (stand_in.clone(), stand_in.clone());
    Product {
        router: Some(stand_in.router()),
        credential: PASSWORD.to_owned(),
        settings: String::new(),
        truths: vec![
            Truth::new("sessions", &["session_id"], listed),
            Truth::new("sps.sessions", &["session_id", "action"], events),
        ],
        now,
        end_logins: Some(Box::new(move || ending.expire_logins())),
        held: Some(Box::new(move || counting.open_logins())),
    }
}

async fn suite(subject: Subject, firmware: &'static str) {
    let settings = "url = \"{url}\"\nusername = \"reader\"\npassword = \"file:{secret}\"\ntls = { ca_file = \"{ca}\" }";
    Suite::new(subject, settings, move |condition| Ok(product_of(condition, firmware)))
        .sample(include_str!("../../README.md"))
        .run()
        .await;
}

#[tokio::test]
async fn with_snapshots() {
    suite(Subject::of::<Sps>(), "8.2.0").await;
}

#[tokio::test]
async fn without_snapshots() {
    suite(Subject::of::<Sps>(), "6.0.4").await;
}

#[tokio::test]
async fn loaded_at_run_time() {
    suite(example("sps").unwrap(), "8.2.0").await;
}

#[tokio::test]
async fn in_a_process_of_its_own() {
    suite(isolated_example("sps").unwrap(), "8.2.0").await;
}
