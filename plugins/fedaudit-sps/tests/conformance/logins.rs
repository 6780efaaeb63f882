//! Logging in, roles and rights.

use fedaudit_core::{ErrorKind, PageRequest, Window};
use fedaudit_testkit::sps::Options;

use super::harness::{Bench, world};
use super::{EVENTS, SESSIONS};

#[tokio::test]
async fn a_refused_password_is_tried_once() {
    let bench = Bench::new(&world(), Options { password: "another".to_owned(), ..Options::default() }).await;
    let source = bench.source("");
    for _ in 0..3 {
        let error = bench.try_read(&*source, PageRequest::first(SESSIONS, Window::ALL)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert!(error.hint_text().is_some_and(|hint| hint.contains("login_method")), "{error:?}");
        assert!(!format!("{error:?}").contains("reader-password"));
    }
    assert_eq!(source.check(&bench.cx).await.unwrap_err().kind(), ErrorKind::Unauthenticated);
    let logins = |entry: &&fedaudit_testkit::LogEntry| {
        entry.target.starts_with("/api/authentication?") || entry.target == "/api/authentication"
    };
    assert_eq!(bench.log.entries().iter().filter(logins).count(), 1);
    source.close(&bench.cx).await.unwrap();
}

#[tokio::test]
async fn a_second_factor_is_named() {
    let bench = Bench::new(&world(), Options { second_factor: true, ..Options::default() }).await;
    let error = bench.source("").check(&bench.cx).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.message().contains("interactive"), "{error:?}");
}

#[tokio::test]
async fn check_tells_version_identity_and_rights() {
    let world = world();
    let bench = Bench::new(&world, Options { login_method: Some("local".to_owned()), ..Options::default() }).await;
    let source = bench.source("login_method = \"local\"");
    let health = source.check(&bench.cx).await.unwrap();
    assert_eq!(health.product_version.as_deref(), Some("8.2.0"));
    assert_eq!(health.fingerprint.as_deref(), Some(world.sps.hostname.as_str()));
    assert_eq!(health.account.as_deref(), Some("reader"));
    assert!(health.server_time.is_some());
    assert_eq!(health.denied, []);
    source.close(&bench.cx).await.unwrap();

    let bench = Bench::new(&world, Options { may_search: false, ..Options::default() }).await;
    let source = bench.source("");
    let health = source.check(&bench.cx).await.unwrap();
    assert_eq!(health.denied.len(), 2);
    assert!(health.denied[0].1.contains("Search privilege"), "{:?}", health.denied);
    let error = bench.try_read(&*source, PageRequest::first(EVENTS, Window::ALL)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn a_search_minion_is_refused() {
    let bench = Bench::new(&world(), Options { roles: vec!["search-minion".to_owned()], ..Options::default() }).await;
    let source = bench.source("");
    let error = bench.try_read(&*source, PageRequest::first(SESSIONS, Window::ALL)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.message().contains("search master"), "{error:?}");
    source.close(&bench.cx).await.unwrap();
    assert_eq!(bench.stand_in.open_logins(), 0);
    bench.source("allow_search_minion = true").check(&bench.cx).await.unwrap();
}

#[tokio::test]
async fn close_logs_out_and_may_be_called_at_any_time() {
    let bench = Bench::new(&world(), Options::default()).await;
    let source = bench.source("");
    source.close(&bench.cx).await.unwrap();
    assert_eq!(bench.log.entries().len(), 0);
    let request = PageRequest { page_size: Some(5), ..PageRequest::first(SESSIONS, Window::ALL) };
    let (a, b) = tokio::join!(source.fetch(&bench.cx, &request), source.fetch(&bench.cx, &request));
    assert!(a.is_ok() && b.is_ok());
    assert_eq!((bench.stand_in.logins(), bench.stand_in.open_logins()), (1, 1));
    source.close(&bench.cx).await.unwrap();
    source.close(&bench.cx).await.unwrap();
    assert_eq!(bench.stand_in.open_logins(), 0);
    source.fetch(&bench.cx, &request).await.unwrap();
    assert_eq!(bench.stand_in.logins(), 2);
}

#[tokio::test]
async fn a_refused_login_tells_what_the_appliance_offers() {
    for (firmware, path) in [("8.2.0", "login_methods"), ("6.0.9", "types")] {
        let options = Options { password: "another".to_owned(), firmware: firmware.to_owned(), ..Options::default() };
        let bench = Bench::new(&world(), options).await;
        let error = bench.source("").check(&bench.cx).await.unwrap_err();
        let offered = if path == "types" { "offers: basic" } else { "offers: local" };
        assert!(error.hint_text().is_some_and(|hint| hint.contains(offered)), "{error:?}");
        assert!(bench.log.entries().iter().any(|entry| entry.target.ends_with(path)));
    }
}

#[tokio::test]
async fn accounts_and_passwords_of_any_script() {
    let options =
        Options { username: "prüferin".to_owned(), password: "nicht-geheim-é".to_owned(), ..Options::default() };
    let bench = Bench::new(&world(), options).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "nicht-geheim-é\n").unwrap();
    let source = bench.source_as("prüferin", &file, "");
    assert_eq!(source.check(&bench.cx).await.unwrap().account.as_deref(), Some("prüferin"));
}

#[tokio::test]
async fn the_login_is_handled_with_care() {
    let bench = Bench::new(&world(), Options { login_method: Some("local".to_owned()), ..Options::default() }).await;
    let source =
        bench.source("login_method = \"local\"\ndetails = [\"events\", \"channels\", \"alerts\", \"trail_downloads\"]");
    source.check(&bench.cx).await.unwrap();
    for stream in source.info().streams.clone() {
        bench.read(&*source, PageRequest::first(&stream.name, Window::ALL)).await;
    }
    bench.stand_in.expire_logins();
    bench.read(&*source, PageRequest::first(SESSIONS, Window::ALL)).await;
    source.close(&bench.cx).await.unwrap();
    assert_eq!(bench.stand_in.complaints(), Vec::<String>::new());
    let logins: Vec<_> =
        bench.log.entries().into_iter().filter(|entry| entry.target.starts_with("/api/authentication?")).collect();
    assert_eq!(logins.len(), 2);
    assert!(logins.iter().all(|entry| entry.target.ends_with("?type=password&login_method=local")), "{logins:?}");
    assert!(bench.stand_in.most_in_flight() <= 2);
}

#[tokio::test]
async fn a_login_that_does_not_last_is_an_error() {
    let bench = Bench::new(&world(), Options::default()).await;
    let source = bench.source("");
    source.check(&bench.cx).await.unwrap();
    for _ in 0..2 {
        bench.stand_in.answer_next("fields=*", 401, "application/json", "{\"error\":\"login first\"}");
    }
    let error = bench.try_read(&*source, PageRequest::first(SESSIONS, Window::ALL)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.hint_text().is_some_and(|hint| hint.contains("forgot a login")), "{error:?}");
    assert_eq!(bench.stand_in.logins(), 2);
    // Nothing is remembered of it: the next question logs in again.
    assert!(bench.try_read(&*source, PageRequest::first(SESSIONS, Window::ALL)).await.is_ok());
}

#[tokio::test]
async fn a_login_without_a_cookie_is_none() {
    let bench = Bench::new(&world(), Options::default()).await;
    bench.stand_in.answer_next("/api/authentication", 200, "application/json", "{\"meta\":{}}");
    let error = bench.source("").check(&bench.cx).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.message().contains("interactive"), "{error:?}");
    assert!(error.hint_text().is_some_and(|hint| hint.contains("second factor")), "{error:?}");
}

#[tokio::test]
async fn roles_that_nobody_tells() {
    // An old release tells none: that is how it is.
    let bench = Bench::new(&world(), Options { roles: Vec::new(), ..Options::default() }).await;
    let read = bench.read(&*bench.source(""), PageRequest::first(SESSIONS, Window::ALL)).await;
    assert_eq!(read.notes, Vec::<String>::new());
    // The resource is closed to this account: what is read may be a minion's nothing, and the receipt says so.
    let bench = Bench::new(&world(), Options { info_status: Some(403), ..Options::default() }).await;
    let read = bench.read(&*bench.source(""), PageRequest::first(SESSIONS, Window::ALL)).await;
    assert!(read.notes.iter().any(|note| note.contains("search minion")), "{:?}", read.notes);
    // The answer that anybody gets.
    let bench = Bench::new(&world(), Options::default()).await;
    let anonymous = r#"{"key":"about_info","body":{"hostname":"sps-1","domainname":"corp.example"},"meta":{}}"#;
    bench.stand_in.answer_next("/api/info", 200, "application/json", anonymous);
    let read = bench.read(&*bench.source(""), PageRequest::first(SESSIONS, Window::ALL)).await;
    assert!(read.notes.iter().any(|note| note.contains("search minion")), "{:?}", read.notes);
    let bench = Bench::new(&world(), Options { info_status: Some(503), ..Options::default() }).await;
    let error = bench.try_read(&*bench.source(""), PageRequest::first(SESSIONS, Window::ALL)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    // A minion that is read all the same.
    let bench = Bench::new(&world(), Options { roles: vec!["search-minion".to_owned()], ..Options::default() }).await;
    let source = bench.source("allow_search_minion = true");
    let read = bench.read(&*source, PageRequest::first(SESSIONS, Window::ALL)).await;
    assert!(read.notes.iter().any(|note| note.contains("search master only")), "{:?}", read.notes);
}

#[tokio::test]
async fn a_login_that_comes_to_nothing_is_given_back() {
    // It is accepted, and then the appliance does not know it, or does not say who it is.
    for (status, kind) in [(401, ErrorKind::Unavailable), (500, ErrorKind::Unavailable), (429, ErrorKind::RateLimited)]
    {
        let bench = Bench::new(&world(), Options::default()).await;
        let source = bench.source("");
        for _ in 0..8 {
            bench.stand_in.answer_next("/api/info", status, "application/json", "{}");
        }
        let soon = Some(bench.cx.now().plus(std::time::Duration::from_secs(2)));
        let cx = fedaudit_core::Context { deadline: soon, ..bench.cx.clone() };
        let error = source.fetch(&cx, &PageRequest::first(SESSIONS, Window::ALL)).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{status}: {error:?}");
        assert_eq!((bench.stand_in.logins(), bench.stand_in.open_logins()), (1, 0), "{status}");
        // No refusal of the password: the next question logs in again.
        assert!(source.fetch(&cx, &PageRequest::first(SESSIONS, Window::ALL)).await.is_err());
        assert_eq!((bench.stand_in.logins(), bench.stand_in.open_logins()), (2, 0), "{status}");
    }
}
