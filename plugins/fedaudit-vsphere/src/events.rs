//! One page of events. What the cursor holds is enough to start again elsewhere: the collector only saves reading twice.

use std::sync::Arc;

use fedaudit_core::{
    Context, Cursor, Direction, EndReason, EventBuilder, Next, Observed, Page, PageRequest, Rejected, Time, Window,
};

use crate::catalogue::hole;
use crate::collectors::Lease;
use crate::cursor::{Edge, Place, Way};
use crate::fault::Failure;
use crate::filter::Filter;
use crate::normalize::{Position, position};
use crate::record::{Record, Records};
use crate::redact::without_passwords;
use crate::retention::Retention;
use crate::scroll::{self, Read};
use crate::session::Session;
use crate::transcode::Declared;
use crate::wire::Answer;

/// What came of the records of a page.
struct Decoded {
    rows: EventBuilder,
    /// Where the records stand that can be read, whether they are wanted or not.
    read: Vec<Position>,
    rejected: Vec<Rejected>,
    /// What the log says of its own holes.
    holes: Vec<&'static str>,
}

/// Reads the next page for this filter.
pub(crate) async fn read_page(
    cx: &Context,
    session: &Arc<Session>,
    request: &PageRequest,
    filter: &Filter,
) -> Result<Page, Failure> {
    let server = session.content.about.instance_uuid.as_deref();
    let way = match &request.cursor {
        Some(cursor) => Place::read(cursor, server)?.way,
        None if request.direction == Direction::NewestFirst && request.follow.is_none() => {
            Way::Backward { edge: Edge::default(), scrolling: false }
        }
        None => Way::Forward(Edge::default()),
    };
    let retention = session.retention(cx).await?;
    let reader = PageReader { cx, session, request, filter, server, retention };
    match way {
        Way::Forward(edge) => reader.forward(edge).await,
        Way::Backward { edge, scrolling } => reader.backward(edge, scrolling).await,
        Way::Rest { below, edge } => reader.rest(below, edge).await,
    }
}

struct PageReader<'r> {
    cx: &'r Context,
    session: &'r Arc<Session>,
    request: &'r PageRequest,
    filter: &'r Filter,
    server: Option<&'r str>,
    retention: &'r Retention,
}

impl PageReader<'_> {
    fn count(&self) -> usize {
        self.request.page_size.unwrap_or(1000).clamp(1, 1000)
    }

    /// The collector that rests where the cursor stands.
    fn resting(&self) -> Option<Lease> {
        let cursor = self.request.cursor.as_ref()?;
        self.session.collectors.take(&self.address(cursor))
    }

    /// Identifies a collector: its filter, and the cursor that continues it.
    fn address(&self, cursor: &Cursor) -> String {
        format!("{:?} {}", self.filter, cursor.as_str())
    }

    async fn forward(&self, edge: Edge) -> Result<Page, Failure> {
        let (cx, session) = (self.cx, self.session);
        let filter = Filter { begin: self.filter.begin.max(edge.resume()), ..self.filter.clone() };
        let lease = match self.resting() {
            Some(lease) => lease,
            None => scroll::create(cx, session, &filter, scroll::LATEST).await?,
        };
        if let Some(patience) = self.request.follow {
            let answer = scroll::wait(cx, session, &lease, self.count(), &edge, patience).await?;
            return self.page_of(&answer, Way::Forward(edge), lease).await;
        }
        match scroll::forward(cx, session, &lease, &filter, self.count(), &edge).await? {
            Read::Page(answer) => self.page_of(&answer, Way::Forward(edge), lease).await,
            Read::End(answer, doubt) => self.end(&answer, lease, &edge, filter.end, doubt).await,
        }
    }

    /// The latest page first, then what is before it. A collector that was lost is made anew so that it ends at the edge.
    async fn backward(&self, edge: Edge, scrolling: bool) -> Result<Page, Failure> {
        let (cx, session) = (self.cx, self.session);
        let (lease, scrolling) = if let Some(lease) = self.resting() {
            (lease, scrolling)
        } else {
            let filter = Filter { end: earlier(self.filter.end, edge.resume()), ..self.filter.clone() };
            let lease = scroll::create(cx, session, &filter, self.count()).await?;
            let answer = scroll::latest_page(cx, session, &lease).await?;
            if !answer.is_empty() && scroll::brings_news(&answer, &edge)? {
                return self.page_of(&answer, Way::Backward { edge, scrolling: false }, lease).await;
            }
            (lease, false)
        };
        if !scrolling {
            scroll::reset(cx, session, &lease).await?;
        }
        match scroll::backward(cx, session, &lease, self.count(), &edge).await? {
            Read::Page(answer) => self.page_of(&answer, Way::Backward { edge, scrolling: true }, lease).await,
            Read::End(..) => {
                self.destroy(lease).await;
                self.rest(edge, Edge::default()).await
            }
        }
    }

    /// What is older than the oldest event of reading backward: nothing, as a rule, and then the forward way proves it.
    async fn rest(&self, below: Edge, edge: Edge) -> Result<Page, Failure> {
        let (cx, session) = (self.cx, self.session);
        let end = earlier(self.filter.end, below.resume());
        let filter = Filter { begin: self.filter.begin.max(edge.resume()), end, ..self.filter.clone() };
        let lease = match self.resting() {
            Some(lease) => lease,
            None => scroll::create(cx, session, &filter, scroll::LATEST).await?,
        };
        match scroll::forward(cx, session, &lease, &filter, self.count(), &edge).await? {
            Read::Page(answer) => self.page_of(&answer, Way::Rest { below, edge }, lease).await,
            Read::End(answer, doubt) => self.end(&answer, lease, &edge, filter.end, doubt).await,
        }
    }

    /// The rows of an answer, and the cursor behind them.
    async fn page_of(&self, answer: &Answer, mut way: Way, lease: Lease) -> Result<Page, Failure> {
        let mut observed = self.observed(answer);
        if self.request.cursor.is_none() {
            self.tell_of_retention(&mut observed).await?;
        }
        let mut values = answer.values(Declared::Event)?;
        let mut decoded = self.decode(&values, answer.document().len(), &way);
        if !decoded.read.is_sorted() {
            // Pages come in order of creation, except that one product's pages were seen with the newer key first, and that
            // a latest page has no order at all.
            values.sort_by(scroll::place);
            decoded = self.decode(&values, answer.document().len(), &way);
        }
        let Decoded { mut rows, read, rejected, holes } = decoded;
        observed.records = values.len() as u64;
        observed.notes.extend(holes.into_iter().map(str::to_owned));
        let (edge, toward) = way.edge();
        let remembered = edge.seen();
        if values.len() == 0 {
            edge.wait();
        } else {
            edge.advance(toward, read.iter().copied().filter(|at| !remembered.contains(at)));
        }
        if edge.is_stuck() {
            return Err(if read.is_empty() { scroll::unreadable() } else { scroll::stuck() }.into());
        }
        let frontier = way.frontier();
        let cursor = Cursor::new(&Place { server: self.server.map(str::to_owned), way })?;
        lease.rest(&self.address(&cursor));
        Ok(Page { rows: rows.finish()?, next: Next::More(cursor), frontier, observed, rejected })
    }

    fn decode(&self, values: &Records<'_>, bytes: usize, way: &Way) -> Decoded {
        let normalizer = crate::normalizer(self.cx, self.session);
        let seen = way.seen();
        let mut rows = EventBuilder::sized(&self.cx.source_key, values.len(), bytes);
        let (mut read, mut holes) = (Vec::with_capacity(values.len()), Vec::new());
        let decode = |record: Result<Record<'_>, Rejected>| {
            let record = record?;
            let json = record.json;
            let unreadable = |reason| Rejected { raw: without_passwords(json), reason };
            let members = record.members().map_err(unreadable)?;
            let at = position(&members).map_err(unreadable)?;
            read.push(at);
            if !self.request.window.contains(at.created) || seen.contains(&at) {
                return Ok(());
            }
            let hole = members.text("eventTypeId").as_deref().and_then(hole);
            holes.extend(hole.filter(|hole| !holes.contains(hole)));
            normalizer.event(json, &members, at, &mut rows)
        };
        let rejected = values.map(decode).into_iter().filter_map(Result::err).collect();
        Decoded { rows, read, rejected, holes }
    }

    /// The last page. Where the end is in doubt, rows from the edge to the end of what was read may be missing.
    async fn end(
        &self,
        answer: &Answer,
        lease: Lease,
        edge: &Edge,
        end: Option<Time>,
        doubt: Option<&str>,
    ) -> Result<Page, Failure> {
        self.destroy(lease).await;
        let mut page = Page::last(EventBuilder::new(&self.cx.source_key).finish()?, EndReason::EmptyPage);
        page.observed = self.observed(answer);
        if let Some(doubt) = doubt {
            page.observed.notes.push(doubt.to_owned());
            page.observed.gap = Some(Window { from: edge.created.max(self.request.window.from), to: end });
        }
        if self.request.cursor.is_none() {
            self.tell_of_retention(&mut page.observed).await?;
        }
        Ok(page)
    }

    async fn destroy(&self, lease: Lease) {
        self.session.destroy(self.cx, &lease.finish()).await;
    }

    fn observed(&self, answer: &Answer) -> Observed {
        let server_time = answer.server_time();
        let retention_floor = self.retention.floor(server_time);
        Observed { server_time, retention_floor, ..Observed::default() }
    }

    /// Where the server does not say how long it keeps events, the receipt does. A host keeps its log in memory: what is
    /// older than the oldest event there is gone, and nothing else says so.
    async fn tell_of_retention(&self, observed: &mut Observed) -> Result<(), Failure> {
        if !self.session.content.about.is_host() {
            observed.notes.extend(self.retention.note());
            return Ok(());
        }
        let lease = scroll::try_create(self.cx, self.session, &Filter::default()).await?;
        let answer = scroll::read_next(self.cx, self.session, &lease, 1).await?;
        self.destroy(lease).await;
        let oldest =
            answer.values(Declared::Event)?.map(scroll::place).into_iter().flatten().min().map(|at| at.created);
        // No event at all: it was started a moment ago.
        observed.retention_floor = oldest.or(observed.server_time);
        observed.notes.push("an ESXi host keeps events in memory only: those before its oldest one are gone".into());
        Ok(())
    }
}

fn earlier(a: Option<Time>, b: Option<Time>) -> Option<Time> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
