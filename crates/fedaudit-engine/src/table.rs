//! `events` and `sessions` as SQL tables: a filter becomes a window, pushed predicates and a choice of sources.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{ScanArgs, ScanResult, Session, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::prelude::{col, lit};
use fedaudit_core::columns::Table;
use fedaudit_core::rows::{EVENTS, SESSIONS};
use fedaudit_core::{Error, ErrorKind, Pairing, Predicate, Side, StreamInfo, StreamKind, Window, Windows};

use crate::collected::{Coverage, SelectedSource, Selection};
use crate::filters::{Asked, time_bound};
use crate::ledger::Assignment;
use crate::listed::{Listed, TELLING};
use crate::reader::Keep;
use crate::run::{Asking, Run, Source};
use crate::scan::{AuditScan, ScanPlan, Work, external};
use crate::seam::{self, Seam};
use crate::session_scan::{DERIVED, Feed, KEPT};
use crate::sight::{Impossible, Sight, impossible, refused_logins};

/// How far apart two states of a session may say that it began.
const STATES_APART: Duration = Duration::from_hours(24);

/// One of the two tables within one question.
#[derive(Debug)]
pub(crate) struct AuditTable {
    run: Arc<Run>,
    kind: StreamKind,
}

impl AuditTable {
    pub(crate) fn new(run: &Arc<Run>, kind: StreamKind) -> Self {
        Self { run: Arc::clone(run), kind }
    }

    fn table(&self) -> &'static Table {
        match self.kind {
            StreamKind::Events => &EVENTS,
            StreamKind::Sessions => &SESSIONS,
        }
    }

    /// What the filters mean. A session overlaps a window when it began before its end and ended after its start, so a
    /// lower bound on either time bounds the window from below, and only a bound on the start does so from above.
    fn asked(&self, filters: &[Expr]) -> Result<Asked> {
        match self.kind {
            StreamKind::Events => Asked::of(filters, &["time"], "time"),
            StreamKind::Sessions => Asked::of(filters, &["start_time", "end_time"], "start_time"),
        }
    }

    fn plan(
        &self,
        session: &dyn Session,
        asked: &Asked,
        window: Window,
        projection: &[usize],
        local: Vec<String>,
    ) -> Result<ScanPlan> {
        let mut parts = Vec::new();
        for (index, asking) in self.run.asking.iter().enumerate() {
            let (source, info) = (&asking.source, asking.source.plugin.info());
            let admitted = asked.admits("source", &source.name) && asked.admits("product", &info.product);
            match self.kind {
                StreamKind::Events => {
                    for stream in info.streams.iter().filter(|stream| stream.kind == StreamKind::Events) {
                        // Whoever has not answered when the answer is known is named here.
                        self.run.ledger.not_asked(&source.name, &stream.name);
                        if admitted && asked.admits("stream", &stream.name) && !window.is_empty() {
                            parts.push(self.events_of(session, index, stream, window, asked)?);
                        }
                    }
                }
                StreamKind::Sessions if admitted => {
                    parts.extend(self.session_parts(session, index, asked, window, projection)?);
                }
                StreamKind::Sessions => {
                    for stream in info.streams.iter().filter(|stream| of_sessions(stream)) {
                        self.run.ledger.not_asked(&source.name, &stream.name);
                    }
                }
            }
        }
        parts.extend(self.not_configured(session, asked, window, projection)?);
        Ok(ScanPlan { table: self.table(), parts, local })
    }

    /// The events of one stream: what is not sealed in the store is read, without what is stored of it already.
    fn events_of(
        &self,
        session: &dyn Session,
        index: usize,
        stream: &StreamInfo,
        window: Window,
        asked: &Asked,
    ) -> Result<Work> {
        let source = &self.run.asking[index].source;
        let assignment = self.assignment(source, stream, window, window, pushed(stream, asked), asked);
        if assignment.live.is_empty() && assignment.sight != Sight::Blind {
            return Ok(Work::Stored(Box::new(assignment)));
        }
        let stored_keys = match self.run.collected().filter(|_| assignment.sight != Sight::Blind) {
            Some(collected) => {
                // Also where the ledger knows nothing yet: rows are stored before it speaks of them. Streams of one source
                // share keys, in the store as well.
                let selection = Selection {
                    table: EVENTS.name,
                    sources: vec![selected(source, None)],
                    windows: assignment.live.clone(),
                };
                let key = self.schema().index_of("event_key")?;
                collected.scan(session, &selection, &[key], &[])?
            }
            None => None,
        };
        Ok(Work::Stream { asking: index, assignment: Box::new(assignment), keep: Keep::Inside, stored_keys })
    }

    /// Streams that are stored and that no configured source has. They belong to the answer only if nothing but the store
    /// is asked: what is not configured any more is not asked about.
    fn not_configured(
        &self,
        session: &dyn Session,
        asked: &Asked,
        window: Window,
        projection: &[usize],
    ) -> Result<Vec<Work>> {
        let mut parts = Vec::new();
        for (source_key, stream, coverage) in seam::not_configured(&self.run, self.table().name) {
            let Coverage { source, product, .. } = &coverage;
            let admitted = asked.admits("source", source)
                && asked.admits("product", product)
                && asked.admits("stream", &stream)
                && !window.is_empty();
            if !admitted {
                continue;
            }
            self.run.ledger.is_not_configured(source, &stream);
            if self.run.side == Some(Side::Stored) {
                let Seam { live, stock } = Seam::of(&self.run, &source_key, &stream, window);
                let assignment = Assignment {
                    table: self.table().name,
                    source: source.clone(),
                    sight: Sight::Clear,
                    stream: StreamInfo::new(&stream, self.kind),
                    asked: window,
                    read: window,
                    live,
                    stock,
                    pushed: Vec::new(),
                    look_back_s: 0,
                    notes: vec!["not configured any more: what it could never show is not known".to_owned()],
                };
                parts.push(match self.kind {
                    StreamKind::Events => Work::Stored(Box::new(assignment)),
                    StreamKind::Sessions if coverage.covered.is_empty() => {
                        // Nothing but lists of what is open now covers no time at all.
                        self.run.ledger.not_asked(source, &stream);
                        continue;
                    }
                    StreamKind::Sessions => {
                        let of = SelectedSource { source_key, name: source.clone(), streams: Some(vec![stream]) };
                        self.listed(session, None, assignment, of, projection)?
                    }
                });
            }
        }
        Ok(parts)
    }

    /// Sessions as their product lists them: the stored states of a stream, and what of it is read live.
    fn listed(
        &self,
        session: &dyn Session,
        asking: Option<usize>,
        assignment: Assignment,
        of: SelectedSource,
        projection: &[usize],
    ) -> Result<Work> {
        // Another state of a session may tell its start a little differently.
        let to = assignment.read.to.map(|to| to.plus(STATES_APART));
        let windows = Windows::of(Window { from: None, to });
        let selection = Selection { table: SESSIONS.name, sources: vec![of], windows };
        let schema = self.schema();
        let telling = TELLING.iter().map(|name| Ok(schema.index_of(name)?)).collect::<Result<Vec<usize>>>()?;
        let more = telling.iter().copied().filter(|column| !projection.contains(column));
        let columns: Vec<usize> = projection.iter().copied().chain(more).collect();
        let scan = |columns: &[usize]| match self.run.collected() {
            Some(collected) => collected.scan(session, &selection, columns, &[]),
            None => Ok(None),
        };
        let (states, rows) = (scan(&telling)?, scan(&columns)?);
        Ok(Work::Listed(Box::new(Listed { asking, assignment, states, rows })))
    }

    /// What is stored of the events that sessions are rebuilt from.
    fn stored_feed(&self, session: &dyn Session, source: &Source, assignment: Assignment) -> Result<Feed> {
        let stored = match (&assignment.stock, self.run.collected()) {
            (Some(_), Some(collected)) => {
                let selection = Selection {
                    table: EVENTS.name,
                    sources: vec![selected(source, Some(vec![assignment.stream.name.clone()]))],
                    windows: Windows::of(assignment.read),
                };
                let schema = EVENTS.schema();
                let kept = KEPT.iter().map(|name| Ok(schema.index_of(name)?)).collect::<Result<Vec<usize>>>()?;
                let signs = signs(&assignment.stream).into_iter().map(lit).collect();
                collected.scan(session, &selection, &kept, &[col("action").in_list(signs, false)])?
            }
            _ => None,
        };
        Ok(Feed { assignment, stored })
    }

    /// The stored events of the answer.
    fn stored_events(
        &self,
        session: &dyn Session,
        asked: &Asked,
        window: Window,
        projection: &[usize],
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(collected) = self.run.collected().filter(|_| !window.is_empty()) else { return Ok(None) };
        let more = seam::not_configured(&self.run, self.table().name);
        let alone = self.run.side == Some(Side::Stored);
        let mut sources: Vec<SelectedSource> = Vec::new();
        for Asking { source, .. } in &self.run.asking {
            let info = source.plugin.info();
            if !asked.admits("source", &source.name) || !asked.admits("product", &info.product) {
                continue;
            }
            let others = !alone && more.iter().any(|(source_key, ..)| *source_key == source.source_key);
            let events = info.streams.iter().filter(|stream| stream.kind == self.kind);
            sources.push(selected(source, others.then(|| events.map(|stream| stream.name.clone()).collect())));
        }
        for (source_key, _, coverage) in more.into_iter().filter(|_| alone) {
            if asked.admits("source", &coverage.source) && !sources.iter().any(|known| known.source_key == source_key) {
                sources.push(SelectedSource { source_key, name: coverage.source, streams: None });
            }
        }
        // SQL's own conditions reach the files by themselves.
        let selection = Selection { table: self.table().name, sources, windows: Windows::of(window) };
        collected.scan(session, &selection, projection, &[])
    }

    /// A source, product or stream that does not exist is a mistake, not an empty answer.
    fn known(&self, asked: &Asked) -> Result<()> {
        let infos = || self.run.asking.iter().map(|asking| asking.source.plugin.info());
        let streams = infos().flat_map(|info| &info.streams).map(|stream| stream.name.as_str());
        let more = seam::not_configured(&self.run, self.table().name);
        let stored = |of: fn(&(String, String, Coverage)) -> &str| more.iter().map(of).collect::<Vec<&str>>();
        let sources = self.run.asking.iter().map(|asking| asking.source.name.as_str());
        for (column, what, mut known, stored) in [
            ("source", "source is named", sources.collect::<Vec<_>>(), stored(|(_, _, coverage)| &coverage.source)),
            (
                "product",
                "source is of product",
                infos().map(|info| info.product.as_str()).collect(),
                stored(|(_, _, coverage)| &coverage.product),
            ),
            ("stream", "source has a stream", streams.chain([DERIVED]).collect(), stored(|(_, stream, _)| stream)),
        ] {
            let alone = self.run.side == Some(Side::Stored);
            if alone {
                known.extend(&stored);
            }
            if let Some(name) = asked.named(column).into_iter().find(|name| !known.contains(name)) {
                known.sort_unstable();
                known.dedup();
                let error = Error::new(ErrorKind::Config, format!("no {what} '{name}'"));
                let hint = if stored.contains(&name) {
                    "the store holds it, but it is not configured: --stored asks the store alone".to_owned()
                } else {
                    format!("{}: {}", if alone { "known" } else { "configured" }, known.join(", "))
                };
                return Err(external(error.hint(hint)));
            }
        }
        Ok(())
    }

    fn session_parts(
        &self,
        session: &dyn Session,
        index: usize,
        asked: &Asked,
        window: Window,
        projection: &[usize],
    ) -> Result<Vec<Work>> {
        let source = &self.run.asking[index].source;
        let info = source.plugin.info();
        let span = window.spanned();
        let (lists, feeds): (Vec<&StreamInfo>, Vec<&StreamInfo>) = info
            .streams
            .iter()
            .filter(|stream| of_sessions(stream))
            .partition(|stream| stream.kind == StreamKind::Sessions);
        if feeds.is_empty() {
            // The product keeps its sessions itself: rows stand for themselves.
            let part = |stream: &&StreamInfo| {
                let mut assignment = self.assignment(source, stream, window, span, pushed(stream, asked), asked);
                if assignment.stock.is_none() || assignment.sight == Sight::Blind {
                    let assignment = Box::new(assignment);
                    return Ok(Work::Stream { asking: index, assignment, keep: Keep::Overlapping, stored_keys: None });
                }
                // A condition may hold for a stored state and not for the one that is true now: all have to be seen.
                assignment.pushed.clear();
                let of = selected(source, Some(vec![stream.name.clone()]));
                self.listed(session, Some(index), assignment, of, projection)
            };
            return lists.iter().map(part).collect();
        }
        // What is not recorded of logins is missing from the sessions made of them, too.
        let told = |stream: &StreamInfo| {
            let mut stream = stream.clone();
            stream.blind_spots.push(refused_logins());
            stream
        };
        let alone = self.run.side == Some(Side::Stored);
        // A session of the window may have begun before it, and its end may lie after it.
        let look_back = self.run.options.look_back;
        let read = Window {
            from: span.from.map(|from| from.minus(look_back)),
            to: span.to.map(|to| to.plus(look_back)).filter(|to| *to < self.run.clock.now()),
        };
        // A condition on a session says nothing about each of its events: a logout may lack the address of its login. Only
        // what is no sign of a session at all is left out.
        let feed = |stream: StreamInfo| {
            let signs = Predicate::any_of("action", signs(&stream));
            let pushed = if stream.can_push(&signs) { vec![signs] } else { Vec::new() };
            let mut assignment = self.assignment(source, &stream, window, read, pushed, asked);
            assignment.sight = asked.sight(&stream, stream.pairing.as_ref().map(|pairing| pairing.opens.as_slice()));
            assignment.look_back_s = look_back.as_secs();
            assignment.notes.push(format!(
                "sessions are rebuilt from events of {} h before to {} h after the window; one that began or ended \
                 further away shows only the end that lies inside",
                look_back.as_secs() / 3600,
                look_back.as_secs() / 3600
            ));
            if alone {
                assignment.notes.push("what is open now was not asked: no session is known to be active".to_owned());
            }
            self.stored_feed(session, source, assignment)
        };
        // What is open now is not in a store.
        let (lists, passed): (Vec<_>, Vec<_>) = lists.into_iter().partition(|_| !alone);
        passed.iter().for_each(|stream| self.run.ledger.not_asked(&source.name, &stream.name));
        let work = Work::Sessions {
            asking: index,
            window,
            lists: lists
                .into_iter()
                .map(told)
                .map(|stream| self.assignment(source, &stream, window, span, Vec::new(), asked))
                .collect(),
            events: feeds.into_iter().map(told).map(feed).collect::<Result<_>>()?,
        };
        Ok(vec![work])
    }

    fn assignment(
        &self,
        source: &Source,
        stream: &StreamInfo,
        asked_window: Window,
        read: Window,
        pushed: Vec<Predicate>,
        asked: &Asked,
    ) -> Assignment {
        let Seam { live, stock } = Seam::of(&self.run, &source.source_key, &stream.name, read);
        Assignment {
            table: self.table().name,
            source: source.name.clone(),
            sight: asked.sight(stream, None),
            stream: stream.clone(),
            asked: asked_window,
            read,
            live,
            stock,
            pushed,
            look_back_s: stream.look_back.as_secs(),
            notes: Vec::new(),
        }
    }
}

/// A word that is in no vocabulary is a mistake, not an empty answer.
fn possible(filters: &[Expr], table: &Table) -> Result<()> {
    let conjuncts: Vec<&Expr> = filters.iter().flat_map(split_conjunction).collect();
    match impossible(&conjuncts, table)? {
        None => Ok(()),
        Some(Impossible { condition, column, words }) => Err(external(
            Error::new(ErrorKind::Config, format!("no row can ever satisfy {condition}"))
                .hint(format!("the words of {column}: {}", words.join(", "))),
        )),
    }
}

fn selected(source: &Source, streams: Option<Vec<String>>) -> SelectedSource {
    SelectedSource { source_key: source.source_key.clone(), name: source.name.clone(), streams }
}

/// The actions that tell of sessions.
fn signs(stream: &StreamInfo) -> Vec<&'static str> {
    stream.pairing.as_ref().map_or_else(Vec::new, |pairing| {
        let Pairing { opens, closes, restarts, .. } = pairing;
        opens.iter().chain(closes).chain(restarts).map(|action| action.as_str()).collect()
    })
}

fn of_sessions(stream: &StreamInfo) -> bool {
    stream.kind == StreamKind::Sessions || stream.pairing.is_some()
}

fn pushed(stream: &StreamInfo, asked: &Asked) -> Vec<Predicate> {
    asked.predicates.iter().filter(|predicate| stream.can_push(predicate)).cloned().collect()
}

#[async_trait]
impl TableProvider for AuditTable {
    fn schema(&self) -> SchemaRef {
        self.table().schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// Readers bound `events.time` exactly; everything else is looked at by sources and checked again by SQL. Beside a
    /// store SQL looks at everything: what it asks is then known to the files.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(filters
            .iter()
            .map(|filter| match (self.kind, time_bound(filter)) {
                (StreamKind::Events, Some(("time", _))) if self.run.collected().is_none() => {
                    TableProviderFilterPushDown::Exact
                }
                _ => TableProviderFilterPushDown::Inexact,
            })
            .collect())
    }

    async fn scan_with_args<'a>(&self, session: &dyn Session, args: ScanArgs<'a>) -> Result<ScanResult> {
        let filters = args.filters().unwrap_or_default();
        let asked = self.asked(filters)?;
        let mut window = asked.window.intersect(&self.run.window);
        if window.from.is_none() && !self.run.all_time {
            let table = self.table().name;
            let Some(default) = &self.run.default_range else {
                return Err(external(
                    Error::new(ErrorKind::Config, format!("the question about {table} has no lower bound in time"))
                        .hint("bound it with --from -7d, or in SQL with time >= now() - interval '7 days'; --all-time reads everything"),
                ));
            };
            window = default.bound(table, window, self.run.as_of);
        }
        self.known(&asked)?;
        possible(filters, self.table())?;
        let local = asked.predicates.iter().map(Predicate::to_string).chain(asked.opaque.iter().cloned()).collect();
        let projection: Vec<usize> =
            args.projection().map_or_else(|| (0..self.table().columns.len()).collect(), <[usize]>::to_vec);
        let plan = self.plan(session, &asked, window, &projection, local)?;
        let stored = match self.kind {
            StreamKind::Events => self.stored_events(session, &asked, window, &projection)?,
            StreamKind::Sessions => None,
        };
        let schema = Arc::new(self.schema().project(&projection)?);
        let live = (!plan.parts.is_empty())
            .then(|| AuditScan::new(Arc::clone(&self.run), plan, projection))
            .transpose()?
            .map(|scan| Arc::new(scan) as Arc<dyn ExecutionPlan>);
        let sides: Vec<Arc<dyn ExecutionPlan>> = stored.into_iter().chain(live).collect();
        if sides.is_empty() {
            return Ok(ScanResult::new(Arc::new(EmptyExec::new(schema))));
        }
        Ok(ScanResult::new(UnionExec::try_new(sides)?))
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let args = ScanArgs::default()
            .with_projection(projection.map(Vec::as_slice))
            .with_filters(Some(filters))
            .with_limit(limit);
        Ok(self.scan_with_args(session, args).await?.into_inner())
    }
}
