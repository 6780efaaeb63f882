//! Walking through the list of sessions: snapshots and basic search, and whatever happens in between.

use std::collections::BTreeSet;
use std::time::Duration;

use fedaudit_core::{EndReason, ErrorKind, Next, PageRequest, Time, Window};
use fedaudit_testkit::records::SpsSession;
use fedaudit_testkit::sps::Options;

use super::harness::{Bench, Read, world};
use super::{EVENTS, HOUR, SECOND, SESSIONS, events_in, events_of, keys};

#[tokio::test]
async fn a_basic_search_goes_beyond_the_hits_it_shows() {
    let mut world = world();
    let pattern = world.sps.sessions[0].clone();
    world.sps.sessions = (0..10_400)
        .map(|number: i64| SpsSession {
            key: format!("k{number:06}"),
            // Crowds of 300 within each second, so that the restart meets many of them again.
            start: world.from + number / 300 * SECOND + number % 300 * 1000,
            ..pattern.clone()
        })
        .collect();
    let bench = Bench::new(&world, Options { firmware: "7.0.4".to_owned(), ..Options::default() }).await;
    let source = bench.source("");
    let read = bench.read(&*source, PageRequest::first(SESSIONS, Window::ALL)).await;
    assert_eq!(read.rows(), 10_400);
    assert_eq!(read.set("session_id"), keys(&world.sps.sessions));
    let log = bench.log.entries();
    assert_eq!(log.iter().filter(|entry| entry.target.contains("_snapshot")).count(), 1);
    for entry in log.iter().filter(|entry| entry.target.contains("offset=")) {
        let offset: u32 = entry.target.rsplit_once("offset=").unwrap().1.parse().unwrap();
        assert!(offset < 10_000, "{entry:?}");
    }

    for session in &mut world.sps.sessions {
        session.start = world.from;
    }
    let bench = Bench::new(&world, Options { firmware: "6.0.9".to_owned(), ..Options::default() }).await;
    let error = bench.try_read(&*bench.source(""), PageRequest::first(SESSIONS, Window::ALL)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
    // A crowd that fits into the hits is read, with a doubt.
    let mut fewer = world.clone();
    fewer.sps.sessions.truncate(1200);
    let bench = Bench::new(&fewer, Options { firmware: "6.0.9".to_owned(), ..Options::default() }).await;
    let read = bench.read(&*bench.source(""), PageRequest::first(SESSIONS, Window::ALL)).await;
    assert_eq!((read.rows(), read.set("session_id").len()), (1200, 1200));
    assert!(read.notes.iter().any(|note| note.contains("began at one instant")), "{:?}", read.notes);
    assert!(!read.gaps.is_empty());
    assert!(read.gaps.iter().all(|gap| *gap == Window { from: Some(Time::from_micros(world.from)), to: None }));
    let bench = Bench::new(&world, Options::default()).await;
    let read = bench.read(&*bench.source(""), PageRequest::first(SESSIONS, Window::ALL)).await;
    assert_eq!(read.set("session_id").len(), 10_400);
}

#[tokio::test]
async fn a_lost_login_and_a_lost_snapshot_lose_no_rows() {
    let world = world();
    let bench = Bench::new(&world, Options::default()).await;
    let source = bench.source("");
    let mut request = PageRequest { page_size: Some(50), ..PageRequest::first(SESSIONS, Window::ALL) };
    let mut read = Read::default();
    let mut page = 0;
    loop {
        match page {
            2 => bench.stand_in.expire_logins(),
            4 => bench.stand_in.expire_snapshots(),
            _ => {}
        }
        page += 1;
        let answer = source.fetch(&bench.cx, &request).await.unwrap();
        read.add(&answer);
        match answer.next {
            Next::More(cursor) => request.cursor = Some(cursor),
            Next::End(_) => break,
        }
    }
    assert_eq!(read.rows(), world.sps.sessions.len());
    assert_eq!(read.set("session_id"), keys(&world.sps.sessions));
    assert_eq!(bench.stand_in.logins(), 2);
    assert_eq!(read.notes.len(), 1, "{:?}", read.notes);
    assert!(read.notes[0].contains("snapshot expired"));
}

#[tokio::test]
async fn a_cursor_outlives_its_source() {
    let world = world();
    let bench = Bench::new(&world, Options { snapshot_quota: 1, ..Options::default() }).await;
    let mut request = PageRequest { page_size: Some(100), ..PageRequest::first(EVENTS, Window::ALL) };
    let mut read = Read::default();
    loop {
        let source = bench.source("");
        let page = source.fetch(&bench.cx, &request).await.unwrap();
        source.close(&bench.cx).await.unwrap();
        read.add(&page);
        match page.next {
            Next::More(cursor) => request.cursor = Some(cursor),
            Next::End(_) => break,
        }
    }
    assert_eq!(events_in(&read), events_of(&world.sps.sessions));
    assert_eq!(bench.stand_in.open_logins(), 0);
}

#[tokio::test]
async fn sessions_that_change_between_pages() {
    let mut world = world();
    world.sps.sessions.truncate(120);
    world.sps.sessions.iter_mut().for_each(|session| session.active = false);
    let bench = Bench::new(&world, Options { firmware: "6.0.9".to_owned(), ..Options::default() }).await;
    let source = bench.source("");
    let mut request = PageRequest { page_size: Some(50), ..PageRequest::first(SESSIONS, Window::ALL) };
    let first = source.fetch(&bench.cx, &request).await.unwrap();
    // A document appears late with an early start: later rows move on by one place.
    let late = SpsSession {
        key: "late".to_owned(),
        start: world.sps.sessions[5].start + 1000,
        ..world.sps.sessions[5].clone()
    };
    bench.stand_in.insert(late);
    let Next::More(cursor) = first.next.clone() else { panic!("one page") };
    let mut read = Read::default();
    read.add(&first);
    request.cursor = Some(cursor);
    read.merge(bench.read(&*source, request).await);
    assert_eq!(read.set("session_id"), keys(&world.sps.sessions));
    // The one repeated row has the same key; a snapshot taken later has the late one too.
    let again = bench.read(&*source, PageRequest::first(SESSIONS, Window::ALL)).await;
    assert!(again.set("session_id").contains("late"));
}

#[tokio::test]
async fn an_old_snapshot_is_not_taken_for_the_present() {
    let world = world();
    let bench = Bench::new(&world, Options::default()).await;
    let source = bench.source("");
    let before = bench.read(&*source, PageRequest::first(SESSIONS, Window::ALL)).await;
    bench.stand_in.insert(SpsSession { key: "new".to_owned(), ..world.sps.sessions[0].clone() });
    bench.clock.advance(Duration::from_mins(1));
    let after = bench.read(&*source, PageRequest::first(SESSIONS, Window::ALL)).await;
    assert_eq!(after.rows(), before.rows() + 1);
    assert!(after.set("session_id").contains("new"));
}

#[tokio::test]
async fn no_snapshot_left() {
    let world = world();
    let bench = Bench::new(&world, Options { snapshot_quota: 0, ..Options::default() }).await;
    let request = || PageRequest { page_size: Some(50), ..PageRequest::first(SESSIONS, Window::ALL) };
    let read = bench.read(&*bench.source(""), request()).await;
    assert_eq!(read.set("session_id"), keys(&world.sps.sessions));
    assert!(read.notes.iter().any(|note| note.contains("other readers hold all search snapshots")), "{:?}", read.notes);
    // Nothing is tried again soon: a snapshot becomes free after minutes.
    assert_eq!(bench.log.entries().iter().filter(|entry| entry.status == 429).count(), 1);
    let read = bench.read(&*bench.source("snapshots = false"), request()).await;
    assert_eq!((read.rows(), read.notes.len()), (world.sps.sessions.len(), 0));

    // The one that was had is lost, and nobody gives another.
    let bench = Bench::new(&world, Options::default()).await;
    let source = bench.source("");
    let first = source.fetch(&bench.cx, &request()).await.unwrap();
    bench.stand_in.expire_snapshots();
    bench.stand_in.answer_next("_snapshot", 429, "application/json", "");
    let Next::More(cursor) = first.next.clone() else { panic!("one page") };
    let mut read = bench.read(&*source, PageRequest { cursor: Some(cursor), ..request() }).await;
    read.add(&first);
    assert_eq!(read.set("session_id"), keys(&world.sps.sessions));
}

#[tokio::test]
async fn a_snapshot_of_another_process_is_not_taken_for_the_present() {
    let world = world();
    let bench = Bench::new(&world, Options::default()).await;
    let mine = bench.source("");
    bench.read(&*mine, PageRequest::first(SESSIONS, Window::ALL)).await;
    let mut over = world.sps.sessions.iter().rfind(|session| session.active).unwrap().clone();
    (over.active, over.end, over.revision) = (false, Some(over.start + SECOND), over.revision + 1);
    bench.stand_in.replace(over.clone());
    // A source that knows nothing of the first one is handed the same snapshot.
    let read = bench.read(&*bench.source(""), PageRequest::first(SESSIONS, Window::ALL)).await;
    assert!(read.matching("state", "closed").contains(&over.key));
    assert!(read.notes.iter().any(|note| note.contains("was old")), "{:?}", read.notes);
}

#[tokio::test]
async fn sessions_that_vanish_between_pages() {
    let mut world = world();
    world.sps.sessions.truncate(150);
    for page_size in [7, 50] {
        let bench = Bench::new(&world, Options { firmware: "7.0.4".to_owned(), ..Options::default() }).await;
        let source = bench.source("");
        let mut request = PageRequest { page_size: Some(page_size), ..PageRequest::first(SESSIONS, Window::ALL) };
        let mut read = Read::default();
        let mut cleaned = 0;
        loop {
            let page = source.fetch(&bench.cx, &request).await.unwrap();
            read.add(&page);
            // The appliance cleans up its oldest documents: all others move to earlier places.
            for _ in 0..if read.pages < 5 { 3 } else { 0 } {
                bench.stand_in.remove(&world.sps.sessions[cleaned].key);
                cleaned += 1;
            }
            match page.next {
                Next::More(cursor) => request.cursor = Some(cursor),
                Next::End(_) => break,
            }
            assert!(read.pages < 500, "no end");
        }
        let still_there = keys(&world.sps.sessions[cleaned..]);
        assert!(still_there.is_subset(&read.set("session_id")), "{page_size}");
        assert!(read.notes.iter().any(|note| note.contains("vanished")), "{:?}", read.notes);
    }
}

/// Numbers that only look random, the same in every run.
fn dice(state: &mut u64, sides: usize) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize % sides
}

#[tokio::test]
async fn whatever_happens_while_a_list_is_read() {
    let mut world = world();
    world.sps.sessions.truncate(160);
    for (at, session) in world.sps.sessions.iter_mut().enumerate() {
        // Groups of sessions that began at one instant.
        session.start = world.from + at as i64 / 3 * HOUR;
    }
    let mut restarts = 0;
    for seed in 0..60_u64 {
        let mut random = seed.wrapping_mul(7919) + 1;
        let basic = seed % 3 != 0;
        let firmware = if basic { "7.0.4" } else { "8.2.0" }.to_owned();
        let options = Options { firmware, restless_ties: seed % 2 == 0, ..Options::default() };
        let bench = Bench::new(&world, options).await;
        let source = bench.source("");
        let page_size = 4 + dice(&mut random, 40);
        let mut request = PageRequest { page_size: Some(page_size), ..PageRequest::first(SESSIONS, Window::ALL) };
        let (mut read, mut removed, mut stayed) = (Read::default(), BTreeSet::new(), world.sps.sessions.clone());
        loop {
            let page = source.fetch(&bench.cx, &request).await.unwrap_or_else(|error| panic!("{seed}: {error:?}"));
            read.add(&page);
            match page.next {
                Next::More(cursor) => request.cursor = Some(cursor),
                Next::End(_) => break,
            }
            assert!(read.pages < 600, "{seed}: no end");
            for _ in 0..if read.pages < 40 { dice(&mut random, 4) } else { 0 } {
                let at = dice(&mut random, stayed.len());
                match dice(&mut random, 4) {
                    0 => {
                        let gone = stayed.remove(at);
                        bench.stand_in.remove(&gone.key);
                        removed.insert(gone.key);
                    }
                    1 => {
                        stayed[at].revision += 1;
                        bench.stand_in.replace(stayed[at].clone());
                    }
                    2 => {
                        let key = format!("late-{}", dice(&mut random, 1 << 30));
                        bench.stand_in.insert(SpsSession { key, ..stayed[at].clone() });
                    }
                    _ if dice(&mut random, 4) == 0 => bench.stand_in.expire_snapshots(),
                    _ => bench.stand_in.expire_logins(),
                }
            }
        }
        let ids = read.set("session_id");
        assert_eq!(read.rows(), ids.len(), "{seed}: a session came twice");
        let missing: Vec<_> = stayed.iter().filter(|session| !ids.contains(&session.key)).collect();
        assert!(missing.is_empty(), "{seed}, pages of {page_size}: {missing:#?}");
        let known =
            |id: &String| id.starts_with("late-") || world.sps.sessions.iter().any(|session| session.key == *id);
        assert!(ids.iter().all(known), "{seed}");
        restarts += read.notes.iter().filter(|note| note.contains("vanished")).count();
    }
    assert!(restarts > 10, "{restarts}: nothing was put to the test");
}

#[tokio::test]
async fn sessions_of_one_instant_change_places() {
    let mut world = world();
    world.sps.sessions.truncate(120);
    for (at, session) in world.sps.sessions.iter_mut().enumerate() {
        session.start = world.from + at as i64 / 6 * 10 * SECOND;
    }
    let options = Options { restless_ties: true, firmware: "6.0.9".to_owned(), ..Options::default() };
    let bench = Bench::new(&world, options).await;
    for page_size in [7, 8, 9, 20, 50] {
        let request = PageRequest { page_size: Some(page_size), ..PageRequest::first(SESSIONS, Window::ALL) };
        let read = bench.read(&*bench.source(""), request).await;
        assert_eq!(read.set("session_id"), keys(&world.sps.sessions), "{page_size}");
        assert_eq!(read.rows(), world.sps.sessions.len(), "{page_size}");
    }
}

#[tokio::test]
async fn the_larger_revision_wins() {
    let mut world = world();
    world.sps.sessions.truncate(60);
    let session = world.sps.sessions[19].clone();
    // Twice on one page: whichever comes first.
    for older_first in [true, false] {
        let bench = Bench::new(&world, Options { firmware: "6.0.9".to_owned(), ..Options::default() }).await;
        let (old, new) = (session.revision - 1, session.revision + 1);
        let twin = |revision: i64| SpsSession { revision, ..session.clone() };
        bench.stand_in.replace(twin(if older_first { old } else { new }));
        bench.stand_in.insert(twin(if older_first { new } else { old }));
        let read = bench.read(&*bench.source(""), PageRequest::first(SESSIONS, Window::ALL)).await;
        let revisions: Vec<_> = read.texts("session_id").into_iter().zip(read.texts("revision")).collect();
        let found: Vec<_> = revisions.iter().filter(|row| row.0.as_ref() == Some(&session.key)).collect();
        assert_eq!(found, [&(Some(session.key.clone()), Some(new.to_string()))], "{older_first}");
    }
    // Changed between two pages, at the edge of them: what was left to the second is read as it is then, and what comes on
    // both has been handed out already, which is said.
    for (at, newer, notes) in [(19, 7, 0), (18, 0, 1)] {
        let session = &world.sps.sessions[at];
        let bench = Bench::new(&world, Options { firmware: "6.0.9".to_owned(), ..Options::default() }).await;
        let source = bench.source("");
        let mut request = PageRequest { page_size: Some(20), ..PageRequest::first(SESSIONS, Window::ALL) };
        let first = source.fetch(&bench.cx, &request).await.unwrap();
        bench.stand_in.replace(SpsSession { revision: session.revision + 7, ..session.clone() });
        let Next::More(cursor) = first.next.clone() else { panic!("one page") };
        request.cursor = Some(cursor);
        let mut read = bench.read(&*source, request).await;
        read.add(&first);
        assert_eq!((read.rows(), read.set("session_id").len()), (60, 60), "{at}");
        assert_eq!(revision_of(&read, &session.key), Some((session.revision + newer).to_string()), "{at}");
        assert_eq!(read.notes.len(), notes, "{at}: {:?}", read.notes);
        assert!(read.notes.iter().all(|note| note.contains("changed while the list was read: 1;")));
    }
}

fn revision_of(read: &Read, key: &str) -> Option<String> {
    let at = read.texts("session_id").iter().position(|id| id.as_deref() == Some(key)).unwrap();
    read.texts("revision")[at].clone()
}

#[tokio::test]
async fn a_row_that_was_handed_out_is_not_handed_out_again() {
    // A list that is begun anew meets the last second again.
    let mut world = world();
    world.sps.sessions.truncate(60);
    let session = world.sps.sessions[19].clone();
    let bench = Bench::new(&world, Options::default()).await;
    let source = bench.source("");
    for stream in [SESSIONS, EVENTS] {
        let mut request = PageRequest { page_size: Some(20), ..PageRequest::first(stream, Window::ALL) };
        bench.stand_in.replace(SpsSession { active: true, end: None, ..session.clone() });
        bench.stand_in.expire_snapshots();
        let first = source.fetch(&bench.cx, &request).await.unwrap();
        let over = SpsSession { active: false, revision: session.revision + 7, ..session.clone() };
        bench.stand_in.replace(SpsSession { end: Some(session.start + SECOND), verdict: "ACCEPT", ..over });
        bench.stand_in.expire_snapshots();
        let Next::More(cursor) = first.next.clone() else { panic!("one page") };
        request.cursor = Some(cursor);
        let mut read = bench.read(&*source, request).await;
        read.add(&first);
        if stream == SESSIONS {
            assert_eq!((read.rows(), read.set("session_id").len()), (60, 60));
            assert_eq!(revision_of(&read, &session.key), Some(session.revision.to_string()));
            assert!(
                read.notes.iter().any(|note| note.contains("changed while the list was read: 1;")),
                "{:?}",
                read.notes
            );
        } else {
            // The end is an event that nobody has seen yet.
            let ends = read.texts("event_code").into_iter().zip(read.texts("session_id"));
            let end = (Some("session_end".to_owned()), Some(session.key.clone()));
            assert_eq!(ends.filter(|row| *row == end).count(), 1);
        }
    }
}

#[tokio::test]
async fn a_running_session_that_ends_while_it_is_read_is_one_row() {
    let mut world = world();
    let early = world.from - 40 * 24 * HOUR;
    let pattern = world.sps.sessions.iter().find(|session| session.active).unwrap().clone();
    let old = SpsSession { key: "long-runner".to_owned(), start: early, ..pattern };
    world.sps.sessions.insert(0, old.clone());
    // This appliance lists what ran in the window, however long ago it began.
    for firmware in ["6.0.9", "8.2.0"] {
        let options = Options { overlap_dates: true, firmware: firmware.to_owned(), ..Options::default() };
        let bench = Bench::new(&world, options).await;
        let source = bench.source("");
        let window = Window::new(Time::from_micros(world.to - 48 * HOUR), Time::from_micros(world.to));
        let mut request = PageRequest { page_size: Some(100), ..PageRequest::first(SESSIONS, window) };
        let mut read = Read::default();
        loop {
            let page = source.fetch(&bench.cx, &request).await.unwrap();
            read.add(&page);
            if read.pages == 1 {
                assert!(read.set("session_id").contains("long-runner"), "the running ones come first");
                let end = Some(world.to - HOUR);
                bench.stand_in.replace(SpsSession { active: false, end, revision: old.revision + 1, ..old.clone() });
                bench.stand_in.expire_snapshots();
            }
            match page.next {
                Next::More(cursor) => request.cursor = Some(cursor),
                Next::End(_) => break,
            }
        }
        assert_eq!(read.rows(), read.set("session_id").len(), "{firmware}: a session came twice");
        assert!(
            read.notes.iter().any(|note| note.contains("changed while the list was read: 1;")),
            "{firmware}: {:?}",
            read.notes
        );
    }
}

#[tokio::test]
async fn more_running_sessions_than_are_remembered() {
    let mut world = world();
    let pattern = world.sps.sessions.iter().find(|session| session.active).unwrap().clone();
    let early = world.from - 40 * 24 * HOUR;
    let runner =
        |number: i64| SpsSession { key: format!("r{number:04}"), start: early + number * SECOND, ..pattern.clone() };
    let window = Window::new(Time::from_micros(world.to - HOUR), Time::from_micros(world.to));
    // Two full pages fill the room for keys to the last.
    for (count, told) in [(900, false), (1100, true)] {
        world.sps.sessions = (0..count).map(runner).collect();
        let bench = Bench::new(&world, Options::default()).await;
        let read = bench.read(&*bench.source(""), PageRequest::first(SESSIONS, window)).await;
        assert_eq!(read.set("session_id"), keys(&world.sps.sessions));
        let note = read.notes.iter().any(|note| note.contains("more than 1000 sessions run"));
        assert_eq!((note, read.gaps.as_slice()), (told, [].as_slice()), "{count}: {:?}", read.notes);
    }
}

#[tokio::test]
async fn pages_in_circles_are_an_error() {
    let bench = Bench::new(&world(), Options::default()).await;
    let source = bench.source("");
    let list = |items: &str, next: &str| format!(r#"{{"items":[{items}],"meta":{{"next":"{next}"}}}}"#);
    // An empty page with a link is not the end.
    bench.stand_in.answer_next("fields=*", 200, "application/json", &list("", "/api/audit/sessions?fields=*&a=1"));
    let read = bench.read(&*source, PageRequest::first(SESSIONS, Window::ALL)).await;
    assert!(read.rows() > 100 && read.pages > 1);
    // Links that lead to one another.
    let item = r#"{"key":"a","body":{"start_time":"2026-02-01T00:00:00Z"}}"#;
    for turn in 0..120 {
        let next = format!("/api/audit/sessions?fields=*&turn={}", turn % 2);
        bench.stand_in.answer_next("fields=*", 200, "application/json", &list(item, &next));
    }
    let error = bench.try_read(&*source, PageRequest::first(SESSIONS, Window::ALL)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(error.message().contains("circles"), "{error:?}");
}

#[tokio::test]
async fn an_unsorted_list_is_read_to_its_end() {
    let world = world();
    let bench = Bench::new(&world, Options { ignore_sort: true, ..Options::default() }).await;
    let window = Window::new(Time::from_micros(world.from), Time::from_micros(world.from + 24 * HOUR));
    let request = PageRequest { page_size: Some(40), ..PageRequest::first(EVENTS, window) };
    let read = bench.read(&*bench.source(""), request).await;
    let expected: BTreeSet<_> =
        events_of(&world.sps.sessions).into_iter().filter(|event| event.3 < world.from + 24 * HOUR).collect();
    assert_eq!(events_in(&read), expected);
    assert!(read.notes.iter().any(|note| note.contains("did not sort")), "{:?}", read.notes);
}

#[tokio::test]
async fn reading_stops_behind_the_window_and_begins_before_it() {
    let world = world();
    let bench = Bench::new(&world, Options::default()).await;
    let source = bench.source("look_back_hours = 24");
    let from = world.from + 48 * HOUR;
    let window = Window::new(Time::from_micros(from), Time::from_micros(from + 24 * HOUR));
    let read = bench.read(&*source, PageRequest { page_size: Some(10), ..PageRequest::first(EVENTS, window) }).await;
    assert_eq!(read.end, EndReason::PastWindow);
    let near = |session: &&SpsSession| session.start >= from - 24 * HOUR - SECOND && session.start < from + 24 * HOUR;
    let wanted = world.sps.sessions.iter().filter(near).count() as u64;
    assert!(read.records >= wanted && read.records < wanted + 20, "{} of {wanted}", read.records);
}
