//! Files that an answer goes to. Each is written beside its place and moved there when it is whole, so that a question that
//! fails leaves what was there before.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use fedaudit_core::{Error, ErrorKind, Result};
use tempfile::TempPath;

/// A file on its way to its place. Dropped, it leaves nothing.
#[derive(Debug)]
pub(crate) struct Draft {
    place: PathBuf,
    file: File,
    /// None for what is no file, such as a pipe: it is written to at once.
    part: Option<TempPath>,
}

impl Draft {
    /// Begins a file. What stands at its place stays until [`Draft::keep`].
    pub(crate) fn of(path: &Path) -> Result<Self> {
        Self::begin(path).map_err(|error| file_error(path, &error))
    }

    fn begin(path: &Path) -> io::Result<Self> {
        let place = place(path);
        let there = fs::metadata(&place).ok();
        if there.as_ref().is_some_and(|there| !there.is_file()) {
            let file = OpenOptions::new().write(true).open(&place)?;
            return Ok(Self { place, file, part: None });
        }
        if there.is_some() {
            // Renaming would replace a file that must not be written.
            OpenOptions::new().append(true).open(&place)?;
        }
        let name = place.file_name().ok_or_else(|| io::Error::other("this names no file"))?;
        let mut prefix = OsString::from(".");
        prefix.push(name);
        prefix.push(".");
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(".part");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        let (file, part) = builder.tempfile_in(folder(&place)).map_err(without_path)?.into_parts();
        if let Some(there) = there {
            file.set_permissions(there.permissions())?;
        }
        Ok(Self { place, file, part: Some(part) })
    }

    /// A handle to write with.
    pub(crate) fn writer(&self) -> Result<File> {
        self.file.try_clone().map_err(|error| file_error(&self.place, &error))
    }

    /// Puts the file in its place.
    pub(crate) fn keep(self) -> Result<()> {
        match self.part {
            Some(part) => part.persist(&self.place).map_err(|error| file_error(&self.place, &error.error)),
            None => Ok(()),
        }
    }

    /// Writes a text and puts the file in its place.
    pub(crate) fn keep_text(self, text: &str) -> Result<()> {
        (&self.file).write_all(text.as_bytes()).map_err(|error| file_error(&self.place, &error))?;
        self.keep()
    }
}

/// Whether both are one file: the second written would replace the first. Without a path it is standard output.
pub(crate) fn are_one(output: Option<&Path>, other: &Path) -> bool {
    let output = place(output.unwrap_or(Path::new("/dev/stdout")));
    // Two answers may go to one pipe, or to nowhere.
    let is_file = fs::metadata(&output).map_or(true, |there| there.is_file());
    is_file && output == place(other)
}

/// The file itself: behind links, from the root.
fn place(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| match (fs::canonicalize(folder(path)), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    })
}

/// The error itself: the name of the draft beside the file tells nobody anything.
fn without_path(error: io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|outer| outer.source()?.downcast_ref::<io::Error>()?.raw_os_error());
    inner.map_or(error, io::Error::from_raw_os_error)
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// An error of the file system, with the file.
pub(crate) fn file_error(path: &Path, error: &io::Error) -> Error {
    Error::new(ErrorKind::Config, error.to_string()).at(path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_stays_until_the_new_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answer.csv");
        fs::write(&path, "old").unwrap();
        let draft = Draft::of(&path).unwrap();
        draft.writer().unwrap().write_all(b"half").unwrap();
        drop(draft);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        Draft::of(&path).unwrap().keep_text("new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(Draft::of(&folder.path().join("nowhere/answer.csv")).is_err());
        assert!(Draft::of(folder.path()).is_err());
    }

    #[test]
    fn one_file_under_two_names_is_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("./b/../a"));
        fs::create_dir(folder.path().join("b")).unwrap();
        assert!(are_one(Some(&a), &b));
        fs::write(&a, "").unwrap();
        assert!(are_one(Some(&a), &b));
        assert!(!are_one(Some(&a), &folder.path().join("c")));
        assert!(!are_one(Some(Path::new("/dev/null")), Path::new("/dev/null")));
    }
}
