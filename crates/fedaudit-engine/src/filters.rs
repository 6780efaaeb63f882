//! What a SQL filter means to sources: a time window, simple predicates, and a choice of sources. Whatever is not
//! understood here stays with SQL, which checks every row again in any case.

use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator as SqlOperator};
use fedaudit_core::{Action, Operator, Predicate, StreamInfo, Time, Value, Window};

use crate::sight::{Admitted, Sight};

/// The parts of a filter.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// The time the filter leaves.
    pub(crate) window: Window,
    /// Conditions on single columns other than the choice of sources.
    pub(crate) predicates: Vec<Predicate>,
    /// Conditions that sources cannot be told.
    pub(crate) opaque: Vec<String>,
    choice: Vec<Predicate>,
    admitted: Admitted,
}

impl Asked {
    /// Takes a conjunction apart. `from_column` bounds the window from below, `to_column` from above.
    pub(crate) fn of(filters: &[Expr], from_columns: &[&str], to_column: &str) -> Result<Self> {
        let conjuncts: Vec<&Expr> = filters.iter().flat_map(split_conjunction).collect();
        let mut asked = Self {
            window: Window::ALL,
            predicates: Vec::new(),
            opaque: Vec::new(),
            choice: Vec::new(),
            admitted: Admitted::of(&conjuncts)?,
        };
        for conjunct in conjuncts {
            asked.add(conjunct, from_columns, to_column);
        }
        Ok(asked)
    }

    /// What a stream can see of rows that match the filter. Rebuilt sessions are about what opened them.
    pub(crate) fn sight(&self, stream: &StreamInfo, opened_by: Option<&[Action]>) -> Sight {
        let spots = stream.blind_spots.iter().map(|spot| spot.predicates.as_slice());
        match opened_by {
            None => self.admitted.sight(spots, &self.predicates),
            Some(opens) => self.admitted.opened_by(opens).sight(spots, &self.predicates),
        }
    }

    fn add(&mut self, expr: &Expr, from_columns: &[&str], to_column: &str) {
        if let Some((column, bound)) = time_bound(expr) {
            let window = match bound {
                Window { from, to: None } if from_columns.contains(&column) => Window { from, to: None },
                Window { from: None, to } if column == to_column => Window { from: None, to },
                both if from_columns.contains(&column) && column == to_column => both,
                _ => return self.opaque.push(expr.to_string()),
            };
            self.window = self.window.intersect(&window);
            return;
        }
        match predicate(expr) {
            Some(predicate) if ["source", "product", "stream"].contains(&predicate.column.as_str()) => {
                self.choice.push(predicate);
            }
            Some(predicate) => self.predicates.push(predicate),
            None => self.opaque.push(expr.to_string()),
        }
    }

    /// The values of a choosing column that are asked for by name.
    pub(crate) fn named(&self, column: &str) -> Vec<&str> {
        let by_name = |predicate: &&Predicate| predicate.column == column && predicate.operator == Operator::In;
        self.choice.iter().filter(by_name).filter_map(Predicate::texts).flatten().collect()
    }

    /// Whether rows with this value in one of the choosing columns can match.
    pub(crate) fn admits(&self, column: &str, value: &str) -> bool {
        self.choice.iter().filter(|predicate| predicate.column == column).all(|predicate| {
            let Some(texts) = predicate.texts() else { return true };
            match predicate.operator {
                Operator::In => texts.contains(&value),
                Operator::NotIn => !texts.contains(&value),
                Operator::StartsWith => texts.iter().any(|prefix| value.starts_with(prefix)),
                _ => true,
            }
        })
    }
}

/// A comparison of a timestamp column with constants, as a half-open window.
pub(crate) fn time_bound(expr: &Expr) -> Option<(&str, Window)> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (column, op, literal) = match (column(left), literal(right)) {
                (Some(column), Some(literal)) => (column, *op, literal),
                _ => (column(right)?, op.swap()?, literal(left)?),
            };
            let (floor, ceil) = micros(literal)?;
            let at = |micros: i64| Some(Time::from_micros(micros));
            let window = match op {
                SqlOperator::GtEq => Window { from: at(ceil), to: None },
                SqlOperator::Gt => Window { from: at(floor + 1), to: None },
                SqlOperator::Lt => Window { from: None, to: at(ceil) },
                SqlOperator::LtEq => Window { from: None, to: at(floor + 1) },
                SqlOperator::Eq => Window { from: at(ceil), to: at(floor + 1) },
                _ => return None,
            };
            Some((column, window))
        }
        Expr::Between(between) if !between.negated => {
            let column = column(&between.expr)?;
            let (_, low) = micros(literal(&between.low)?)?;
            let (high, _) = micros(literal(&between.high)?)?;
            Some((column, Window::new(Time::from_micros(low), Time::from_micros(high + 1))))
        }
        _ => None,
    }
}

fn predicate(expr: &Expr) -> Option<Predicate> {
    let make = |name: &str, operator, values| Some(Predicate { column: name.to_owned(), operator, values });
    match expr {
        Expr::Column(truth) => make(&truth.name, Operator::In, vec![Value::Bool(true)]),
        Expr::Not(inner) => make(column(inner)?, Operator::In, vec![Value::Bool(false)]),
        Expr::BinaryExpr(BinaryExpr { left, op: SqlOperator::Or, right }) => {
            // `a = 1 OR a = 2` is `a IN (1, 2)` to a source.
            let (mut left, right) = (predicate(left)?, predicate(right)?);
            let same = left.column == right.column && left.operator == Operator::In && right.operator == Operator::In;
            left.values.extend(right.values);
            same.then_some(left)
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (column, op, literal) = match (column(left), literal(right)) {
                (Some(column), Some(literal)) => (column, *op, literal),
                _ => (column(right)?, op.swap()?, literal(left)?),
            };
            let operator = match op {
                SqlOperator::Eq => Operator::In,
                SqlOperator::NotEq => Operator::NotIn,
                SqlOperator::Lt => Operator::Less,
                SqlOperator::LtEq => Operator::LessOrEqual,
                SqlOperator::Gt => Operator::Greater,
                SqlOperator::GtEq => Operator::GreaterOrEqual,
                _ => return None,
            };
            make(column, operator, vec![value(literal)?])
        }
        Expr::InList(list) => {
            let values = list.list.iter().map(|item| value(literal(item)?)).collect::<Option<Vec<_>>>()?;
            make(column(&list.expr)?, if list.negated { Operator::NotIn } else { Operator::In }, values)
        }
        Expr::Like(like) if !like.negated && !like.case_insensitive && like.escape_char.is_none() => {
            let Value::Text(pattern) = value(literal(&like.pattern)?)? else { return None };
            let prefix = pattern.strip_suffix('%')?;
            if prefix.is_empty() || prefix.contains(['%', '_', '\\']) {
                return None;
            }
            make(column(&like.expr)?, Operator::StartsWith, vec![Value::Text(prefix.to_owned())])
        }
        _ => None,
    }
}

/// The bare column. A cast may lose what tells rows apart (`CAST(time AS DATE)`), so that nothing follows from it.
fn column(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Column(column) => Some(&column.name),
        _ => None,
    }
}

fn literal(expr: &Expr) -> Option<&ScalarValue> {
    match expr {
        Expr::Literal(value, _) => Some(value),
        _ => None,
    }
}

/// The microsecond at or before an instant, and the one at or after it.
pub(crate) fn micros(value: &ScalarValue) -> Option<(i64, i64)> {
    let exact = |micros: i64| Some((micros, micros));
    match value {
        ScalarValue::TimestampSecond(Some(value), _) => exact(value.checked_mul(1_000_000)?),
        ScalarValue::TimestampMillisecond(Some(value), _) => exact(value.checked_mul(1000)?),
        ScalarValue::TimestampMicrosecond(Some(value), _) => exact(*value),
        ScalarValue::TimestampNanosecond(Some(value), _) => {
            Some((value.div_euclid(1000), -((-value).div_euclid(1000))))
        }
        ScalarValue::Date32(Some(days)) => exact(i64::from(*days) * 86_400_000_000),
        _ => None,
    }
}

fn value(literal: &ScalarValue) -> Option<Value> {
    match literal {
        ScalarValue::Utf8(Some(text)) | ScalarValue::LargeUtf8(Some(text)) | ScalarValue::Utf8View(Some(text)) => {
            Some(Value::Text(text.clone()))
        }
        ScalarValue::Boolean(Some(truth)) => Some(Value::Bool(*truth)),
        ScalarValue::Int8(Some(number)) => Some(Value::Int(i64::from(*number))),
        ScalarValue::Int16(Some(number)) => Some(Value::Int(i64::from(*number))),
        ScalarValue::Int32(Some(number)) => Some(Value::Int(i64::from(*number))),
        ScalarValue::Int64(Some(number)) => Some(Value::Int(*number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::prelude::{col, lit};

    fn at(micros: i64) -> Expr {
        Expr::Literal(ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into())), None)
    }

    fn asked(filter: Expr) -> Asked {
        Asked::of(&[filter], &["time"], "time").unwrap()
    }

    #[test]
    fn ranges_become_a_window() {
        let filter = col("time").gt_eq(at(5)).and(col("time").lt_eq(at(9))).and(col("user_name").eq(lit("ana")));
        let asked = asked(filter);
        assert_eq!(asked.window, Window::new(Time::from_micros(5), Time::from_micros(10)));
        assert_eq!(asked.predicates, [Predicate::any_of("user_name", ["ana"])]);
        assert!(asked.opaque.is_empty());
    }

    #[test]
    fn nanoseconds_never_lose_a_row() {
        let nanos = |value| Expr::Literal(ScalarValue::TimestampNanosecond(Some(value), None), None);
        assert_eq!(asked(col("time").gt(nanos(1500))).window.from, Some(Time::from_micros(2)));
        assert_eq!(asked(col("time").gt_eq(nanos(1500))).window.from, Some(Time::from_micros(2)));
        assert_eq!(asked(col("time").lt(nanos(1500))).window.to, Some(Time::from_micros(2)));
        assert_eq!(asked(col("time").lt_eq(nanos(1500))).window.to, Some(Time::from_micros(2)));
    }

    #[test]
    fn a_cast_bounds_nothing() {
        let day = datafusion::logical_expr::cast(col("time"), datafusion::arrow::datatypes::DataType::Date32);
        let asked = asked(day.eq(Expr::Literal(ScalarValue::Date32(Some(20_000)), None)));
        assert_eq!((asked.window, asked.opaque.len()), (Window::ALL, 1));
    }

    #[test]
    fn what_is_not_understood_stays() {
        let either = col("user_name").eq(lit("ana")).or(col("action").eq(lit("auth.login")));
        let asked = asked(either.and(col("user_name").not_eq(lit("bo"))));
        assert_eq!(asked.opaque.len(), 1);
        assert_eq!(asked.predicates.len(), 1);
    }

    #[test]
    fn sources_are_chosen() {
        let asked = asked(col("source").eq(lit("nas-1")).and(col("product").not_eq(lit("sps"))));
        assert!(asked.admits("source", "nas-1") && !asked.admits("source", "vc-1"));
        assert!(asked.admits("product", "truenas") && !asked.admits("product", "sps"));
    }
}
