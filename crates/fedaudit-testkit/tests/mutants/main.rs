//! The suite judged: a small source passes it, and each of its possible mistakes is found by the case that is there for it.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may panic and may speak")]

mod product;
mod source;

use fedaudit_core::Plugin;
use fedaudit_testkit::conformance::{Report, Subject, Suite, all_cases};

use crate::source::{Lax, Sample};

const SETTINGS: &str = r#"
url = "{url}"
password = "file:{secret}"
tls = { ca_file = "{ca}" }
"#;

fn suite<P: Plugin>() -> Suite {
    Suite::new(Subject::of::<P>(), SETTINGS, product::product)
}

#[tokio::test]
async fn the_sample_source_passes() {
    suite::<Sample>().sample("```toml\n[[source]]\nname = \"s\"\ntype = \"sample\"\nurl = \"https://s.example\"\npassword = \"env:S\"\n```").run().await;
}

/// A mistake, and the case that finds it.
const MUTANTS: &[(&str, &str)] = &[
    ("answers_for_any_stream", "U8"),
    ("takes_local_time_for_utc", "U11"),
    ("invents_a_row", "U11"),
    ("never_ends", "U11"),
    ("drops_the_last_page", "U12"),
    ("ends_at_an_empty_page", "U12"),
    ("repeats_a_page", "U12"),
    ("counts_instead_of_keys", "U12"),
    ("promises_too_much", "U13"),
    ("loses_ties", "U14"),
    ("remembers_instead_of_a_cursor", "U16"),
    ("counts_wrong", "U19"),
    ("begins_a_microsecond_late", "U21"),
    ("ends_a_second_early", "U21"),
    ("drops_what_its_clock_calls_future", "U27"),
    ("writes_nothing_for_null", "U31"),
    ("writes_a_dash_for_null", "U31"),
    ("writes_raw_anew", "U32"),
    ("keys_follow_the_name", "U34"),
    ("drops_bad_records", "U35"),
    ("stops_at_a_bad_record", "U35"),
    ("pushes_with_the_wrong_case", "U40"),
    ("is_not_as_exact_as_it_says", "U42"),
    ("checks_nothing", "U50"),
    ("tries_a_refused_password_again", "U51"),
    ("takes_a_refusal_for_the_end", "U52"),
    ("never_logs_in_again", "U53"),
    ("logs_in_for_every_request", "U54"),
    ("shows_the_password_in_debug", "U60"),
    ("shows_the_token_in_errors", "U60"),
    ("logs_the_token", "U60"),
    ("never_logs_out", "U61"),
    ("ignores_throttling", "U70"),
    ("hammers", "U70"),
    ("never_tries_again", "U72"),
    ("takes_nonsense_for_the_end", "U76"),
    ("has_no_deadline", "U79"),
    ("follows_links_anywhere", "U81"),
    ("goes_past_the_proxy", "U84"),
];

async fn with_mistake(mistake: &str, case: &'static str) -> Report {
    suite::<Sample>().with_settings(&format!("mistake = \"{mistake}\"")).only(&[case]).report().await
}

#[tokio::test]
async fn every_mistake_is_found() {
    let mut alive = Vec::new();
    for (mistake, case) in MUTANTS {
        let report = with_mistake(mistake, case).await;
        match report.failed.iter().find(|(id, _)| id == case) {
            Some((_, text)) => eprintln!("{case} finds {mistake}: {}", text.chars().take(150).collect::<String>()),
            None => alive.push(format!("{mistake} lives: {report}")),
        }
    }
    assert!(alive.is_empty(), "{alive:#?}");
}

#[tokio::test]
async fn settings_that_nobody_checks_are_found() {
    let report = suite::<Lax>().only(&["U3"]).report().await;
    assert_eq!(report.failed.len(), 1, "{report}");
}

#[tokio::test]
async fn a_case_that_is_left_out_says_why() {
    let report = suite::<Sample>().only(&["U1", "U8"]).skip("U8", "for this test").report().await;
    assert_eq!(report.to_string(), "conformance: sample 1 cases, 1 skipped\n  U8 skipped: for this test");
}

#[test]
fn numbers_are_unique_and_the_document_lists_every_case() {
    let document = include_str!("../../../../docs/conformance/suite.md");
    for (place, case) in all_cases().iter().enumerate() {
        assert!(all_cases()[..place].iter().all(|other| other.id != case.id), "{case:?} twice");
        let line = format!("| {} | {} | `{}` |", case.id, case.shows, case.name);
        assert!(document.contains(&line), "docs/conformance/suite.md lacks\n{line}");
    }
    for (mistake, case) in MUTANTS {
        let line = format!("| {mistake} | {case} |").replace('_', " ");
        assert!(document.contains(&line), "docs/conformance/suite.md lacks\n{line}");
    }
}
