//! The mark of a store: which form its tables have. A store of another form is refused before anything is touched.

use fedaudit_core::{Error, ErrorKind, Result};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions};
use serde::{Deserialize, Serialize};

use crate::error::of_place;
use crate::place::Place;

/// The form that this version reads and writes. It is raised when a column changes its meaning or a table its shape.
pub(crate) const FORMAT: u32 = 1;

const MARK: &str = "fedaudit-store.json";

/// What the mark says.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    format: u32,
    made_by: String,
}

/// Whether there is a store, of a form that this version knows.
pub(crate) async fn check(place: &Place) -> Result<bool> {
    let bytes = match place.store().get(&Path::from(MARK)).await {
        Ok(found) => found.bytes().await.map_err(|error| of_place(&error))?,
        Err(object_store::Error::NotFound { .. }) => return Ok(false),
        Err(error) => return Err(of_place(&error)),
    };
    let mark: Mark = serde_json::from_slice(&bytes).map_err(|error| {
        Error::new(ErrorKind::Malformed, format!("{MARK} cannot be read: {error}"))
            .hint("it says which form the tables have; restore it from a copy of the store")
    })?;
    match mark.format {
        FORMAT => Ok(true),
        newer if newer > FORMAT => Err(Error::new(
            ErrorKind::Unsupported,
            format!("the store has form {newer} and was made by {}; this version knows form {FORMAT}", mark.made_by),
        )
        .hint("use that version or a later one; nothing was changed")),
        older => Err(Error::new(
            ErrorKind::Unsupported,
            format!("the store has form {older} and was made by {}; this version writes form {FORMAT}", mark.made_by),
        )
        .hint("its files stay readable by that version and by any reader of Delta tables; collect into a new place")),
    }
}

/// Makes a store where there is nothing yet.
pub(crate) async fn mark(place: &Place) -> Result<()> {
    let store = place.store();
    let there = store.list_with_delimiter(None).await.map_err(|error| of_place(&error))?;
    let foreign = there
        .common_prefixes
        .iter()
        .map(ToString::to_string)
        .chain(there.objects.iter().map(|object| object.location.to_string()))
        .find(|name| !name.ends_with(crate::lock::FILE));
    if let Some(foreign) = foreign {
        return Err(Error::new(ErrorKind::Config, format!("is no store of fedaudit, but there is '{foreign}' in it"))
            .hint("name a place that is empty or does not exist yet"));
    }
    let mark = Mark { format: FORMAT, made_by: concat!("fedaudit ", env!("CARGO_PKG_VERSION")).to_owned() };
    let text =
        serde_json::to_string(&mark).map_err(|error| Error::new(ErrorKind::Internal, format!("{MARK}: {error}")))?;
    let only_new = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    match store.put_opts(&Path::from(MARK), (text + "\n").into(), only_new).await {
        Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => Ok(()),
        Err(error) => Err(of_place(&error)),
    }
}
