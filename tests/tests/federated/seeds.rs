//! Every field and parameter name of the documents that the project began from ends up somewhere, or is never sent or
//! never read, with the reason. `tests/seeds.toml` says where; these tests compare it with the documents and prove it.

mod names;
mod products;
mod table;

use std::io::Write as _;

use serde_json::{Map, Value as Json};

use products::Cells;
use table::{Entry, Seed, seed};

/// The documents' folder; none, with a loud word, where the checkout came without them.
fn shared() -> Option<std::path::PathBuf> {
    let folder = match std::env::var_os("FEDAUDIT_SHARED") {
        Some(folder) => folder.into(),
        None => std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
    };
    if folder.join("seeds").is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none(), "the seed documents are not in {}", folder.display());
    // Past the capture of test output: a skipped test must not look like a passed one.
    let _ = writeln!(std::io::stderr(), "SKIPPED: no seed documents in {} (set FEDAUDIT_SHARED)", folder.display());
    None
}

#[test]
fn every_name_of_the_documents_is_in_the_table_and_no_other() {
    let Some(shared) = shared() else { return };
    let read = |path: &str| std::fs::read_to_string(shared.join(path)).unwrap();
    let mut documents: Vec<String> = std::fs::read_dir(shared.join("seeds"))
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    documents.sort();
    let tables = table::all();
    assert_eq!(documents, tables.iter().map(|seed| seed.file.clone()).collect::<Vec<_>>(), "documents and tables");

    let mut wrong = Vec::new();
    for seed in &tables {
        let text = read(&format!("seeds/{}", seed.file));
        let found = names::of(seed, &text, || read("reference/model.md"));
        let listed: Vec<&str> = seed.entries.iter().map(|entry| entry.name.as_str()).collect();
        for name in &found.fields {
            if !listed.contains(&name.as_str()) {
                wrong.push(format!("{}: '{name}' is not in the table", seed.file));
            }
        }
        // Prose names a field without its path.
        for name in &found.documented {
            if !listed.iter().any(|listed| listed.split('.').any(|part| part == name)) {
                wrong.push(format!("{}: '{name}' is described, but not in the table", seed.file));
            }
        }
        for name in listed {
            let last = name.rsplit('.').next().unwrap_or(name);
            if !found.fields.contains(name) && !found.documented.contains(last) {
                wrong.push(format!("{}: '{name}' of the table is not in the document", seed.file));
            }
        }
        wrong.extend(found.leftovers.iter().map(|text| format!("{}: nothing in the table for: {text}", seed.file)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_entry_of_the_table_has_one_destination() {
    for seed in table::all() {
        let mut names = std::collections::BTreeSet::new();
        for entry in &seed.entries {
            let place = format!("{}: {}", seed.file, entry.name);
            assert!(names.insert(&entry.name), "{place}: listed twice");
            let kept = !entry.found.is_empty();
            let ways =
                [kept, entry.request.is_some(), entry.never.is_some(), entry.unread.is_some(), entry.used.is_some()];
            let count = ways.iter().filter(|way| **way).count();
            assert!(count == 1 || (count == 0 && entry.container), "{place}: {count} destinations");
            assert!(
                !kept || entry.container || entry.sent.is_some() || !entry.set.is_empty(),
                "{place}: no value to follow"
            );
            assert_eq!(entry.never.is_some(), entry.absent.is_some(), "{place}: how is it seen that it is never sent?");
            for reason in [&entry.never, &entry.unread, &entry.used].into_iter().flatten() {
                assert!(reason.len() > 20, "{place}: no reason");
            }
            for column in entry.found.iter().map(|(column, _)| column) {
                let mut parts = column.splitn(3, '.');
                let table = match parts.next() {
                    Some("events") => &fedaudit_core::rows::EVENTS,
                    Some("sessions") => &fedaudit_core::rows::SESSIONS,
                    _ => panic!("{place}: no table in '{column}'"),
                };
                let name = parts.next().unwrap_or_default();
                assert!(table.columns.iter().any(|known| known.name == name), "{place}: no column '{column}'");
            }
        }
    }
}

/// Follows every value of a seed to its columns: there when it is sent, gone when it is not, so that it comes from that
/// field and no other.
async fn follow<R: AsyncFn(Json) -> Cells>(seed: &Seed, read: R) {
    let whole = seed.record();
    let cells = read(Json::Object(whole.clone())).await;
    let mut wrong = Vec::new();
    for entry in seed.entries.iter().filter(|entry| !entry.found.is_empty()) {
        let changed;
        let cells = if entry.set.is_empty() {
            &cells
        } else {
            let mut record = whole.clone();
            entry.set.iter().for_each(|(path, value)| table::put(&mut record, path, value.clone()));
            changed = read(Json::Object(record)).await;
            &changed
        };
        let without = if entry.fixed { None } else { Some(read(without(&whole, entry)).await) };
        for (column, expected) in entry.found.iter() {
            let expected =
                expected.map_or_else(|| table::text(entry.sent.as_ref().unwrap_or(&Json::Null)), str::to_owned);
            let values = cells.at(column);
            if !values.contains(&expected) {
                wrong.push(format!("{}: {column} holds {values:?}, not '{expected}'", entry.name));
            } else if without.as_ref().is_some_and(|cells| cells.at(column).contains(&expected)) {
                wrong.push(format!("{}: {column} holds '{expected}' without the field, too", entry.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", seed.file, wrong.join("\n"));
}

/// The record without one field; a value that was put in place of another one is simply not put there.
fn without(record: &Map<String, Json>, entry: &Entry) -> Json {
    let field = entry.field.as_deref().unwrap_or(&entry.name);
    let mut record = record.clone();
    if entry.set.contains_key(field) {
        entry.set.iter().for_each(|(path, value)| table::put(&mut record, path, value.clone()));
    }
    if entry.set.is_empty() || entry.set.contains_key(field) {
        table::take(&mut record, field);
    }
    Json::Object(record)
}

/// Compares what was asked of a product with the table's word on parameters.
fn parameters(seed: &Seed, asked: &[String]) {
    let mut wrong = Vec::new();
    for entry in &seed.entries {
        let sent = |text: &str| asked.iter().any(|asked| asked.contains(text));
        if entry.request.as_deref().is_some_and(|text| !sent(text)) {
            wrong.push(format!("{}: was never sent", entry.name));
        }
        if entry.absent.as_deref().is_some_and(sent) {
            wrong.push(format!("{}: was sent", entry.name));
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}\n{asked:#?}", seed.file, wrong.join("\n"));
}

#[tokio::test]
async fn fields_of_truenas_sessions() {
    follow(&seed("000"), async |record| products::truenas::sessions(&record)).await;
}

#[tokio::test]
async fn fields_of_truenas_audit_records() {
    follow(&seed("001"), async |record| products::truenas::events(&record)).await;
}

#[tokio::test]
async fn parameters_of_truenas_queries() {
    let asked = products::truenas::requests().await;
    parameters(&seed("000"), &asked);
    parameters(&seed("001"), &asked);
}

#[tokio::test]
async fn a_missing_role_of_truenas_is_named() {
    let denied = products::truenas::denied_without_the_role().await;
    for entry in seed("001").entries.iter().filter(|entry| entry.used.is_some()) {
        assert!(!denied.is_empty() && denied.iter().all(|reason| reason.contains(&entry.name)), "{denied:?}");
    }
}

#[tokio::test]
async fn fields_of_vsphere_events() {
    for protocol in ["json", "soap"] {
        follow(&seed("002"), async |record| products::vsphere::read(&record, protocol).await).await;
    }
}

#[tokio::test]
async fn fields_of_sps_sessions() {
    let bench = products::sps::Bench::start().await;
    follow(&seed("003"), async |record| bench.read(&record).await).await;
}

#[tokio::test]
async fn parameters_and_list_members_of_sps() {
    let (asked, uses) = products::sps::requests().await;
    parameters(&seed("003"), &asked);
    let listed: Vec<String> =
        seed("003").entries.iter().filter(|entry| entry.used.is_some()).map(|entry| entry.name.clone()).collect();
    assert_eq!(listed, uses, "members of the list that steer the reading");
}

#[tokio::test]
async fn fields_of_canvas_events() {
    follow(&seed("004"), async |record| products::canvas::read(&record).await).await;
}

#[tokio::test]
async fn parameters_of_canvas() {
    parameters(&seed("004"), &products::canvas::requests().await);
}
