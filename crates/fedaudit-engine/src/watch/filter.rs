//! What is watched for: a condition on rows of `events`, tried on every row, and given to the products as far as they can
//! filter.

use std::sync::Arc;

use datafusion::arrow::array::{AsArray as _, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::{DFSchema, DataFusionError};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::prelude::{SessionConfig, SessionContext};
use fedaudit_core::rows::EVENTS;
use fedaudit_core::{Error, ErrorKind, Result};

use crate::engine::from_datafusion;
use crate::filters::Asked;
use crate::reader::internal;

#[derive(Debug)]
pub(crate) struct Filter {
    /// What of it sources can be told.
    pub(crate) asked: Asked,
    condition: Option<Arc<dyn PhysicalExpr>>,
}

impl Filter {
    /// Reads a condition as it would stand behind WHERE; none keeps everything.
    pub(crate) fn of(sql: Option<&str>) -> Result<Self> {
        let wrong = |error: DataFusionError| from_datafusion(&error);
        let Some(sql) = sql else {
            return Ok(Self { asked: Asked::of(&[], &["time"], "time").map_err(wrong)?, condition: None });
        };
        let mut config = SessionConfig::new();
        config.options_mut().sql_parser.dialect = datafusion::config::Dialect::PostgreSQL;
        config.options_mut().execution.time_zone = Some("UTC".to_owned());
        let mut context = SessionContext::new_with_config(config);
        crate::functions::register(&mut context).map_err(wrong)?;
        let schema = DFSchema::try_from_qualified_schema("events", &EVENTS.schema()).map_err(wrong)?;
        let condition = context.parse_sql_expr(sql, &schema).map_err(wrong)?;
        let physical = context.create_physical_expr(condition.clone(), &schema).map_err(wrong)?;
        if physical.data_type(schema.as_arrow()).map_err(wrong)? != DataType::Boolean {
            return Err(Error::new(ErrorKind::Config, format!("'{sql}' is no condition"))
                .hint("write what would stand behind WHERE: action = 'auth.login' AND outcome = 'failure'"));
        }
        let asked = Asked::of(&[unqualified(condition)?], &["time"], "time").map_err(wrong)?;
        Ok(Self { asked, condition: Some(physical) })
    }

    /// The columns of the rows that it is tried on.
    pub(crate) fn schema() -> SchemaRef {
        EVENTS.schema()
    }

    /// The rows for which it holds.
    pub(crate) fn keep(&self, rows: RecordBatch) -> Result<RecordBatch> {
        let Some(condition) = &self.condition else { return Ok(rows) };
        let wrong = |error: DataFusionError| from_datafusion(&error);
        let holds = condition.evaluate(&rows).and_then(|holds| holds.into_array(rows.num_rows())).map_err(wrong)?;
        filter_record_batch(&rows, holds.as_boolean()).map_err(internal)
    }
}

/// Columns by their bare names, as a plan hands filters to a table.
fn unqualified(condition: datafusion::logical_expr::Expr) -> Result<datafusion::logical_expr::Expr> {
    use datafusion::common::Column;
    use datafusion::common::tree_node::{Transformed, TreeNode as _};
    use datafusion::logical_expr::Expr;
    let bare = condition.transform(|expr| {
        Ok(match expr {
            Expr::Column(column) => Transformed::yes(Expr::Column(Column::new_unqualified(column.name))),
            other => Transformed::no(other),
        })
    });
    bare.map(|bare| bare.data).map_err(|error| from_datafusion(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_as_behind_where() {
        let filter =
            Filter::of(Some("action = 'auth.login' AND source <> 'nas-1' AND ip_in(src_ip, '10.0.0.0/8')")).unwrap();
        assert_eq!(filter.asked.predicates.len(), 1);
        assert!(!filter.asked.admits("source", "nas-1") && filter.asked.admits("source", "vc-1"));
        for wrong in ["user_name", "nobody = 1", "count(*) > 1", "action = ", "action = 'x'; DROP TABLE events"] {
            assert_eq!(Filter::of(Some(wrong)).unwrap_err().kind(), ErrorKind::Config, "{wrong}");
        }
        assert!(Filter::of(None).unwrap().asked.predicates.is_empty());
    }
}
