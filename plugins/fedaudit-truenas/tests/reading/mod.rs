//! Reading while the appliance goes on: rows deleted, filters refused, huge pages, and the paths of handles.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use fedaudit_core::{Direction, EndReason, Next, Operator, PageRequest, Predicate};
use fedaudit_testkit::World;
use fedaudit_testkit::truenas::Options;
use fedaudit_truenas::Service;
use serde_json::Value as Json;

use crate::bench::*;

#[tokio::test]
async fn rows_deleted_at_the_head_cost_no_other_row() {
    let world = world(2500);
    let rows = &world.truenas.smb;
    for (direction, size) in [(Direction::Any, 40), (Direction::NewestFirst, 40)] {
        let bench = bench(Arc::clone(&world), options()).await;
        let mut request = PageRequest { direction, page_size: Some(size), ..all(Service::Smb) };
        let mut ids: BTreeSet<String> = BTreeSet::new();
        // The daily deletion happens in the middle, and takes rows that were read and rows that were not.
        let kept_from = rows[rows.len() / 4].message_timestamp;
        for page_number in 0.. {
            let page = bench.source.fetch(&bench.cx, &request).await.unwrap();
            ids.extend((0..page.rows.num_rows()).map(|row| cells(&page.rows, row)["record_id"].clone()));
            if page_number == 2 {
                bench.stand_in.forget_before(kept_from);
            }
            match page.next {
                Next::More(cursor) => request.cursor = Some(cursor),
                Next::End(_) => break,
            }
        }
        let kept = rows.iter().filter(|row| row.message_timestamp >= kept_from);
        assert!(kept.clone().count() > 300);
        for row in kept {
            assert!(ids.contains(&row.audit_id), "{direction:?}: a row was lost that is still there");
        }
    }
}

#[tokio::test]
async fn a_refused_filter_is_left_out() {
    let world = world(1500);
    let bench = bench(Arc::clone(&world), Options { unknown_operator: Some("~"), ..options() }).await;
    let predicates = vec![Predicate::any_of("user_name", ["nobody-of-that-name"])];
    let read = read(&bench, PageRequest { predicates, page_size: Some(100), ..all(Service::Smb) }).await;
    assert_eq!(read.ids().len(), world.truenas.smb.len());
    assert_eq!(read.notes.iter().filter(|note| note.contains("refused the filters")).count(), 1, "{:?}", read.notes);
    // It is asked once, not on every page.
    assert_eq!(bench.log.entries().iter().filter(|entry| entry.status != 200).count(), 1);
}

#[tokio::test]
async fn prefixes_are_pushed_as_a_superset() {
    let bench = bench(world(1200), options()).await;
    for service in Service::ALL {
        let everything = read(&bench, all(service)).await.cells();
        let info = bench.source.info().stream(service.stream()).unwrap();
        for (column, operator, value) in [
            ("event_code", Operator::StartsWith, "RE"),
            ("event_code", Operator::StartsWith, "re_d"),
            ("record_id", Operator::StartsWith, "0"),
            ("session_id", Operator::StartsWith, "a"),
            ("user_name", Operator::StartsWith, "a"),
            ("event_code", Operator::NotIn, "METHOD_CALL"),
            ("event_code", Operator::NotIn, "READ"),
            ("session_id", Operator::NotIn, "a"),
        ] {
            let predicate = Predicate { operator, ..Predicate::any_of(column, [value]) };
            if !info.can_push(&predicate) {
                continue;
            }
            let wanted = |cells: &&BTreeMap<String, String>| {
                cells.get(column).is_some_and(|cell| match operator {
                    Operator::StartsWith => cell.starts_with(value),
                    _ => cell != value,
                })
            };
            let wanted: BTreeSet<&String> = everything.iter().filter(wanted).map(|cells| &cells["record_id"]).collect();
            let found = read(&bench, PageRequest { predicates: vec![predicate], ..all(service) }).await.ids();
            let found: BTreeSet<&String> = found.iter().collect();
            assert!(wanted.is_subset(&found), "{service:?} {column} {operator:?} {value}");
        }
    }
}

#[tokio::test]
async fn a_page_may_be_one_frame_of_many_megabytes() {
    let mut large = (*world(6000)).clone();
    let rows = &mut large.truenas.smb;
    rows.truncate(1200);
    for row in rows.iter_mut() {
        row.event_data =
            format!(r#"{{"result": {{"value_parsed": "SUCCESS"}}, "filler": "{}"}}"#, "x".repeat(16_000)).into();
    }
    let bench = bench(Arc::new(large), options()).await;
    let before = bench.cx.meter.read().bytes;
    let read = read(&bench, all(Service::Smb)).await;
    assert_eq!((read.ids().len(), read.pages.len()), (1200, 1));
    assert!(bench.cx.meter.read().bytes - before > 16 << 20);
}

#[tokio::test]
async fn a_database_without_a_row_is_empty() {
    let mut world = (*world(300)).clone();
    world.truenas.system.clear();
    let bench = bench(Arc::new(world), options()).await;
    let read = read(&bench, all(Service::System)).await;
    assert_eq!((read.end, read.ids().len(), read.rejected.len()), (EndReason::ShortPage, 0, 0));
}

#[tokio::test]
async fn an_unknown_retention_is_said() {
    let bench = bench(world(300), Options { hidden_config: true, ..options() }).await;
    let page = bench.source.fetch(&bench.cx, &all(Service::Smb)).await.unwrap();
    assert_eq!(page.observed.retention_floor, None);
    assert!(page.observed.notes.iter().any(|note| note.contains("audit.config")), "{:?}", page.observed.notes);
}

/// The path of every row as the records themselves tell it: that of the latest opening of the same handle before it.
fn true_paths(world: &World) -> BTreeMap<String, String> {
    let mut rows: Vec<_> = world.truenas.smb.iter().collect();
    rows.sort_by_key(|row| (row.timestamp, row.event != "CREATE"));
    let mut open: HashMap<String, String> = HashMap::new();
    let mut paths = BTreeMap::new();
    for row in rows {
        let service: Json = serde_json::from_str(&row.service_data).unwrap();
        let data: Json = serde_json::from_str(&row.event_data).unwrap();
        let handle = &data["file"]["handle"]["value"];
        let key = format!("{} {} {handle}", service["session_id"], service["tcon_id"]);
        if row.event == "CREATE" && row.success {
            open.insert(key.clone(), data["file"]["path"].as_str().unwrap().to_owned());
        }
        if handle.is_string() && row.event != "CREATE" {
            paths.insert(row.audit_id.clone(), open.get(&key).cloned().unwrap_or_default());
        }
    }
    paths
}

#[tokio::test]
async fn paths_of_handles_opened_on_earlier_pages() {
    let world = world(2500);
    let bench = bench(Arc::clone(&world), options()).await;
    let expected = true_paths(&world);
    assert!(expected.len() > 100 && expected.values().all(|path| !path.is_empty()));
    let mut rows_of: BTreeMap<&str, usize> = BTreeMap::new();
    for row in &world.truenas.smb {
        *rows_of.entry(row.username.as_str()).or_default() += 1;
    }
    let (name, _) = rows_of.into_iter().max_by_key(|(_, rows)| *rows).unwrap();
    let one_user = vec![Predicate::any_of("user_name", [name])];
    let only_reads = vec![Predicate::any_of("action", ["file.read"])];
    for (direction, size, predicates) in [
        (Direction::Any, None, Vec::new()),
        (Direction::Any, Some(7), Vec::new()),
        (Direction::NewestFirst, Some(11), Vec::new()),
        (Direction::Any, Some(20), only_reads.clone()),
        (Direction::NewestFirst, None, only_reads),
        (Direction::Any, Some(9), one_user.clone()),
        (Direction::NewestFirst, Some(9), one_user),
    ] {
        let filtered = !predicates.is_empty();
        let questions = || bench.log.entries().iter().filter(|entry| entry.target.starts_with("audit.query")).count();
        let before = questions();
        let read = read(&bench, PageRequest { direction, page_size: size, predicates, ..all(Service::Smb) }).await;
        let mut met = 0;
        for cells in read.cells() {
            let Some(path) = expected.get(&cells["record_id"]) else { continue };
            met += 1;
            assert_eq!(cells.get("target_name"), Some(path), "{direction:?} {size:?} {}", cells["record_id"]);
            assert!(cells["quality_flags"].contains("path_from_create"));
        }
        assert!(met == expected.len() || filtered && met > 10);
        if direction == Direction::Any && !filtered {
            // What the pages themselves have shown is not asked for again.
            let asked = questions() - before;
            assert!(asked <= read.pages.len() + 1, "{asked} questions for {} pages", read.pages.len());
        }
    }
}
