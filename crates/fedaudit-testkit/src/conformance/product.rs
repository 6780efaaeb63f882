//! What a plugin tells the suite about its product.

use std::fmt;

use axum::Router;
use fedaudit_core::Time;
use serde::Deserialize;

/// How a product is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// A current release with some dozens of records in each stream.
    Healthy,
    /// Nothing was ever recorded.
    Empty,
    /// A few hundred records that share one second, more than a page holds.
    Ties,
    /// One record that nobody can decode, among others; the truth leaves it out.
    BadRecord,
    /// The account may log in and read nothing.
    NoRight,
}

/// A product that was started, and what is true of it.
pub struct Product {
    /// Its whole HTTP surface; none if it is not asked over HTTP.
    pub router: Option<Router>,
    /// The credential that it accepts, as it stands in the file of the reader's settings.
    pub credential: String,
    /// Lines that the settings of its readers have as well.
    pub settings: String,
    /// What each stream holds; every stream that the source declares.
    pub truths: Vec<Truth>,
    /// The time now, as the product and its reader see it.
    pub now: Time,
    /// Ends every login as after a long pause; none if the product has no logins.
    pub end_logins: Option<Box<dyn Fn() + Send + Sync>>,
    /// Logins, collectors and the like that readers hold now; none if the product holds nothing for a reader.
    pub held: Option<Box<dyn Fn() -> usize + Send + Sync>>,
}

impl fmt::Debug for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Product").field("truths", &self.truths).finish_non_exhaustive()
    }
}

/// What one stream holds.
#[derive(Clone, Debug)]
pub struct Truth {
    /// Name of the stream.
    pub stream: String,
    /// Columns that identify a row of it.
    pub id: Vec<String>,
    /// Every row.
    pub facts: Vec<Fact>,
}

impl Truth {
    /// Of a stream whose rows these columns identify, it is true that it holds these rows and no others.
    pub fn new(stream: &str, id: &[&str], facts: Vec<Fact>) -> Self {
        Self { stream: stream.to_owned(), id: id.iter().map(|&column| column.to_owned()).collect(), facts }
    }
}

/// One row, as the product holds it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fact {
    /// The values of the identifying columns, joined with a slash.
    pub id: String,
    /// `time` of an event, `start_time` of a session.
    pub time: Time,
    /// The record as the product sends it, where it does not travel in the body of an HTTP answer. Where any fact has one,
    /// those without are not judged by their bytes.
    pub raw: Option<String>,
}

impl Fact {
    /// A row of this id at this time.
    pub fn new(id: impl Into<String>, time: Time) -> Self {
        Self { id: id.into(), time, raw: None }
    }
}
