//! Exit codes: 0 complete, 1 failed, 2 usage, 3 some part missing.

use std::collections::BTreeMap;
use std::process::ExitCode;

use fedaudit_core::{Error, ErrorKind, Receipt, Status, StreamReceipt};

use crate::cli::Partial;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Nothing is missing, or it may be.
    Complete,
    /// No source answered, or something is missing and may not be.
    Failed,
    /// The question or the configuration is wrong.
    Usage,
    /// Something is missing.
    Partial,
}

impl Exit {
    /// For an error that ended everything.
    pub(crate) fn of_error(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::Config | ErrorKind::NotFound | ErrorKind::Unsupported => Self::Usage,
            _ => Self::Failed,
        }
    }

    /// For an answer.
    pub(crate) fn of_receipt(receipt: &Receipt, partial: Partial) -> Self {
        let mut answered: BTreeMap<&str, bool> = BTreeMap::new();
        for stream in &receipt.streams {
            let failed = matches!(stream.status, Status::Denied | Status::Failed);
            *answered.entry(&stream.source).or_default() |= !failed;
        }
        if !answered.is_empty() && !answered.values().any(|answered| *answered) {
            return Self::Failed;
        }
        Self::missing(!receipt.complete, partial)
    }

    /// For an answer whose reader had enough: what was not read any more is not missed.
    pub(crate) fn of_beginning(receipt: &Receipt, partial: Partial) -> Self {
        Self::missing(receipt.streams.iter().any(is_lacking), partial)
    }

    /// For whatever lacks something or not.
    pub(crate) fn missing(missing: bool, partial: Partial) -> Self {
        match (missing, partial) {
            (false, _) | (true, Partial::Allow) => Self::Complete,
            (true, Partial::Warn) => Self::Partial,
            (true, Partial::Fail) => Self::Failed,
        }
    }
}

/// Whether rows are missing of what was read of a stream; one that was left in the middle by itself lacks nothing.
pub(crate) fn is_lacking(stream: &StreamReceipt) -> bool {
    match stream.status {
        Status::Partial => stream.rejected > 0 || stream.error.is_some(),
        status => !status.is_whole(),
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Complete => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Partial => 3,
        })
    }
}
