//! One run of pages over a part of a stream's window, and how a long run is shared out.
//!
//! A stream is read by one run at first: a small answer costs no request more than it needs. When a page says how far it has
//! come and much is left, the rest is cut into parts that are read at the same time; whenever a run ends, another one gives
//! half of its rest away. So dense stretches are cut finely and quiet ones are not, and nothing has to be known beforehand.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use datafusion::arrow::array::{BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use fedaudit_core::{Cursor, EndReason, Error, ErrorKind, PageRequest, Result, Time, Window};

use crate::reader::{internal, keys};

/// Records may come twice where two pages meet, never further apart: a plugin that starts over inside a stream skips by
/// its own cursor. So the keys of this many pages are enough, and memory does not grow with the data.
const PAGES_REMEMBERED: usize = 4;

/// From here on the size of a page is the plugin's choice.
const LARGE_PAGE: usize = 2000;

/// One run of pages.
#[derive(Debug)]
pub(crate) struct Chain {
    /// Asks for the next page.
    pub(crate) request: PageRequest,
    /// The part of the window that this run answers for.
    pub(crate) part: Window,
    /// Where the run began, for the speed at which it proceeds.
    began_at: Time,
    frontier: Option<Time>,
    pages: u32,
    seen: VecDeque<HashSet<u128>>,
}

impl Chain {
    /// A run from the first page of the request's window.
    pub(crate) fn new(request: PageRequest, now: Time) -> Self {
        let part = request.window;
        let began_at = part.to.map_or(now, |to| to.min(now));
        Self { request, part, began_at, frontier: None, pages: 0, seen: VecDeque::new() }
    }

    /// What is certain to have been read: everything later than the frontier.
    pub(crate) fn covered(&self) -> Option<Window> {
        let from = self.frontier?.plus(Duration::from_micros(1));
        Some(Window { from: self.part.from.max(Some(from)), to: self.part.to }).filter(|covered| !covered.is_empty())
    }

    /// Goes on after a page; the reason where the run's part is read to its end, because the rest is another's.
    pub(crate) fn advance(&mut self, cursor: Cursor, frontier: Option<Time>) -> Result<Option<EndReason>> {
        if self.request.cursor.as_ref() == Some(&cursor) {
            return Err(Error::new(ErrorKind::Malformed, "the product keeps sending the same page")
                .hint("stopped instead of reading it forever; rows after it are missing"));
        }
        self.request.cursor = Some(cursor);
        // The first rows did not do: larger pages, up to the plugin's own choice.
        self.request.page_size = self.request.page_size.map(|rows| rows * 4).filter(|rows| *rows < LARGE_PAGE);
        self.frontier = frontier;
        self.pages += 1;
        let read = matches!((frontier, self.part.from), (Some(frontier), Some(from)) if frontier < from);
        Ok(read.then_some(EndReason::PastWindow))
    }

    /// Gives away what others may read meanwhile: with the rest as dense as what was read, nobody gets less than a page.
    pub(crate) fn share(&mut self, idle: usize) -> Vec<Self> {
        let (Some(from), Some(frontier)) = (self.part.from, self.frontier) else { return Vec::new() };
        let rest = frontier.micros().saturating_sub(from.micros());
        let done = self.began_at.micros().saturating_sub(frontier.micros());
        if done <= 0 {
            // Still in what the product sends beyond the window: nothing is known of its density.
            return Vec::new();
        }
        let parts = (rest / (done / i64::from(self.pages.max(1))).max(1)).min(idle as i64 + 1);
        if parts < 2 {
            return Vec::new();
        }
        let edge = |number: i64| Time::from_micros(from.micros() + rest / parts * number);
        let given = (0..parts - 1).rev().map(|number| {
            let window = Window::new(edge(number), edge(number + 1));
            Self::new(PageRequest { window, cursor: None, ..self.request.clone() }, edge(number + 1))
        });
        let given = given.collect();
        self.part.from = Some(edge(parts - 1));
        given
    }

    /// Without the records that the last pages of this run had already.
    pub(crate) fn fresh(&mut self, rows: RecordBatch, key: &str) -> Result<(RecordBatch, usize)> {
        let mut of_page = HashSet::with_capacity(rows.num_rows());
        let mask: BooleanArray = keys(&rows, key)?
            .map(|key| {
                let Some(key) = key else { return Some(true) };
                Some(!self.seen.iter().any(|page| page.contains(&key)) && of_page.insert(key))
            })
            .collect();
        self.seen.push_back(of_page);
        if self.seen.len() > PAGES_REMEMBERED {
            self.seen.pop_front();
        }
        let duplicates = rows.num_rows() - mask.true_count();
        if duplicates == 0 {
            return Ok((rows, 0));
        }
        Ok((filter_record_batch(&rows, &mask).map_err(internal)?, duplicates))
    }
}

/// How many pages of a stream are asked for at once: as many as it allows, half as many when the product asks to slow down,
/// and slowly more again.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Pages at once.
    pub(crate) limit: usize,
    most: usize,
    throttled: u64,
    calm: usize,
}

impl Budget {
    pub(crate) fn new(most: usize) -> Self {
        Self { limit: most.max(1), most: most.max(1), throttled: 0, calm: 0 }
    }

    /// After each page; `throttled` counts how often the product asked to slow down so far.
    pub(crate) fn adapt(&mut self, throttled: u64) {
        if throttled > self.throttled {
            self.throttled = throttled;
            self.limit = (self.limit / 2).max(1);
            self.calm = 0;
            return;
        }
        self.calm += 1;
        if self.calm > 4 * self.limit && self.limit < self.most {
            self.limit += 1;
            self.calm = 0;
        }
    }
}
