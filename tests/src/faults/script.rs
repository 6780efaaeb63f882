//! One script: a world, a plan, two questions, a verdict.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use fedaudit_core::{AuditSource, Clock as _, Error, ErrorKind, Receipt, Result, Time, Window};
use fedaudit_engine::Engine;
use fedaudit_testkit::faults::{Faults, Hit, Plan, Product};
use fedaudit_testkit::{Demo, DemoOptions, Settings, World};
use tempfile::TempDir;
use tokio::sync::{Mutex, OnceCell};

use super::answers::{self, Answers};
use super::judge;
use crate::{AfterTheHistory, TO};

/// Small worlds that the scripts share.
const WORLDS: u64 = 6;
/// Rough number of records of a world.
const EVENTS: usize = 200;
/// Rows of a page, at least and at most.
const PAGE: (u64, u64) = (15, 60);
/// How long one page may take where an answer may never come. On a busy machine that is too little for what does come: a
/// script where a source that nothing happened to was too slow is played again with more.
const SHORT_PATIENCE: [Duration; 3] = [Duration::from_secs(3), Duration::from_secs(12), LONG_PATIENCE];
/// How long one page may take where every answer comes; readers that are told to slow down wait for most of it.
const PATIENCE: [Duration; 2] = [Duration::from_secs(10), LONG_PATIENCE];
const LONG_PATIENCE: Duration = Duration::from_mins(1);
/// A script that takes longer hangs.
const LONGEST: Duration = Duration::from_mins(8);
/// A connection that ended takes its login along, a moment later.
const SETTLED: Duration = Duration::from_secs(3);

/// How a script ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The answers are those without faults.
    Truth,
    /// Something is missing, and the receipts say what.
    NamedHole,
    /// Something differs, and no receipt says so; or a login was left behind, or the program hung.
    Silent(Vec<String>),
}

/// One script that was run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Its plan.
    pub plan: Plan,
    /// What of it happened.
    pub hits: Vec<Hit>,
    /// What came of it.
    pub verdict: Verdict,
    /// Status of every stream that is not whole, with its error.
    pub holes: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}, {} ms\n{}", self.plan.seed, self.took.as_millis(), self.plan)?;
        for Hit { product, request, what } in &self.hits {
            writeln!(f, "  happened to {} '{request}': {what}", product.source())?;
        }
        for hole in &self.holes {
            writeln!(f, "  named: {hole}")?;
        }
        match &self.verdict {
            Verdict::Truth => writeln!(f, "  the answers are the truth"),
            Verdict::NamedHole => writeln!(f, "  every hole is named"),
            Verdict::Silent(findings) => findings.iter().try_for_each(|finding| writeln!(f, "  SILENT: {finding}")),
        }
    }
}

/// The worlds of all scripts, each grown once and asked once without faults.
#[derive(Debug, Default)]
pub struct Worlds {
    known: Mutex<HashMap<u64, Arc<OnceCell<Arc<Truth>>>>>,
}

/// A world and its answers without faults.
#[derive(Debug)]
struct Truth {
    world: Arc<World>,
    answers: Answers,
}

impl Worlds {
    async fn get(&self, seed: u64) -> Result<Arc<Truth>> {
        let cell = Arc::clone(self.known.lock().await.entry(seed).or_default());
        cell.get_or_try_init(|| grow(seed)).await.map(Arc::clone)
    }
}

async fn grow(seed: u64) -> Result<Arc<Truth>> {
    let settings = Settings { events: EVENTS, people: 6, ..Settings::new(seed, TO) };
    let world = tokio::task::spawn_blocking(move || World::generate(&settings)).await;
    let world = Arc::new(world.map_err(|error| internal(&error))?);
    let lab = Lab::start(&world, None, 50, LONG_PATIENCE, |source| source).await?;
    let answers = Answers {
        events: answers::events(&lab.engine, lab.window()).await?,
        sessions: answers::sessions(&lab.engine, lab.window()).await?,
    };
    for answer in [&answers.events, &answers.sessions] {
        if !answer.receipt.complete || answer.rows.is_empty() {
            return Err(internal(&format!("world {seed} is not whole without faults: {:#?}", answer.receipt)));
        }
    }
    Ok(Arc::new(Truth { world, answers }))
}

fn internal(error: &dyn fmt::Display) -> Error {
    Error::new(ErrorKind::Internal, error.to_string())
}

/// Four products and the engine that reads them.
struct Lab {
    demo: Demo,
    engine: Engine,
    _folder: TempDir,
}

impl Lab {
    async fn start(
        world: &Arc<World>,
        faults: Option<Faults>,
        rows: usize,
        patience: Duration,
        through: Through,
    ) -> Result<Self> {
        let options = DemoOptions { faults, behind: crate::sources::behind(), ..DemoOptions::default() };
        let demo = Demo::start_world(Arc::clone(world), options).await.map_err(|error| internal(&error))?;
        let folder = TempDir::new().map_err(|error| internal(&error))?;
        let engine = answers::engine(&demo, folder.path(), rows, patience, through)?;
        Ok(Self { demo, engine, _folder: folder })
    }

    fn window(&self) -> Window {
        Window::new(Time::from_micros(self.demo.world.from), Time::from_micros(self.demo.world.to))
    }
}

/// What the engine reads in place of each source, to see that the judge notices.
pub type Through = fn(Arc<dyn AuditSource>) -> Arc<dyn AuditSource>;

/// Runs the script of a seed.
pub async fn run(worlds: &Worlds, seed: u64) -> Result<Outcome> {
    run_through(worlds, seed, |source| source).await
}

/// Runs the script of a seed with other sources.
pub async fn run_through(worlds: &Worlds, seed: u64, through: Through) -> Result<Outcome> {
    let plan = Plan::new(seed);
    let truth = worlds.get(1 + seed % WORLDS).await?;
    let patience: &[Duration] = if plan.tries_patience() { &SHORT_PATIENCE } else { &PATIENCE };
    for (index, limit) in patience.iter().enumerate() {
        let started = Instant::now();
        let Ok(played) = tokio::time::timeout(LONGEST, play(&truth, &plan, *limit, through)).await else {
            let verdict = Verdict::Silent(vec![format!("no answer within {} s", LONGEST.as_secs())]);
            return Ok(Outcome { plan, hits: Vec::new(), verdict, holes: Vec::new(), took: started.elapsed() });
        };
        let (outcome, was_starved) = played?;
        if !was_starved || index + 1 == patience.len() {
            return Ok(Outcome { took: started.elapsed(), ..outcome });
        }
    }
    Err(internal(&"no patience at all"))
}

/// Whether a source was too slow though nothing happened to it that takes time.
fn starved(receipt: &Receipt, hits: &[Hit]) -> bool {
    receipt.streams.iter().any(|entry| {
        let explained = hits.iter().any(|hit| hit.product.source() == entry.source && hit.may_cost_time());
        !explained && entry.error.as_ref().is_some_and(|error| error.error_kind == ErrorKind::Timeout)
    })
}

async fn play(truth: &Truth, plan: &Plan, patience: Duration, through: Through) -> Result<(Outcome, bool)> {
    let rows = PAGE.0 + plan.seed % (PAGE.1 - PAGE.0);
    let faults = Faults::new(plan, clock_offset());
    let lab = Lab::start(&truth.world, Some(faults.clone()), rows as usize, patience, through).await?;

    let mut findings = Vec::new();
    let events = answers::events(&lab.engine, lab.window()).await?;
    let mut was_starved = starved(&events.receipt, &faults.hits());
    findings.extend(judge::events(&truth.answers.events, &events, &faults.hits()));
    findings.extend(left_behind(&lab.demo, &faults).await);
    let sessions = answers::sessions(&lab.engine, lab.window()).await?;
    was_starved |= starved(&sessions.receipt, &faults.hits());
    findings.extend(judge::sessions(&truth.answers, &sessions, &faults.hits()));
    findings.extend(left_behind(&lab.demo, &faults).await);

    let streams = events.receipt.streams.iter().chain(&sessions.receipt.streams);
    let holes: Vec<String> = streams
        .filter(|entry| !entry.status.is_whole())
        .map(|entry| {
            let error = entry.error.as_ref().map_or_else(String::new, |error| error.error_text.clone());
            format!("{} {}/{}, {}: {error}", entry.table, entry.source, entry.stream, entry.status.as_str())
        })
        .collect();
    let verdict = match (findings.is_empty(), holes.is_empty()) {
        (false, _) => Verdict::Silent(findings),
        (true, true) => Verdict::Truth,
        (true, false) => Verdict::NamedHole,
    };
    Ok((Outcome { plan: plan.clone(), hits: faults.hits(), verdict, holes, took: Duration::ZERO }, was_starved))
}

/// How far the clock of the reader is ahead of the system's.
fn clock_offset() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    AfterTheHistory::start().now().seconds() - now.as_secs() as i64
}

/// Logins that a product still holds and that no fault explains.
async fn left_behind(demo: &Demo, faults: &Faults) -> Vec<String> {
    let mut left = Vec::new();
    for product in Product::ALL {
        let hits = faults.hits();
        let excused = hits.iter().filter(|hit| hit.product == product && hit.may_cost_a_login()).count();
        let since = Instant::now();
        while demo.open_logins(product) > excused && since.elapsed() < SETTLED {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let open = demo.open_logins(product);
        if open > excused {
            left.push(format!("{}: {open} logins were left behind, {excused} by faults", product.source()));
        }
    }
    left
}
