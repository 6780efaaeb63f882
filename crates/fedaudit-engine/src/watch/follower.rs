//! Follows one stream: waits for new rows where the source can wait, asks again and again where it cannot, and looks back
//! from time to time as far as rows may come late.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::arrow::array::{AsArray as _, BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::TimestampMicrosecondType;
use fedaudit_core::{Cursor, Error, ErrorKind, Next, Page, PageRequest, Predicate, Result, StreamInfo, Time, Window};
use tokio::sync::mpsc;

use super::filter::Filter;
use crate::reader::{Provenance, internal};
use crate::run::Run;

/// How long a source may wait for new rows before it says that there are none.
const WAIT: Duration = Duration::from_secs(15);
/// How far each round looks back, however late rows may come: most come soon.
const NEAR: Duration = Duration::from_secs(30);
/// How often a round looks back all the way.
const SWEEP: Duration = Duration::from_mins(1);
/// No round looks back further.
const FAR: Duration = Duration::from_hours(24);
/// Longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// What a follower tells.
#[derive(Debug)]
pub(super) enum Report {
    /// New rows with all columns of `events`.
    Rows(RecordBatch),
    /// The source answered, and everything was handed over; what lies before this time need not be read again.
    Answered(Time),
    /// Something that is to be known of what was read.
    Note(String),
    /// The source did not answer; it is asked again after this pause.
    Failed(Error, Duration),
    /// The condition cannot be tried on a row.
    Broken(Error),
}

pub(super) struct Follower {
    pub(super) run: Arc<Run>,
    pub(super) asking: usize,
    pub(super) stream: StreamInfo,
    pub(super) filter: Arc<Filter>,
    pub(super) provenance: Provenance,
    pub(super) pushed: Vec<Predicate>,
    /// Pause between two rounds of a source that cannot wait.
    pub(super) every: Duration,
    /// Rows before this are not wanted.
    pub(super) begin: Time,
    /// Keys of the rows that were handed over, for as long as they may come again.
    pub(super) seen: HashMap<String, Time>,
    pub(super) number: usize,
    pub(super) out: mpsc::Sender<(usize, Report)>,
}

/// Where a follower is.
struct Place {
    /// Everything that happened before was read, but for what comes late.
    read_to: Time,
    swept: Option<Instant>,
    cursor: Option<Cursor>,
}

/// Why a round ended early.
enum Trouble {
    Source(Error),
    Condition(Error),
    NobodyListens,
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Source(error)
    }
}

impl Follower {
    /// Follows until nobody listens any more.
    pub(super) async fn follow(mut self) {
        let mut place = Place { read_to: self.begin, swept: None, cursor: None };
        let mut failures = 0;
        loop {
            let pause = match self.round(&mut place).await {
                Ok(pause) => {
                    failures = 0;
                    pause
                }
                Err(Trouble::Source(error)) => {
                    // Where the source was is not known any more: the next round begins before it.
                    place.cursor = None;
                    let pause = pause_after(&error, failures);
                    failures += 1;
                    let error = error.at(format!("{}/{}", self.source(), self.stream.name));
                    if self.tell(Report::Failed(error, pause)).await.is_err() {
                        return;
                    }
                    pause
                }
                Err(Trouble::Condition(error)) => {
                    let _ = self.tell(Report::Broken(error)).await;
                    return;
                }
                Err(Trouble::NobodyListens) => return,
            };
            tokio::time::sleep(pause).await;
        }
    }

    fn source(&self) -> &str {
        &self.run.asking[self.asking].source.name
    }

    /// How late rows may come.
    fn lateness(&self) -> Duration {
        self.stream.lateness.min(FAR) + Duration::from_secs(5)
    }

    /// Reads what is new, and says how long to pause.
    async fn round(&mut self, place: &mut Place) -> Result<Duration, Trouble> {
        let (begun, now) = (Instant::now(), self.run.clock.now());
        let sweeps = place.swept.is_none_or(|swept| swept.elapsed() >= SWEEP);
        if sweeps {
            place.cursor = None;
        }
        let back = if sweeps { self.lateness() } else { self.lateness().min(NEAR) };
        let from = self.begin.max(place.read_to.minus(back));
        let wait = WAIT.min(self.run.options.page_timeout / 2);
        let mut request = PageRequest {
            predicates: self.pushed.clone(),
            follow: self.stream.follow.then_some(wait),
            cursor: place.cursor.take(),
            ..PageRequest::first(&self.stream.name, Window { from: Some(from), to: None })
        };
        let (caught_up, waited) = loop {
            let page = self.run.fetch(&self.run.asking[self.asking], &request).await?;
            let (next, newest) = (page.next.clone(), newest(&page.rows));
            self.hand_over(page).await?;
            match next {
                Next::End(_) => break (true, false),
                Next::More(cursor) if self.stream.follow => {
                    // A busy stream always has more: what is of just now is all there was.
                    let is_new = newest.is_none_or(|newest| newest >= now.minus(NEAR));
                    if is_new {
                        place.cursor = Some(cursor);
                        break (true, begun.elapsed() > wait / 4);
                    }
                    request.cursor = Some(cursor);
                }
                Next::More(cursor) => request.cursor = Some(cursor),
            }
        };
        if sweeps {
            place.swept = Some(begun);
        }
        if caught_up {
            place.read_to = now;
            let from = self.begin.max(now.minus(self.lateness()));
            self.seen.retain(|_, time| *time >= from);
            self.tell(Report::Answered(from)).await?;
        }
        // A source that waited, or brought something, may be asked at once; one that only says so may not.
        let brought = self.stream.follow && place.cursor.is_some() && (waited || begun.elapsed() > self.every);
        Ok(if brought { Duration::ZERO } else { self.every })
    }

    /// Tells of the rows of a page that are wanted and new.
    async fn hand_over(&mut self, page: Page) -> Result<(), Trouble> {
        let rejected = page.rejected.len();
        if let Some(first) = page.rejected.first() {
            let text = format!("{rejected} records could not be decoded, the first: {}", first.reason);
            self.tell(Report::Note(text)).await?;
        }
        for note in page.observed.notes {
            self.tell(Report::Note(note)).await?;
        }
        let rows = self.provenance.add(&page.rows, self.run.clock.now())?;
        let rows = self.filter.keep(rows).map_err(Trouble::Condition)?;
        let rows = self.fresh(&rows)?;
        if rows.num_rows() > 0 {
            self.tell(Report::Rows(rows)).await?;
        }
        Ok(())
    }

    fn fresh(&mut self, rows: &RecordBatch) -> Result<RecordBatch> {
        let missing = || Error::new(ErrorKind::Internal, "events without their key or time");
        let keys = rows.column_by_name("event_key").and_then(|keys| keys.as_string_opt::<i32>()).ok_or_else(missing)?;
        let times = times(rows).ok_or_else(missing)?;
        let mask: BooleanArray = keys
            .iter()
            .zip(times)
            .map(|(key, micros)| {
                let time = Time::from_micros(*micros);
                let is_wanted = time >= self.begin;
                Some(is_wanted && self.seen.insert(key.unwrap_or_default().to_owned(), time).is_none())
            })
            .collect();
        filter_record_batch(rows, &mask).map_err(internal)
    }

    async fn tell(&self, report: Report) -> Result<(), Trouble> {
        self.out.send((self.number, report)).await.map_err(|_| Trouble::NobodyListens)
    }
}

fn times(rows: &RecordBatch) -> Option<&[i64]> {
    Some(rows.column_by_name("time")?.as_primitive_opt::<TimestampMicrosecondType>()?.values())
}

fn newest(rows: &RecordBatch) -> Option<Time> {
    times(rows)?.iter().max().copied().map(Time::from_micros)
}

/// Twice as long after each failure; a refusal is not asked about every second.
fn pause_after(error: &Error, failures: u32) -> Duration {
    if matches!(error.kind(), ErrorKind::Denied | ErrorKind::Unauthenticated | ErrorKind::Config) {
        return LONGEST_PAUSE;
    }
    Duration::from_secs(1 << failures.min(6)).min(LONGEST_PAUSE)
}
