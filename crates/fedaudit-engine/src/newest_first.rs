//! `ORDER BY time DESC LIMIT n` reads newest pages first, and stops when no later page can hold a row that still counts.
//!
//! The sort stays in the plan, so that the answer does not rest on any order that a product claims. What a product says
//! about its order only decides how early reading can end: the sort publishes the oldest time that still makes the list
//! (DataFusion's dynamic filter), a page says how new later rows can be at most (its frontier).

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, IsNullExpr, Literal};
use datafusion::physical_expr_common::physical_expr::snapshot_physical_expr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, Partitioning, ReplaceChildrenOptions};
use fedaudit_core::Time;

use crate::filters::micros;
use crate::scan::AuditScan;

/// Fewest and most rows that a filter below such a sort gathers.
const BATCH: (usize, usize) = (16, 8192);

/// Tells scans under a limited sort by descending time to read newest pages first.
#[derive(Debug)]
pub(crate) struct NewestFirst;

impl PhysicalOptimizerRule for NewestFirst {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_down(|node: Arc<dyn ExecutionPlan>| {
            let Some(sort) = node.downcast_ref::<SortExec>() else { return Ok(Transformed::no(node)) };
            let first = sort.expr().first();
            let by_time = first.expr.downcast_ref::<Column>().is_some_and(|column| column.name() == "time");
            let Some(wanted) = sort.fetch().filter(|_| by_time && first.options.descending) else {
                return Ok(Transformed::no(node));
            };
            let Some(input) = turned(sort.input(), wanted)? else { return Ok(Transformed::no(node)) };
            let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
            Ok(Transformed::yes(Arc::clone(&node).replace_children(vec![input], options)?))
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "newest_first"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The same plan with its scan turned round, through nodes that neither reorder nor invent rows.
fn turned(plan: &Arc<dyn ExecutionPlan>, wanted: usize) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(scan) = plan.downcast_ref::<AuditScan>() {
        return Ok(scan.newest_first(wanted).map(|scan| Arc::new(scan) as Arc<dyn ExecutionPlan>));
    }
    let passes = plan.downcast_ref::<FilterExec>().is_some()
        || plan.downcast_ref::<ProjectionExec>().is_some()
        || plan.downcast_ref::<CoalescePartitionsExec>().is_some();
    let children = plan.children();
    if plan.downcast_ref::<UnionExec>().is_some() {
        // Beside what is stored: the products' part is turned, whatever the other is.
        let turned = children.iter().map(|child| turned(child, wanted)).collect::<Result<Vec<_>>>()?;
        if turned.iter().all(Option::is_none) {
            return Ok(None);
        }
        let both = turned.into_iter().zip(children).map(|(turned, child)| turned.unwrap_or_else(|| Arc::clone(child)));
        return UnionExec::try_new(both.collect()).map(Some);
    }
    // Spreading one stream over cores reads ahead of the sort; what is wanted fits one core.
    if let (Some(spread), [child]) = (plan.downcast_ref::<RepartitionExec>(), children.as_slice())
        && matches!(spread.partitioning(), Partitioning::RoundRobinBatch(_))
    {
        return turned(child, wanted);
    }
    let (true, [child]) = (passes, children.as_slice()) else { return Ok(None) };
    let Some(child) = turned(child, wanted)? else { return Ok(None) };
    // A filter gathers rows into large batches before it hands them on; the sort has to see them sooner to say enough.
    let node: Arc<dyn ExecutionPlan> = match plan.downcast_ref::<FilterExec>() {
        Some(filter) => Arc::new(filter.with_batch_size(wanted.clamp(BATCH.0, BATCH.1))?),
        None => Arc::clone(plan),
    };
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    Ok(Some(node.replace_children(vec![child], options)?))
}

/// The oldest time that still makes the list: rows at or before it cannot, according to the filters as they are now.
pub(crate) fn threshold(filters: &[Arc<dyn PhysicalExpr>]) -> Option<Time> {
    filters
        .iter()
        .filter_map(|filter| snapshot_physical_expr(Arc::clone(filter)).ok())
        .filter_map(|filter| lower_bound(filter.as_ref()))
        .max()
}

/// A time such that the expression holds for no row at or before it; `None` where nothing follows.
fn lower_bound(expr: &dyn PhysicalExpr) -> Option<Time> {
    let binary = expr.downcast_ref::<BinaryExpr>()?;
    let (left, right) = (binary.left(), binary.right());
    match binary.op() {
        Operator::And => lower_bound(left.as_ref()).max(lower_bound(right.as_ref())),
        // `time` is never NULL, so a branch that asks for NULL holds for no row.
        Operator::Or if is_null(left.as_ref()) => lower_bound(right.as_ref()),
        Operator::Or if is_null(right.as_ref()) => lower_bound(left.as_ref()),
        Operator::Or => Some(lower_bound(left.as_ref())?.min(lower_bound(right.as_ref())?)),
        op @ (Operator::Gt | Operator::GtEq | Operator::Eq) => {
            left.downcast_ref::<Column>().filter(|column| column.name() == "time")?;
            let (floor, _) = micros(right.downcast_ref::<Literal>()?.value())?;
            Some(Time::from_micros(if *op == Operator::Gt { floor } else { floor - 1 }))
        }
        _ => None,
    }
}

fn is_null(expr: &dyn PhysicalExpr) -> bool {
    expr.downcast_ref::<IsNullExpr>()
        .is_some_and(|null| null.arg().downcast_ref::<Column>().is_some_and(|column| column.name() == "time"))
}
