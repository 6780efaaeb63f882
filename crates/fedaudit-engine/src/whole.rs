//! Reads one window of one stream whole, without a question: for somebody who keeps the rows. The page loop, its parallel
//! parts, exact bounds and the receipt are those of a question.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use fedaudit_core::columns::Table;
use fedaudit_core::rows::{EVENTS, SESSIONS};
use fedaudit_core::{
    Direction, Error, ErrorKind, MeterReading, Rejected, Result, StreamKind, StreamReceipt, Time, Window, Windows,
};

use crate::engine::Engine;
use crate::ledger::Assignment;
use crate::reader::{Keep, Provenance, Reader};
use crate::run::Run;
use crate::sight::Sight;

/// One window of one stream that is being read.
pub struct Whole {
    run: Arc<Run>,
    asking: usize,
    reader: Reader,
    provenance: Provenance,
}

/// How reading ended.
#[derive(Clone, Debug)]
pub struct WholeEnd {
    /// What the window rests on.
    pub receipt: StreamReceipt,
    /// The product's clock minus ours, where it was seen.
    pub clock_offset_ms: Option<i64>,
    /// What the wire did.
    pub wire: MeterReading,
}

impl Engine {
    /// Begins to read a window of a stream; nothing is asked before the first rows are. The source stays logged in until
    /// [`Engine::close`].
    pub fn read_whole(&self, source: &str, stream: &str, window: Window) -> Result<Whole> {
        let unknown = |what: &str, name: &str| Error::new(ErrorKind::Config, format!("there is no {what} '{name}'"));
        let asking = self.sources().iter().position(|known| known.name == source);
        let asking = asking.ok_or_else(|| unknown("source", source))?;
        let info = self.sources()[asking].plugin.info();
        let stream = info.stream(stream).ok_or_else(|| unknown("stream", stream).at(source))?;
        let (table, keep): (&'static Table, Keep) = match stream.kind {
            StreamKind::Events => (&EVENTS, Keep::Inside),
            StreamKind::Sessions => (&SESSIONS, Keep::Overlapping),
        };
        let run = Arc::new(self.begin(window));
        let assignment = Assignment {
            table: table.name,
            source: source.to_owned(),
            stream: stream.clone(),
            asked: window,
            read: window,
            live: Windows::of(window),
            stock: None,
            pushed: Vec::new(),
            look_back_s: stream.look_back.as_secs(),
            // What a stream can never show is no reason not to collect the rest.
            sight: Sight::Clear,
            notes: Vec::new(),
        };
        let provenance = Provenance::new(&run, asking, table, None, &stream.name);
        let reader = Reader::new(&run, asking, &assignment, keep, Direction::Any).keeping_rejected();
        Ok(Whole { run, asking, reader, provenance })
    }

    /// Gives back what is held on a source.
    pub async fn close(&self, source: &str) -> Result<()> {
        let run = self.begin(Window::default());
        let Some(asking) = run.asking.iter().find(|asking| asking.source.name == source) else { return Ok(()) };
        asking.source.plugin.close(&run.context(asking)).await.map_err(|error| error.at(source))
    }
}

impl Whole {
    /// Keeps every row, wherever it lies in time: a list of what is open now.
    #[must_use]
    pub fn keeping_everything(mut self) -> Self {
        self.reader = self.reader.keeping_everything();
        self
    }

    /// Stands in every row.
    pub fn fetch_id(&self) -> &str {
        &self.run.fetch_id
    }

    /// When reading began.
    pub fn as_of(&self) -> Time {
        self.run.as_of
    }

    /// The next rows, in the columns of their table; `None` at the end, be it good or bad: the receipt tells.
    pub async fn next(&mut self) -> Option<Result<RecordBatch>> {
        let page = self.reader.next().await.ok().flatten()?;
        Some(self.provenance.add(&page, self.run.clock.now()))
    }

    /// Records that could not be decoded since this was asked last.
    pub fn take_rejected(&mut self) -> Vec<Rejected> {
        self.reader.take_rejected()
    }

    /// Ends reading, at the end of the window or before.
    pub async fn finish(self) -> Result<WholeEnd> {
        let Self { run, asking, reader, .. } = self;
        drop(reader);
        run.in_flight.leave().await;
        let receipt = run.ledger.close(false).pop();
        let receipt = receipt.ok_or_else(|| Error::new(ErrorKind::Internal, "a window without a receipt"))?;
        let asking = &run.asking[asking];
        let clock_offset_ms = run.ledger.clock_offset(&asking.source.name);
        Ok(WholeEnd { receipt, clock_offset_ms, wire: asking.meter.read() })
    }
}

impl std::fmt::Debug for Whole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Whole").field("run", &self.run).finish_non_exhaustive()
    }
}
