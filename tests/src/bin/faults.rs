//! Runs scripts of faults: `cargo run -p fedaudit-tests --bin faults -- --scripts 2000 --seed 1`, or one again with
//! `--only SEED`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use fedaudit_tests::faults::{Verdict, Worlds, run};
use futures::StreamExt as _;

const USAGE: &str = "faults [--scripts N] [--seed FIRST] [--at-once N] | --only SEED";

struct Arguments {
    first: u64,
    scripts: u64,
    at_once: usize,
    only: bool,
}

fn arguments() -> Option<Arguments> {
    let mut arguments = Arguments { first: 1, scripts: 300, at_once: 48, only: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let number: u64 = words.next()?.parse().ok()?;
        match word.as_str() {
            "--scripts" => arguments.scripts = number,
            "--seed" => arguments.first = number,
            "--at-once" => arguments.at_once = usize::try_from(number).ok()?.max(1),
            "--only" => (arguments.first, arguments.scripts, arguments.only) = (number, 1, true),
            _ => return None,
        }
    }
    Some(arguments)
}

#[tokio::main]
async fn main() -> ExitCode {
    let Some(Arguments { first, scripts, at_once, only }) = arguments() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let worlds = Arc::new(Worlds::default());
    let started = Instant::now();
    let seeds = (0..scripts).map(|count| first.wrapping_add(count));
    let mut outcomes = futures::stream::iter(seeds)
        .map(|seed| {
            let worlds = Arc::clone(&worlds);
            async move { (seed, tokio::spawn(async move { run(&worlds, seed).await }).await) }
        })
        .buffer_unordered(at_once);
    let mut slow: Vec<(u128, u64)> = Vec::new();
    let (mut done, mut truths, mut holes, mut silent) = (0u64, 0u64, 0u64, 0u64);
    while let Some((seed, outcome)) = outcomes.next().await {
        done += 1;
        match outcome {
            Ok(Ok(outcome)) => {
                slow.push((outcome.took.as_millis(), seed));
                match &outcome.verdict {
                    Verdict::Truth => truths += 1,
                    Verdict::NamedHole => holes += 1,
                    Verdict::Silent(_) => silent += 1,
                }
                if only || matches!(outcome.verdict, Verdict::Silent(_)) {
                    println!("{outcome}");
                }
            }
            Ok(Err(error)) => {
                silent += 1;
                println!("seed {seed}: the question itself failed: {error:?}\n");
            }
            Err(error) => {
                silent += 1;
                println!("seed {seed}: {error}\n");
            }
        }
        if done % 100 == 0 {
            eprintln!("{done} of {scripts} after {} s, {silent} silent", started.elapsed().as_secs());
        }
    }
    slow.sort_unstable();
    let slowest: Vec<String> = slow.iter().rev().take(5).map(|(took, seed)| format!("{seed} ({took} ms)")).collect();
    eprintln!("{} s; slowest seeds: {}", started.elapsed().as_secs(), slowest.join(", "));
    println!(
        "{scripts} scripts, {truths} answers equal to the truth, {holes} with a named hole, {silent} silent differences"
    );
    ExitCode::from(u8::from(silent > 0))
}
