//! Scripts of faults: the answer is the truth, or the receipt names the hole. `cargo run -p fedaudit-tests --bin faults` runs
//! any number of them, and `--only SEED` one again.

use std::sync::Arc;

use fedaudit_tests::faults::{Verdict, Worlds, run};
use futures::StreamExt as _;

const SCRIPTS: u64 = 300;
const AT_ONCE: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn every_script_ends_with_the_truth_or_a_named_hole() {
    let worlds = Arc::new(Worlds::default());
    let mut outcomes = futures::stream::iter(1..=SCRIPTS)
        .map(|seed| {
            let worlds = Arc::clone(&worlds);
            async move { tokio::spawn(async move { run(&worlds, seed).await }).await.unwrap().unwrap() }
        })
        .buffer_unordered(AT_ONCE);
    let (mut truths, mut holes, mut silent) = (0, 0, Vec::new());
    while let Some(outcome) = outcomes.next().await {
        match outcome.verdict {
            Verdict::Truth => truths += 1,
            Verdict::NamedHole => holes += 1,
            Verdict::Silent(_) => silent.push(outcome.to_string()),
        }
    }
    println!("{SCRIPTS} scripts, {truths} answers equal to the truth, {holes} with a named hole");
    assert!(silent.is_empty(), "{} silent differences\n{}", silent.len(), silent.join("\n"));
    // Faults that never happen, or that break everything, prove nothing.
    assert!(truths > SCRIPTS / 10 && holes > SCRIPTS / 10, "{truths} truths, {holes} holes");
}
