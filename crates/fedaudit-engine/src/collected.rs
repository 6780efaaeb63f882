//! What was collected before, as a question sees it. A store implements [`Collected`]; the engine decides what of an answer
//! comes from there and what the products are asked.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result as SqlResult;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use fedaudit_core::{PartReceipt, Result, Side, Time, Window, Windows};

/// Collected rows and the ledger of what they cover, as they were at one moment.
#[async_trait]
pub trait Collected: fmt::Debug + Send + Sync {
    /// What is known of a stream; nothing of one that was never read.
    fn coverage(&self, source_key: &str, stream: &str) -> Coverage;

    /// Every stream that was ever read: identity of the source, stream.
    fn streams(&self) -> Vec<(String, String)>;

    /// The stored rows of a selection in these columns of its table; none if there are none. Rows that the filters exclude
    /// may come all the same.
    fn scan(
        &self,
        session: &dyn Session,
        selection: &Selection,
        projection: &[usize],
        filters: &[Expr],
    ) -> SqlResult<Option<Arc<dyn ExecutionPlan>>>;

    /// The tables besides `events` and `sessions`.
    fn tables(&self) -> Result<Vec<(&'static str, Arc<dyn TableProvider>)>>;

    /// How many rows of a stream in this window came late or were edited at their source since.
    async fn amendments(&self, source_key: &str, stream: &str, window: Window) -> Result<u64>;
}

/// Which stored rows are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// `events` or `sessions`.
    pub table: &'static str,
    /// Of which sources.
    pub sources: Vec<SelectedSource>,
    /// Of which times: `time` of events, `start_time` of sessions. Rows without a time are in every set that is not empty.
    pub windows: Windows,
}

/// A source whose stored rows are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectedSource {
    /// Its stable identity.
    pub source_key: String,
    /// Its name now, which its rows get whatever it was when they were read.
    pub name: String,
    /// Only these streams; none: whatever is stored of it.
    pub streams: Option<Vec<String>>,
}

/// What is known of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Name of the source when it was read last.
    pub source: String,
    /// Its product.
    pub product: String,
    /// The table that its rows are in.
    pub table: String,
    /// Instants that were read to the end.
    pub covered: Windows,
    /// Those of them after which nothing late is expected; the rest is provisional.
    pub sealed: Windows,
    /// Windows in which records could not be decoded: what they were is not known.
    pub rejected: Windows,
    /// Windows that the product had forgotten before they were read.
    pub forgotten: Windows,
    /// The product said last that it keeps nothing older.
    pub retention_floor: Option<Time>,
    /// When it was read last.
    pub read_at: Option<Time>,
    /// Every window that was read to its end, and when.
    pub reads: BTreeSet<(Option<Time>, Option<Time>, Time)>,
}

impl Coverage {
    /// What has to be read of a window: everything that is not sealed.
    pub fn unsealed(&self, window: Window) -> Windows {
        Windows::of(window).without(&self.sealed)
    }

    /// What of a window was read, but may still change.
    pub fn provisional(&self, window: Window) -> Windows {
        self.covered.inside(window).without(&self.sealed)
    }

    /// These windows as parts of a receipt, each with the times at which it was read.
    pub(crate) fn parts(&self, windows: &Windows) -> Vec<PartReceipt> {
        let part = |window: Window| {
            let read = |(from, to, at): &(Option<Time>, Option<Time>, Time)| {
                let read = Window { from: *from, to: *to };
                (!read.intersect(&window).is_empty()).then_some(*at)
            };
            let (first, last) = (self.reads.iter().filter_map(read).min(), self.reads.iter().filter_map(read).max());
            let unknown = self.read_at.unwrap_or_default();
            PartReceipt {
                window,
                side: Side::Stored,
                as_of: last.unwrap_or(unknown),
                first_as_of: first.unwrap_or(unknown),
            }
        };
        windows.iter().map(part).collect()
    }
}
