//! The logs of course changes and of grade changes: everything once, whatever the server can do, and never empty where
//! something was refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use fedaudit_core::{EndReason, ErrorKind, PageRequest, Predicate};
use fedaudit_testkit::canvas::{Bookmark, Course, CourseChange, Fault, GradeChange, Gradebook, Options};
use serde_json::json;

use crate::bench::{Bench, Reading, bench_of, bench_of_changes, world};

const COURSE: &str = "audit.course";
const GRADE: &str = "audit.grade_change";

/// How often each record came.
fn ids(reading: &Reading) -> BTreeMap<String, usize> {
    let mut ids = BTreeMap::new();
    for id in reading.column("record_id").into_iter().flatten() {
        *ids.entry(id).or_default() += 1;
    }
    ids
}

fn once<'r>(ids: impl IntoIterator<Item = &'r String>) -> BTreeMap<String, usize> {
    ids.into_iter().map(|id| (id.clone(), 1)).collect()
}

/// What can be seen: not what the reader may not see, and nothing of deleted courses.
fn visible(book: &Gradebook) -> impl Iterator<Item = &GradeChange> {
    book.grade_changes.iter().filter(|change| !change.is_hidden && !book.course(change.course_id).unwrap().is_deleted)
}

async fn read(bench: &Bench, stream: &str) -> Reading {
    bench.read(bench.request_of(stream)).await.unwrap()
}

#[tokio::test]
async fn course_changes_equal_the_history() {
    for bookmark in [Bookmark::TimeAndRow, Bookmark::TimeOnly] {
        let bench = bench_of_changes(Options { bookmark, ..Options::default() }).await;
        let book = bench.gradebook();
        let reading = bench.read(PageRequest { page_size: Some(30), ..bench.request_of(COURSE) }).await.unwrap();
        assert_eq!(ids(&reading), once(book.course_changes.iter().map(|change| &change.id)));
        assert_eq!(reading.end, Some(EndReason::NoNextLink));
        let mut words: Vec<Option<String>> = reading.column("event_code");
        words.sort();
        words.dedup();
        assert!(words.len() > 8, "{words:?}");
        assert!(reading.column("action").iter().flatten().all(|action| action.starts_with("object.")));
        assert!(book.courses.iter().any(|course| course.is_deleted));
    }
}

#[tokio::test]
async fn course_changes_of_sub_accounts_are_read_once() {
    let all = |bench: &Bench| once(bench.gradebook().course_changes.iter().map(|change| &change.id));
    for course_lists_of_tree in [false, true] {
        let bench = bench_of_changes(Options { course_lists_of_tree, ..Options::default() }).await;
        assert_eq!(ids(&read(&bench, COURSE).await), all(&bench), "whole tree: {course_lists_of_tree}");
        // What the server's lists hold is found out once.
        bench.log.take();
        assert_eq!(ids(&read(&bench, COURSE).await), all(&bench));
        assert!(bench.log.take().iter().all(|entry| !entry.target.contains("/sub_accounts")));
    }
}

#[tokio::test]
async fn course_changes_on_servers_without_the_list_by_account() {
    let bench = bench_of_changes(Options { course_lists_by_account: false, page_cap: 6, ..Options::default() }).await;
    let reading = read(&bench, COURSE).await;
    assert_eq!(ids(&reading), once(bench.gradebook().course_changes.iter().map(|change| &change.id)));
    assert!(bench.source.check(&bench.cx).await.unwrap().denied.is_empty());
    assert_eq!(reading.gaps, []);
}

#[tokio::test]
async fn a_course_whose_log_is_not_found_is_a_gap() {
    // Of course changes, the first request finds out that there is no list by account.
    for (stream, first, last) in [(COURSE, 2, 2), (GRADE, 1, 1), (COURSE, 2, 3)] {
        let faults = vec![(first..=last, Fault::json(404, r#"{"message":"Auditors are not configured"}"#))];
        let bench = bench_of_changes(Options { course_lists_by_account: false, faults, ..Options::default() }).await;
        let reading = read(&bench, stream).await;
        assert!(reading.notes.iter().any(|note| note.starts_with("the log of course ")), "{:?}", reading.notes);
        assert_eq!(reading.notes.iter().any(|note| note.starts_with("2 courses have no log")), last > first);
        assert_eq!(reading.gaps, [bench.request_of(stream).window], "{stream}");
    }
}

#[tokio::test]
async fn grade_changes_equal_the_history() {
    for bookmark in [Bookmark::TimeAndRow, Bookmark::TimeOnly] {
        let bench = bench_of_changes(Options { bookmark, page_cap: 12, ..Options::default() }).await;
        let book = bench.gradebook();
        let reading = read(&bench, GRADE).await;
        assert_eq!(ids(&reading), once(visible(&book).map(|change| &change.id)));
        assert!(reading.rejected.is_empty(), "{:?}", reading.rejected);
    }
}

#[tokio::test]
async fn deleted_courses_keep_their_grades_to_themselves() {
    let bench = bench_of_changes(Options::default()).await;
    let reading = read(&bench, GRADE).await;
    let deleted = bench.gradebook().courses.iter().filter(|course| course.is_deleted).count();
    let note = format!("{deleted} deleted courses cannot be read");
    assert!(deleted > 0 && reading.notes.iter().any(|said| said.starts_with(&note)), "{:?}", reading.notes);
    // That is a blind spot of the product and declared as such, no gap of this reading.
    assert_eq!(reading.gaps, []);
}

#[tokio::test]
async fn changes_without_the_right_are_denied() {
    for permission_status in [401, 403] {
        let bench = bench_of_changes(Options {
            may_view_course_changes: false,
            closed_gradebooks: vec![502, 503],
            permission_status,
            ..Options::default()
        })
        .await;
        let error = bench.read(bench.request_of(COURSE)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(error.hint_text().unwrap().contains("view_course_changes"));

        // What can be read comes first, then the error.
        let mut request = bench.request_of(GRADE);
        let mut rows = 0;
        let error = loop {
            match bench.source.fetch(&bench.cx, &request).await {
                Ok(page) => {
                    rows += page.rows.num_rows();
                    let fedaudit_core::Next::More(cursor) = page.next else { panic!("denied courses look read") };
                    request.cursor = Some(cursor);
                }
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(error.to_string().contains("502, 503"), "{error}");
        let book = bench.gradebook();
        assert_eq!(rows, visible(&book).filter(|change| ![502, 503].contains(&change.course_id)).count());
        let health = bench.source.check(&bench.cx).await.unwrap();
        assert_eq!(health.denied.iter().map(|(stream, _)| stream.as_str()).collect::<Vec<_>>(), [COURSE]);
    }
    let bench = bench_of_changes(Options { may_view: false, ..Options::default() }).await;
    assert_eq!(bench.read(bench.request_of(GRADE)).await.unwrap_err().kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn grade_changes_of_one_grader() {
    let bench = bench_of_changes(Options::default()).await;
    let grader = bench.world.canvas.users[3].id;
    let request = |value: &str| PageRequest {
        predicates: vec![Predicate::any_of("user_uid", [value])],
        ..bench.request_of(GRADE)
    };
    let reading = bench.read(request(&grader.to_string())).await.unwrap();
    let book = bench.gradebook();
    let expected = book.grade_changes.iter().filter(|change| !change.is_hidden && change.grader_id == Some(grader));
    assert_eq!(ids(&reading), once(expected.map(|change| &change.id)));
    assert!(!bench.log.take().iter().any(|entry| entry.target.contains("/grade_change/courses/")));
    // A grader that Canvas does not know any more is looked for in every course.
    let reading = bench.read(request("424242")).await.unwrap();
    assert_eq!(ids(&reading), once(visible(&book).map(|change| &change.id)));
}

#[tokio::test]
async fn a_course_by_its_number_and_actions_that_cannot_be() {
    let bench = bench_of_changes(Options::default()).await;
    let book = bench.gradebook();
    let ask = async |stream: &str, column: &str, value: &str| {
        let predicates = vec![Predicate::any_of(column, [value])];
        bench.log.take();
        let reading = bench.read(PageRequest { predicates, ..bench.request_of(stream) }).await.unwrap();
        (ids(&reading), bench.log.take().iter().filter(|entry| entry.target.contains("/audit/")).count())
    };
    let expected = book.course_changes.iter().filter(|change| change.course_id == 507);
    assert!(book.course(507).unwrap().is_deleted);
    assert_eq!(ask(COURSE, "target_uid", "507").await, (once(expected.map(|change| &change.id)), 1));
    let all = once(book.course_changes.iter().map(|change| &change.id));
    assert_eq!(ask(COURSE, "target_uid", "424242").await.0, all);
    assert_eq!(ask(COURSE, "action", "object.update").await.0, all);
    for stream in [COURSE, GRADE] {
        assert_eq!(ask(stream, "action", "auth.login").await, (BTreeMap::new(), 0));
    }
}

/// One course with one change, and one grade in it.
fn small_book() -> Gradebook {
    Gradebook {
        courses: vec![Course { id: 501, account_id: 1, name: "Logic".to_owned(), is_deleted: false }],
        course_changes: vec![CourseChange {
            id: "b1f00000-0000-4000-8000-000000000001".to_owned(),
            created_at: 1_772_442_000,
            event_type: "copied_from",
            event_source: None,
            event_data: "{}".to_owned(),
            course_id: 501,
            user_id: None,
            other_course_id: Some(77),
            page_view: None,
            sis_batch_id: Some(5),
        }],
        grade_changes: vec![GradeChange {
            id: "9a700000-0000-4000-8000-000000000001".to_owned(),
            created_at: 1_772_445_600,
            course_id: 501,
            assignment_id: None,
            student_id: None,
            grader_id: Some(4401),
            grade_before: None,
            grade_after: Some("90%".to_owned()),
            version: 3,
            is_hidden: false,
        }],
    }
}

#[tokio::test]
async fn a_course_change_field_for_field() {
    let options = Options { gradebook: Arc::new(small_book()), ..Options::default() };
    let bench = bench_of(world(), options, json!({ "streams": [COURSE] })).await;
    let reading = bench.read(bench.request_of(COURSE)).await.unwrap();
    let raw = r#"{"id":"b1f00000-0000-4000-8000-000000000001","created_at":"2026-03-02T09:00:00Z","event_type":"copied_from","event_source":null,"event_data":{},"links":{"course":501,"user":null,"page_view":null,"sis_batch":5,"copied_from":77}}"#;
    let course = r#"{"id":501,"name":"Logic","account_id":1,"root_account_id":1,"workflow_state":"available"}"#;
    assert_eq!(
        reading.row("record_id", "b1f00000-0000-4000-8000-000000000001"),
        format!(
            "time 2026-03-02T09:00:00Z\ntime_original 2026-03-02T09:00:00Z\ntime_quality seconds\nevent_code copied_from\n\
             action object.update\noutcome success\nseverity_id 1\nclass_uid 6003\nactivity_id 3\nuser_type unknown\n\
             src_kind none\nservice Canvas\ntarget_type course\ntarget_name Logic\ntarget_uid 501\n\
             resources [{{\"type\":\"course\",\"uid\":\"501\",\"name\":\"Logic\"}},{{\"type\":\"course\",\"uid\":\"77\"}}]\n\
             record_id b1f00000-0000-4000-8000-000000000001\ntenant 1\n\
             unmapped {{\"linked\":{{\"course\":{course}}},\"links\":{{\"sis_batch\":5,\"copied_from\":77}},\"event_source\":null,\"event_data\":{{}}}}\n\
             raw {raw}\n"
        )
    );
}

#[tokio::test]
async fn a_grade_change_field_for_field() {
    let mut book = small_book();
    book.grade_changes.push(GradeChange {
        id: "graded".to_owned(),
        assignment_id: Some(77),
        student_id: Some(4402),
        ..book.grade_changes[0].clone()
    });
    let world = world();
    let user = |id: i64| world.canvas.users.iter().find(|user| user.id == id).unwrap().login_id.clone();
    let options = Options { gradebook: Arc::new(book), ..Options::default() };
    let bench = bench_of(Arc::clone(&world), options, json!({ "streams": [GRADE] })).await;
    let reading = bench.read(bench.request_of(GRADE)).await.unwrap();
    let overridden = reading.row("record_id", "9a700000-0000-4000-8000-000000000001");
    for line in [
        "event_code grade_change\naction object.update\noutcome success\n",
        "user_uid 4401\n",
        "target_type grade\n",
        "tenant 1\n",
        r#""grade_before":null,"grade_after":"90%","#,
        r#""course_override_grade":true"#,
        r#""graded_anonymously":true"#,
    ] {
        assert!(overridden.contains(line), "{line} {overridden}");
    }
    assert!(!overridden.contains("target_uid") && !overridden.contains("target_user"), "{overridden}");
    assert!(overridden.contains(&format!("user_original {}\n", user(4401))), "{overridden}");
    let graded = reading.row("record_id", "graded");
    let resources = format!(
        r#"resources [{{"type":"course","uid":"501","name":"Logic"}},{{"type":"assignment","uid":"77","name":"Assignment 77"}},{{"type":"user","uid":"4402","name":"{}"}}]"#,
        user(4402)
    );
    assert!(graded.contains(&resources), "{graded}");
    let bare = user(4402).split('@').next().unwrap().to_lowercase();
    assert!(graded.contains(&format!("target_user {bare}\n")) && graded.contains("target_uid 77\n"), "{graded}");
    assert!(graded.contains(r#""student":"4402","grader":"4401""#), "{graded}");
}

#[tokio::test]
async fn logs_are_read_only_where_they_are_named() {
    let bench = bench_of(world(), Options::default(), json!({})).await;
    for stream in [COURSE, GRADE] {
        assert!(bench.source.info().stream(stream).is_none());
        assert_eq!(bench.read(bench.request_of(stream)).await.unwrap_err().kind(), ErrorKind::Config);
    }
    assert!(bench.another(&json!({ "streams": [] })).is_err());
    assert!(bench.log.take().is_empty());
}
