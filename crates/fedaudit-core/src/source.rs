//! The contract between fedaudit and the code that reads one product.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Action, Context, Operator, Page, PageRequest, Predicate, Result, Time};

/// One configured remote system.
///
/// Looping, windows, parallelism, filtering, limits, merging, de-duplication and receipts are the engine's: a source
/// fetches one page at a time. There are no default methods, so that no wrapper can forget one.
#[async_trait]
pub trait AuditSource: fmt::Debug + Send + Sync {
    /// What this source offers: streams, what it can filter by, history kept, lateness, blind spots. Plain data, no I/O.
    fn info(&self) -> &SourceInfo;

    /// Proves address, TLS, credentials and rights.
    async fn check(&self, cx: &Context) -> Result<SourceHealth>;

    /// Fetches one page holding at least what `request` asks for; more is allowed, less never.
    ///
    /// Logs in when needed. May be called for several streams at once.
    async fn fetch(&self, cx: &Context, request: &PageRequest) -> Result<Page>;

    /// Ends what the source holds on the server: collectors, subscriptions, the login. Called on every way out, also after
    /// an error or without any fetch; a later fetch logs in again.
    async fn close(&self, cx: &Context) -> Result<()>;
}

/// The code for one `type` of source.
pub trait Plugin {
    /// The word in `type = "…"`.
    const TYPE: &'static str;
    /// Its version, mapping revision included, as in [`SourceInfo::plugin_version`].
    const VERSION: &'static str;
    /// Every stream that a source of it may have.
    const STREAMS: &'static [&'static str];
    /// The rest of the `[[source]]` table; unknown keys are errors.
    type Config: DeserializeOwned;

    /// Makes a source. No I/O except for the files that the configuration names.
    fn build(name: &str, config: Self::Config) -> Result<Box<dyn AuditSource>>;
}

/// What a plugin says of itself before there is any source of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginInfo {
    /// [`Plugin::TYPE`]
    #[serde(rename = "type")]
    pub kind: String,
    /// [`Plugin::VERSION`]
    #[serde(default)]
    pub version: String,
    /// [`Plugin::STREAMS`]
    #[serde(default)]
    pub streams: Vec<String>,
}

impl PluginInfo {
    /// That of a plugin in this program.
    pub fn of<P: Plugin>() -> Self {
        Self {
            kind: P::TYPE.to_owned(),
            version: P::VERSION.to_owned(),
            streams: P::STREAMS.iter().map(|&stream| stream.to_owned()).collect(),
        }
    }
}

/// What a source offers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SourceInfo {
    /// Product word of the tables: `truenas`, `vsphere`, …
    pub product: String,
    /// Name of the plugin.
    pub plugin: String,
    /// Its version, mapping revision included.
    pub plugin_version: String,
    /// Normalised origin of the configured address: `https://nas-1.example`.
    pub origin: String,
    /// Every stream.
    pub streams: Vec<StreamInfo>,
}

impl SourceInfo {
    /// The stream of that name.
    pub fn stream(&self, name: &str) -> Option<&StreamInfo> {
        self.streams.iter().find(|stream| stream.name == name)
    }

    /// Whether a stream lists what is open now and nothing else: it covers no time.
    pub fn is_live_list(&self, stream: &StreamInfo) -> bool {
        let lists = |other: &StreamInfo| {
            other.pairing.as_ref().is_some_and(|pairing| pairing.live_stream.as_ref() == Some(&stream.name))
        };
        stream.kind == StreamKind::Sessions && self.streams.iter().any(lists)
    }
}

/// Which table a stream fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamKind {
    /// `events`
    Events,
    /// `sessions`
    Sessions,
}

/// Whether a bound of the product's own time filter belongs to the range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// It does.
    Inclusive,
    /// It does not.
    Exclusive,
    /// The product has no such bound; the plugin stops reading instead.
    #[default]
    None,
}

/// In which order a stream can be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Oldest first only.
    Ascending,
    /// Newest first only.
    Descending,
    /// As asked.
    Either,
    /// None that can be relied on.
    #[default]
    None,
}

/// A column that a stream can filter by.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pushable {
    /// The column.
    pub column: String,
    /// The operators.
    pub operators: Vec<Operator>,
    /// Whether the product returns exactly the matching rows, or perhaps more.
    pub exact: bool,
}

/// Something a stream can never show, as a condition on rows that will therefore be missing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BlindSpot {
    /// The rows that cannot be seen; no condition means that it concerns every question.
    pub predicates: Vec<Predicate>,
    /// Why.
    pub reason: String,
}

/// How sessions are rebuilt from the events of a stream (see `docs/sessions.md`).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pairing {
    /// Actions that open a session when they succeed.
    pub opens: Vec<Action>,
    /// Actions that close one.
    pub closes: Vec<Action>,
    /// Events without a session key are paired by account and order.
    pub by_account: bool,
    /// A session closes when it has seen as many ends as starts, not at the first end (one session, several shares).
    pub nested: bool,
    /// Age after which an open session is presumed closed.
    pub max_session: Option<Duration>,
    /// The stream that lists live sessions: absence there means that it ended.
    pub live_stream: Option<String>,
    /// Sessions whose `protocol` is none of these never appear in the live list; empty means all do.
    pub live_protocols: Vec<String>,
    /// Member of `unmapped` in a closing event that tells when the session began.
    pub start_member: Option<String>,
    /// The product started anew: every earlier session is over.
    pub restarts: Vec<Action>,
}

/// One feed of a source. As JSON it needs its name and kind; the rest is as in [`StreamInfo::new`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StreamInfo {
    /// Its name: `audit.SMB`, `vim.events`, `sessions`.
    pub name: String,
    /// Which table it fills.
    pub kind: StreamKind,
    /// The product's own field that the window is pushed to.
    #[serde(default)]
    pub time_field: String,
    /// Lower bound of the product's time filter.
    #[serde(default)]
    pub lower_bound: Bound,
    /// Upper bound of the product's time filter.
    #[serde(default)]
    pub upper_bound: Bound,
    /// Granularity of its times.
    #[serde(default = "finest")]
    pub granularity: Duration,
    /// Longest window the product accepts in one request.
    #[serde(default)]
    pub max_window: Option<Duration>,
    /// In which order it can be read.
    #[serde(default)]
    pub order: Order,
    /// What it can filter by.
    #[serde(default)]
    pub pushable: Vec<Pushable>,
    /// History kept, where it is documented; the product's own statement in `observed` wins.
    #[serde(default)]
    pub history: Option<Duration>,
    /// How long after the fact a row may still appear.
    #[serde(default)]
    pub lateness: Duration,
    /// Whether new rows can be waited for.
    #[serde(default)]
    pub follow: bool,
    /// How many windows may be read at once.
    #[serde(default = "one_by_one")]
    pub parallel_windows: usize,
    /// How far before a window the product has to be read, because a record's own time is that of an earlier thing.
    #[serde(default)]
    pub look_back: Duration,
    /// What it can never show.
    #[serde(default)]
    pub blind_spots: Vec<BlindSpot>,
    /// How sessions are rebuilt from it; none if they are not.
    #[serde(default)]
    pub pairing: Option<Pairing>,
}

fn finest() -> Duration {
    Duration::from_micros(1)
}

fn one_by_one() -> usize {
    1
}

impl StreamInfo {
    /// A stream with nothing special: no push-down, no order, no blind spots, times in microseconds.
    pub fn new(name: &str, kind: StreamKind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            time_field: String::new(),
            lower_bound: Bound::None,
            upper_bound: Bound::None,
            granularity: finest(),
            max_window: None,
            order: Order::None,
            pushable: Vec::new(),
            history: None,
            lateness: Duration::ZERO,
            follow: false,
            parallel_windows: one_by_one(),
            look_back: Duration::ZERO,
            blind_spots: Vec::new(),
            pairing: None,
        }
    }

    /// Whether this predicate may be handed to the source.
    pub fn can_push(&self, predicate: &Predicate) -> bool {
        self.pushable
            .iter()
            .any(|pushable| pushable.column == predicate.column && pushable.operators.contains(&predicate.operator))
    }
}

/// What [`AuditSource::check`] found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceHealth {
    /// Version the product reports.
    pub product_version: Option<String>,
    /// What the product says of itself (instance uuid, host id): a change means another system answers.
    pub fingerprint: Option<String>,
    /// Account the product says we are.
    pub account: Option<String>,
    /// The product's clock.
    pub server_time: Option<Time>,
    /// Nothing older is kept.
    pub retention_floor: Option<Time>,
    /// Streams that this account may not read, with the reason.
    pub denied: Vec<(String, String)>,
    /// What an operator should know.
    pub notes: Vec<String>,
}
