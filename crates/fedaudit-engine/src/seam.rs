//! Where the store ends and the products begin: what is sealed is not asked for again, everything else is read live. Of
//! what is stored and not sealed both have rows; there a live row that is stored already is dropped by its key.

use std::sync::Arc;

use fedaudit_core::{PartReceipt, Side, Time, Window, Windows};

use crate::collected::Coverage;
use crate::run::Run;

/// How what is read of one stream is divided.
#[derive(Clone, Debug)]
pub(crate) struct Seam {
    /// To be read from the product.
    pub(crate) live: Windows,
    /// What the store has; none where it is not asked, or knows nothing of the stream.
    pub(crate) stock: Option<Arc<Stock>>,
}

/// What the store has of one stream.
#[derive(Debug)]
pub(crate) struct Stock {
    pub(crate) source_key: String,
    pub(crate) stream: String,
    pub(crate) coverage: Coverage,
    /// Whether nothing else is asked.
    pub(crate) alone: bool,
}

impl Seam {
    /// Divides what is to be read of a stream.
    pub(crate) fn of(run: &Run, source_key: &str, stream: &str, read: Window) -> Self {
        let Some(collected) = run.collected() else { return Self { live: Windows::of(read), stock: None } };
        let coverage = collected.coverage(source_key, stream);
        let alone = run.side == Some(Side::Stored);
        let live = if alone { Windows::NONE } else { coverage.unsealed(read) };
        let known = alone || coverage.read_at.is_some();
        let stock = known.then(|| {
            let (source_key, stream) = (source_key.to_owned(), stream.to_owned());
            Arc::new(Stock { source_key, stream, coverage, alone })
        });
        Self { live, stock }
    }
}

impl Stock {
    /// What of this the store covers, provisional windows included.
    pub(crate) fn covered(&self, asked: Window) -> Windows {
        self.coverage.covered.inside(asked)
    }

    /// What of this is missing although it is covered: records that could not be decoded, where nobody reads them again.
    pub(crate) fn undecoded(&self, asked: Window) -> Windows {
        let relied_on = if self.alone { &self.coverage.covered } else { &self.coverage.sealed };
        self.coverage.rejected.intersect(relied_on).inside(asked)
    }

    /// What of this the product had forgotten before it was collected.
    pub(crate) fn forgotten(&self, asked: Window) -> Windows {
        self.coverage.forgotten.without(&self.coverage.covered).inside(asked)
    }

    /// From when on something may still be added to what these windows hold.
    pub(crate) fn provisional_after(&self, windows: &Windows) -> Option<Time> {
        windows.without(&self.coverage.sealed).iter().next()?.from
    }

    /// These windows as parts of a receipt.
    pub(crate) fn parts(&self, windows: &Windows) -> Vec<PartReceipt> {
        self.coverage.parts(windows)
    }
}

/// Streams that fill this table in the store and that no configured source has: identity of the source, stream, what is
/// known.
pub(crate) fn not_configured(run: &Run, table: &str) -> Vec<(String, String, Coverage)> {
    let Some(collected) = run.collected() else { return Vec::new() };
    let configured = |source_key: &str, stream: &str| {
        run.asking.iter().any(|asking| {
            asking.source.source_key == source_key && asking.source.plugin.info().stream(stream).is_some()
        })
    };
    let known = |(source_key, stream): (String, String)| {
        let coverage = collected.coverage(&source_key, &stream);
        let more = coverage.table == table && !configured(&source_key, &stream);
        more.then_some((source_key, stream, coverage))
    };
    collected.streams().into_iter().filter_map(known).collect()
}
