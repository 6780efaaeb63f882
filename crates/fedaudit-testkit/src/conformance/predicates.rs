//! Random conditions on a column, and what they mean: the judge of what sources push down.

use std::collections::BTreeSet;

use fedaudit_core::{Operator, Predicate, Value};

use super::reading::{Cell, Reading};
use crate::random::Random;

/// Texts that products treat in ways of their own: wildcards, quotes, operators of query languages.
const ODD: &[&str] = &[
    "*",
    "%",
    "_",
    "?",
    "",
    " ",
    "\\",
    "\"",
    "'",
    "a*",
    "null",
    "NULL",
    "true",
    "0",
    "a OR b",
    ".*",
    "no-such-value",
    "(",
    "é",
];

/// A random condition on a column of a stream that holds these rows.
pub(crate) fn random(random: &mut Random, rows: &Reading, column: &str, operator: Operator) -> Predicate {
    let cells: BTreeSet<Cell> = rows.column(column).into_iter().flatten().collect();
    let cells: Vec<Cell> = cells.into_iter().collect();
    let count = match operator {
        Operator::In | Operator::NotIn => 1 + random.index(3),
        _ => 1,
    };
    let values = (0..count).map(|_| value(random, &cells)).collect();
    Predicate { column: column.to_owned(), operator, values }
}

fn value(random: &mut Random, cells: &[Cell]) -> Value {
    if cells.is_empty() {
        return Value::Text(random.pick(ODD).to_owned());
    }
    match &cells[random.index(cells.len())] {
        Cell::Bool(value) => Value::Bool(*value != random.chance(0.2)),
        Cell::Int(value) => Value::Int(value + random.range(-1, 2)),
        Cell::Text(text) => Value::Text(match random.index(10) {
            0 => random.pick(ODD).to_owned(),
            1 => text.to_uppercase(),
            2 => text.to_lowercase(),
            3 => text.chars().take(3).collect(),
            4 => format!("{text}*"),
            5 => format!("{text} "),
            _ => text.clone(),
        }),
    }
}

/// Whether a cell satisfies a condition. NULL satisfies none.
pub(crate) fn holds(predicate: &Predicate, cell: Option<&Cell>) -> bool {
    let Some(cell) = cell else { return false };
    let compared = |value: &Value| match (cell, value) {
        (Cell::Bool(cell), Value::Bool(value)) => Some(cell.cmp(value)),
        (Cell::Int(cell), Value::Int(value)) => Some(cell.cmp(value)),
        (Cell::Text(cell), Value::Text(value)) => Some(cell.as_str().cmp(value)),
        _ => None,
    };
    let first = predicate.values.first();
    let order = first.and_then(compared);
    match predicate.operator {
        Operator::In => predicate.values.iter().any(|value| compared(value).is_some_and(std::cmp::Ordering::is_eq)),
        Operator::NotIn => !predicate.values.iter().any(|value| compared(value).is_some_and(std::cmp::Ordering::is_eq)),
        Operator::Less => order.is_some_and(std::cmp::Ordering::is_lt),
        Operator::LessOrEqual => order.is_some_and(std::cmp::Ordering::is_le),
        Operator::Greater => order.is_some_and(std::cmp::Ordering::is_gt),
        Operator::GreaterOrEqual => order.is_some_and(std::cmp::Ordering::is_ge),
        Operator::StartsWith => match (cell, first) {
            (Cell::Text(cell), Some(Value::Text(value))) => cell.starts_with(value.as_str()),
            _ => false,
        },
    }
}

/// Keys of the rows that satisfy every condition.
pub(crate) fn matching(rows: &Reading, predicates: &[Predicate]) -> BTreeSet<String> {
    let columns: Vec<Vec<Option<Cell>>> = predicates.iter().map(|predicate| rows.column(&predicate.column)).collect();
    rows.keys()
        .into_iter()
        .enumerate()
        .filter(|(row, _)| {
            predicates.iter().zip(&columns).all(|(predicate, column)| holds(predicate, column[*row].as_ref()))
        })
        .map(|(_, key)| key)
        .collect()
}
