//! The session documents of the stand-in: the world's, and what tests add, change or remove while it runs.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::records::{SpsSession, World};

/// A document that a test added.
#[derive(Debug, Clone)]
enum Extra {
    Session(Box<SpsSession>),
    Item { start: i64, key: String, text: String },
}

/// One document.
#[derive(Debug, Clone, Copy)]
pub(super) enum Document<'d> {
    Session(&'d SpsSession),
    /// A list item as text, with the start time it is sorted by.
    Item {
        start: i64,
        key: &'d str,
        text: &'d str,
    },
}

impl Document<'_> {
    pub(super) fn start(&self) -> i64 {
        match self {
            Self::Session(session) => session.start,
            Self::Item { start, .. } => *start,
        }
    }

    pub(super) fn key(&self) -> &str {
        match self {
            Self::Session(session) => &session.key,
            Self::Item { key, .. } => key,
        }
    }
}

/// All documents. Numbers are never reused, so that a snapshot goes on showing what it showed.
#[derive(Debug)]
pub(super) struct Data {
    world: Arc<World>,
    extra: Vec<Extra>,
    gone: HashSet<u32>,
    /// Items that tests added below sessions, by key and list.
    details: HashMap<(String, &'static str), Vec<String>>,
    /// Raised with every change.
    pub(super) edition: u64,
}

impl Data {
    pub(super) fn new(world: Arc<World>) -> Self {
        Self { world, extra: Vec::new(), gone: HashSet::new(), details: HashMap::new(), edition: 0 }
    }

    pub(super) fn get(&self, number: u32) -> Document<'_> {
        let base = &self.world.sps.sessions;
        match base.get(number as usize) {
            Some(session) => Document::Session(session),
            None => match &self.extra[number as usize - base.len()] {
                Extra::Session(session) => Document::Session(session),
                Extra::Item { start, key, text } => Document::Item { start: *start, key, text },
            },
        }
    }

    /// Numbers of the documents of now, oldest start first.
    pub(super) fn live(&self) -> Vec<u32> {
        let count = (self.world.sps.sessions.len() + self.extra.len()) as u32;
        let mut numbers: Vec<u32> = (0..count).filter(|number| !self.gone.contains(number)).collect();
        if !self.extra.is_empty() {
            numbers.sort_by(|a, b| {
                let (a, b) = (self.get(*a), self.get(*b));
                (a.start(), a.key()).cmp(&(b.start(), b.key()))
            });
        }
        numbers
    }

    pub(super) fn find(&self, key: &str) -> Option<u32> {
        self.live().into_iter().find(|number| self.get(*number).key() == key)
    }

    pub(super) fn insert(&mut self, session: SpsSession) {
        self.extra.push(Extra::Session(Box::new(session)));
        self.edition += 1;
    }

    pub(super) fn insert_item(&mut self, start: i64, key: &str, text: &str) {
        self.extra.push(Extra::Item { start, key: key.to_owned(), text: text.to_owned() });
        self.edition += 1;
    }

    pub(super) fn insert_detail(&mut self, key: &str, list: &'static str, item: &str) {
        self.details.entry((key.to_owned(), list)).or_default().push(item.to_owned());
    }

    /// Items that tests added below a session.
    pub(super) fn details(&self, key: &str, list: &'static str) -> &[String] {
        self.details.get(&(key.to_owned(), list)).map_or(&[], Vec::as_slice)
    }

    pub(super) fn remove(&mut self, key: &str) {
        if let Some(number) = self.find(key) {
            self.gone.insert(number);
            self.edition += 1;
        }
    }
}
