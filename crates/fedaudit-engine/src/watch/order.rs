//! Rows of many streams in the order of their times, as far as two seconds of waiting can give it.

use std::time::{Duration, Instant};

use datafusion::arrow::array::{AsArray as _, BooleanArray, RecordBatch};
use datafusion::arrow::compute::{concat_batches, filter_record_batch, sort_to_indices, take_record_batch};
use datafusion::arrow::datatypes::TimestampMicrosecondType;
use fedaudit_core::{Error, ErrorKind, Result, Time};

use crate::reader::internal;

/// How long a row waits for earlier ones of slower streams.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// Rows that wait. All have one schema, that of `events`.
#[derive(Debug, Default)]
pub(crate) struct Order {
    held: Vec<(Instant, RecordBatch)>,
    /// Rows up to this time have been handed out.
    released: Option<Time>,
}

impl Order {
    /// Takes rows, and gives back those that come too late to be in order.
    pub(crate) fn push(&mut self, arrived: Instant, rows: RecordBatch) -> Result<Option<RecordBatch>> {
        let Some(released) = self.released else {
            self.held.push((arrived, rows));
            return Ok(None);
        };
        let (late, others) = split(&rows, |time| time < released)?;
        if others.num_rows() > 0 {
            self.held.push((arrived, others));
        }
        Ok((late.num_rows() > 0).then(|| sorted(&late)).transpose()?)
    }

    /// When rows have waited long enough.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.held.iter().map(|(arrived, _)| *arrived + PATIENCE).min()
    }

    /// The time of the earliest row that waits.
    pub(crate) fn earliest(&self) -> Option<Time> {
        self.held.iter().filter_map(|(_, rows)| times(rows).ok()?.iter().min().copied()).min().map(Time::from_micros)
    }

    /// Rows that have waited long enough, and those that belong before them. `clock` is the time by the clock: a product
    /// whose clock is ahead must not make everybody else late.
    pub(crate) fn take(&mut self, now: Instant, clock: Time) -> Result<Option<RecordBatch>> {
        let waited = self.held.iter().filter(|(arrived, _)| *arrived + PATIENCE <= now);
        let horizon = waited.filter_map(|(_, rows)| times(rows).ok()?.iter().max().copied()).max();
        let Some(horizon) = horizon.map(Time::from_micros) else { return Ok(None) };
        let mut ready = Vec::new();
        for (arrived, rows) in std::mem::take(&mut self.held) {
            let (due, others) = split(&rows, |time| time <= horizon)?;
            ready.push(due);
            if others.num_rows() > 0 {
                self.held.push((arrived, others));
            }
        }
        self.released = self.released.max(Some(horizon.min(clock)));
        let Some(first) = ready.first() else { return Ok(None) };
        sorted(&concat_batches(&first.schema(), &ready).map_err(internal)?).map(Some)
    }
}

fn times(rows: &RecordBatch) -> Result<&[i64]> {
    rows.column_by_name("time")
        .and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>())
        .map(|times| &times.values()[..])
        .ok_or_else(|| Error::new(ErrorKind::Internal, "events without time"))
}

/// The rows for whose times this holds, and the others.
fn split(rows: &RecordBatch, holds: impl Fn(Time) -> bool) -> Result<(RecordBatch, RecordBatch)> {
    let mask: Vec<bool> = times(rows)?.iter().map(|micros| holds(Time::from_micros(*micros))).collect();
    let others: BooleanArray = mask.iter().map(|holds| Some(!holds)).collect();
    let of = |mask| filter_record_batch(rows, mask).map_err(internal);
    Ok((of(&BooleanArray::from(mask))?, of(&others)?))
}

fn sorted(rows: &RecordBatch) -> Result<RecordBatch> {
    let times = rows.column_by_name("time").ok_or_else(|| Error::new(ErrorKind::Internal, "events without time"))?;
    let indices = sort_to_indices(times, None, None).map_err(internal)?;
    take_record_batch(rows, &indices).map_err(internal)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::TimestampMicrosecondArray;

    use super::*;

    fn rows(micros: &[i64]) -> RecordBatch {
        let times = TimestampMicrosecondArray::from(micros.to_vec()).with_timezone("UTC");
        RecordBatch::try_from_iter([("time", Arc::new(times) as _)]).unwrap()
    }

    fn seen(rows: Option<RecordBatch>) -> Vec<i64> {
        rows.map(|rows| times(&rows).unwrap().to_vec()).unwrap_or_default()
    }

    #[test]
    fn rows_wait_for_earlier_ones_and_what_comes_later_is_late() {
        let (mut order, begun) = (Order::default(), Instant::now());
        let at = |seconds: f64| begun + Duration::from_secs_f64(seconds);
        let clock = Time::from_micros(1000);
        assert!(order.push(at(0.0), rows(&[30, 10])).unwrap().is_none());
        assert!(order.push(at(1.0), rows(&[20, 40])).unwrap().is_none());
        assert_eq!(seen(order.take(at(1.9), clock).unwrap()), [] as [i64; 0]);
        assert_eq!(order.due(), Some(at(2.0)));
        assert_eq!(order.earliest(), Some(Time::from_micros(10)));
        // Whatever belongs before what is due comes with it, however short it has waited.
        assert_eq!(seen(order.take(at(2.0), clock).unwrap()), [10, 20, 30]);
        assert_eq!(seen(order.push(at(2.1), rows(&[50, 15])).unwrap()), [15]);
        assert_eq!(seen(order.take(at(3.0), clock).unwrap()), [40]);
        assert_eq!(seen(order.take(at(9.0), clock).unwrap()), [50]);
        assert_eq!(order.due(), None);
    }

    #[test]
    fn a_clock_that_is_ahead_makes_nobody_late() {
        let (mut order, begun) = (Order::default(), Instant::now());
        order.push(begun, rows(&[5_000])).unwrap();
        assert_eq!(seen(order.take(begun + PATIENCE, Time::from_micros(100)).unwrap()), [5_000]);
        assert!(order.push(begun + PATIENCE, rows(&[101])).unwrap().is_none());
        assert_eq!(seen(order.push(begun + PATIENCE, rows(&[99])).unwrap()), [99]);
    }
}
