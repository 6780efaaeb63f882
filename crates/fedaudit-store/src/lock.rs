//! One writer at a time. In a folder the operating system holds the lock and gives it back when the process ends, however it
//! ends. In an object store there is no such lock: there, of two writers the slower one finds at its next commit that the
//! table has moved on, and stops.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};

use fedaudit_core::{Error, ErrorKind, Result};

use crate::place::Place;

/// Name of the file that is locked; it stays, its content is for people.
pub(crate) const FILE: &str = "writer.lock";

/// Held while a process writes.
#[derive(Debug)]
pub(crate) struct Lock {
    _held: Option<File>,
}

impl Lock {
    /// Takes the lock or says who has it.
    pub(crate) async fn take(place: &Place) -> Result<Self> {
        let Some(folder) = place.as_folder() else { return Ok(Self { _held: None }) };
        let path = folder.join(FILE);
        let folder = folder.to_owned();
        let taken = tokio::task::spawn_blocking(move || -> std::io::Result<std::result::Result<File, String>> {
            std::fs::create_dir_all(&folder)?;
            let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
            match file.try_lock() {
                Ok(()) => {
                    file.set_len(0)?;
                    file.rewind()?;
                    writeln!(file, "process {}", std::process::id())?;
                    crate::durable::clear_aside(&folder)?;
                    Ok(Ok(file))
                }
                Err(TryLockError::WouldBlock) => {
                    let mut holder = String::new();
                    file.read_to_string(&mut holder)?;
                    Ok(Err(holder.trim().to_owned()))
                }
                Err(TryLockError::Error(error)) => Err(error),
            }
        });
        let taken = taken.await.map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        match taken {
            Ok(Ok(file)) => Ok(Self { _held: Some(file) }),
            Ok(Err(holder)) => {
                Err(Error::new(ErrorKind::Unavailable, format!("another collector is at work here ({holder})"))
                    .at(place)
                    .hint("only one may collect into a store at a time; wait for it to end, or stop it"))
            }
            Err(error) => {
                Err(crate::error::of_place(&object_store::Error::Generic { store: "folder", source: error.into() })
                    .at(place))
            }
        }
    }
}
