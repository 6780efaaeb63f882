//! What a source is asked: a stream, a window, predicates, and where to go on.

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result, Time};

/// A half-open range of time, `from <= t < to`. A missing bound is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Window {
    /// First instant inside.
    pub from: Option<Time>,
    /// First instant after.
    pub to: Option<Time>,
}

impl Window {
    /// Everything.
    pub const ALL: Self = Self { from: None, to: None };

    /// A bounded window.
    pub fn new(from: Time, to: Time) -> Self {
        Self { from: Some(from), to: Some(to) }
    }

    /// Whether an instant lies inside.
    pub fn contains(&self, time: Time) -> bool {
        self.from.is_none_or(|from| from <= time) && self.to.is_none_or(|to| time < to)
    }

    /// What lies in both.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        Self {
            from: self.from.max(other.from),
            to: match (self.to, other.to) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
        }
    }

    /// The window itself, or what lies between its bounds where they are reversed: a session that began before a first
    /// instant and ended after a later one was open all the time in between.
    #[must_use]
    pub fn spanned(&self) -> Self {
        match *self {
            Self { from: Some(from), to: Some(to) } if to <= from => {
                Self { from: Some(to), to: Some(from.plus(std::time::Duration::from_micros(1))) }
            }
            window => window,
        }
    }

    /// Whether no instant can lie inside.
    pub fn is_empty(&self) -> bool {
        matches!((self.from, self.to), (Some(from), Some(to)) if from >= to)
    }
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.from {
            Some(from) => write!(f, "[{from}, ")?,
            None => f.write_str("(-∞, ")?,
        }
        match self.to {
            Some(to) => write!(f, "{to})"),
            None => f.write_str("∞)"),
        }
    }
}

/// How a column is compared. Values are ours, normalised; the plugin translates them to the product's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operator {
    /// Equal to one of the values.
    In,
    /// Different from every value; never true of NULL.
    NotIn,
    /// Less than the one value.
    Less,
    /// Less than or equal to the one value.
    LessOrEqual,
    /// Greater than the one value.
    Greater,
    /// Greater than or equal to the one value.
    GreaterOrEqual,
    /// Text that begins with the one value.
    StartsWith,
}

/// A value of a predicate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// Truth.
    Bool(bool),
    /// Number.
    Int(i64),
    /// Text.
    Text(String),
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Text(value) => write!(f, "'{}'", value.replace('\'', "''")),
        }
    }
}

/// One condition on one column; a list of them is a conjunction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Predicate {
    /// Name of a column of the stream's table.
    pub column: String,
    /// How it is compared.
    pub operator: Operator,
    /// With what: one value, or the list of `In` and `NotIn`.
    pub values: Vec<Value>,
}

impl Predicate {
    /// `column IN (texts)`.
    pub fn any_of<T: Into<String>>(column: &str, texts: impl IntoIterator<Item = T>) -> Self {
        Self {
            column: column.to_owned(),
            operator: Operator::In,
            values: texts.into_iter().map(|text| Value::Text(text.into())).collect(),
        }
    }

    /// The text values, where all are texts.
    pub fn texts(&self) -> Option<Vec<&str>> {
        self.values
            .iter()
            .map(|value| match value {
                Value::Text(text) => Some(text.as_str()),
                _ => None,
            })
            .collect()
    }
}

impl std::fmt::Display for Predicate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let values = self.values.iter().map(Value::to_string).collect::<Vec<_>>().join(", ");
        let Self { column, operator, .. } = self;
        match operator {
            Operator::In if self.values.len() == 1 => write!(f, "{column} = {values}"),
            Operator::In => write!(f, "{column} IN ({values})"),
            Operator::NotIn => write!(f, "{column} NOT IN ({values})"),
            Operator::Less => write!(f, "{column} < {values}"),
            Operator::LessOrEqual => write!(f, "{column} <= {values}"),
            Operator::Greater => write!(f, "{column} > {values}"),
            Operator::GreaterOrEqual => write!(f, "{column} >= {values}"),
            Operator::StartsWith => write!(f, "{column} STARTS WITH {values}"),
        }
    }
}

/// In which order pages are wanted; a hint that a stream with one fixed order ignores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Whatever is cheapest and safest for the source.
    #[default]
    Any,
    /// Newest pages first, so that reading can stop early.
    NewestFirst,
}

/// Where the next page starts: data of the plugin's own making, JSON text to everybody else.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(String);

impl Cursor {
    /// Makes a cursor of a plugin's state.
    pub fn new<T: Serialize>(state: &T) -> Result<Self> {
        serde_json::to_string(state)
            .map(Self)
            .map_err(|error| Error::new(ErrorKind::Internal, format!("cursor cannot be written: {error}")))
    }

    /// The plugin's state back.
    pub fn read<'c, T: Deserialize<'c>>(&'c self) -> Result<T> {
        serde_json::from_str(&self.0)
            .map_err(|error| Error::new(ErrorKind::Internal, format!("cursor cannot be read: {error}")))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Asks for one page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PageRequest {
    /// Name of a stream of the source's [`SourceInfo`](crate::SourceInfo).
    pub stream: String,
    /// Rows whose time lies inside are wanted; more may come, less never.
    pub window: Window,
    /// Conditions that the stream declared pushable; more rows may come, less never.
    pub predicates: Vec<Predicate>,
    /// Wanted order of pages.
    pub direction: Direction,
    /// Where to go on; none for the first page.
    pub cursor: Option<Cursor>,
    /// Rows a page should hold; none for the plugin's choice.
    pub page_size: Option<usize>,
    /// Wait up to this long for new rows instead of ending: live watch.
    pub follow: Option<std::time::Duration>,
    /// Only the server's own count is wanted, in `observed.count`; no rows.
    pub count_only: bool,
}

impl PageRequest {
    /// The first page of a stream in a window.
    pub fn first(stream: &str, window: Window) -> Self {
        Self {
            stream: stream.to_owned(),
            window,
            predicates: Vec::new(),
            direction: Direction::Any,
            cursor: None,
            page_size: None,
            follow: None,
            count_only: false,
        }
    }
}
