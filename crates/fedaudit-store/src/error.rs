//! Errors of the libraries below in our words.

use deltalake_core::DeltaTableError;
use deltalake_core::kernel::transaction::TransactionError;
use fedaudit_core::{Error, ErrorKind};

/// An error of the place where the store lives.
pub(crate) fn of_place(error: &object_store::Error) -> Error {
    use object_store::Error as Place;
    let text = flattened(error);
    match error {
        _ if text.contains("NoSuchBucket") => {
            Error::new(ErrorKind::NotFound, text).hint("make the bucket first, or write its name as it is")
        }
        Place::NotFound { .. } => Error::new(ErrorKind::NotFound, text),
        Place::PermissionDenied { .. } => Error::new(ErrorKind::Denied, text)
            .hint("collecting needs the right to write there, asking the right to read"),
        Place::Unauthenticated { .. } => Error::new(ErrorKind::Unauthenticated, text),
        Place::NotSupported { .. } | Place::NotImplemented { .. } => Error::new(ErrorKind::Unsupported, text),
        Place::InvalidPath { .. } | Place::UnknownConfigurationKey { .. } => Error::new(ErrorKind::Config, text),
        _ => of_io(error, text),
    }
}

/// A full disk and a folder that may only be read are told apart from what may pass by itself.
fn of_io(error: &(dyn std::error::Error + 'static), text: String) -> Error {
    let mut cause = Some(error);
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            return match io.kind() {
                std::io::ErrorKind::StorageFull
                | std::io::ErrorKind::QuotaExceeded
                | std::io::ErrorKind::FileTooLarge => Error::new(ErrorKind::Unavailable, text)
                    .hint("there is no room left; nothing that was collected is lost, the rest is collected next time"),
                std::io::ErrorKind::ReadOnlyFilesystem | std::io::ErrorKind::PermissionDenied => {
                    Error::new(ErrorKind::Denied, text)
                        .hint("collecting needs the right to write there, asking the right to read")
                }
                _ => Error::new(ErrorKind::Unavailable, text),
            };
        }
        cause = inner.source();
    }
    Error::new(ErrorKind::Unavailable, text)
}

/// An error of the table format.
pub(crate) fn of_table(error: &DeltaTableError) -> Error {
    match error {
        DeltaTableError::ObjectStore { source }
        | DeltaTableError::Transaction { source: TransactionError::ObjectStore { source } } => of_place(source),
        DeltaTableError::VersionAlreadyExists(_)
        | DeltaTableError::Transaction {
            source:
                TransactionError::MaxCommitAttempts(_)
                | TransactionError::VersionAlreadyExists(_)
                | TransactionError::CommitConflict(_),
        } => taken_over(),
        DeltaTableError::NotATable(text) => Error::new(ErrorKind::NotFound, text.clone()),
        other => of_log(other),
    }
}

/// The list of a table's files cannot be read: because of the place where it lies, or because of what lies there.
fn of_log(error: &DeltaTableError) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        match inner.downcast_ref::<object_store::Error>() {
            Some(object_store::Error::NotFound { .. }) => break,
            Some(place) => return of_place(place),
            None if inner.is::<std::io::Error>() => return of_io(error, flattened(error)),
            None => cause = inner.source(),
        }
    }
    of_file(error)
}

/// Somebody else wrote to a table of which this process is the only writer.
pub(crate) fn taken_over() -> Error {
    Error::new(ErrorKind::Unavailable, "another collector wrote to this store meanwhile").hint(
        "only one may collect into a store at a time; nothing is lost, start this one again when the other has ended",
    )
}

/// A table that was there once.
pub(crate) fn taken_away(table: &str) -> Error {
    Error::new(
        ErrorKind::Malformed,
        format!("table {table} of the store is missing, although others that are made after it are there"),
    )
    .hint("restore it from a copy of the store; nothing was changed")
}

/// A file that is no Parquet file, or rows that do not fit their table.
pub(crate) fn of_file(error: impl std::error::Error) -> Error {
    Error::new(ErrorKind::Malformed, flattened(&error))
        .hint(
        "a file of the store is damaged or missing, or was written by something else: restore it from a copy of the store; \
         nothing was changed",
    )
}

/// An error of Arrow is a defect of ours.
#[expect(clippy::needless_pass_by_value, reason = "fits map_err")]
pub(crate) fn internal(error: arrow_schema::ArrowError) -> Error {
    Error::new(ErrorKind::Internal, error.to_string())
}

/// One line: causes follow their effect, repetitions and line ends left out, and the frames that Delta's kernel appends.
fn flattened(error: &dyn std::error::Error) -> String {
    let said = |error: &dyn std::error::Error| {
        let text = error.to_string();
        text.lines().take_while(|line| !line.trim_start().starts_with("0: ")).collect::<Vec<_>>().join(" ")
    };
    let mut text = said(error);
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = said(inner);
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = inner.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
