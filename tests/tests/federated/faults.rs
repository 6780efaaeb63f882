//! Scripts of faults: the answer is the truth, or the receipt names the hole. `cargo run -p fedaudit-tests --bin faults` runs
//! any number of them, and `--only SEED` one again.

use std::sync::Arc;

use async_trait::async_trait;
use fedaudit_core::{
    AuditSource, Context, EndReason, EventBuilder, Page, PageRequest, Result, SourceHealth, SourceInfo, StreamKind,
};
use fedaudit_tests::faults::{Outcome, Through, Verdict, Worlds, run_through};
use futures::StreamExt as _;

const SCRIPTS: u64 = 300;
/// Most of a script is waiting.
const AT_ONCE: usize = 48;

/// The outcomes of the first scripts.
async fn outcomes(scripts: u64, through: Through) -> Vec<Outcome> {
    let worlds = Arc::new(Worlds::default());
    let play = |seed| {
        let worlds = Arc::clone(&worlds);
        async move { tokio::spawn(async move { run_through(&worlds, seed, through).await }).await.unwrap().unwrap() }
    };
    futures::stream::iter(1..=scripts).map(play).buffer_unordered(AT_ONCE).collect().await
}

fn silent(outcomes: &[Outcome]) -> Vec<String> {
    let silent = outcomes.iter().filter(|outcome| matches!(outcome.verdict, Verdict::Silent(_)));
    silent.map(ToString::to_string).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_script_ends_with_the_truth_or_a_named_hole() {
    let outcomes = outcomes(SCRIPTS, |source| source).await;
    let silent = silent(&outcomes);
    assert!(silent.is_empty(), "{} silent differences\n{}", silent.len(), silent.join("\n"));
    let truths = outcomes.iter().filter(|outcome| outcome.verdict == Verdict::Truth).count() as u64;
    println!("{SCRIPTS} scripts, {truths} answers equal to the truth, {} with a named hole", SCRIPTS - truths);
    // Faults that never happen, or that break everything, prove nothing.
    assert!((SCRIPTS / 10..SCRIPTS - SCRIPTS / 10).contains(&truths), "{truths}");
}

/// A source with a flaw.
#[derive(Debug)]
struct Flawed {
    source: Arc<dyn AuditSource>,
    flaw: Flaw,
}

#[derive(Debug, PartialEq)]
enum Flaw {
    /// Takes a failure for the end.
    SwallowsErrors,
    /// Leaves its logins behind.
    NeverLeaves,
}

#[async_trait]
impl AuditSource for Flawed {
    fn info(&self) -> &SourceInfo {
        self.source.info()
    }

    async fn check(&self, cx: &Context) -> Result<SourceHealth> {
        self.source.check(cx).await
    }

    async fn fetch(&self, cx: &Context, request: &PageRequest) -> Result<Page> {
        let page = self.source.fetch(cx, request).await;
        let is_events = self.info().stream(&request.stream).is_some_and(|stream| stream.kind == StreamKind::Events);
        if self.flaw == Flaw::SwallowsErrors && is_events && page.is_err() {
            return Ok(Page::last(EventBuilder::new(&cx.source_key).finish()?, EndReason::ShortPage));
        }
        page
    }

    async fn close(&self, cx: &Context) -> Result<()> {
        if self.flaw == Flaw::NeverLeaves { Ok(()) } else { self.source.close(cx).await }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_with_a_flaw_does_not_get_through() {
    let swallowed = outcomes(24, |source| Arc::new(Flawed { source, flaw: Flaw::SwallowsErrors })).await;
    assert!(silent(&swallowed).iter().any(|outcome| outcome.contains("missing rows")), "{swallowed:#?}");
    let left = outcomes(4, |source| Arc::new(Flawed { source, flaw: Flaw::NeverLeaves })).await;
    assert!(silent(&left).iter().any(|outcome| outcome.contains("left behind")), "{left:#?}");
}
