//! What a watch has to remember to go on after a restart where it was: for each stream the time from which it has to be read
//! again, and the keys of the rows from then on that were handed out already.

use std::collections::{BTreeMap, HashMap};

use fedaudit_core::Time;
use serde::{Deserialize, Serialize};

/// What is remembered. Made of [`Note`]s, in any number and order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    streams: BTreeMap<String, Remembered>,
}

#[derive(Clone, Debug, PartialEq)]
struct Remembered {
    from: Time,
    keys: HashMap<String, Time>,
}

/// Something to remember.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Note {
    /// These rows of a stream were handed out: their keys and times.
    Seen {
        /// `source/stream`
        stream: String,
        /// Key and time of each.
        rows: Vec<(String, Time)>,
    },
    /// Nothing of a stream that lies before this is needed any more.
    From {
        /// `source/stream`
        stream: String,
        /// The time.
        from: Time,
    },
}

impl Memory {
    /// Remembers.
    pub fn add(&mut self, note: Note) {
        match note {
            Note::Seen { stream, rows } => {
                let earliest = rows.iter().map(|(_, time)| *time).min().unwrap_or_default();
                let remembered = self.of(stream, earliest);
                remembered.keys.extend(rows);
            }
            Note::From { stream, from } => {
                let remembered = self.of(stream, from);
                remembered.from = from;
                remembered.keys.retain(|_, time| *time >= from);
            }
        }
    }

    fn of(&mut self, stream: String, from: Time) -> &mut Remembered {
        self.streams.entry(stream).or_insert_with(|| Remembered { from, keys: HashMap::new() })
    }

    /// From when a stream has to be read, if anything is remembered of it.
    pub(crate) fn from(&self, stream: &str) -> Option<Time> {
        self.streams.get(stream).map(|remembered| remembered.from)
    }

    /// The rows of a stream that were handed out.
    pub(crate) fn seen(&self, stream: &str) -> HashMap<String, Time> {
        self.streams.get(stream).map(|remembered| remembered.keys.clone()).unwrap_or_default()
    }

    /// Everything as few notes.
    pub fn notes(&self) -> Vec<Note> {
        let notes = self.streams.iter().flat_map(|(stream, Remembered { from, keys })| {
            let rows = keys.iter().map(|(key, time)| (key.clone(), *time)).collect();
            [Note::From { stream: stream.clone(), from: *from }, Note::Seen { stream: stream.clone(), rows }]
        });
        notes.collect()
    }

    /// How many keys are remembered.
    pub fn len(&self) -> usize {
        self.streams.values().map(|remembered| remembered.keys.len()).sum()
    }

    /// Whether no key is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(key: &str, micros: i64) -> Note {
        Note::Seen { stream: "nas/log".into(), rows: vec![(key.into(), Time::from_micros(micros))] }
    }

    #[test]
    fn keys_are_forgotten_with_the_time_before_which_nothing_is_read() {
        let mut memory = Memory::default();
        let from = |micros| Note::From { stream: "nas/log".into(), from: Time::from_micros(micros) };
        for note in [from(10), seen("a", 11), seen("b", 15), seen("a", 11), from(12)] {
            memory.add(note);
        }
        assert_eq!(memory.from("nas/log"), Some(Time::from_micros(12)));
        assert_eq!(memory.seen("nas/log").keys().collect::<Vec<_>>(), ["b"]);
        let mut again = Memory::default();
        memory.notes().into_iter().for_each(|note| again.add(note));
        assert_eq!(again, memory);
        assert_eq!((memory.len(), memory.from("other/log")), (1, None));
    }
}
