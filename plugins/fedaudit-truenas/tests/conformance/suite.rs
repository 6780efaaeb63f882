//! The suite that every source passes, for each period of the product.

use std::sync::{Arc, LazyLock};

use fedaudit_core::Time;
use fedaudit_plugin::subject::{example, isolated_example};
use fedaudit_testkit::conformance::{Condition, Fact, Product, Subject, Suite, Truth};
use fedaudit_testkit::records::TrueNasRecord;
use fedaudit_testkit::truenas::{Options, Roles, StandIn, row_text};
use fedaudit_testkit::{Settings, World};
use fedaudit_truenas::TrueNasPlugin;

const KEY: &str = "4-not-a-secret-word";

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let mut world = World::generate(&Settings { events: 3000, ..Settings::new(7, 1_795_300_000_000_000) });
    world.truenas.middleware.truncate(40);
    world.truenas.smb.truncate(40);
    world.truenas.sudo.truncate(9);
    world.truenas.system.truncate(9);
    world
});

fn facts(records: &[TrueNasRecord]) -> Vec<Fact> {
    let fact = |record: &TrueNasRecord| Fact {
        id: record.audit_id.clone(),
        time: Time::from_seconds(record.timestamp).unwrap_or_default(),
        raw: Some(row_text(record)),
    };
    records.iter().map(fact).collect()
}

fn product_of(condition: Condition, versions: &[&str]) -> Product {
    let mut world = WORLD.clone();
    let nas = &mut world.truenas;
    match condition {
        Condition::Empty => {
            for records in [&mut nas.middleware, &mut nas.smb, &mut nas.sudo, &mut nas.system] {
                records.clear();
            }
            nas.sessions.clear();
        }
        Condition::Ties => {
            let (second, model) = (nas.smb[0].message_timestamp, nas.smb[0].clone());
            nas.smb = (0..230)
                .map(|n| TrueNasRecord {
                    audit_id: format!("00000000-0000-4000-8000-{n:012}"),
                    message_timestamp: second,
                    timestamp: second,
                    ..model.clone()
                })
                .collect();
        }
        Condition::Healthy | Condition::BadRecord | Condition::NoRight => {}
    }
    let bad = nas.middleware.get(20).map(|record| record.audit_id.clone());
    let bad = bad.filter(|_| condition == Condition::BadRecord);
    // A record that the product cannot decode has an id and a time all the same.
    let events = |stream, records: &[TrueNasRecord]| Truth::new(stream, &["record_id"], facts(records));
    let mut truths = vec![
        events("audit.MIDDLEWARE", &nas.middleware),
        events("audit.SMB", &nas.smb),
        events("audit.SUDO", &nas.sudo),
        events("audit.SYSTEM", &nas.system),
    ];
    let live = nas.sessions.iter();
    let live = live.map(|session| Fact::new(&session.id, Time::from_seconds(session.created_at).unwrap_or_default()));
    truths.push(Truth::new("auth.sessions", &["session_id"], live.collect()));
    let may = condition != Condition::NoRight;
    let now = Time::from_micros(world.to);
    let options = Options {
        versions: versions.iter().map(|version| (*version).to_owned()).collect(),
        api_key: Some(KEY.to_owned()),
        poisoned: bad.into_iter().collect(),
        roles: Roles { audit_read: may, sessions_read: may, full_admin: false },
        ..Options::default()
    };
    let stand_in = StandIn::new(Arc::new(world), options);
    let (ending, counting) = (stand_in.clone(), stand_in.clone());
    Product {
        router: Some(stand_in.router()),
        credential: KEY.to_owned(),
        settings: String::new(),
        truths,
        now,
        end_logins: Some(Box::new(move || ending.expire_logins())),
        held: Some(Box::new(move || counting.logins())),
    }
}

async fn suite(subject: Subject, versions: &'static [&'static str], skips: &[(&'static str, &'static str)]) {
    const INSIDE: &str = "calls travel inside one WebSocket, where the suite's front cannot break them";
    let settings = "url = \"{url}\"\nusername = \"auditor\"\napi_key = \"file:{secret}\"\ntls = { ca_file = \"{ca}\" }";
    let suite = Suite::new(subject, settings, move |condition| Ok(product_of(condition, versions)))
        .sample(include_str!("../../README.md"))
        .skip("U82", INSIDE);
    skips.iter().fold(suite, |suite, (case, reason)| suite.skip(case, *reason)).run().await;
}

#[tokio::test]
async fn before_25_10_1() {
    const ITSELF: &str = "such an appliance shows JSON that it cannot decode as {} and says nothing of it";
    suite(Subject::of::<TrueNasPlugin>(), &["v25.04.0", "v25.04.1", "v25.10.0"], &[("U35", ITSELF)]).await;
}

#[tokio::test]
async fn from_25_10_1_on() {
    suite(Subject::of::<TrueNasPlugin>(), &["v25.04.0", "v25.10.0", "v25.10.1"], &[]).await;
}

#[tokio::test]
async fn from_26_on() {
    suite(Subject::of::<TrueNasPlugin>(), &["v25.10.1", "v26.0.0"], &[]).await;
}

#[tokio::test]
async fn loaded_at_run_time() {
    suite(example("truenas").unwrap(), &["v25.10.1", "v26.0.0"], &[]).await;
}

#[tokio::test]
async fn in_a_process_of_its_own() {
    suite(isolated_example("truenas").unwrap(), &["v25.10.1", "v26.0.0"], &[]).await;
}
