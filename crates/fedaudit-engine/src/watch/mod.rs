//! Follows the events of all sources as they happen: each stream by a [follower](follower), rows brought into order, and what
//! it takes to go on after a restart.
//!
//! Sessions are not followed: what opens and closes them are events.

mod filter;
mod follower;
mod memory;
mod order;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::arrow::array::{AsArray as _, RecordBatch};
use datafusion::arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use fedaudit_core::rows::EVENTS;
use fedaudit_core::{Error, ErrorKind, Result, StreamKind, Time};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use self::filter::Filter;
use self::follower::{Follower, Report};
pub use self::memory::{Memory, Note};
use self::order::Order;
use crate::engine::{Engine, Question, leave};
use crate::reader::Provenance;
use crate::run::Run;
use crate::sight::Sight;

/// Reports that wait for whoever watches; more of them make the sources wait.
const WAITING: usize = 64;
/// What need not be read any more is noted this often, and not with every answer.
const NOTED_EVERY: Duration = Duration::from_secs(5);

/// How to watch.
#[derive(Clone, Debug)]
pub struct Watching {
    /// A condition on `events`, as behind WHERE.
    pub filter: Option<String>,
    /// Rows before this are not shown, but for streams that are remembered.
    pub from: Time,
    /// Pause between two questions to a source that cannot wait for new rows.
    pub every: Duration,
    /// After so long without a row a stream is called quiet.
    pub quiet_after: Duration,
}

/// Something to show.
#[derive(Debug)]
pub enum News {
    /// New rows with all columns of `events`, in the order of their times; late ones come after rows of later times.
    Rows {
        /// The rows.
        rows: RecordBatch,
        /// Whether later rows were shown already.
        late: bool,
    },
    /// A stream answers, for the first time or again.
    Answers(String),
    /// A stream does not answer; it is asked again after this pause.
    Failed {
        /// `source/stream`
        stream: String,
        /// Why.
        error: Error,
        /// The pause.
        again: Duration,
    },
    /// A stream answers, and has brought no row for a while.
    Quiet {
        /// `source/stream`
        stream: String,
        /// For how long.
        since: Duration,
    },
    /// A stream can never show what is watched for.
    Blind(String),
    /// What is to be known of a stream's rows.
    Remark {
        /// `source/stream`
        stream: String,
        /// The text.
        text: String,
    },
}

/// A watch that is going on. [`Watch::close`] must be called on every way out, it gives back what is held on the products.
pub struct Watch {
    run: Arc<Run>,
    followers: JoinSet<()>,
    reports: mpsc::Receiver<(usize, Report)>,
    streams: Vec<Followed>,
    order: Order,
    quiet_after: Duration,
    /// What is to be told next, and what is to be noted once it was.
    news: VecDeque<(Option<News>, Vec<Note>)>,
    noted: Vec<Note>,
}

/// What is known of a stream.
struct Followed {
    name: String,
    answers: Option<bool>,
    last_row: Instant,
    is_quiet: bool,
    noted: Option<Instant>,
    remarks: Vec<String>,
}

impl Engine {
    /// Follows the events of all sources from now on. What was shown before is in `memory`.
    pub fn watch(&self, watching: &Watching, memory: &Memory) -> Result<Watch> {
        let filter = Arc::new(Filter::of(watching.filter.as_deref())?);
        let run = Arc::new(self.run(&Question::default()));
        let (out, reports) = mpsc::channel(WAITING);
        let mut watch = Watch {
            run: Arc::clone(&run),
            followers: JoinSet::new(),
            reports,
            streams: Vec::new(),
            order: Order::default(),
            quiet_after: watching.quiet_after,
            news: VecDeque::new(),
            noted: Vec::new(),
        };
        for (asking, source) in self.sources().iter().enumerate() {
            let info = source.plugin.info();
            for stream in info.streams.iter().filter(|stream| stream.kind == StreamKind::Events) {
                let asked = &filter.asked;
                let is_wanted = asked.admits("source", &source.name)
                    && asked.admits("product", &info.product)
                    && asked.admits("stream", &stream.name);
                if !is_wanted {
                    continue;
                }
                let name = format!("{}/{}", source.name, stream.name);
                if asked.sight(stream, None) == Sight::Blind {
                    watch.news.push_back((Some(News::Blind(name)), Vec::new()));
                    continue;
                }
                let follower = Follower {
                    run: Arc::clone(&run),
                    asking,
                    stream: stream.clone(),
                    filter: Arc::clone(&filter),
                    provenance: Provenance::new(&run, asking, &EVENTS, None, &stream.name),
                    pushed: asked.predicates.iter().filter(|predicate| stream.can_push(predicate)).cloned().collect(),
                    every: watching.every,
                    begin: memory.from(&name).unwrap_or(watching.from),
                    seen: memory.seen(&name),
                    number: watch.streams.len(),
                    out: out.clone(),
                };
                watch.streams.push(Followed::new(name));
                watch.followers.spawn(follower.follow());
            }
        }
        if watch.streams.is_empty() {
            return Err(Error::new(ErrorKind::Config, "no stream can show what is watched for")
                .hint("'SELECT * FROM streams' lists the streams, 'SELECT * FROM blind_spots' what they cannot show"));
        }
        Ok(watch)
    }
}

impl Watch {
    /// The columns of the rows.
    pub fn schema() -> SchemaRef {
        Filter::schema()
    }

    /// Streams that are followed, as `source/stream`.
    pub fn streams(&self) -> impl Iterator<Item = &str> {
        self.streams.iter().map(|stream| stream.name.as_str())
    }

    /// Waits for something to show. It may be dropped and called again.
    pub async fn next(&mut self) -> Result<News> {
        let mut look = tokio::time::interval(Duration::from_secs(1));
        loop {
            while let Some((news, notes)) = self.news.pop_front() {
                self.noted.extend(notes);
                if let Some(news) = news {
                    return Ok(news);
                }
            }
            let due = self.order.due();
            tokio::select! {
                report = self.reports.recv() => match report {
                    Some((number, report)) => self.take(number, report)?,
                    None => return Err(Error::new(ErrorKind::Internal, "nothing is followed any more")),
                },
                () = until(due) => {
                    if let Some(rows) = self.order.take(Instant::now(), self.run.clock.now())? {
                        self.show(rows, false)?;
                    }
                }
                _ = look.tick() => self.look_for_quiet(),
            }
        }
    }

    /// What is to be remembered of everything that was told. Noted after it was shown, a restart loses nothing; one in between
    /// shows those rows again.
    pub fn notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.noted)
    }

    /// Stops, and gives back what is held on the products.
    pub async fn close(mut self) -> Vec<Error> {
        self.reports.close();
        self.followers.shutdown().await;
        let closed = leave(&self.run).await;
        let told = |error: fedaudit_core::ReceiptError| Error::new(error.error_kind, error.error_text);
        closed.into_iter().flatten().map(told).collect()
    }

    fn take(&mut self, number: usize, report: Report) -> Result<()> {
        let stream = &mut self.streams[number];
        let name = stream.name.clone();
        match report {
            Report::Rows(rows) => {
                stream.last_row = Instant::now();
                stream.is_quiet = false;
                if let Some(late) = self.order.push(Instant::now(), rows)? {
                    self.show(late, true)?;
                }
            }
            Report::Answered(from) => {
                if stream.answers != Some(true) {
                    stream.answers = Some(true);
                    self.news.push_back((Some(News::Answers(name.clone())), Vec::new()));
                }
                if stream.noted.is_none_or(|noted| noted.elapsed() >= NOTED_EVERY) {
                    stream.noted = Some(Instant::now());
                    // What waits to be shown has to be read again after a restart.
                    let from = self.order.earliest().map_or(from, |earliest| from.min(earliest));
                    self.news.push_back((None, vec![Note::From { stream: name, from }]));
                }
            }
            Report::Note(text) => {
                if !stream.remarks.contains(&text) {
                    stream.remarks.push(text.clone());
                    self.news.push_back((Some(News::Remark { stream: name, text }), Vec::new()));
                }
            }
            Report::Failed(error, again) => {
                stream.answers = Some(false);
                self.news.push_back((Some(News::Failed { stream: name, error, again }), Vec::new()));
            }
            Report::Broken(error) => return Err(error),
        }
        Ok(())
    }

    fn show(&mut self, rows: RecordBatch, late: bool) -> Result<()> {
        let notes = seen(&rows)?;
        self.news.push_back((Some(News::Rows { rows, late }), notes));
        Ok(())
    }

    fn look_for_quiet(&mut self) {
        for stream in &mut self.streams {
            let since = stream.last_row.elapsed();
            if stream.answers == Some(true) && !stream.is_quiet && since >= self.quiet_after {
                stream.is_quiet = true;
                self.news.push_back((Some(News::Quiet { stream: stream.name.clone(), since }), Vec::new()));
            }
        }
    }
}

impl Followed {
    fn new(name: String) -> Self {
        Self { name, answers: None, last_row: Instant::now(), is_quiet: false, noted: None, remarks: Vec::new() }
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("streams", &self.streams().collect::<Vec<_>>()).finish_non_exhaustive()
    }
}

/// Keys and times of rows, by stream.
fn seen(rows: &RecordBatch) -> Result<Vec<Note>> {
    let missing = || Error::new(ErrorKind::Internal, "events without their key, time, source or stream");
    let text = |name| rows.column_by_name(name).and_then(|column| column.as_string_opt::<i32>()).ok_or_else(missing);
    let (sources, streams, keys) = (text("source")?, text("stream")?, text("event_key")?);
    let times = rows.column_by_name("time").and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>());
    let times = times.ok_or_else(missing)?;
    let mut seen: BTreeMap<String, Vec<(String, Time)>> = BTreeMap::new();
    for row in 0..rows.num_rows() {
        let stream = format!("{}/{}", sources.value(row), streams.value(row));
        seen.entry(stream).or_default().push((keys.value(row).to_owned(), Time::from_micros(times.value(row))));
    }
    Ok(seen.into_iter().map(|(stream, rows)| Note::Seen { stream, rows }).collect())
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
