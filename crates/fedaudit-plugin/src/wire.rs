//! The JSON that crosses besides rows.

use fedaudit_core::{Error, ErrorKind, Next, Observed, Page, Rejected, Result, Time};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Answer of `start`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Described {
    /// The word in `type = "…"`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
}

/// A page without its rows.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PageRest {
    pub(crate) next: Next,
    #[serde(default)]
    pub(crate) frontier: Option<Time>,
    #[serde(default)]
    pub(crate) observed: Observed,
    #[serde(default)]
    pub(crate) rejected: Vec<Rejected>,
}

impl PageRest {
    pub(crate) fn with(self, rows: arrow_array::RecordBatch) -> Page {
        let Self { next, frontier, observed, rejected } = self;
        Page { rows, next, frontier, observed, rejected }
    }
}

pub(crate) fn json<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::new(ErrorKind::Internal, format!("cannot be written: {error}")))
}

/// Reads what the other side wrote.
pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::new(ErrorKind::Malformed, format!("the plugin's {what} cannot be read: {error}")))
}
