//! What a killed writer left: commits of rows whose fetch is not in the ledger. Each carries a note of what the ledger would
//! have said; the last note of a fetch is entered by the next writer.

use std::collections::{BTreeMap, HashSet};

use fedaudit_core::{Error, ErrorKind, Result, Window, Windows};

use crate::entry::Entry;
use crate::file;
use crate::keys::text;
use crate::read;
use crate::records;
use crate::table::{Change, Table};

/// Enters in the ledger what the commits of rows say and the ledger does not.
pub(crate) async fn enter_what_is_left(coverage: &mut Table, tables: &[&Table]) -> Result<Vec<Entry>> {
    let mut left: BTreeMap<String, Entry> = BTreeMap::new();
    let mut marks = Vec::new();
    let mut behind = false;
    for table in tables {
        let mark = coverage.mark(table.name()).await?.unwrap_or(-1);
        let last = i64::try_from(table.version()).unwrap_or(i64::MAX);
        behind |= mark < last;
        if mark > last {
            return Err(Error::new(
                ErrorKind::Malformed,
                format!("the ledger knows of commit {mark} of table {}, which ends with commit {last}", table.name()),
            )
            .hint("files of the store are missing: restore them from a copy of the store; nothing was changed"));
        }
        marks.push((table.name().to_owned(), last));
        for (version, note) in table.notes_after(mark).await? {
            let entry: Entry = serde_json::from_value(note).map_err(|error| {
                Error::new(ErrorKind::Malformed, format!("note of commit {version}: {error}")).at(table.name())
            })?;
            left.insert(entry.fetch_id.clone(), entry);
        }
    }
    if !left.is_empty() {
        let entered = entered(coverage, &left).await?;
        left.retain(|fetch_id, _| !entered.contains(fetch_id));
    }
    let left: Vec<Entry> = left.into_values().collect();
    if !left.is_empty() {
        tracing::warn!(
            "{} fetches were interrupted after their rows were stored; the ledger knows of them now",
            left.len()
        );
        let adds = file::write(&coverage.files(), "", &records::coverage(&left)?).await?;
        coverage.commit(Change { adds, marks, ..Change::default() }).await?;
    } else if behind {
        coverage.commit(Change { marks, ..Change::default() }).await?;
    }
    Ok(left)
}

async fn entered(coverage: &Table, wanted: &BTreeMap<String, Entry>) -> Result<HashSet<String>> {
    let mut found = HashSet::new();
    read::rows(&coverage.files(), &["fetch_id"], &Windows::of(Window::ALL), |rows| {
        found
            .extend(text(&rows, "fetch_id")?.iter().flatten().filter(|id| wanted.contains_key(*id)).map(str::to_owned));
        Ok(())
    })
    .await?;
    Ok(found)
}
