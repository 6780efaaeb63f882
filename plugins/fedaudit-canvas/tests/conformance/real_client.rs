//! `canvasapi`, the client library that Canvas administrators use, against our stand-in: it has to see the truth.

#![allow(clippy::print_stderr, reason = "a test that was skipped says so")]

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use fedaudit_testkit::canvas::{Fault, GradeChange, Gradebook, Options, StandIn};
use fedaudit_testkit::serve;
use serde_json::{Value, json};

use crate::bench::{TOKEN, bench_of, world};

/// Names a Python that has `canvasapi`.
const PYTHON: &str = "FEDAUDIT_CANVASAPI_PYTHON";

#[tokio::test(flavor = "multi_thread")]
async fn canvasapi_sees_the_truth() {
    let Ok(python) = std::env::var(PYTHON) else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{PYTHON} is not set, and this is CI");
        eprintln!("skipped: {PYTHON} names no Python with canvasapi");
        return;
    };
    let world = world();
    let gradebook = Arc::new(Gradebook::generate(&world, 12, 9, 300));
    let options = || Options { token: TOKEN.to_owned(), gradebook: Arc::clone(&gradebook), ..Options::default() };
    let bench = bench_of(Arc::clone(&world), options(), json!({})).await;
    let other = async |options: Options| {
        let router = StandIn::new(Arc::clone(&world), options).router();
        serve(router, &bench.authority).await.unwrap()
    };
    let forbidden = other(Options { may_view: false, ..options() }).await;
    let unauthorized = other(Options { may_view: false, permission_status: 401, ..options() }).await;
    let faults = vec![(1..=u64::MAX, Fault::Throttle)];
    let throttled = other(Options { faults, throttle_status: 429, ..options() }).await;

    let case = json!({
        "origin": bench.server.origin,
        "forbidden": forbidden.origin,
        "unauthorized": unauthorized.origin,
        "throttled": throttled.origin,
        "token": TOKEN,
        "truth": truth(&world.canvas, &gradebook),
    });
    let file = bench.folder.path().join("case.json");
    std::fs::write(&file, case.to_string()).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/real_client.py");
    let ca = bench.folder.path().join("ca.pem");
    let output = tokio::task::spawn_blocking(move || {
        Command::new(python).arg(script).arg(file).env("REQUESTS_CA_BUNDLE", ca).env("NO_PROXY", "*").output().unwrap()
    })
    .await
    .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("and all the rest"), "{said}");
}

fn truth(canvas: &fedaudit_testkit::records::Canvas, book: &Gradebook) -> Value {
    let utc = |seconds| fedaudit_core::Time::from_seconds(seconds).unwrap().to_string();
    let events: Vec<Value> = canvas
        .events
        .iter()
        .map(|e| json!([e.id, utc(e.created_at), e.event_type, e.login_id, e.account_id, e.user_id, e.page_view]))
        .collect();
    let logins: Vec<Value> =
        canvas.logins.iter().map(|login| json!({ "user_id": login.user_id, "unique_id": login.unique_id })).collect();
    let live: Vec<i64> = book.courses.iter().filter(|course| !course.is_deleted).map(|course| course.id).collect();
    let visible = |wanted: &dyn Fn(&GradeChange) -> bool| -> Vec<String> {
        book.grade_changes.iter().filter(|c| !c.is_hidden && wanted(c)).map(|c| c.id.clone()).collect()
    };
    let grades: BTreeMap<String, Vec<String>> =
        live.iter().map(|id| (id.to_string(), visible(&|change| change.course_id == *id))).collect();
    let assignments: BTreeMap<String, Vec<String>> =
        (70..75).map(|id| (id.to_string(), visible(&|change| change.assignment_id == Some(id)))).collect();
    json!({
        "account": canvas.root_account_id,
        "name": canvas.root_account_name,
        "events": events,
        "users": canvas.users.iter().map(|user| user.id).collect::<Vec<_>>(),
        "logins": logins,
        "courses": live,
        "deleted": book.courses.iter().find(|course| course.is_deleted).unwrap().id,
        "grades": grades,
        "assignments": assignments,
    })
}
