//! The log as lists, newest first: of the account, of each user, of each login; and the rows that a page holds.

use std::collections::HashMap;

use super::directory::{READER_ID, READER_LOGIN_ID};
use super::{Extra, Options};
use crate::records::{Canvas, CanvasEvent};

/// One row of the log. Its number falls along a list, as the server's own row ids do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// Index into the world's events.
    World(u32),
    /// Index into the further events.
    Extra(u32),
}

#[derive(Debug)]
pub(super) struct Listings {
    extra: Vec<Extra>,
    /// Every row, newest first; a row's number is the length minus its position.
    all: Vec<Entry>,
    /// Positions in `all`.
    by_user: HashMap<i64, Vec<u32>>,
    by_login: HashMap<i64, Vec<u32>>,
}

/// One list: all rows, or those at some positions.
#[derive(Debug, Clone, Copy)]
pub(super) enum List<'s> {
    All,
    Some(&'s [u32]),
}

impl Listings {
    pub(super) fn new(canvas: &Canvas, options: &Options) -> Self {
        let mut extra = options.extra.clone();
        if options.list_reader
            && let Some(newest) = canvas.events.first()
        {
            let account = canvas.root_account_id;
            extra.push(Extra {
                created_at: newest.created_at,
                json: format!(
                    r#"{{"id":"5e1f0000-0000-4000-8000-000000000001","created_at":"{}","event_type":"login","links":{{"login":{READER_LOGIN_ID},"account":{account},"user":{READER_ID},"page_view":null}}}}"#,
                    super::document::timestamp(newest.created_at)
                ),
            });
        }
        let mut all: Vec<Entry> = (0..canvas.events.len() as u32).map(Entry::World).collect();
        all.extend((0..extra.len() as u32).map(Entry::Extra));
        let time = |entry: &Entry| match entry {
            Entry::World(index) => canvas.events[*index as usize].created_at,
            Entry::Extra(index) => extra[*index as usize].created_at,
        };
        all.sort_by_key(|entry| std::cmp::Reverse(time(entry)));
        let mut by_user: HashMap<i64, Vec<u32>> = HashMap::new();
        let mut by_login: HashMap<i64, Vec<u32>> = HashMap::new();
        for (position, entry) in all.iter().enumerate() {
            if let Entry::World(index) = entry {
                let event = &canvas.events[*index as usize];
                by_user.entry(event.user_id).or_default().push(position as u32);
                by_login.entry(event.login_id).or_default().push(position as u32);
            }
        }
        Self { extra, all, by_user, by_login }
    }

    pub(super) fn of_user(&self, id: i64) -> List<'_> {
        List::Some(self.by_user.get(&id).map_or(&[], Vec::as_slice))
    }

    pub(super) fn of_login(&self, id: i64) -> List<'_> {
        List::Some(self.by_login.get(&id).map_or(&[], Vec::as_slice))
    }

    pub(super) fn row_number(&self, position: usize) -> u64 {
        (self.all.len() - position) as u64
    }

    pub(super) fn extra(&self, index: u32) -> &Extra {
        &self.extra[index as usize]
    }

    pub(super) fn time(&self, position: usize, events: &[CanvasEvent]) -> i64 {
        match self.all[position] {
            Entry::World(index) => events[index as usize].created_at,
            Entry::Extra(index) => self.extra[index as usize].created_at,
        }
    }

    pub(super) fn entry(&self, position: usize) -> Entry {
        self.all[position]
    }

    /// Positions of the next `count` rows of a list, and whether there are more. `skips` holds for a newest part of the
    /// list, the rows before the page; `stops` for an oldest part, the rows that lie outside the asked range.
    pub(super) fn page(
        &self,
        list: List<'_>,
        count: usize,
        skips: impl Fn(usize) -> bool,
        stops: impl Fn(usize) -> bool,
    ) -> (Vec<usize>, bool) {
        let length = match list {
            List::All => self.all.len(),
            List::Some(positions) => positions.len(),
        };
        let position = |index: usize| match list {
            List::All => index,
            List::Some(positions) => positions[index] as usize,
        };
        let (range, more) = cut(length, count, |index| skips(position(index)), |index| stops(position(index)));
        (range.map(position).collect(), more)
    }
}

/// The next `count` of `length` rows, and whether there are more.
pub(super) fn cut(
    length: usize,
    count: usize,
    skips: impl Fn(usize) -> bool,
    stops: impl Fn(usize) -> bool,
) -> (std::ops::Range<usize>, bool) {
    let start = partition(length, skips);
    let end = partition(length, |index| !stops(index)).max(start);
    let taken = (end - start).min(count);
    (start..start + taken, start + taken < end)
}

/// First index for which `holds` is false; it must be true before and false after.
fn partition(length: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, length);
    while low < high {
        let middle = usize::midpoint(low, high);
        if holds(middle) { low = middle + 1 } else { high = middle }
    }
    low
}
