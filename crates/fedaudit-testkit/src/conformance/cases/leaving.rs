//! Every way out: logins and collectors are given back, and no secret goes along.

use std::time::Duration;

use fedaudit_core::PageRequest;

use super::paging::{all, first_page, in_pages, size_for};
use crate::conformance::bench::Bench;
use crate::conformance::compare::compare;
use crate::conformance::front::{Fault, Form};
use crate::conformance::product::Condition;
use crate::conformance::{Kit, Outcome, Trouble, ensure};

pub(super) async fn no_secret_is_shown(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::Healthy).await?;
    let source = bench.source()?;
    let shown = |when: &str| {
        kit.secrets.look("Debug of the source", &format!("{when}: {source:?} {:?}", source.info()));
    };
    shown("before the login");
    for truth in bench.filled()? {
        bench.fetch(&*source, &bench.cx, &in_pages(truth, 2)).await?;
        shown("logged in");
    }
    source.close(&bench.cx).await?;
    shown("after close");
    // Errors with the login in hand: the request that failed must not be repeated in full.
    let faults = [Fault::status(400), Fault::status(401), Fault::status(500), Fault::html(), Fault::json("[7")];
    let echoes = [Fault::Echo(Form::Json), Fault::Echo(Form::Xml)];
    for (fault, logged_in) in
        faults.into_iter().chain(echoes.clone()).map(|fault| (fault, true)).chain(echoes.map(|fault| (fault, false)))
    {
        let source = bench.source()?;
        let truth = bench.fullest()?;
        let cx = bench.cx_within(Duration::from_secs(2));
        if logged_in {
            first_page(&bench, &*source, &bench.cx, truth).await?;
        }
        bench.front.break_answers(1..=usize::MAX, fault);
        for truth in bench.filled()? {
            // `fetch` looks at the error.
            let _ = bench.fetch(&*source, &cx, &in_pages(truth, 2)).await;
        }
        if let Err(error) = source.check(&cx).await {
            kit.secrets.look_at_error(&error);
        }
        bench.front.heal();
        let _ = source.close(&bench.cx).await;
    }
    let leaks = kit.secrets.leaks();
    ensure!(leaks.is_empty(), "{leaks:#?}");
    Ok(())
}

async fn given_back(bench: &Bench<'_>, after: &str) -> Outcome {
    match bench.held().await {
        Some(0) => Ok(()),
        Some(held) => Err(Trouble::Broken(format!("{held} logins or collectors are still held {after}"))),
        None => Err(Trouble::Skip("the product holds nothing for a reader".to_owned())),
    }
}

pub(super) async fn everything_is_given_back(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::Healthy).await?;
    given_back(&bench, "before anybody came").await?;
    let truth = bench.fullest()?;

    let source = bench.source()?;
    for truth in &bench.product.truths {
        bench.read(&*source, &in_pages(truth, size_for(truth, 3))).await?;
    }
    let held = bench.product.held.as_ref().map_or(0, |held| held());
    ensure!(held > 0, "the subject counts nothing while a reader is there: the case shows nothing");
    source.close(&bench.cx).await?;
    given_back(&bench, "after everything was read").await?;

    first_page(&bench, &*source, &bench.cx, truth).await?;
    source.close(&bench.cx).await?;
    given_back(&bench, "after one page").await?;

    source.check(&bench.cx).await?;
    source.close(&bench.cx).await?;
    given_back(&bench, "after check").await?;

    first_page(&bench, &*source, &bench.cx, truth).await?;
    let unknown = source.fetch(&bench.cx, &PageRequest { stream: "no.such.stream".into(), ..all(truth) }).await;
    ensure!(unknown.is_err(), "an unknown stream gives an answer");
    source.close(&bench.cx).await?;
    given_back(&bench, "after an error").await?;

    let cursor = first_page(&bench, &*source, &bench.cx, truth).await?;
    let request = PageRequest { cursor: Some(cursor), ..in_pages(truth, size_for(truth, 6)) };
    bench.front.break_answers(1..=usize::MAX, Fault::status(403));
    let _ = bench.fetch(&*source, &bench.cx_within(Duration::from_secs(5)), &request).await;
    bench.front.heal();
    source.close(&bench.cx).await?;
    given_back(&bench, "after a refusal in the middle").await
}

pub(super) async fn an_abandoned_fetch_leaves_nothing(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::Healthy).await?;
    let truth = bench.fullest()?;
    for millis in [0, 1, 3, 8, 20] {
        let source = bench.source()?;
        let cursor = first_page(&bench, &*source, &bench.cx, truth).await?;
        let request = PageRequest { cursor: Some(cursor), ..in_pages(truth, size_for(truth, 6)) };
        bench.front.break_answers(1..=1, Fault::Late(Duration::from_millis(4)));
        let fetch = bench.fetch(&*source, &bench.cx, &request);
        let _ = tokio::time::timeout(Duration::from_millis(millis), fetch).await;
        bench.front.heal();
        // Reading again first: what was dropped must not stand in the way.
        let reading = bench.read(&*source, &all(truth)).await?;
        compare(truth, &reading)?;
        source.close(&bench.cx).await?;
        if bench.product.held.is_some() {
            given_back(&bench, &format!("after a fetch was dropped at {millis} ms")).await?;
        }
    }
    Ok(())
}

pub(super) async fn close_is_harmless(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::Healthy).await?;
    let truth = bench.fullest()?;
    let source = bench.source()?;
    source.close(&bench.cx).await?;
    ensure!(bench.cx.meter.read().logins == 0, "close logs in");
    source.close(&bench.cx).await?;
    for _ in 0..2 {
        let reading = bench.read(&*source, &all(truth)).await?;
        compare(truth, &reading)?;
        source.close(&bench.cx).await?;
        source.close(&bench.cx).await?;
    }
    // A product that is gone cannot be logged out of; closing must still end.
    first_page(&bench, &*source, &bench.cx, truth).await?;
    bench.front.break_answers(1..=usize::MAX, Fault::status(503));
    let closing = source.close(&bench.cx);
    let ended = tokio::time::timeout(Duration::from_secs(30), closing).await;
    ensure!(ended.is_ok(), "close never ends when the product is gone");
    Ok(())
}
