//! Which server answers, how it is talked to, and whether it lets us in.

use std::sync::Arc;
use std::time::Duration;

use fedaudit_core::{ErrorKind, PageRequest, Predicate, Window};
use fedaudit_testkit::vsphere::{Introduction, Options};

use crate::PROTOCOLS;
use crate::support::{Bench, PASSWORD, cell, many, read, world, world_of};

fn events() -> PageRequest {
    PageRequest::first("vim.events", Window::ALL)
}

#[tokio::test]
async fn negotiation_takes_the_best_that_both_sides_know() {
    // What a server offers, what is configured, and what is spoken then.
    let u1 = || Options { hello: false, releases: vec!["8.0.1.0"], ..Options::default() };
    let newer = || Options { releases: vec!["99.0.0.0"], ..Options::default() };
    let old = || Options { json: false, releases: vec!["6.5"], ..Options::default() };
    let ancient = || Options { json: false, versions_file: false, ..Options::default() };
    for (options, protocol, spoken) in [
        (Options::default(), "auto", Ok("Json")),
        (Options::default(), "json", Ok("Json")),
        (Options::default(), "soap", Ok("Soap")),
        (u1(), "auto", Ok("Soap")),
        (u1(), "json", Ok("Json")),
        (newer(), "auto", Ok("Soap")),
        (newer(), "json", Err("no release of VI JSON in common")),
        (old(), "auto", Ok("Soap")),
        (old(), "json", Err("no VI JSON")),
        (ancient(), "auto", Ok("Soap")),
        (Options::host(10), "auto", Ok("Soap")),
        (Options::host(10), "json", Err("no VI JSON")),
    ] {
        let bench = Bench::start(world_of(many(5)), options, protocol, "").await;
        match spoken {
            Ok(word) => {
                let health = bench.source.check(&bench.cx).await.unwrap();
                assert!(health.notes[0].ends_with(&format!("over {word}")), "{protocol}: {:?}", health.notes);
                assert_eq!(read(&bench, events()).await.keys().len(), 5);
            }
            Err(words) => {
                let error = bench.source.check(&bench.cx).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Unsupported);
                assert!(error.to_string().contains(words), "{error}");
                assert!(error.hint_text().unwrap().contains("soap"));
            }
        }
    }
}

#[tokio::test]
async fn an_esxi_host_is_read_over_soap() {
    let world = world();
    let log = &world.vsphere.events;
    for sessions in [true, false] {
        let options = Options { may_list_sessions: sessions, ..Options::host(60) };
        let bench = Bench::start(Arc::clone(&world), options, "auto", "").await;
        let answer = read(&bench, PageRequest { page_size: Some(25), ..events() }).await;
        let kept = &log[log.len() - 60..];
        assert_eq!(answer.keys(), kept.iter().map(|event| i64::from(event.key)).collect::<Vec<_>>());
        // What is older is gone, and said to be.
        assert_eq!(answer.retention_floor.map(fedaudit_core::Time::micros), Some(kept[0].created));
        assert!(answer.notes.iter().any(|note| note.contains("in memory only")));
        let listed = bench.source.fetch(&bench.cx, &PageRequest::first("sessions", Window::ALL)).await;
        if sessions {
            assert_eq!(listed.unwrap().rows.num_rows(), world.vsphere.sessions.len());
        } else {
            assert_eq!(listed.unwrap_err().kind(), ErrorKind::Denied);
        }
        let health = bench.source.check(&bench.cx).await.unwrap();
        assert_eq!((health.fingerprint, health.denied.len()), (None, usize::from(!sessions)));
        assert!(health.notes.iter().any(|note| note.contains("ESXi")));
        assert_eq!(bench.stand_in.open_collectors(), 0);
    }
    // One that was just started has nothing, and that is no complete answer either.
    let bench = Bench::start(world_of(Vec::new()), Options::host(60), "auto", "").await;
    let answer = read(&bench, events()).await;
    assert!(answer.retention_floor.is_some() && answer.keys().is_empty());
}

#[tokio::test]
async fn an_account_without_a_role_is_denied() {
    for protocol in PROTOCOLS {
        let options = Options { login_fault: Some("NoPermission"), ..Options::default() };
        let bench = Bench::start(world(), options, protocol, "").await;
        for _ in 0..2 {
            let error = bench.source.fetch(&bench.cx, &events()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Denied);
            assert!(error.hint_text().unwrap().contains("Read-only"), "{error:?}");
        }
        let logins = bench.log.take().iter().filter(|entry| entry.target.starts_with("Login ")).count();
        assert_eq!(logins, 1);
    }
}

#[tokio::test]
async fn a_login_lost_inside_a_200_is_made_anew() {
    let world = world();
    for protocol in PROTOCOLS {
        // The first call after the login is the list itself.
        let options = Options { fault_in_200: true, expire_after: Some(1), ..Options::default() };
        let bench = Bench::start(Arc::clone(&world), options, protocol, "").await;
        let answer = read(&bench, PageRequest::first("sessions", Window::ALL)).await;
        assert_eq!(answer.column("session_id").len(), world.vsphere.sessions.len());
        assert_eq!(bench.cx.meter.read().logins, 2);
        for expire_after in [4, 6, 7] {
            let options = Options { fault_in_200: true, expire_after: Some(expire_after), ..Options::default() };
            let bench = Bench::start(world_of(many(100)), options, protocol, "").await;
            let answer = read(&bench, PageRequest { page_size: Some(30), ..events() }).await;
            assert_eq!(answer.keys(), (0..100).collect::<Vec<_>>());
        }
    }
}

#[tokio::test]
async fn a_server_that_ends_every_login_is_left_alone() {
    for protocol in PROTOCOLS {
        let options = Options { expire_every: Some(7), ..Options::default() };
        let bench = Bench::start(world_of(many(1000)), options, protocol, "").await;
        let mut request = PageRequest { page_size: Some(10), ..events() };
        let error = loop {
            match bench.source.fetch(&bench.cx, &request).await {
                Ok(page) => match page.next {
                    fedaudit_core::Next::More(cursor) => request.cursor = Some(cursor),
                    fedaudit_core::Next::End(end) => panic!("{end:?}"),
                },
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("not logging in again"), "{error}");
        assert!(bench.cx.meter.read().logins <= 6);
    }
}

#[tokio::test]
async fn a_long_list_of_sessions_comes_in_parts() {
    let world = world();
    let options = Options { property_tokens: 2, ..Options::default() };
    let bench = Bench::start(Arc::clone(&world), options, "soap", "").await;
    let answer = read(&bench, PageRequest::first("sessions", Window::ALL)).await;
    assert_eq!(answer.column("session_id").len(), world.vsphere.sessions.len());
    assert!(answer.rejected.is_empty());
    // One without an end.
    let bench =
        Bench::start(Arc::clone(&world), Options { property_tokens: u64::MAX, ..Options::default() }, "soap", "").await;
    let sessions = PageRequest::first("sessions", Window::ALL);
    let page = tokio::time::timeout(Duration::from_secs(20), bench.source.fetch(&bench.cx, &sessions)).await;
    let error = page.expect("it ends").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
}

#[tokio::test]
async fn a_login_that_comes_to_nothing_is_given_back() {
    for protocol in PROTOCOLS {
        let options = Options { introduction: Introduction::Missing, ..Options::default() };
        let bench = Bench::start(world(), options, protocol, "").await;
        for _ in 0..2 {
            let error = bench.source.fetch(&bench.cx, &events()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
            assert_eq!(bench.stand_in.open_logins(), 0, "{protocol}");
        }
        let calls = bench.log.take();
        let count = |method: &str| calls.iter().filter(|entry| entry.target.starts_with(method)).count();
        assert_eq!((count("Login "), count("Logout ")), (2, 2));
    }
}

/// Without the key of its own session, a reader cannot tell which one in the list that is.
#[tokio::test]
async fn a_login_without_a_key_knows_others_by_their_number() {
    let mut quiet = fedaudit_testkit::World::clone(&world());
    quiet.vsphere.sessions.clear();
    let quiet = Arc::new(quiet);
    for protocol in PROTOCOLS {
        let list = async |world: &Arc<_>| {
            let options = Options { introduction: Introduction::WithoutKey, list_reader: true, ..Options::default() };
            let bench = Bench::start(Arc::clone(world), options, protocol, "").await;
            read(&bench, PageRequest::first("sessions", Window::ALL)).await
        };
        let alone = list(&quiet).await;
        assert_eq!(alone.column("session_id").len(), 1);
        assert!(alone.notes[0].contains("the server does not say which"), "{:?}", alone.notes);
        let among_others = list(&world()).await;
        assert_eq!(among_others.column("session_id").len(), world().vsphere.sessions.len() + 1);
        assert!(among_others.notes.is_empty(), "{:?}", among_others.notes);
    }
}

#[tokio::test]
async fn the_requests_are_those_of_a_reader() {
    let known = [
        "RetrieveServiceContent",
        "content",
        "Login",
        "Logout",
        "CurrentTime",
        "QueryOptions",
        "RetrievePropertiesEx",
        "sessionList",
        "latestPage",
        "CreateCollectorForEvents",
        "SetCollectorPageSize",
        "ReadNextEvents",
        "ReadPreviousEvents",
        "ResetCollector",
        "DestroyCollector",
    ];
    for protocol in PROTOCOLS {
        let bench = Bench::start(world(), Options::default(), protocol, r#""user_forms": ["CORP\\{}"]"#).await;
        bench.source.check(&bench.cx).await.unwrap();
        for request in [
            events(),
            PageRequest { direction: fedaudit_core::Direction::NewestFirst, page_size: Some(5000), ..events() },
            PageRequest { predicates: vec![Predicate::any_of("user_name", ["ana"])], ..events() },
            PageRequest::first("sessions", Window::ALL),
        ] {
            read(&bench, request).await;
        }
        bench.source.close(&bench.cx).await.unwrap();
        for entry in bench.log.take() {
            let (method, arguments) = entry.target.split_once(' ').unwrap();
            assert!(known.contains(&method), "{method}");
            assert_eq!(entry.status, 200, "{}", entry.target);
            let arguments: serde_json::Value = serde_json::from_str(arguments).unwrap();
            match method {
                "Login" => assert_eq!(arguments["locale"][0], "en"),
                "ReadNextEvents" | "ReadPreviousEvents" | "SetCollectorPageSize" => {
                    let count: u32 = arguments["maxCount"][0].as_str().unwrap().parse().unwrap();
                    assert!((1..=1000).contains(&count));
                }
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn a_filter_that_the_server_refuses_is_widened() {
    let world = world();
    for protocol in PROTOCOLS {
        let options = Options { refuse_codes: true, ..Options::default() };
        let bench = Bench::start(Arc::clone(&world), options, protocol, "").await;
        let predicates = vec![Predicate::any_of("action", ["auth.login"])];
        let answer = read(&bench, PageRequest { predicates, ..events() }).await;
        assert_eq!(answer.keys().len(), world.vsphere.events.len());
    }
}

#[tokio::test]
async fn user_names_are_pushed_only_where_case_does_not_matter() {
    let mut events_of_two = many(60);
    events_of_two.iter_mut().step_by(3).for_each(|event| event.user_name = "CORP\\Ben".into());
    let world = world_of(events_of_two);
    // Written with a capital in the log, and folded in the table.
    let predicate = Predicate::any_of("user_name", ["ben"]);
    let forms = r#""user_forms": ["CORP\\{}"]"#;
    for protocol in PROTOCOLS {
        for users_ignore_case in [true, false] {
            let options = Options { users_ignore_case, ..Options::default() };
            let bench = Bench::start(Arc::clone(&world), options, protocol, forms).await;
            let answer = read(&bench, PageRequest { predicates: vec![predicate.clone()], ..events() }).await;
            let users = answer
                .rows
                .iter()
                .flat_map(|batch| (0..batch.num_rows()).filter_map(move |row| cell(batch, "user_name", row)));
            assert_eq!(users.filter(|user| user == "ben").count(), 20);
            // What cannot be left to the server is read.
            assert_eq!(answer.keys().len(), if users_ignore_case { 20 } else { 60 });
            assert_eq!(bench.stand_in.open_collectors(), 0);
        }
    }
}

#[tokio::test]
async fn no_secret_is_shown() {
    for protocol in PROTOCOLS {
        let bench = Bench::start(world(), Options::default(), protocol, "").await;
        let page = bench.source.fetch(&bench.cx, &events()).await.unwrap();
        // The token is forty digits, the password two words.
        let seen = format!("{:?} {page:?} {:?}", bench.source, bench.log.take());
        assert!(!seen.contains(PASSWORD), "the password");
        assert!(!seen.contains("vmware_soap_session") && !seen.contains("00000000000000000000000000000"), "the token");
    }
}
