//! Has the plugins read a record that a test made: through the product's stand-in, or through the plugin's own decoder.

pub(super) mod canvas;
pub(super) mod sps;
pub(super) mod truenas;
pub(super) mod vsphere;

use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array as _, RecordBatch};
use fedaudit_core::{AuditSource, Clock, Context, Meter, Next, Page, PageRequest, Time};
use fedaudit_testkit::{Authority, RequestLog, Settings, World};
use serde_json::Value as Json;
use tempfile::TempDir;

/// Rows of both tables.
#[derive(Default)]
pub(super) struct Cells(Vec<(&'static str, RecordBatch)>);

impl Cells {
    /// Adds rows.
    fn add(&mut self, table: &'static str, rows: RecordBatch) {
        self.0.push((table, rows));
    }

    /// What stands in a column, in any row; `events.unmapped.links.user` looks into a column of JSON.
    pub(super) fn at(&self, place: &str) -> Vec<String> {
        let (table, place) = place.split_once('.').unwrap();
        let (column, path) = place.split_once('.').unwrap_or((place, ""));
        let batches = self.0.iter().filter(|(name, _)| *name == table);
        let cells = batches.flat_map(|(_, rows)| (0..rows.num_rows()).filter_map(|row| cell(rows, column, row)));
        if path.is_empty() {
            return cells.collect();
        }
        let pointer = format!("/{}", path.replace('.', "/"));
        let inside =
            |cell: String| serde_json::from_str::<Json>(&cell).unwrap().pointer(&pointer).map(super::table::text);
        cells.filter_map(inside).collect()
    }
}

/// A cell as text; NULL is none.
fn cell(rows: &RecordBatch, name: &str, row: usize) -> Option<String> {
    let column = rows.column_by_name(name).unwrap_or_else(|| panic!("no column {name}"));
    if column.is_null(row) {
        return None;
    }
    let kind = column.data_type().to_string();
    Some(match kind.as_str() {
        "Utf8" => column.as_string::<i32>().value(row).to_owned(),
        "Boolean" => column.as_boolean().value(row).to_string(),
        "Int32" => column.as_primitive::<Int32Type>().value(row).to_string(),
        "Int64" => column.as_primitive::<Int64Type>().value(row).to_string(),
        _ if kind.starts_with("Timestamp") => {
            Time::from_micros(column.as_primitive::<TimestampMicrosecondType>().value(row)).to_string()
        }
        _ => column.as_list::<i32>().value(row).as_string::<i32>().iter().flatten().collect::<Vec<_>>().join(","),
    })
}

/// 2026-11-22T04:00:00Z, after everything that the records tell of.
const NOW: i64 = 1_795_320_000_000_000;

struct Still;
impl Clock for Still {
    fn now(&self) -> Time {
        Time::from_micros(NOW)
    }
}

fn context() -> Context {
    Context {
        source: "seed".into(),
        source_key: "seed".into(),
        clock: Arc::new(Still),
        deadline: None,
        meter: Arc::new(Meter::default()),
    }
}

/// A small history, for questions about a product's own data.
fn world() -> World {
    World::generate(&Settings { events: 200, ..Settings::new(5, NOW) })
}

/// Configuration of a source whose secret stands in a file, and the folder that has to stay while it is used.
fn config(origin: &str, authority: &Authority, secret: (&str, &str), more: Json) -> (Json, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (ca, secret_file) = (file("ca.pem", authority.ca_pem()), file("secret", secret.1));
    let mut table = serde_json::json!({
        "url": origin,
        secret.0: format!("file:{}", secret_file.display()),
        "tls": {"ca_file": ca},
    });
    let Json::Object(more) = more else { panic!("an object") };
    table.as_object_mut().unwrap().extend(more);
    (table, folder)
}

/// Reads a stream to its end.
async fn read(source: &dyn AuditSource, request: PageRequest) -> Vec<Page> {
    let mut pages: Vec<Page> = Vec::new();
    let mut request = request;
    loop {
        let page = source.fetch(&context(), &request).await.unwrap();
        let next = page.next.clone();
        pages.push(page);
        assert!(pages.len() < 1000, "no end");
        match next {
            Next::More(cursor) => request.cursor = Some(cursor),
            Next::End(_) => return pages,
        }
    }
}

/// What a stand-in was asked, each as method, space, target.
fn asked(log: &RequestLog) -> Vec<String> {
    log.entries().iter().map(|entry| format!("{} {}", entry.method, entry.target)).collect()
}
