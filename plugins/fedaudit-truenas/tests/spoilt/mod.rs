//! Records that the product itself cannot show: they are found, kept as far as they can be had, and said. And messages that
//! nobody can read: an error at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use fedaudit_core::{Direction, PageRequest};
use fedaudit_testkit::World;
use fedaudit_testkit::records::TrueNasRecord;
use fedaudit_testkit::truenas::Options;
use fedaudit_truenas::Service;

use crate::bench::*;

#[tokio::test]
async fn a_record_that_the_product_cannot_show_is_isolated() {
    let world = world(1500);
    let rows = &world.truenas.middleware;
    let calls: Vec<&str> =
        rows.iter().filter(|row| row.event == "METHOD_CALL").map(|row| row.audit_id.as_str()).collect();
    let (broken, nameless, dataless) = (calls[40].to_owned(), calls[41].to_owned(), calls[90].to_owned());
    for (version, hurt) in
        [("v25.10.0", vec![nameless.as_str()]), ("v25.10.1", vec![broken.as_str()]), ("v26.0.0", vec![broken.as_str()])]
    {
        for (direction, size) in
            [(Direction::Any, None), (Direction::Any, Some(30)), (Direction::NewestFirst, Some(500))]
        {
            let options = Options {
                versions: vec![version.to_owned()],
                poisoned: vec![broken.clone()],
                nulls: vec![(nameless.clone(), "address"), (dataless.clone(), "event_data")],
                ..options()
            };
            let bench = bench(Arc::clone(&world), options).await;
            let read = read(&bench, PageRequest { direction, page_size: size, ..all(Service::Middleware) }).await;
            // What can be had is a row, what cannot is said.
            let ids = read.ids();
            assert_eq!(ids.len(), rows.len(), "{version} {size:?}");
            assert_eq!(ids.iter().map(String::as_str).collect::<BTreeSet<_>>().len(), rows.len());
            assert_eq!(read.rejected.len(), hurt.len(), "{version} {size:?}: {:?}", read.rejected);
            let cells = read.cells();
            let of = |id: &str| cells.iter().find(|cells| cells["record_id"] == id).unwrap();
            for id in &hurt {
                assert!(of(id)["quality_flags"].contains("data_unreadable"), "{version}");
            }
            let unhurt = cells.iter().filter(|cells| !hurt.contains(&cells["record_id"].as_str()));
            assert!(unhurt.clone().count() > 200);
            assert!(
                unhurt.into_iter().all(|cells| {
                    !cells.get("quality_flags").is_some_and(|flags| flags.contains("data_unreadable"))
                })
            );
            // Which method was called nobody knows: so it is no config.call.
            for id in [&broken, &dataless] {
                assert_eq!(of(id)["action"], "other", "{version}");
                assert!(of(id)["quality_flags"].contains("no_method"));
                assert!(of(id).contains_key("user_name") && of(id).contains_key("src_ip"), "{version}: {:?}", of(id));
            }
            if version == "v25.10.0" {
                // Only the address is lost of it.
                assert!(of(&nameless)["action"] != "other" && of(&nameless).contains_key("operation"));
            }
        }
    }
}

#[tokio::test]
async fn many_spoilt_records_are_all_found() {
    let world = world(2500);
    let rows = &world.truenas.smb;
    let poisoned: Vec<String> = rows.iter().step_by(17).map(|row| row.audit_id.clone()).collect();
    let bench = bench(Arc::clone(&world), Options { poisoned: poisoned.clone(), ..options() }).await;
    let read = read(&bench, PageRequest { page_size: Some(100), ..all(Service::Smb) }).await;
    assert_eq!(read.ids(), rows.iter().map(|row| row.audit_id.as_str()).collect::<Vec<_>>());
    assert_eq!(read.rejected.len(), poisoned.len());
    assert_eq!(read.records as usize, rows.len());
}

#[tokio::test]
async fn a_database_that_is_all_spoilt_is_an_error_and_not_empty() {
    use fedaudit_core::ErrorKind;
    let world = world(1500);
    let poisoned: Vec<String> = world.truenas.smb.iter().map(|row| row.audit_id.clone()).collect();
    let bench = bench(Arc::clone(&world), Options { poisoned, ..options() }).await;
    let error = bench.source.fetch(&bench.cx, &all(Service::Smb)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(error.hint_text().is_some());
    assert!(bench.log.entries().len() < 2000);
}

#[tokio::test]
async fn records_without_an_id_among_spoilt_ones_are_kept() {
    let world = world(1500);
    let rows = &world.truenas.smb;
    let nulls = rows.iter().skip(3).step_by(9).map(|row| (row.audit_id.clone(), "audit_id")).collect();
    let poisoned = vec![rows[60].audit_id.clone()];
    let bench = bench(Arc::clone(&world), Options { nulls, poisoned, ..options() }).await;
    let read = read(&bench, PageRequest { page_size: Some(1000), ..all(Service::Smb) }).await;
    assert_eq!(read.pages.iter().map(arrow_array::RecordBatch::num_rows).sum::<usize>(), rows.len());
    let keys: BTreeSet<_> = read.text("event_key").into_iter().collect();
    assert_eq!(keys.len(), rows.len());
}

#[tokio::test]
async fn rows_without_a_name_are_not_lost_by_a_filter_on_names() {
    use fedaudit_core::Predicate;
    let world = world(2500);
    let failed = world.truenas.middleware.iter().filter(|row| row.username == ".UNAUTHENTICATED");
    let nulls: Vec<(String, &str)> = failed.map(|row| (row.audit_id.clone(), "username")).collect();
    assert!(nulls.len() > 5);
    for version in ["v25.10.7", "v26.0.0"] {
        let options = Options { versions: vec![version.to_owned()], nulls: nulls.clone(), ..options() };
        let bench = bench(Arc::clone(&world), options).await;
        let everything = read(&bench, all(Service::Middleware)).await;
        let names = everything.text("user_name");
        let of_nulls: BTreeSet<String> = everything
            .ids()
            .into_iter()
            .zip(names)
            .filter(|(id, _)| nulls.iter().any(|(null, _)| null == id))
            .filter_map(|(_, name)| name)
            .collect();
        for name in of_nulls.into_iter().take(4) {
            for direction in [Direction::Any, Direction::NewestFirst] {
                let request = PageRequest {
                    direction,
                    page_size: Some(40),
                    predicates: vec![Predicate::any_of("user_name", [name.as_str()])],
                    ..all(Service::Middleware)
                };
                let of_name = |read: &Read| -> Vec<String> {
                    let mut ids: Vec<String> = read
                        .ids()
                        .into_iter()
                        .zip(read.text("user_name"))
                        .filter(|(_, of_row)| of_row.as_deref() == Some(&name))
                        .map(|(id, _)| id)
                        .collect();
                    ids.sort();
                    ids
                };
                assert_eq!(of_name(&read(&bench, request).await), of_name(&everything), "{version} {name}");
            }
        }
    }
}

#[tokio::test]
async fn more_rows_without_a_name_than_one_answer_holds() {
    use fedaudit_core::Predicate;
    let mut world = World::clone(&world(2500));
    let rows = &mut world.truenas.middleware;
    let model = rows.iter().find(|row| row.username == ".UNAUTHENTICATED").unwrap().clone();
    let last = rows.last().unwrap().message_timestamp;
    rows.extend((0..10_040).map(|number| TrueNasRecord {
        audit_id: format!("00000000-0000-4000-8000-{number:012}"),
        message_timestamp: last + 1 + number / 100,
        timestamp: last + 1 + number / 100,
        ..model.clone()
    }));
    let added = rows.iter().filter(|row| row.audit_id.starts_with("00000000-0000-4000-8000-"));
    let nulls: Vec<(String, &str)> = added.map(|row| (row.audit_id.clone(), "username")).collect();
    let options = Options { versions: vec!["v25.10.7".to_owned()], nulls, ..options() };
    let bench = bench(Arc::new(world), options).await;
    let request = PageRequest {
        page_size: Some(5000),
        predicates: vec![Predicate::any_of("user_name", ["somebody-else"])],
        ..all(Service::Middleware)
    };
    let read = read(&bench, request).await;
    let found = read.ids().into_iter().filter(|id| id.starts_with("00000000-0000-4000-8000-"));
    assert_eq!(found.collect::<BTreeSet<_>>().len(), 10_040);
    assert!(read.notes.iter().any(|note| note.contains("have no name")), "{:?}", read.notes);
}

#[tokio::test]
async fn a_message_that_nobody_can_read_is_an_error_at_once() {
    use std::time::{Duration, Instant};

    use fedaudit_core::{Context, ErrorKind};
    use fedaudit_testkit::faults::{Fault, Product, What};
    let world = world(1500);
    let login_page = What::LoginPage { xhtml: false };
    for what in [What::Garbage, What::Nothing, login_page, What::Truncated(500), What::OtherType] {
        let fault = Fault { product: Product::TrueNas, on: "audit.query", nth: 2, times: Some(1), what: what.clone() };
        let bench = bench_with_faults(Arc::clone(&world), vec![fault]).await;
        let patient = Context { deadline: Some(bench.cx.now().plus(Duration::from_mins(1))), ..bench.cx.clone() };
        let request = PageRequest { page_size: Some(20), ..all(Service::Middleware) };
        bench.source.fetch(&patient, &request).await.unwrap();
        let begun = Instant::now();
        let error = bench.source.fetch(&patient, &request).await.unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(20), "{what:?} was waited out");
        assert_eq!(error.kind(), ErrorKind::Malformed, "{what:?}: {error:?}");
        assert!(error.to_string().contains("/api/current"), "{what:?} names no place: {error}");
        // What is asked next, whoever asks, gets a connection that works.
        let read = read(&bench, request).await;
        assert_eq!(read.ids().len(), bench.world.truenas.middleware.len(), "{what:?}");
        assert_eq!(bench.cx.meter.read().logins, 2, "{what:?}");
    }
}
