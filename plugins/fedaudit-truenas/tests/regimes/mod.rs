//! Releases: the same organisation says the same through each of them, and each is only asked what all understand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fedaudit_core::{Direction, PageRequest, Predicate, Window};
use fedaudit_testkit::truenas::Options;
use fedaudit_truenas::Service;
use serde_json::{Value as Json, json};

use crate::bench::*;

const RELEASES: [&str; 6] = ["v25.04.0", "v25.04.2", "v25.10.0", "v25.10.7", "v26.0.0", "v27.0.0"];

/// Columns that not every release can carry, and the releases that cannot.
const EXCEPTIONS: [(&str, &[&str]); 6] = [
    // It is the release itself.
    ("product_version", &RELEASES),
    // A login has an id of its own since 25.10, in the list and in every record that names its credential.
    ("alt_session_id", &["v25.04.0", "v25.04.2"]),
    ("unmapped", &["v25.04.0", "v25.04.2"]),
    // Addresses of IPv6 have brackets since 25.10.1; what they mean is the same.
    ("client_original", &["v25.04.0", "v25.04.2", "v25.10.0"]),
    // The bytes differ where any of this does.
    ("raw", &["v25.04.0", "v25.04.2", "v25.10.0"]),
    ("raw_sha256", &["v25.04.0", "v25.04.2", "v25.10.0"]),
];

#[tokio::test]
async fn three_regimes_tell_the_same() {
    let world = world(2500);
    let streams: Vec<&str> = Service::ALL.iter().map(|service| service.stream()).chain(["auth.sessions"]).collect();
    let mut told: BTreeMap<&str, BTreeMap<String, BTreeMap<String, String>>> = BTreeMap::new();
    for release in RELEASES {
        let options = Options { versions: vec![release.to_owned()], ..options() };
        let bench = bench(Arc::clone(&world), options).await;
        for stream in &streams {
            let read = read(&bench, PageRequest::first(stream, Window::ALL)).await;
            let blind = read.notes.iter().any(|note| note.contains("no logouts"));
            assert_eq!(blind, release == "v25.04.0" && *stream == "audit.MIDDLEWARE");
            assert!(read.rejected.is_empty(), "{release} {stream}: {:?}", read.rejected);
            let rows = read.cells().into_iter().map(|cells| (format!("{stream} {}", cells["record_id"]), cells));
            told.entry(release).or_default().extend(rows);
        }
        assert!(bench.log.entries().iter().all(|entry| entry.status == 200), "{release} refused a question");
    }
    let newest = &told["v27.0.0"];
    assert!(newest.len() > 1000 && newest.values().any(|cells| cells.contains_key("alt_session_id")));
    let mut differed: BTreeSet<(&str, &str)> = BTreeSet::new();
    for (release, rows) in &told {
        for (id, cells) in newest {
            let Some(of_release) = rows.get(id) else {
                // The end of a connection is written down since 25.04.1.
                assert!(*release == "v25.04.0" && cells["event_code"] == "LOGOUT", "{release} has no {id}");
                continue;
            };
            let columns: BTreeSet<&String> = cells.keys().chain(of_release.keys()).collect();
            for column in columns {
                if cells.get(column) == of_release.get(column) {
                    continue;
                }
                let known = EXCEPTIONS.iter().find(|(name, releases)| name == column && releases.contains(release));
                let Some((column, _)) = known else {
                    panic!("{release} {id} {column}: {:?} not {:?}", of_release.get(column), cells.get(column))
                };
                differed.insert((*column, *release));
            }
        }
        assert!(rows.keys().all(|id| newest.contains_key(id)));
    }
    // No exception is listed that none needs, and IPv6 is only in the list where somebody uses it.
    for (column, releases) in EXCEPTIONS.iter().filter(|(column, _)| *column != "client_original") {
        let needed = releases.iter().filter(|release| **release != "v27.0.0" && **release != "v25.10.0");
        for release in needed {
            assert!(differed.contains(&(*column, *release)), "{column} of {release} differs nowhere");
        }
    }
}

#[tokio::test]
async fn only_safe_parameters_are_ever_sent() {
    const METHODS: [&str; 9] = [
        "audit.query",
        "audit.config",
        "auth.login_ex",
        "auth.logout",
        "auth.mechanism_choices",
        "auth.sessions",
        "core.subscribe",
        "system.host_id",
        "system.version_short",
    ];
    let mut crowded = (*world(900)).clone();
    for (index, row) in crowded.truenas.smb.iter_mut().enumerate() {
        row.message_timestamp = TO / 1_000_000 - 4000 + (index / 40) as i64;
        row.timestamp = row.message_timestamp;
    }
    crowded.truenas.smb.sort_by(|a, b| (a.message_timestamp, &a.audit_id).cmp(&(b.message_timestamp, &b.audit_id)));
    let crowded = Arc::new(crowded);
    for release in ["v25.10.0", "v25.10.7", "v26.0.0"] {
        let spoilt = crowded.truenas.smb[60].audit_id.clone();
        let options = Options {
            versions: vec![release.to_owned()],
            poisoned: vec![spoilt.clone()],
            nulls: vec![(spoilt, "address")],
            ..options()
        };
        let bench = bench_of(Arc::clone(&crowded), options, "api_key", KEY, json!({"remote_controller": true})).await;
        bench.source.check(&bench.cx).await.unwrap();
        for stream in &bench.source.info().streams {
            let first = PageRequest::first(&stream.name, Window::ALL);
            let filters: Vec<Predicate> = stream
                .pushable
                .iter()
                .map(|pushable| Predicate {
                    operator: pushable.operators[0],
                    ..Predicate::any_of(&pushable.column, ["ana", "success", "READ"])
                })
                .collect();
            for request in [
                PageRequest { count_only: true, ..first.clone() },
                PageRequest { page_size: Some(7), ..first.clone() },
                PageRequest { page_size: Some(7), predicates: filters, ..first.clone() },
                PageRequest { direction: Direction::NewestFirst, page_size: Some(100_000), ..first.clone() },
            ] {
                read(&bench, request).await;
            }
            let follow = Some(Duration::from_millis(5));
            bench.source.fetch(&bench.cx, &PageRequest { follow, ..first }).await.unwrap();
        }
        bench.source.close(&bench.cx).await.unwrap();
        let mut queries = 0;
        for entry in bench.log.entries().iter().filter(|entry| entry.method == "RPC") {
            let (method, params) = entry.target.split_once(' ').unwrap();
            assert!(METHODS.contains(&method), "{method} was called");
            if method != "audit.query" {
                continue;
            }
            queries += 1;
            let params: Json = serde_json::from_str(params).unwrap();
            let question = params[0].as_object().unwrap();
            let allowed = ["services", "query-filters", "query-options", "remote_controller"];
            assert!(question.keys().all(|key| allowed.contains(&key.as_str())), "{params}");
            assert_eq!(question["services"].as_array().unwrap().len(), 1);
            assert!(question.get("remote_controller").is_none_or(|other| *other == true));
            let options = question["query-options"].as_object().unwrap();
            let allowed = ["order_by", "limit", "offset", "select", "count"];
            assert!(options.keys().all(|key| allowed.contains(&key.as_str())), "{params}");
            let limit = options.get("limit").and_then(Json::as_u64);
            assert!(limit.is_some_and(|limit| (1..=10_000).contains(&limit)) || options["count"] == true, "{params}");
            let select = options.get("select").and_then(Json::as_array);
            assert!(select.is_none_or(|members| members.iter().all(Json::is_string)), "{params}");
            for filter in question["query-filters"].as_array().unwrap() {
                let filter = filter.as_array().unwrap();
                let field = filter[0].as_str().unwrap();
                let plain = ["audit_id", "message_timestamp", "username", "session", "event", "success"];
                assert!(filter.len() == 3 && plain.contains(&field), "{params}");
                assert!(
                    ["=", "!=", "in", "nin", ">=", "<=", "^", "~"].contains(&filter[1].as_str().unwrap()),
                    "{params}"
                );
                assert!(field != "message_timestamp" || filter[2].is_i64(), "{params}");
            }
        }
        assert!(queries > 100, "{queries}");
    }
}
