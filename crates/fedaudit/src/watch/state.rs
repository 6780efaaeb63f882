//! The file of a watch that goes on after a restart: a journal of what was shown, written after it was. Whatever ends the
//! program, the next one knows all but what was shown in the last moment.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use fedaudit_core::{Error, ErrorKind, Result};
use fedaudit_engine::{Memory, Note};

use crate::files::file_error;

/// A journal is written anew when it has so many more entries than it needs.
const SUPERFLUOUS: usize = 50_000;

pub(super) struct State {
    path: PathBuf,
    journal: File,
    memory: Memory,
    /// Keys in the journal.
    written: usize,
    /// Held for as long as the program lives.
    _lock: File,
}

impl State {
    /// Opens the file, or begins it, and tells what it remembers.
    pub(super) fn open(path: &Path) -> Result<(Self, Memory)> {
        let lock = lock(path)?;
        let memory = match File::open(path) {
            Ok(file) => read(file).map_err(|error| error.at(path.display()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Memory::default(),
            Err(error) => return Err(file_error(path, &error)),
        };
        let journal = anew(path, &memory).map_err(|error| file_error(path, &error))?;
        let written = memory.len();
        Ok((Self { path: path.to_owned(), journal, memory: memory.clone(), written, _lock: lock }, memory))
    }

    /// Writes down what was shown.
    pub(super) fn add(&mut self, notes: Vec<Note>) -> Result<()> {
        let mut text = Vec::new();
        for note in notes {
            line(&mut text, &note).map_err(|error| file_error(&self.path, &error))?;
            if let Note::Seen { rows, .. } = &note {
                self.written += rows.len();
            }
            self.memory.add(note);
        }
        self.journal.write_all(&text).map_err(|error| file_error(&self.path, &error))?;
        if self.written > self.memory.len() + SUPERFLUOUS {
            self.journal = anew(&self.path, &self.memory).map_err(|error| file_error(&self.path, &error))?;
            self.written = self.memory.len();
        }
        Ok(())
    }
}

fn with(path: &Path, end: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(end);
    name.into()
}

/// Two that wrote one file would forget what the other has shown.
fn lock(path: &Path) -> Result<File> {
    let path = with(path, ".lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|error| file_error(&path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::new(ErrorKind::Config, "another watch uses this file")
            .at(path.display())
            .hint("give each its own --state FILE")),
        Err(TryLockError::Error(error)) => Err(file_error(&path, &error)),
    }
}

fn line(text: &mut Vec<u8>, note: &Note) -> io::Result<()> {
    serde_json::to_writer(&mut *text, note)?;
    text.push(b'\n');
    Ok(())
}

/// A journal of nothing but this, in the place of the old one.
fn anew(path: &Path, memory: &Memory) -> io::Result<File> {
    let mut text = Vec::new();
    memory.notes().iter().try_for_each(|note| line(&mut text, note))?;
    let draft = with(path, ".new");
    let mut file = File::create(&draft)?;
    file.write_all(&text)?;
    file.sync_data()?;
    fs::rename(&draft, path)?;
    Ok(file)
}

/// What a journal says. A last line that is not whole was being written when the program was ended.
fn read(file: File) -> Result<Memory> {
    let mut memory = Memory::default();
    let mut lines = BufReader::new(file);
    let mut text = Vec::new();
    for number in 1.. {
        text.clear();
        let length = lines
            .read_until(b'\n', &mut text)
            .map_err(|error| Error::new(ErrorKind::Config, format!("cannot be read: {error}")))?;
        if length == 0 || !text.ends_with(b"\n") {
            break;
        }
        let note = serde_json::from_slice(&text).map_err(|error| {
            Error::new(ErrorKind::Config, format!("line {number} is none of a watch's state: {error}"))
                .hint("name another file with --state, or remove it to begin anew")
        })?;
        memory.add(note);
    }
    Ok(memory)
}

#[cfg(test)]
mod tests {
    use fedaudit_core::Time;

    use super::*;

    fn seen(key: &str) -> Note {
        Note::Seen { stream: "nas/log".into(), rows: vec![(key.into(), Time::from_micros(7))] }
    }

    #[test]
    fn what_was_noted_is_remembered_and_half_a_line_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("watch.state");
        let (mut state, memory) = State::open(&path).unwrap();
        assert!(memory.is_empty());
        state.add(vec![seen("a"), seen("b")]).unwrap();
        assert!(State::open(&path).err().unwrap().to_string().contains("another watch"));
        let noted = state.memory.clone();
        drop(state);
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"seen\":{\"stream\":\"nas/l").unwrap();
        let (mut state, memory) = State::open(&path).unwrap();
        assert_eq!(memory, noted);
        state.add(vec![seen("c")]).unwrap();
        drop(state);
        assert_eq!(State::open(&path).unwrap().1.len(), 3);
        fs::write(&path, "[[source]]\n").unwrap();
        assert!(State::open(&path).err().unwrap().to_string().contains("line 1 is none"));
    }
}
