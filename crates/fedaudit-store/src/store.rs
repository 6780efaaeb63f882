//! A store for questions: its tables and its ledger as they were at one moment. Needs no lock; a writer may be at work.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use datafusion::catalog::TableProvider;
use datafusion::execution::object_store::ObjectStoreUrl;
use fedaudit_core::{Error, ErrorKind, Result, Time};

use crate::error::taken_away;
use crate::format;
use crate::layout::{
    AMENDMENTS_LAYOUT, COVERAGE_LAYOUT, EVENTS_LAYOUT, IDENTITIES_LAYOUT, REJECTED_LAYOUT, SESSIONS_LAYOUT,
};
use crate::ledger::Ledger;
use crate::place::Place;
use crate::setbacks::Setbacks;
use crate::stored::Stored;
use crate::table::{Files, Table};

/// A store as it was at one moment.
#[derive(Debug)]
pub struct Store {
    ledger: Ledger,
    tables: Vec<(&'static str, Files)>,
    number: u64,
}

impl Store {
    /// Opens a store. `now` bounds what can be sealed.
    pub async fn open(place: &Place, now: Time) -> Result<Self> {
        Self::open_tables(place, now).await.map_err(|error| error.at(place))
    }

    async fn open_tables(place: &Place, now: Time) -> Result<Self> {
        static OPENED: AtomicU64 = AtomicU64::new(0);
        if !format::check(place).await? {
            return Err(Error::new(ErrorKind::NotFound, "there is no store yet").hint("'fedaudit collect' makes one"));
        }
        // The ledger first: what it speaks of was committed before it, and is seen by whoever looks later.
        let layouts = [
            &COVERAGE_LAYOUT,
            &EVENTS_LAYOUT,
            &SESSIONS_LAYOUT,
            &REJECTED_LAYOUT,
            &AMENDMENTS_LAYOUT,
            &IDENTITIES_LAYOUT,
        ];
        let mut tables = Vec::new();
        let mut setbacks = Setbacks::default();
        for layout in layouts {
            // A store that was being made when its maker was killed has some tables only: they are empty.
            let table = Table::open(place, layout).await?;
            if let Some(coverage) = table.as_ref().filter(|table| table.name() == COVERAGE_LAYOUT.name()) {
                setbacks = Setbacks::load(coverage).await?;
            }
            let files = match table {
                Some(table) => table.files(),
                None => Files { layout, store: place.store_of(layout.name()), list: Arc::default() },
            };
            tables.push((layout.name(), files));
        }
        let coverage = &tables[0].1;
        if coverage.list.is_empty() && tables.iter().any(|(_, files)| !files.list.is_empty()) {
            // It is made before the others: by now it is there, unless somebody took it away.
            Table::open(place, &COVERAGE_LAYOUT).await?.ok_or_else(|| taken_away(COVERAGE_LAYOUT.name()))?;
        }
        Ok(Self { ledger: Ledger::load(coverage, setbacks, now).await?, tables, number: OPENED.fetch_add(1, Relaxed) })
    }

    /// What is covered.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The tables for SQL, with their names.
    pub fn tables(&self) -> Result<Vec<(&'static str, Arc<dyn TableProvider>)>> {
        self.tables
            .iter()
            .map(|(name, files)| {
                let url = ObjectStoreUrl::parse(format!("fedaudit-store://{name}-{}", self.number))
                    .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
                Ok((*name, Arc::new(Stored::new(files.clone(), url)) as Arc<dyn TableProvider>))
            })
            .collect()
    }
}
