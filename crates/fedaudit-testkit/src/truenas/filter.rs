//! The filter language of audit queries as SQL sees it: text compared as text, patterns searched anywhere, LIKE without
//! regard to case, and NULL matching nothing but itself.

use regex::Regex;
use serde_json::Value as Json;

use super::Regime;
use super::answer::Problem;
use crate::records::TrueNasRecord;

/// A list of conditions that all have to hold.
#[derive(Debug, Default)]
pub(super) struct Filters {
    nodes: Vec<Node>,
    /// Evaluated by the older releases in memory, with an operator language of its own.
    in_memory: bool,
}

#[derive(Debug)]
enum Node {
    Leaf(Leaf),
    /// True as soon as one is.
    Any(Vec<Leaf>),
}

#[derive(Debug)]
struct Leaf {
    field: Field,
    test: Test,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    AuditId,
    MessageTimestamp,
    Address,
    Username,
    Session,
    Service,
    Event,
    Success,
    /// Only in memory, as text of ISO 8601 without a zone.
    Timestamp,
}

#[derive(Debug)]
enum Field {
    Column(Column),
    /// `service_data.…` or `event_data.…`: whether it is event data, and the path.
    Path(bool, Vec<String>),
}

#[derive(Debug)]
enum Test {
    Compare(&'static str, Json),
    OneOf(bool, Vec<Json>),
    Pattern(Regex),
    Begins(String),
    Ends(String),
    Contains(String),
    /// Ignored by the product.
    Nothing,
}

const OPERATORS: [&str; 22] = [
    "=", "!=", ">", ">=", "<", "<=", "~", "in", "nin", "rin", "rnin", "^", "!^", "$", "!$", "C=", "C!=", "C^", "C!^",
    "C$", "C!$", "Cin",
];

impl Filters {
    /// Reads the filters of a query.
    pub(super) fn parse(filters: &[Json], regime: Regime, unknown: Option<&str>) -> Result<Self, Problem> {
        let in_memory = regime == Regime::A && !filters.iter().all(is_plain);
        let leaf = |filter: &Json| {
            if unknown.is_some() && filter.get(1).and_then(Json::as_str) == unknown {
                let text = format!("Invalid operation: {}", unknown.unwrap_or_default());
                return Err(Problem::exception(&text, "ValueError"));
            }
            leaf(filter, regime, in_memory)
        };
        let mut nodes = Vec::new();
        for filter in filters {
            let invalid = || Problem::exception("invalid filter", "ValueError");
            match filter.as_array().map(Vec::as_slice) {
                Some([Json::String(or), Json::Array(branches)]) if or == "OR" => {
                    let leaves = branches.iter().map(leaf).collect::<Result<Vec<_>, _>>()?;
                    match regime {
                        // The branches end up in the same list as everything else.
                        Regime::B => nodes.extend(leaves.into_iter().map(Node::Leaf)),
                        _ => nodes.push(Node::Any(leaves)),
                    }
                }
                Some([_, _, _]) => nodes.push(Node::Leaf(leaf(filter)?)),
                _ => return Err(invalid()),
            }
        }
        Ok(Self { nodes, in_memory })
    }

    /// Whether the rows are filtered and sorted in memory.
    pub(super) fn in_memory(&self) -> bool {
        self.in_memory
    }

    /// Whether a filter looks into the JSON columns.
    pub(super) fn read_json(&self) -> bool {
        let reads = |leaf: &Leaf| matches!(leaf.field, Field::Path(..));
        self.nodes.iter().any(|node| match node {
            Node::Leaf(leaf) => reads(leaf),
            Node::Any(leaves) => leaves.iter().any(reads),
        })
    }

    /// Whether a row is selected, of which these columns are NULL.
    pub(super) fn select(&self, row: &TrueNasRecord, nulls: &[&str]) -> bool {
        self.nodes.iter().all(|node| match node {
            Node::Leaf(leaf) => leaf.holds(row, nulls),
            Node::Any(leaves) => leaves.iter().any(|leaf| leaf.holds(row, nulls)),
        })
    }

    /// First and last `message_timestamp` that can be selected, so that a sorted table need not be walked whole.
    pub(super) fn seconds(&self) -> (i64, i64) {
        let mut bounds = (i64::MIN, i64::MAX);
        for node in &self.nodes {
            let Node::Leaf(Leaf {
                field: Field::Column(Column::MessageTimestamp),
                test: Test::Compare(operator, value),
            }) = node
            else {
                continue;
            };
            let Some(second) = value.as_i64() else { continue };
            match *operator {
                "=" => bounds = (bounds.0.max(second), bounds.1.min(second)),
                ">=" | ">" => bounds.0 = bounds.0.max(second),
                "<=" | "<" => bounds.1 = bounds.1.min(second),
                _ => {}
            }
        }
        bounds
    }
}

/// Whether a filter compares one of the eight columns, which is what SQL gets to see.
fn is_plain(filter: &Json) -> bool {
    let name = filter.get(0).and_then(Json::as_str).unwrap_or_default();
    filter.as_array().is_some_and(|filter| filter.len() == 3)
        && field(name, false).is_ok_and(|field| matches!(field, Field::Column(_)))
}

fn leaf(filter: &Json, regime: Regime, in_memory: bool) -> Result<Leaf, Problem> {
    let Some([Json::String(name), Json::String(operator), value]) = filter.as_array().map(Vec::as_slice) else {
        return Err(Problem::exception("invalid filter", "ValueError"));
    };
    if !OPERATORS.contains(&operator.as_str()) {
        return Err(Problem::invalid("data.query-filters", &format!("Invalid operation: {operator}")));
    }
    let field = field(name, in_memory)?;
    if matches!(field, Field::Column(Column::Service)) && regime > Regime::A {
        return Ok(Leaf { field, test: Test::Nothing });
    }
    let unknown = || Problem::exception(&format!("Invalid operation: {operator}"), "ValueError");
    let text = || value.as_str().map(str::to_owned).ok_or_else(unknown);
    let test = match operator.as_str() {
        "=" => Test::Compare("=", value.clone()),
        "!=" => Test::Compare("!=", value.clone()),
        ">" => Test::Compare(">", value.clone()),
        ">=" => Test::Compare(">=", value.clone()),
        "<" => Test::Compare("<", value.clone()),
        "<=" => Test::Compare("<=", value.clone()),
        "in" | "nin" => Test::OneOf(operator == "in", value.as_array().cloned().ok_or_else(unknown)?),
        "~" if in_memory => Test::Pattern(
            Regex::new(&format!("^(?:{})", text()?))
                .map_err(|error| Problem::exception(&error.to_string(), "error"))?,
        ),
        "~" => Test::Pattern(Regex::new(&text()?).map_err(|error| Problem::exception(&error.to_string(), "error"))?),
        "^" => Test::Begins(text()?),
        "$" => Test::Ends(text()?),
        "rin" if regime == Regime::C => Test::Contains(text()?),
        _ => return Err(unknown()),
    };
    Ok(Leaf { field, test })
}

fn field(name: &str, in_memory: bool) -> Result<Field, Problem> {
    Ok(Field::Column(match name {
        "audit_id" => Column::AuditId,
        "message_timestamp" => Column::MessageTimestamp,
        "address" => Column::Address,
        "username" => Column::Username,
        "session" => Column::Session,
        "service" => Column::Service,
        "event" => Column::Event,
        "success" => Column::Success,
        "timestamp.$date" if in_memory => Column::Timestamp,
        _ => {
            let path = |rest: &str| rest.split('.').filter(|part| !part.is_empty()).map(str::to_owned).collect();
            return if let Some(rest) = name.strip_prefix("service_data") {
                Ok(Field::Path(false, path(rest)))
            } else if let Some(rest) = name.strip_prefix("event_data") {
                Ok(Field::Path(true, path(rest)))
            } else {
                Err(Problem::exception(
                    &format!("{name}: specified filter field may not be specified for filtering on audit queries"),
                    "ValueError",
                ))
            };
        }
    }))
}

/// A value as the database has it.
#[derive(Debug)]
enum Cell<'r> {
    Null,
    Int(i64),
    Text(std::borrow::Cow<'r, str>),
}

impl Leaf {
    fn holds(&self, row: &TrueNasRecord, nulls: &[&str]) -> bool {
        let cell = match &self.field {
            Field::Column(column) if !nulls.is_empty() && nulls.contains(&column.name()) => Cell::Null,
            Field::Column(column) => column.of(row),
            Field::Path(of_event, path) => lookup(if *of_event { &row.event_data } else { &row.service_data }, path),
        };
        match (&self.test, &cell) {
            (Test::Nothing, _) => true,
            (Test::Compare("=", Json::Null), cell) => matches!(cell, Cell::Null),
            (Test::Compare("!=", Json::Null), cell) => !matches!(cell, Cell::Null),
            (Test::OneOf(wanted, values), Cell::Null) => *wanted && values.contains(&Json::Null),
            (_, Cell::Null) | (Test::Begins(_) | Test::Ends(_) | Test::Contains(_), Cell::Int(_)) => false,
            (Test::Compare(operator, value), cell) => compare(cell, value).is_some_and(|order| match *operator {
                "=" => order.is_eq(),
                "!=" => order.is_ne(),
                ">" => order.is_gt(),
                ">=" => order.is_ge(),
                "<" => order.is_lt(),
                _ => order.is_le(),
            }),
            (Test::OneOf(wanted, values), cell) => {
                values.iter().any(|value| compare(cell, value).is_some_and(std::cmp::Ordering::is_eq)) == *wanted
            }
            (Test::Pattern(pattern), Cell::Text(text)) => pattern.is_match(text),
            (Test::Pattern(pattern), Cell::Int(number)) => pattern.is_match(&number.to_string()),
            (Test::Begins(value), Cell::Text(text)) => like(text, &format!("{value}%")),
            (Test::Ends(value), Cell::Text(text)) => like(text, &format!("%{value}")),
            (Test::Contains(value), Cell::Text(text)) => like(text, &format!("%{value}%")),
        }
    }
}

impl Column {
    fn name(self) -> &'static str {
        match self {
            Self::AuditId => "audit_id",
            Self::MessageTimestamp => "message_timestamp",
            Self::Address => "address",
            Self::Username => "username",
            Self::Session => "session",
            Self::Service => "service",
            Self::Event => "event",
            Self::Success => "success",
            Self::Timestamp => "timestamp",
        }
    }

    fn of(self, row: &TrueNasRecord) -> Cell<'_> {
        let text = |text: &'_ str| Cell::Text(std::borrow::Cow::Owned(text.to_owned()));
        match self {
            Self::AuditId => Cell::Text(row.audit_id.as_str().into()),
            Self::MessageTimestamp => Cell::Int(row.message_timestamp),
            Self::Address => Cell::Text(row.address.as_str().into()),
            Self::Username => Cell::Text(row.username.as_str().into()),
            Self::Session => Cell::Text(row.session.as_str().into()),
            Self::Service => text(row.service.as_str()),
            Self::Event => Cell::Text(row.event.into()),
            Self::Success => Cell::Int(i64::from(row.success)),
            Self::Timestamp => {
                let time = chrono::DateTime::from_timestamp(row.timestamp, 0).unwrap_or_default();
                Cell::Text(time.format("%Y-%m-%dT%H:%M:%S").to_string().into())
            }
        }
    }
}

/// The member of a JSON text.
fn lookup<'r>(json: &str, path: &[String]) -> Cell<'r> {
    let Ok(document) = serde_json::from_str::<Json>(json) else { return Cell::Null };
    let mut value = &document;
    for part in path {
        let (name, index) = match part.split_once('[') {
            Some((name, index)) => (name, index.trim_end_matches(']').parse::<usize>().ok()),
            None => (part.as_str(), None),
        };
        let found = value.get(name).and_then(|found| match index {
            Some(index) => found.get(index),
            None => Some(found),
        });
        match found {
            Some(found) => value = found,
            None => return Cell::Null,
        }
    }
    match value {
        Json::Null => Cell::Null,
        Json::Bool(truth) => Cell::Int(i64::from(*truth)),
        Json::Number(number) => Cell::Int(number.as_i64().unwrap_or_default()),
        Json::String(text) => Cell::Text(text.clone().into()),
        other => Cell::Text(other.to_string().into()),
    }
}

/// SQLite's order: numbers before texts; an integer column takes numeric texts.
fn compare(cell: &Cell<'_>, value: &Json) -> Option<std::cmp::Ordering> {
    match (cell, value) {
        (_, Json::Null | Json::Object(_) | Json::Array(_)) | (Cell::Null, _) => None,
        (Cell::Int(a), Json::Bool(b)) => Some(a.cmp(&i64::from(*b))),
        (Cell::Int(a), Json::Number(b)) => Some((*a as f64).total_cmp(&b.as_f64()?)),
        (Cell::Int(a), Json::String(b)) => Some(b.parse::<i64>().map_or(std::cmp::Ordering::Less, |b| a.cmp(&b))),
        (Cell::Text(a), Json::String(b)) => Some(a.as_ref().cmp(b.as_str())),
        // A date does not become a number: it matches nothing.
        (Cell::Text(_), _) => Some(std::cmp::Ordering::Greater),
    }
}

/// SQLite's LIKE: case counts beyond ASCII only, `%` and `_` are wildcards.
fn like(text: &str, pattern: &str) -> bool {
    let mut expression = String::from("(?is-u)^");
    for c in pattern.chars() {
        match c {
            '%' => expression.push_str(".*"),
            '_' => expression.push('.'),
            c => expression.push_str(&regex::escape(&c.to_string())),
        }
    }
    expression.push('$');
    Regex::new(&expression.replace("(?is-u)", "(?is)")).is_ok_and(|pattern| pattern.is_match(text))
}
