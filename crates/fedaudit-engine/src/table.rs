//! `events` and `sessions` as SQL tables: a filter becomes a window, pushed predicates and a choice of sources.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{ScanArgs, ScanResult, Session, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use fedaudit_core::columns::Table;
use fedaudit_core::rows::{EVENTS, SESSIONS};
use fedaudit_core::{Error, ErrorKind, Predicate, SourceInfo, StreamInfo, StreamKind, Window};

use crate::filters::{Asked, time_bound};
use crate::ledger::Assignment;
use crate::reader::Keep;
use crate::run::Run;
use crate::scan::{AuditScan, Part, ScanPlan, Work, external};
use crate::session_scan::DERIVED;
use crate::sight::{Impossible, impossible, refused_logins};

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

    fn plan(&self, asked: &Asked, window: Window, local: Vec<String>) -> ScanPlan {
        let mut parts = Vec::new();
        for (index, asking) in self.run.asking.iter().enumerate() {
            let info = asking.source.plugin.info();
            let admitted = asked.admits("source", &asking.source.name) && asked.admits("product", &info.product);
            match self.kind {
                StreamKind::Events => {
                    for stream in info.streams.iter().filter(|stream| stream.kind == StreamKind::Events) {
                        if admitted && asked.admits("stream", &stream.name) && !window.is_empty() {
                            let assignment = self.assignment(
                                &asking.source.name,
                                stream,
                                window,
                                window,
                                pushed(stream, asked),
                                asked,
                            );
                            parts.push(Part { asking: index, work: Work::Stream(Box::new(assignment), Keep::Inside) });
                        } else {
                            self.run.ledger.not_asked(&asking.source.name, &stream.name);
                        }
                    }
                }
                StreamKind::Sessions if admitted => {
                    parts.extend(self.session_parts(index, info, asked, window));
                }
                StreamKind::Sessions => {
                    for stream in info.streams.iter().filter(|stream| of_sessions(stream)) {
                        self.run.ledger.not_asked(&asking.source.name, &stream.name);
                    }
                }
            }
        }
        ScanPlan { table: self.table(), parts, local }
    }

    /// A source, product or stream that does not exist is a mistake, not an empty answer.
    fn known(&self, asked: &Asked) -> Result<()> {
        let infos = || self.run.asking.iter().map(|asking| asking.source.plugin.info());
        let streams = infos().flat_map(|info| &info.streams).map(|stream| stream.name.as_str());
        for (column, what, mut known) in [
            ("source", "source is named", self.run.asking.iter().map(|asking| asking.source.name.as_str()).collect()),
            ("product", "source is of product", infos().map(|info| info.product.as_str()).collect::<Vec<_>>()),
            ("stream", "source has a stream", streams.chain([DERIVED]).collect()),
        ] {
            if let Some(name) = asked.named(column).into_iter().find(|name| !known.contains(name)) {
                known.sort_unstable();
                known.dedup();
                let error = Error::new(ErrorKind::Config, format!("no {what} '{name}'"));
                return Err(external(error.hint(format!("configured: {}", known.join(", ")))));
            }
        }
        Ok(())
    }

    fn session_parts(&self, index: usize, info: &SourceInfo, asked: &Asked, window: Window) -> Vec<Part> {
        let name = &self.run.asking[index].source.name;
        let span = window.spanned();
        let (lists, feeds): (Vec<&StreamInfo>, Vec<&StreamInfo>) = info
            .streams
            .iter()
            .filter(|stream| of_sessions(stream))
            .partition(|stream| stream.kind == StreamKind::Sessions);
        if feeds.is_empty() {
            // The product keeps its sessions itself: rows stand for themselves, so conditions on them can go along.
            let part = |stream: &&StreamInfo| {
                let assignment = self.assignment(name, stream, window, span, pushed(stream, asked), asked);
                Part { asking: index, work: Work::Stream(Box::new(assignment), Keep::Overlapping) }
            };
            return lists.iter().map(part).collect();
        }
        // What is not recorded of logins is missing from the sessions made of them, too.
        let told = |stream: &&StreamInfo| {
            let mut stream = (*stream).clone();
            stream.blind_spots.push(refused_logins());
            stream
        };
        // A session of the window may have begun before it, and its end may lie after it.
        let look_back = self.run.options.look_back;
        let read = Window {
            from: span.from.map(|from| from.minus(look_back)),
            to: span.to.map(|to| to.plus(look_back)).filter(|to| *to < self.run.clock.now()),
        };
        // A condition on a session says nothing about each of its events: a logout may lack the address of its login. Only
        // what is no sign of a session at all is left out.
        let feed = |stream: StreamInfo| {
            let signs = stream.pairing.as_ref().map_or_else(Vec::new, |pairing| {
                pairing
                    .opens
                    .iter()
                    .chain(&pairing.closes)
                    .chain(&pairing.restarts)
                    .map(|action| action.as_str())
                    .collect()
            });
            let signs = Predicate::any_of("action", signs);
            let pushed = if stream.can_push(&signs) { vec![signs] } else { Vec::new() };
            let mut assignment = self.assignment(name, &stream, window, read, pushed, asked);
            assignment.sight = asked.sight(&stream, stream.pairing.as_ref().map(|pairing| pairing.opens.as_slice()));
            assignment.look_back_s = look_back.as_secs();
            assignment.notes.push(format!(
                "sessions are rebuilt from events of {} h before to {} h after the window; one that began or ended \
                 further away shows only the end that lies inside",
                look_back.as_secs() / 3600,
                look_back.as_secs() / 3600
            ));
            assignment
        };
        let work = Work::Sessions {
            window,
            lists: lists
                .iter()
                .map(told)
                .map(|stream| self.assignment(name, &stream, window, span, Vec::new(), asked))
                .collect(),
            events: feeds.iter().map(told).map(feed).collect(),
        };
        vec![Part { asking: index, work }]
    }

    fn assignment(
        &self,
        source: &str,
        stream: &StreamInfo,
        asked_window: Window,
        read: Window,
        pushed: Vec<Predicate>,
        asked: &Asked,
    ) -> Assignment {
        Assignment {
            table: self.table().name,
            source: source.to_owned(),
            sight: asked.sight(stream, None),
            stream: stream.clone(),
            asked: asked_window,
            read,
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

    /// Readers bound `events.time` exactly; everything else is looked at by sources and checked again by SQL.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(filters
            .iter()
            .map(|filter| match (self.kind, time_bound(filter)) {
                (StreamKind::Events, Some(("time", _))) => TableProviderFilterPushDown::Exact,
                _ => TableProviderFilterPushDown::Inexact,
            })
            .collect())
    }

    async fn scan_with_args<'a>(&self, _session: &dyn Session, args: ScanArgs<'a>) -> Result<ScanResult> {
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
        let plan = self.plan(&asked, window, local);
        let projection = args.projection().map(<[usize]>::to_vec);
        if plan.parts.is_empty() {
            let schema = match &projection {
                Some(columns) => Arc::new(self.schema().project(columns)?),
                None => self.schema(),
            };
            return Ok(ScanResult::new(Arc::new(EmptyExec::new(schema))));
        }
        Ok(ScanResult::new(Arc::new(AuditScan::new(Arc::clone(&self.run), plan, projection)?)))
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
