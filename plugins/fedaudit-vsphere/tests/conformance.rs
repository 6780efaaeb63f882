//! The plugin against the stand-in vCenter, over real TLS on loopback and over both transports.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may fail and may speak")]

mod listed;
mod peer;
mod reading;
mod records;
mod servers;
#[path = "support/mod.rs"]
mod support;
mod vcsim;

#[path = "conformance/suite.rs"]
mod suite;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, RecordBatch};
use fedaudit_core::{Direction, EndReason, ErrorKind, Next, PageRequest, Predicate, Time, Window};
use fedaudit_testkit::records::{VimValue, VsphereEvent, World};
use fedaudit_testkit::vsphere::Options;
use support::{Bench, Seen, cell, read, world};

const PROTOCOLS: [&str; 2] = ["soap", "json"];

fn times(batch: &RecordBatch) -> Vec<i64> {
    batch.column_by_name("time").unwrap().as_primitive::<TimestampMicrosecondType>().values().to_vec()
}

fn keys(batches: &[RecordBatch]) -> Vec<i64> {
    batches
        .iter()
        .flat_map(|batch| {
            let column = batch.column_by_name("sequence").unwrap().as_primitive::<arrow_array::types::Int64Type>();
            column.values().to_vec()
        })
        .collect()
}

#[tokio::test]
async fn every_event_arrives_once_and_equal_over_both_transports() {
    let world = world();
    let mut raws = Vec::new();
    for protocol in PROTOCOLS {
        let bench = Bench::start(Arc::clone(&world), Options::default(), protocol, "").await;
        let request = PageRequest { page_size: Some(97), ..PageRequest::first("vim.events", Window::ALL) };
        let answer = read(&bench, request).await;
        let expected: Vec<i64> = world.vsphere.events.iter().map(|event| i64::from(event.key)).collect();
        assert_eq!(keys(&answer.rows), expected, "{protocol}");
        assert_eq!((answer.end, answer.rejected.len()), (EndReason::EmptyPage, 0));
        assert_eq!(answer.records as usize, expected.len());
        assert_eq!(answer.pages, expected.len().div_ceil(97) + 1);
        assert!(answer.server_time.is_some());
        assert!(answer.retention_floor.is_some());
        assert_eq!(bench.stand_in.open_collectors(), 0);
        let texts = |name: &str| -> Vec<Option<String>> {
            answer.rows.iter().flat_map(|batch| (0..batch.num_rows()).map(|row| cell(batch, name, row))).collect()
        };
        raws.push((texts("raw"), texts("unmapped"), texts("event_key"), texts("session_key")));
        bench.source.close(&bench.cx).await.unwrap();
        assert_eq!(bench.stand_in.open_logins(), 0);
        bench.source.close(&bench.cx).await.unwrap();
    }
    for (soap, json) in raws[0].0.iter().zip(&raws[1].0) {
        assert_eq!(soap, json);
    }
    assert!(raws[0] == raws[1]);
}

#[tokio::test]
async fn actions_and_outcomes_agree_with_the_truth() {
    let world = world();
    let bench = Bench::start(Arc::clone(&world), Options::default(), "auto", "").await;
    let answer = read(&bench, PageRequest::first("vim.events", Window::ALL)).await;
    let mut seen: Vec<Seen> = Vec::new();
    for batch in &answer.rows {
        for (row, time) in times(batch).into_iter().enumerate() {
            let text = |name| cell(batch, name, row);
            seen.push((
                time,
                text("action").unwrap(),
                text("outcome").unwrap(),
                text("user_name"),
                text("src_ip"),
                text("session_id"),
            ));
        }
    }
    let mut truth: Vec<Seen> = support::truth_of(&world);
    seen.sort();
    truth.sort();
    for (seen, truth) in seen.iter().zip(&truth) {
        assert_eq!(seen, truth);
    }
    assert_eq!(seen.len(), truth.len());
}

#[tokio::test]
async fn windows_are_half_open() {
    let world = world();
    let events = &world.vsphere.events;
    let (from, to) = (events[40].created, events[300].created);
    for protocol in PROTOCOLS {
        let bench = Bench::start(Arc::clone(&world), Options::default(), protocol, "").await;
        let window = Window::new(Time::from_micros(from), Time::from_micros(to));
        let answer = read(&bench, PageRequest::first("vim.events", window)).await;
        let expected: Vec<i64> = events
            .iter()
            .filter(|event| from <= event.created && event.created < to)
            .map(|event| i64::from(event.key))
            .collect();
        assert_eq!(keys(&answer.rows), expected);
        let empty = Window::new(Time::from_micros(from), Time::from_micros(from));
        let answer = read(&bench, PageRequest::first("vim.events", empty)).await;
        assert_eq!(
            (answer.rows.iter().map(RecordBatch::num_rows).sum::<usize>(), answer.end),
            (0, EndReason::NothingAsked)
        );
    }
}

#[tokio::test]
async fn pushed_conditions_keep_every_match_and_read_less() {
    let world = world();
    let forms = r#""user_forms": ["CORP\\{}", "{}@corp.example", "VSPHERE.LOCAL\\{}"]"#;
    let name = world
        .truth
        .events
        .iter()
        .filter(|event| event.product == "vsphere")
        .find_map(|event| event.user_name.clone())
        .unwrap();
    for protocol in PROTOCOLS {
        let bench = Bench::start(Arc::clone(&world), Options::default(), protocol, forms).await;
        for (column, value) in
            [("action", "auth.login"), ("event_code", "com.vmware.sso.LoginFailure"), ("user_name", name.as_str())]
        {
            let everything = read(&bench, PageRequest::first("vim.events", Window::ALL)).await;
            let matching = |rows: &[RecordBatch]| -> BTreeSet<String> {
                let rows = rows.iter().flat_map(|batch| (0..batch.num_rows()).map(move |row| (batch, row)));
                rows.filter(|(batch, row)| cell(batch, column, *row).as_deref() == Some(value))
                    .map(|(batch, row)| cell(batch, "event_key", row).unwrap())
                    .collect()
            };
            let predicate = Predicate::any_of(column, [value]);
            assert!(bench.source.info().stream("vim.events").unwrap().can_push(&predicate));
            let request = PageRequest { predicates: vec![predicate], ..PageRequest::first("vim.events", Window::ALL) };
            bench.log.take();
            let pushed = read(&bench, request).await;
            assert_eq!(matching(&pushed.rows), matching(&everything.rows), "{column}");
            assert!(!matching(&pushed.rows).is_empty());
            let sent: u64 = bench.log.take().iter().map(|entry| entry.records).sum();
            assert!(sent < everything.records / 2, "{column}: {sent} of {}", everything.records);
        }
    }
    // Without a word on the server's own spelling, names are compared here and not there.
    let bench = Bench::start(world, Options::default(), "soap", "").await;
    assert!(!bench.source.info().stream("vim.events").unwrap().can_push(&Predicate::any_of("user_name", ["a"])));
}

#[tokio::test]
async fn live_sessions_and_the_reader_among_them() {
    let world = world();
    for protocol in PROTOCOLS {
        let bench =
            Bench::start(Arc::clone(&world), Options { list_reader: true, ..Options::default() }, protocol, "").await;
        let answer = read(&bench, PageRequest::first("sessions", Window::ALL)).await;
        assert_eq!(answer.end, EndReason::SinglePage);
        let batch = &answer.rows[0];
        assert_eq!(batch.num_rows(), world.vsphere.sessions.len() + 1);
        for (row, session) in world.vsphere.sessions.iter().enumerate() {
            assert_eq!(cell(batch, "session_id", row).as_deref(), Some(session.key.as_str()));
            assert_eq!(cell(batch, "state", row).as_deref(), Some("active"));
            assert_eq!(cell(batch, "user_original", row).as_deref(), Some(session.user_name.as_str()));
            assert!(batch.column_by_name("quality_flags").unwrap().is_null(row));
        }
        let own = batch.column_by_name("quality_flags").unwrap().as_list::<i32>().value(batch.num_rows() - 1);
        assert_eq!(own.as_string::<i32>().value(0), "own_reader");
        assert_eq!(cell(batch, "unmapped", 0).unwrap().matches("fullName").count(), 1);
    }
}

#[tokio::test]
async fn a_missing_right_is_denied_and_says_which() {
    for protocol in PROTOCOLS {
        let bench =
            Bench::start(world(), Options { may_list_sessions: false, ..Options::default() }, protocol, "").await;
        let error = bench.source.fetch(&bench.cx, &PageRequest::first("sessions", Window::ALL)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        assert!(error.hint_text().unwrap().contains("View and stop sessions"));
        let health = bench.source.check(&bench.cx).await.unwrap();
        assert_eq!(health.denied.len(), 1);
        assert_eq!(health.denied[0].0, "sessions");
        // Each refusal can be an event in the server's log.
        let asked = bench.log.take().iter().filter(|entry| entry.target.contains("sessionList")).count();
        assert_eq!(asked, 1);
        // A new login asks anew: the right may have been given meanwhile.
        bench.source.close(&bench.cx).await.unwrap();
        bench.source.check(&bench.cx).await.unwrap();
        assert_eq!(bench.log.take().iter().filter(|entry| entry.target.contains("sessionList")).count(), 1);
    }
}

#[tokio::test]
async fn a_list_without_the_reader_is_not_believed() {
    for protocol in PROTOCOLS {
        let bench = Bench::start(world(), Options { lists_nobody: true, ..Options::default() }, protocol, "").await;
        let error = bench.source.fetch(&bench.cx, &PageRequest::first("sessions", Window::ALL)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
        assert_eq!(bench.source.check(&bench.cx).await.unwrap_err().kind(), ErrorKind::Malformed);
    }
}

#[tokio::test]
async fn a_list_of_nobody_else_is_believed_where_others_may_be_seen() {
    let mut quiet = World::clone(&world());
    quiet.vsphere.sessions.clear();
    let quiet = Arc::new(quiet);
    for protocol in PROTOCOLS {
        let start = async |options| Bench::start(Arc::clone(&quiet), options, protocol, "").await;
        let request = || PageRequest::first("sessions", Window::ALL);
        let answer = read(&start(Options::default()).await, request()).await;
        assert_eq!(answer.column("quality_flags"), [Some("own_reader".to_owned())]);
        assert!(answer.notes.is_empty(), "{:?}", answer.notes);
        // One that shows an account its own sessions where another product refuses.
        let bench = start(Options { may_list_sessions: false, lists_own_sessions: true, ..Options::default() }).await;
        let error = bench.source.fetch(&bench.cx, &request()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        assert!(error.hint_text().unwrap().contains("View and stop sessions"));
        assert_eq!(bench.source.check(&bench.cx).await.unwrap().denied[0].0, "sessions");
        // One that cannot be asked.
        let answer = read(&start(Options { tells_privileges: false, ..Options::default() }).await, request()).await;
        assert_eq!(answer.column("session_id").len(), 1);
        assert!(answer.notes[0].contains("the server does not say which"), "{:?}", answer.notes);
    }
}

#[tokio::test]
async fn check_tells_who_answers() {
    let world = world();
    for protocol in PROTOCOLS {
        let bench = Bench::start(Arc::clone(&world), Options::default(), protocol, "").await;
        let health = bench.source.check(&bench.cx).await.unwrap();
        assert_eq!(health.fingerprint.as_deref(), Some(world.vsphere.instance_uuid.as_str()));
        assert_eq!(health.product_version.as_deref(), Some("8.0.3"));
        assert_eq!(health.account.as_deref(), Some("VSPHERE.LOCAL\\reader"));
        assert!(health.server_time.is_some() && health.retention_floor.is_some() && health.denied.is_empty());
        assert_eq!(bench.stand_in.open_collectors(), 0);
    }
}

#[tokio::test]
async fn wrong_credentials_are_tried_once() {
    for protocol in PROTOCOLS {
        let bench =
            Bench::start(world(), Options { password: "another".into(), ..Options::default() }, protocol, "").await;
        for _ in 0..3 {
            let error =
                bench.source.fetch(&bench.cx, &PageRequest::first("vim.events", Window::ALL)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthenticated);
            assert!(error.hint_text().unwrap().contains("password"));
            assert!(!format!("{error:?}").contains(support::PASSWORD));
        }
        let logins = bench.log.take().iter().filter(|entry| entry.target.starts_with("Login ")).count();
        assert_eq!(logins, 1);
    }
}

#[tokio::test]
async fn a_lost_login_is_made_anew_and_nothing_is_lost() {
    let world = world();
    for protocol in PROTOCOLS {
        for expire_after in [4, 5, 9] {
            let options = Options { expire_after: Some(expire_after), ..Options::default() };
            let bench = Bench::start(Arc::clone(&world), options, protocol, "").await;
            let request = PageRequest { page_size: Some(150), ..PageRequest::first("vim.events", Window::ALL) };
            let answer = read(&bench, request).await;
            let expected: Vec<i64> = world.vsphere.events.iter().map(|event| i64::from(event.key)).collect();
            assert_eq!(keys(&answer.rows), expected);
            assert_eq!(bench.cx.meter.read().logins, 2);
        }
    }
}

#[tokio::test]
async fn a_cursor_survives_a_new_login_and_a_second_reading() {
    let world = world();
    let bench = Bench::start(Arc::clone(&world), Options::default(), "soap", "").await;
    let mut request = PageRequest { page_size: Some(50), ..PageRequest::first("vim.events", Window::ALL) };
    let first = bench.source.fetch(&bench.cx, &request).await.unwrap();
    let Next::More(cursor) = first.next else { panic!("one page is not all") };
    request.cursor = Some(cursor);
    let second = bench.source.fetch(&bench.cx, &request).await.unwrap();
    let again = bench.source.fetch(&bench.cx, &request).await.unwrap();
    bench.source.close(&bench.cx).await.unwrap();
    let later = bench.source.fetch(&bench.cx, &request).await.unwrap();
    let expected: Vec<i64> = world.vsphere.events[50..100].iter().map(|event| i64::from(event.key)).collect();
    assert_eq!(keys(&[second.rows]), expected);
    // A new collector begins in the overlap, and what was delivered before is left out.
    for page in [again, later] {
        let keys = keys(&[page.rows]);
        assert!(!keys.is_empty() && keys == expected[..keys.len()]);
    }
}

#[tokio::test]
async fn a_broken_record_is_rejected_and_the_rest_is_read() {
    let world = world();
    let broken = world.vsphere.events[123].key;
    for protocol in PROTOCOLS {
        let bench = Bench::start(
            Arc::clone(&world),
            Options { broken_event: Some(broken), ..Options::default() },
            protocol,
            "",
        )
        .await;
        let answer = read(&bench, PageRequest::first("vim.events", Window::ALL)).await;
        assert_eq!(keys(&answer.rows).len(), world.vsphere.events.len() - 1);
        assert_eq!(answer.rejected.len(), 1);
        assert!(answer.rejected[0].raw.contains(&broken.to_string()));
    }
}

#[tokio::test]
async fn the_limit_of_collectors_is_lived_with() {
    let world = world();
    let bench = Bench::start(Arc::clone(&world), Options { max_collectors: 2, ..Options::default() }, "soap", "").await;
    let mut requests: Vec<PageRequest> = (0..4)
        .map(|part| {
            let events = &world.vsphere.events;
            let bound = |part: usize| Time::from_micros(events[(events.len() - 1) * part / 4].created);
            PageRequest {
                page_size: Some(60),
                ..PageRequest::first("vim.events", Window::new(bound(part), bound(part + 1)))
            }
        })
        .collect();
    let mut found = BTreeSet::new();
    // Round robin: each window's collector is taken away again and again.
    while !requests.is_empty() {
        let mut open = Vec::new();
        for mut request in requests {
            let page = bench.source.fetch(&bench.cx, &request).await.unwrap();
            found.extend(keys(&[page.rows]));
            if let Next::More(cursor) = page.next {
                request.cursor = Some(cursor);
                open.push(request);
            }
        }
        requests = open;
    }
    assert_eq!(found.len(), world.vsphere.events.len() - 1);
}

#[tokio::test]
async fn other_answers_than_vspheres() {
    let bench = Bench::start(world(), Options { html: true, ..Options::default() }, "soap", "").await;
    let error = bench.source.check(&bench.cx).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
    let bench = Bench::start(world(), Options { unavailable: 2, ..Options::default() }, "auto", "").await;
    let error = bench.source.check(&bench.cx).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(bench.source.check(&bench.cx).await.is_err());
    assert!(bench.source.check(&bench.cx).await.is_ok());
    let gone = bench.gone();
    let error = gone.source.check(&gone.cx).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[tokio::test]
async fn odd_prefixes_and_plain_cookies_are_read_too() {
    let world = world();
    let options = Options { json: false, odd_prefix: true, ..Options::default() };
    let bench = Bench::start(Arc::clone(&world), options, "auto", "").await;
    for direction in [Direction::Any, Direction::NewestFirst] {
        let request = PageRequest { direction, ..PageRequest::first("vim.events", Window::ALL) };
        let answer = read(&bench, request).await;
        assert_eq!((answer.keys().len(), answer.rejected.len()), (world.vsphere.events.len(), 0));
    }
    let sessions = read(&bench, PageRequest::first("sessions", Window::ALL)).await;
    assert_eq!(sessions.column("session_id").len(), world.vsphere.sessions.len());
}

/// The record of the seed, with every member the class has.
fn seed_event() -> VsphereEvent {
    let argument = |type_name, reference: &'static str, kind, id: &str| VimValue::Object {
        type_name,
        members: vec![
            ("name", VimValue::Text(format!("{id}-name"))),
            (reference, VimValue::Ref { kind, value: id.into() }),
        ],
    };
    let text = |text: &str| VimValue::Text(text.into());
    VsphereEvent {
        class: "UserLogoutSessionEvent",
        key: -5,
        chain_id: 7,
        created: 1_770_113_730_250_001,
        user_name: "CORP\\Ana".into(),
        members: vec![
            ("datacenter", argument("DatacenterEventArgument", "datacenter", "Datacenter", "datacenter-3")),
            (
                "computeResource",
                argument("ComputeResourceEventArgument", "computeResource", "ClusterComputeResource", "domain-c8"),
            ),
            ("host", argument("HostEventArgument", "host", "HostSystem", "host-1")),
            ("vm", argument("VmEventArgument", "vm", "VirtualMachine", "vm-71")),
            ("ds", argument("DatastoreEventArgument", "datastore", "Datastore", "datastore-11")),
            ("net", argument("NetworkEventArgument", "network", "Network", "network-5")),
            ("dvs", argument("DvsEventArgument", "dvs", "VmwareDistributedVirtualSwitch", "dvs-9")),
            ("fullFormattedMessage", text("Benutzer <Ana> & \"Co\" abgemeldet")),
            ("changeTag", text("CHG-1")),
            ("ipAddress", text("2001:DB8:0:0:0:0:0:7")),
            ("userAgent", text("x/1")),
            ("callCount", VimValue::Int(12)),
            ("sessionId", text("52aaaaaa-0000-4000-8000-000000000001")),
            ("loginTime", VimValue::Time(1_770_109_200_000_123)),
        ],
    }
}

fn account_event() -> VsphereEvent {
    let spec = VimValue::Object {
        type_name: "HostAccountSpec",
        members: vec![("id", VimValue::Text("local1".into())), ("password", VimValue::Text("hunter2".into()))],
    };
    VsphereEvent {
        class: "AccountCreatedEvent",
        key: 8,
        chain_id: 8,
        created: 1_770_113_730_250_002,
        user_name: String::new(),
        members: vec![("spec", spec), ("group", VimValue::Bool(false))],
    }
}

#[tokio::test]
async fn field_for_field() {
    let mut world = World::clone(&world());
    world.vsphere.events = vec![seed_event(), account_event()];
    let world = Arc::new(world);
    for protocol in PROTOCOLS {
        let bench = Bench::start(Arc::clone(&world), Options::default(), protocol, "").await;
        let answer = read(&bench, PageRequest::first("vim.events", Window::ALL)).await;
        let found = support::records(&answer.rows);
        support::golden("events.txt", &found);
        assert!(!found.contains("hunter2"));
    }
}
