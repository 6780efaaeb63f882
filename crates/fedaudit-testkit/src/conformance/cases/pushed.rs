//! What is pushed to a product loses nothing: a full reading and a local filter are the judge.

use std::collections::BTreeSet;

use fedaudit_core::{AuditSource, Direction, Operator, PageRequest, Predicate, StreamInfo, Time, Window};

use super::paging::all;
use crate::conformance::bench::Bench;
use crate::conformance::compare::compare;
use crate::conformance::predicates::{matching, random};
use crate::conformance::product::{Condition, Truth};
use crate::conformance::reading::Reading;
use crate::conformance::{Kit, Outcome, Trouble, ensure};
use crate::random::Random;

/// Conditions tried on each column and operator.
const TRIES: usize = 9;

struct Pushed<'b> {
    truth: &'b Truth,
    stream: StreamInfo,
    whole: Reading,
}

/// The streams that push something, read whole.
async fn pushed<'b>(bench: &'b Bench<'_>, source: &dyn AuditSource) -> Outcome<Vec<Pushed<'b>>> {
    let mut streams = Vec::new();
    for truth in bench.filled()? {
        let Some(stream) = source.info().stream(&truth.stream).filter(|stream| !stream.pushable.is_empty()) else {
            continue;
        };
        let whole = bench.read(source, &all(truth)).await?;
        compare(truth, &whole)?;
        streams.push(Pushed { truth, stream: stream.clone(), whole });
    }
    if streams.is_empty() {
        return Err(Trouble::Skip("no stream pushes a condition".to_owned()));
    }
    Ok(streams)
}

/// Reads under conditions; at least the matching rows have to come, and none that the product does not have.
async fn read(
    bench: &Bench<'_>,
    source: &dyn AuditSource,
    pushed: &Pushed<'_>,
    request: &PageRequest,
) -> Outcome<(BTreeSet<String>, BTreeSet<String>)> {
    let wanted = matching(&pushed.whole, &request.predicates);
    let found = bench.read(source, request).await?;
    let shown = request.predicates.iter().map(ToString::to_string).collect::<Vec<_>>().join(" AND ");
    let (stream, found) = (&pushed.truth.stream, found.key_set());
    let inside: BTreeSet<String> = if request.window == Window::ALL {
        wanted
    } else {
        let times = pushed.whole.times();
        let keys = pushed.whole.keys();
        let outside: BTreeSet<&String> = keys
            .iter()
            .zip(&times)
            .filter(|(_, time)| !time.is_some_and(|time| request.window.contains(time)))
            .map(|(key, _)| key)
            .collect();
        wanted.into_iter().filter(|key| !outside.contains(key)).collect()
    };
    let lost = inside.difference(&found).count();
    ensure!(lost == 0, "{stream}: {lost} of {} rows lost under {shown}", inside.len());
    let all = pushed.whole.key_set();
    let invented = found.difference(&all).count();
    ensure!(invented == 0, "{stream}: {invented} rows under {shown} that a full reading does not have");
    Ok((inside, found))
}

fn conditions(seed: &mut Random, pushed: &Pushed<'_>, column: &str, operator: Operator) -> Vec<Predicate> {
    (0..TRIES).map(|_| random(seed, &pushed.whole, column, operator)).collect()
}

pub(super) async fn conditions_lose_nothing(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::Healthy).await?;
    let source = bench.source()?;
    let mut seed = Random::new(41);
    let mut found_some = false;
    for pushed in pushed(&bench, &*source).await? {
        for pushable in &pushed.stream.pushable {
            for operator in &pushable.operators {
                for predicate in conditions(&mut seed, &pushed, &pushable.column, *operator) {
                    let request = PageRequest { predicates: vec![predicate], ..all(pushed.truth) };
                    let (wanted, _) = read(&bench, &*source, &pushed, &request).await?;
                    found_some |= !wanted.is_empty();
                }
            }
        }
    }
    ensure!(found_some, "no condition matched anything: the case shows nothing");
    source.close(&bench.cx).await?;
    Ok(())
}

pub(super) async fn conditions_together(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::Healthy).await?;
    let source = bench.source()?;
    let mut seed = Random::new(42);
    for pushed in pushed(&bench, &*source).await? {
        let mut times: Vec<Time> = pushed.whole.times().into_iter().flatten().collect();
        times.sort_unstable();
        for _ in 0..25 {
            let count = 1 + seed.index(3);
            let predicates = (0..count)
                .map(|_| {
                    let pushable = &pushed.stream.pushable[seed.index(pushed.stream.pushable.len())];
                    let operator = seed.pick(&pushable.operators);
                    random(&mut seed, &pushed.whole, &pushable.column, operator)
                })
                .collect();
            let window = if seed.chance(0.5) {
                let (a, b) = (times[seed.index(times.len())], times[seed.index(times.len())]);
                Window::new(a.min(b), a.max(b).plus(std::time::Duration::from_micros(1)))
            } else {
                Window::ALL
            };
            let direction = seed.pick(&[Direction::Any, Direction::NewestFirst]);
            let page_size = seed.pick(&[None, Some(1), Some(3), Some(10)]);
            let request = PageRequest { predicates, window, direction, page_size, ..all(pushed.truth) };
            read(&bench, &*source, &pushed, &request).await?;
        }
    }
    source.close(&bench.cx).await?;
    Ok(())
}

pub(super) async fn exact_means_exact(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::Healthy).await?;
    let source = bench.source()?;
    let mut seed = Random::new(43);
    let mut tried = false;
    for pushed in pushed(&bench, &*source).await? {
        for pushable in pushed.stream.pushable.iter().filter(|pushable| pushable.exact) {
            for operator in &pushable.operators {
                for predicate in conditions(&mut seed, &pushed, &pushable.column, *operator) {
                    tried = true;
                    let shown = predicate.to_string();
                    let request = PageRequest { predicates: vec![predicate], ..all(pushed.truth) };
                    let (wanted, found) = read(&bench, &*source, &pushed, &request).await?;
                    let more = found.len() - wanted.len();
                    ensure!(more == 0, "{}: {more} rows more than {shown}, said to be exact", pushed.truth.stream);
                }
            }
        }
    }
    source.close(&bench.cx).await?;
    if tried { Ok(()) } else { Err(Trouble::Skip("no column is declared exact".to_owned())) }
}
