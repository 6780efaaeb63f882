//! The physical scan: one partition per stream for `events`, one per source for `sessions`. `EXPLAIN` shows for each
//! what it is asked and what stays with SQL.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterPushdownPhase, FilterPushdownPropagation, PushedDown,
};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::{RecordBatchReceiverStreamBuilder, RecordBatchStreamAdapter};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, ReplaceChildrenOptions,
    SendableRecordBatchStream, execute_stream,
};
use fedaudit_core::columns::Table;
use fedaudit_core::{Direction, Order, Predicate, Window};
use futures::{Stream, StreamExt as _};

use crate::ledger::Assignment;
use crate::listed::{self, Listed};
use crate::newest_first::threshold;
use crate::reader::{Keep, Provenance, Reader, keys};
use crate::run::Run;
use crate::session_scan::{self, Feed};
use crate::sight::Sight;

/// What one partition reads.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    /// One stream, page by page.
    Stream {
        /// Index of the source.
        asking: usize,
        assignment: Box<Assignment>,
        keep: Keep,
        /// Keys of what is stored already where the stream is read all the same.
        stored_keys: Option<Arc<dyn ExecutionPlan>>,
    },
    /// One stream of which all that is wanted is stored: only the receipt is written.
    Stored(Box<Assignment>),
    /// One stream of sessions of which some are stored.
    Listed(Box<Listed>),
    /// All that is known of one source's sessions: its lists, and what its events tell.
    Sessions {
        /// Index of the source.
        asking: usize,
        /// The sessions that are wanted overlap it.
        window: Window,
        /// Streams that list sessions.
        lists: Vec<Assignment>,
        /// Streams of events that sessions are rebuilt from.
        events: Vec<Feed>,
    },
}

impl Work {
    fn assignments(&self) -> Vec<&Assignment> {
        match self {
            Self::Stream { assignment, .. } | Self::Stored(assignment) => vec![assignment],
            Self::Listed(listed) => vec![&listed.assignment],
            Self::Sessions { lists, events, .. } => {
                lists.iter().chain(events.iter().map(|feed| &feed.assignment)).collect()
            }
        }
    }
}

/// What a scan of one table reads.
#[derive(Debug)]
pub(crate) struct ScanPlan {
    pub(crate) table: &'static Table,
    pub(crate) parts: Vec<Work>,
    pub(crate) local: Vec<String>,
}

/// The scan of `events` or `sessions`.
#[derive(Clone, Debug)]
pub(crate) struct AuditScan {
    run: Arc<Run>,
    plan: Arc<ScanPlan>,
    projection: Vec<usize>,
    newest_first: Option<usize>,
    dynamic: Vec<Arc<dyn PhysicalExpr>>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl AuditScan {
    pub(crate) fn new(run: Arc<Run>, plan: ScanPlan, projection: Vec<usize>) -> Result<Self> {
        let schema: SchemaRef = Arc::new(Schema::project(&plan.table.schema(), &projection)?);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(plan.parts.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        Ok(Self {
            run,
            plan: Arc::new(plan),
            projection,
            newest_first: None,
            dynamic: Vec::new(),
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    /// The same scan reading newest pages first, where a source can do so, because only so many rows are wanted.
    pub(crate) fn newest_first(&self, wanted: usize) -> Option<Self> {
        let possible = self.plan.parts.iter().any(|part| match part {
            Work::Stream { assignment, keep: Keep::Inside, .. } => reads_newest_first(assignment),
            _ => false,
        });
        possible.then(|| Self { newest_first: Some(wanted), ..self.clone() })
    }

    fn pages(&self, part: usize, context: Arc<TaskContext>) -> impl Stream<Item = Result<RecordBatch>> + Send + use<> {
        let work = self.plan.parts[part].clone();
        let run = Arc::clone(&self.run);
        let (table, projection) = (self.plan.table, self.projection.clone());
        let schema = self.schema();
        let (newest_first, dynamic) = (self.newest_first, self.dynamic.clone());
        async_stream(move |out| async move {
            match work {
                Work::Stream { asking, assignment, keep, stored_keys } => {
                    let wanted = newest_first.filter(|_| reads_newest_first(&assignment));
                    let direction = if newest_first.is_some() { Direction::NewestFirst } else { Direction::Any };
                    let provenance = Provenance::new(&run, asking, table, Some(&projection), &assignment.stream.name);
                    let known = known(stored_keys, context).await?;
                    let mut reader = Reader::new(&run, asking, &assignment, keep, direction).without(known);
                    if let Some(rows) = wanted {
                        reader = reader.beginning_with(rows.clamp(FIRST_PAGE.0, FIRST_PAGE.1));
                    }
                    // An error is in the ledger already: the other streams still answer.
                    while let Ok(Some(page)) = reader.next().await {
                        let rows = provenance.add(&page, run.clock.now()).map_err(external)?;
                        out.send(rows).await;
                        if let (Some(frontier), Some(threshold)) = (reader.frontier(), threshold(&dynamic))
                            && frontier <= threshold
                        {
                            reader.stop();
                        }
                    }
                    Ok(())
                }
                Work::Stored(assignment) => {
                    run.ledger.open(&assignment, run.clock.now());
                    Ok(())
                }
                Work::Listed(listed) => {
                    for rows in listed::read(&run, &listed, &projection, &schema, &context).await? {
                        out.send(rows).await;
                    }
                    Ok(())
                }
                Work::Sessions { asking, window, lists, events } => {
                    let batches =
                        session_scan::read(&run, asking, window, &lists, &events, &projection, &context).await;
                    for rows in batches.map_err(external)? {
                        out.send(rows).await;
                    }
                    Ok(())
                }
            }
        })
    }
}

/// Smallest and largest first page of a stream that is read newest first.
const FIRST_PAGE: (usize, usize) = (100, 1000);

fn reads_newest_first(assignment: &Assignment) -> bool {
    matches!(assignment.stream.order, Order::Either | Order::Descending)
}

/// The keys of stored rows, so that no row comes twice.
async fn known(stored: Option<Arc<dyn ExecutionPlan>>, context: Arc<TaskContext>) -> Result<HashSet<u128>> {
    let mut known = HashSet::new();
    let Some(stored) = stored else { return Ok(known) };
    let mut rows = execute_stream(stored, context)?;
    while let Some(rows) = rows.next().await {
        known.extend(keys(&rows?, "event_key").map_err(external)?.flatten());
    }
    Ok(known)
}

/// Hands batches from a reading future to the stream that drives it: nothing runs ahead of the consumer.
struct Out(tokio::sync::mpsc::Sender<RecordBatch>);

impl Out {
    /// Ends when the batch was taken and the consumer asks for the next one; a consumer that went away ends the future by
    /// dropping it.
    async fn send(&self, rows: RecordBatch) {
        let _ = self.0.send(rows).await;
        // The channel holds one batch; waiting for the room means waiting until it was taken.
        let _ = self.0.reserve().await;
        tokio::task::yield_now().await;
    }
}

fn async_stream<F, W>(work: W) -> impl Stream<Item = Result<RecordBatch>> + Send
where
    W: FnOnce(Out) -> F + Send,
    F: Future<Output = Result<()>> + Send,
{
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let batches = futures::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|rows| (Ok(rows), receiver))
    });
    let worker = futures::stream::once(work(Out(sender))).filter_map(|end| async move { end.err().map(Err) });
    futures::stream::select(batches, worker)
}

/// An error of ours on its way through DataFusion.
pub(crate) fn external(error: fedaudit_core::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

fn list(predicates: &[Predicate]) -> String {
    predicates.iter().map(Predicate::to_string).collect::<Vec<_>>().join(" AND ")
}

impl DisplayAs for AuditScan {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuditScan: table={}, partitions={}", self.plan.table.name, self.plan.parts.len())?;
        if self.newest_first.is_some() {
            f.write_str(", reading=newest_first")?;
        }
        if !self.dynamic.is_empty() {
            let filters: Vec<String> = self.dynamic.iter().map(ToString::to_string).collect();
            write!(f, ", stops_by=[{}]", filters.join(", "))?;
        }
        for assignment in self.plan.parts.iter().flat_map(Work::assignments) {
            let Assignment { source, stream, read, live, stock, pushed, .. } = assignment;
            write!(f, "\n      {source}/{}: ", stream.name)?;
            if assignment.sight == Sight::Blind {
                f.write_str("not read, it can never show what is asked")?;
                continue;
            }
            write!(f, "window={read} on {}", stream.time_field)?;
            if let Some(stock) = stock {
                write!(f, ", stored=[{}], live=[{live}]", stock.covered(*read))?;
            }
            write!(f, ", pushed=[{}]", list(pushed))?;
            let local: Vec<&str> = self
                .plan
                .local
                .iter()
                .filter(|text| !pushed.iter().any(|p| p.to_string() == **text))
                .map(String::as_str)
                .collect();
            write!(f, ", local=[{}]", local.join(" AND "))?;
        }
        Ok(())
    }
}

impl ExecutionPlan for AuditScan {
    fn name(&self) -> &'static str {
        "AuditScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for filter in &self.dynamic {
            if visit(filter)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    /// Keeps the filters that a limited sort publishes while it runs; the parents go on checking them.
    fn handle_child_pushdown_result(
        &self,
        phase: FilterPushdownPhase,
        result: ChildPushdownResult,
        _config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        let count = result.parent_filters.len();
        let answer = FilterPushdownPropagation::with_parent_pushdown_result(vec![PushedDown::No; count]);
        if phase != FilterPushdownPhase::Post || count == 0 {
            return Ok(answer);
        }
        let mut scan = self.clone();
        scan.dynamic.extend(result.parent_filters.into_iter().map(|filter| filter.filter));
        Ok(answer.with_updated_node(Arc::new(scan)))
    }

    fn execute(&self, part: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let metrics = BaselineMetrics::new(&self.metrics, part);
        let pages = self.pages(part, context).inspect(move |rows| {
            if let Ok(rows) = rows {
                metrics.record_output(rows.num_rows());
            }
        });
        if self.newest_first.is_some() {
            // Whether another page is needed is known only when the sort has seen this one: read as asked.
            let stream = RecordBatchStreamAdapter::new(self.schema(), Box::pin(pages));
            return Ok(make_cooperative(Box::pin(stream)));
        }
        // Otherwise every stream reads one page ahead, all at once: the slowest source decides, not the sum.
        let mut builder = RecordBatchReceiverStreamBuilder::new(self.schema(), 1);
        let sender = builder.tx();
        builder.spawn(async move {
            let mut pages = std::pin::pin!(pages);
            while let Some(rows) = pages.next().await {
                if sender.send(rows).await.is_err() {
                    break;
                }
            }
            Ok(())
        });
        Ok(make_cooperative(builder.build()))
    }
}
