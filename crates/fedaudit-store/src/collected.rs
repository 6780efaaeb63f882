//! The store as a question sees it: the files that hold wanted rows are scanned as they are, without a look at each row
//! where a file holds wanted rows only.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Column, DataFusionError, Result as SqlResult, ScalarValue};
use datafusion::logical_expr::utils::{conjunction, disjunction};
use datafusion::logical_expr::{Expr, lit};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;
use fedaudit_core::{Error, Result, Time, Window, Windows};
use fedaudit_engine::{Collected, Coverage, SelectedSource, Selection};

use crate::layout::{AMENDMENTS_LAYOUT, EVENTS_LAYOUT, SESSIONS_LAYOUT};
use crate::read;
use crate::store::Store;
use crate::table::DataFile;

#[async_trait]
impl Collected for Store {
    fn coverage(&self, source_key: &str, stream: &str) -> Coverage {
        self.ledger().of(source_key, stream)
    }

    fn streams(&self) -> Vec<(String, String)> {
        self.ledger().streams().map(|(source_key, stream, _)| (source_key.to_owned(), stream.to_owned())).collect()
    }

    fn scan(
        &self,
        session: &dyn Session,
        selection: &Selection,
        projection: &[usize],
        filters: &[Expr],
    ) -> SqlResult<Option<Arc<dyn ExecutionPlan>>> {
        let (table, files) = self.table(selection.table).map_err(external)?;
        let time = files.layout.time;
        // Files with the same conditions are scanned together: most have none.
        let mut groups: Vec<(Option<Expr>, Vec<DataFile>)> = Vec::new();
        for source in &selection.sources {
            for (name, alone) in self.names_of(&source.source_key) {
                let of_name = |file: &&DataFile| file.source.as_deref() == Some(name);
                for file in files.list.iter().filter(of_name) {
                    let times = if file.timeless { Windows::of(Window::ALL) } else { Windows::of(file.times) };
                    if times.intersect(&selection.windows).is_empty() {
                        continue;
                    }
                    let inside = times.without(&selection.windows).is_empty();
                    let condition = condition(source, alone, (!inside).then_some((time, &selection.windows)));
                    // Its rows bear the name that the source has now.
                    let file = DataFile { source: Some(source.name.clone()), ..file.clone() };
                    match groups.iter_mut().find(|(known, _)| *known == condition) {
                        Some((_, group)) => group.push(file),
                        None => groups.push((condition, vec![file])),
                    }
                }
            }
        }
        let scans = groups.into_iter().map(|(condition, files)| {
            let filter = conjunction(filters.iter().cloned().chain(condition));
            table.scan_files(session, files, projection, filter, None)
        });
        let scans: Vec<Arc<dyn ExecutionPlan>> = scans.filter_map(SqlResult::transpose).collect::<SqlResult<_>>()?;
        if scans.is_empty() { Ok(None) } else { UnionExec::try_new(scans).map(Some) }
    }

    fn tables(&self) -> Result<Vec<(&'static str, Arc<dyn TableProvider>)>> {
        let mut tables = Self::tables(self)?;
        tables.retain(|(name, _)| ![EVENTS_LAYOUT.name(), SESSIONS_LAYOUT.name()].contains(name));
        Ok(tables)
    }

    async fn amendments(&self, source_key: &str, stream: &str, window: Window) -> Result<u64> {
        let (_, files) = self.table(AMENDMENTS_LAYOUT.name())?;
        let mut count = 0;
        read::rows(files, &["source_key", "stream"], &Windows::of(window), |rows| {
            let (keys, streams) = (crate::keys::text(&rows, "source_key")?, crate::keys::text(&rows, "stream")?);
            let of_stream =
                |(key, name): &(Option<&str>, Option<&str>)| *key == Some(source_key) && *name == Some(stream);
            count += keys.iter().zip(streams.iter()).filter(of_stream).count() as u64;
            Ok(())
        })
        .await?;
        Ok(count)
    }
}

/// What tells the wanted rows of a file from others; nothing where it holds no others.
fn condition(source: &SelectedSource, alone: bool, times: Option<(&str, &Windows)>) -> Option<Expr> {
    let column = |name: &str| Expr::Column(Column::from_name(name));
    let of_source = (!alone).then(|| column("source_key").eq(lit(source.source_key.clone())));
    let of_streams = source
        .streams
        .as_ref()
        .map(|streams| column("stream").in_list(streams.iter().map(|stream| lit(stream.clone())).collect(), false));
    let of_times = times.and_then(|(name, windows)| {
        let at = |time: Time| {
            Expr::Literal(ScalarValue::TimestampMicrosecond(Some(time.micros()), Some("UTC".into())), None)
        };
        let inside = |window: Window| {
            let from = window.from.map(|from| column(name).gt_eq(at(from)));
            conjunction(from.into_iter().chain(window.to.map(|to| column(name).lt(at(to)))))
                .unwrap_or_else(|| lit(true))
        };
        disjunction(windows.iter().map(inside).chain([column(name).is_null()]))
    });
    conjunction(of_source.into_iter().chain(of_streams).chain(of_times))
}

fn external(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
