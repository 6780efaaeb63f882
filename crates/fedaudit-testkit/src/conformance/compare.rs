//! What was read against what is true.

use std::collections::HashSet;

use fedaudit_core::{Error, ErrorKind, Window};

use super::product::{Fact, Truth};
use super::reading::Reading;
use super::{Outcome, Trouble, ensure};

/// The rows that must be there, by id, and nothing else may be.
pub(crate) fn compare(truth: &Truth, reading: &Reading) -> Outcome {
    let mut found: Vec<Fact> = reading.facts(&truth.id).into_values().collect();
    let mut expected: Vec<Fact> = truth.facts.iter().map(|fact| Fact::new(&fact.id, fact.time)).collect();
    found.sort();
    expected.sort();
    let stream = &truth.stream;
    if let Some(lost) = expected.iter().find(|fact| found.binary_search(fact).is_err()) {
        let close = found.iter().find(|fact| fact.id == lost.id);
        return Err(Trouble::Broken(match close {
            Some(other) => format!("{stream}: {} is of {}, not of {}", lost.id, lost.time, other.time),
            None => format!("{stream}: {} of {} rows came; lost: {lost:?}", found.len(), expected.len()),
        }));
    }
    if let Some(more) = found.iter().find(|fact| expected.binary_search(fact).is_err()) {
        return Err(Trouble::Broken(format!("{stream}: a row that the product does not have: {more:?}")));
    }
    ensure!(found.len() == expected.len(), "{stream}: {} rows, not {}", found.len(), expected.len());
    Ok(())
}

/// The rows of the truth inside a window must be there; others of the truth may.
pub(crate) fn compare_window(truth: &Truth, window: Window, reading: &Reading) -> Outcome {
    let found: HashSet<String> = reading.facts(&truth.id).into_values().map(|fact| fact.id).collect();
    let known: HashSet<&str> = truth.facts.iter().map(|fact| fact.id.as_str()).collect();
    for fact in truth.facts.iter().filter(|fact| window.contains(fact.time)) {
        ensure!(found.contains(&fact.id), "{} {window}: lost {fact:?}", truth.stream);
    }
    if let Some(more) = found.iter().find(|id| !known.contains(id.as_str())) {
        return Err(Trouble::Broken(format!("{} {window}: invented {more}", truth.stream)));
    }
    Ok(())
}

/// What a disturbed reading gave: all of the truth, or an error of one of these kinds. Nothing in between.
pub(crate) fn truth_or_error(
    truth: &Truth,
    outcome: Outcome<Reading>,
    kinds: &[ErrorKind],
    what: &str,
) -> Outcome<Option<Error>> {
    match outcome {
        Ok(reading) => {
            compare(truth, &reading).map_err(|trouble| match trouble {
                Trouble::Broken(text) => Trouble::Broken(format!("{what}: {text}")),
                other => other,
            })?;
            Ok(None)
        }
        Err(Trouble::Refused(error)) => {
            ensure!(kinds.contains(&error.kind()), "{what}: {error:?}, expected one of {kinds:?}");
            Ok(Some(error))
        }
        Err(other) => Err(other),
    }
}
