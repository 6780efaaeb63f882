//! The one suite that every source must pass.
//!
//! A plugin calls it in about ten lines: the settings of a source, and a function that starts its product in a given
//! [`Condition`] and tells the truth about it. Everything else is the suite's: it serves the product over TLS behind a
//! front that can break any answer, builds sources, reads them through the [`AuditSource`] contract alone, and watches
//! every text that leaves them for secrets. A case that cannot run says why; a case that runs and proves nothing fails.

mod apart;
mod bench;
mod cases;
mod compare;
mod elsewhere;
mod fixtures;
mod front;
mod live;
mod predicates;
mod product;
mod reading;
mod secrets;
mod soundness;
mod tunnel;

use std::cell::Cell;
use std::fmt;
use std::io::Write as _;
use std::time::{Duration, Instant};

use fedaudit_core::{AuditSource, Error, ErrorKind, Plugin, PluginInfo, Result};
use futures::StreamExt as _;
use futures::future::LocalBoxFuture;

pub use self::apart::{Apart, Cost, cost, serve_apart};
pub use self::fixtures::Fixtures;
pub use self::live::{LIVE, live};
pub use self::product::{Condition, Fact, Product, Truth};
pub use self::soundness::{texts, unsound};

use self::bench::{Bench, SOURCE as NAME};
use self::secrets::{Secrets, watch_logs};

/// Longest time for one case.
const CASE_LIMIT: Duration = Duration::from_mins(10);
/// Cases that run at once: most of a case's time is waiting for retries.
const AT_ONCE: usize = 6;

/// Why a case did not pass.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The source broke its contract.
    Broken(String),
    /// The source answered with an error where it should have answered.
    Refused(Error),
    /// The case cannot run here.
    Skip(String),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

/// What a case returns.
pub(crate) type Outcome<T = ()> = Result<T, Trouble>;

/// Ends a case with a failure unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err($crate::conformance::Trouble::Broken(format!($($text)+)));
        }
    };
}
pub(crate) use ensure;

/// One case of the suite.
#[derive(Clone, Copy)]
pub struct Case {
    /// Its stable number, `U12`.
    pub id: &'static str,
    /// The function that runs it.
    pub name: &'static str,
    /// What it shows.
    pub shows: &'static str,
    run: for<'k> fn(&'k Kit<'k>) -> LocalBoxFuture<'k, Outcome>,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.id, self.name)
    }
}

/// Every case, in order.
pub fn all_cases() -> &'static [Case] {
    cases::CASES
}

type Start = dyn Fn(Condition) -> Result<Product, &'static str>;
type Build = dyn Fn(toml::Table) -> Result<Box<dyn AuditSource>>;

/// What is tested: a type of source, and how one is made.
pub struct Subject {
    info: PluginInfo,
    build: Box<Build>,
}

impl Subject {
    /// A plugin that is part of this program.
    pub fn of<P: Plugin>() -> Self {
        Self::new(PluginInfo::of::<P>(), |settings| {
            P::build(NAME, toml::Value::Table(settings).try_into().map_err(unreadable)?)
        })
    }

    /// Whatever makes sources of their settings, such as a loaded library.
    pub fn new(info: PluginInfo, build: impl Fn(toml::Table) -> Result<Box<dyn AuditSource>> + 'static) -> Self {
        Self { info, build: Box::new(build) }
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("info", &self.info).finish_non_exhaustive()
    }
}

/// What cases work with.
pub(crate) struct Kit<'s> {
    pub(crate) settings: &'s str,
    pub(crate) samples: &'s [String],
    pub(crate) nothing: &'s [&'static str],
    pub(crate) untold: &'s [(String, String)],
    pub(crate) plugin: &'s PluginInfo,
    pub(crate) secrets: Secrets,
    start: &'s Start,
    build: &'s Build,
}

impl Kit<'_> {
    /// The product in a condition, served, with sources that talk to it.
    pub(crate) async fn bench(&self, condition: Condition) -> Outcome<Bench<'_>> {
        let product = (self.start)(condition).map_err(|reason| Trouble::Skip(reason.to_owned()))?;
        Bench::start(self, product).await
    }

    /// The same, for cases about what travels.
    pub(crate) async fn bench_on_the_wire(&self, condition: Condition) -> Outcome<Bench<'_>> {
        let bench = self.bench(condition).await?;
        if bench.is_served {
            return Ok(bench);
        }
        Err(Trouble::Skip("the product is not asked over HTTP".to_owned()))
    }

    /// A source of these settings.
    pub(crate) fn build(&self, settings: &str) -> Result<Box<dyn AuditSource>> {
        (self.build)(table(settings)?)
    }

    /// A source of settings that were read already.
    pub(crate) fn build_table(&self, settings: toml::Table) -> Result<Box<dyn AuditSource>> {
        (self.build)(settings)
    }
}

/// The suite for one plugin.
pub struct Suite {
    subject: Subject,
    settings: String,
    samples: Vec<String>,
    start: Box<Start>,
    nothing: Vec<&'static str>,
    untold: Vec<(String, String)>,
    skips: Vec<(String, String)>,
    only: Vec<&'static str>,
    limit: Duration,
    ended: Box<dyn Fn(usize, usize)>,
}

impl fmt::Debug for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite").field("subject", &self.subject).field("skips", &self.skips).finish_non_exhaustive()
    }
}

impl Suite {
    /// The suite for this subject. `settings` is the TOML of a source's table without name and type, with `{url}`, `{ca}` (the
    /// file of the authority to trust) and `{secret}` (the file of the credential) where the suite puts its own; `product`
    /// starts the product in a condition, or says why it never is in it.
    pub fn new(
        subject: Subject,
        settings: impl Into<String>,
        product: impl Fn(Condition) -> Result<Product, &'static str> + 'static,
    ) -> Self {
        Self {
            subject,
            settings: settings.into(),
            samples: Vec::new(),
            start: Box::new(product),
            nothing: Vec::new(),
            untold: Vec::new(),
            skips: Vec::new(),
            only: Vec::new(),
            limit: CASE_LIMIT,
            ended: Box::new(|_, _| {}),
        }
    }

    /// Gives each case so long.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Tells how many cases have ended, and of how many, each time one has.
    #[must_use]
    pub fn telling(mut self, ended: impl Fn(usize, usize) + 'static) -> Self {
        self.ended = Box::new(ended);
        self
    }

    /// A document whose `[[source]]` samples must parse: the plugin's README.
    #[must_use]
    pub fn sample(mut self, document: impl Into<String>) -> Self {
        self.samples.push(document.into());
        self
    }

    /// Bodies by which the product, as documented, says that there is nothing: they cannot be told from a wrong answer.
    #[must_use]
    pub fn says_nothing_with(mut self, bodies: &[&'static str]) -> Self {
        self.nothing.extend(bodies);
        self
    }

    /// A stream about which the subject tells no truth, and why: who shows what instead.
    #[must_use]
    pub fn untold(mut self, stream: impl Into<String>, reason: impl Into<String>) -> Self {
        self.untold.push((stream.into(), reason.into()));
        self
    }

    /// Leaves a case out, and says why.
    #[must_use]
    pub fn skip(mut self, case: &str, reason: impl Into<String>) -> Self {
        assert!(all_cases().iter().any(|known| known.id == case), "there is no case {case}");
        self.skips.push((case.to_owned(), reason.into()));
        self
    }

    /// Runs these cases only.
    #[must_use]
    pub fn only(mut self, cases: &[&'static str]) -> Self {
        self.only.extend(cases);
        self
    }

    /// Adds lines to the settings of every source.
    #[must_use]
    pub fn with_settings(mut self, lines: &str) -> Self {
        // Before the others: those may end in a table.
        self.settings = format!("{lines}\n{}", self.settings);
        self
    }

    /// Runs the cases, prints how many ran, and fails the test if one failed or none ran. On a current-thread runtime.
    pub async fn run(self) {
        let report = self.report().await;
        // Past the capture of passing tests: how many cases ran is part of what a test run says.
        let _ = writeln!(std::io::stderr(), "{report}");
        assert!(report.failed.is_empty(), "{report}");
        assert!(report.passed > 0, "{report}");
    }

    /// Runs the cases and tells what came of them.
    pub async fn report(self) -> Report {
        let secrets = Secrets::default();
        let _logs = watch_logs(&secrets);
        let kit = Kit {
            settings: &self.settings,
            samples: &self.samples,
            nothing: &self.nothing,
            untold: &self.untold,
            plugin: &self.subject.info,
            secrets,
            start: &*self.start,
            build: &*self.subject.build,
        };
        let chosen = cases::CASES.iter().filter(|case| self.only.is_empty() || self.only.contains(&case.id));
        let (all, ended) = (chosen.clone().count(), Cell::new(0));
        let skipped = |case: &Case| self.skips.iter().find(|(id, _)| id == case.id).map(|(_, reason)| reason);
        let mut outcomes: Vec<(usize, &Case, Outcome, Duration)> = futures::stream::iter(chosen.enumerate())
            .map(|(place, case)| {
                let (kit, this, ended) = (&kit, &self, &ended);
                async move {
                    let begun = Instant::now();
                    let outcome = match skipped(case) {
                        Some(reason) => Err(Trouble::Skip(reason.clone())),
                        None => tokio::time::timeout(this.limit, (case.run)(kit))
                            .await
                            .unwrap_or_else(|_| Err(Trouble::Broken(format!("no end within {:?}", this.limit)))),
                    };
                    ended.set(ended.get() + 1);
                    (this.ended)(ended.get(), all);
                    (place, case, outcome, begun.elapsed())
                }
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        outcomes.sort_by_key(|(place, ..)| *place);
        let mut report = Report { plugin: self.subject.info.kind.clone(), ..Report::default() };
        for (_, case, outcome, time) in outcomes {
            report.add(case.id, outcome);
            report.times.push((case.id, time));
        }
        report.skipped.extend(self.untold.iter().cloned());
        // Leaks are found while other cases run, so that they are told at the end.
        for leak in kit.secrets.leaks() {
            report.failed.push(("U60", format!("a secret is shown: {leak}")));
        }
        report
    }
}

/// Settings as the binary reads them.
pub(crate) fn table(settings: &str) -> Result<toml::Table> {
    toml::from_str(settings).map_err(unreadable)
}

/// The error of a configuration; its message repeats no line of the file.
#[expect(clippy::needless_pass_by_value, reason = "fits map_err")]
fn unreadable(error: toml::de::Error) -> Error {
    Error::new(ErrorKind::Config, error.message())
}

/// What came of the cases.
#[derive(Debug, Default)]
pub struct Report {
    /// Type of the plugin.
    pub plugin: String,
    /// Cases that ran and passed.
    pub passed: usize,
    /// Cases that did not run, and streams that nothing is known of, and why.
    pub skipped: Vec<(String, String)>,
    /// Cases that failed, and how.
    pub failed: Vec<(&'static str, String)>,
    /// Every case that had an outcome, in order.
    pub ran: Vec<&'static str>,
    /// How long each took.
    pub times: Vec<(&'static str, Duration)>,
}

impl Report {
    fn add(&mut self, id: &'static str, outcome: Outcome) {
        let name = all_cases().iter().find(|case| case.id == id).map_or("", |case| case.name);
        match outcome {
            Ok(()) => self.passed += 1,
            Err(Trouble::Skip(reason)) => self.skipped.push((id.to_owned(), reason)),
            Err(Trouble::Broken(text)) => self.failed.push((id, format!("{name}: {text}"))),
            Err(Trouble::Refused(error)) => self.failed.push((id, format!("{name}: the source failed: {error:?}"))),
        }
        self.ran.push(id);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "conformance: {} {} cases", self.plugin, self.passed + self.failed.len())?;
        if !self.failed.is_empty() {
            write!(f, ", {} FAILED", self.failed.len())?;
        }
        write!(f, ", {} skipped", self.skipped.len())?;
        let slowest = self.times.iter().max_by_key(|(_, time)| *time);
        if let Some((id, time)) = slowest.filter(|(_, time)| time.as_secs() >= 30) {
            write!(f, ", slowest {id} {time:.1?}")?;
        }
        for (id, reason) in &self.skipped {
            write!(f, "\n  {id} skipped: {reason}")?;
        }
        for (id, text) in &self.failed {
            write!(f, "\n  {id} FAILED {text}")?;
        }
        Ok(())
    }
}
