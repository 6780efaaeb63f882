//! Logins: made once, made again once, refused once; and what an account without rights sees.

use std::time::Duration;

use fedaudit_core::{ErrorKind, Next, PageRequest};
use futures::future::{join_all, try_join_all};

use super::paging::{all, first_page, in_pages, size_for};
use crate::conformance::bench::Bench;
use crate::conformance::compare::compare;
use crate::conformance::product::Condition;
use crate::conformance::{Kit, Outcome, Trouble, ensure};

const REFUSED: &[ErrorKind] = &[ErrorKind::Unauthenticated, ErrorKind::Denied];

pub(super) async fn check_tells(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::Healthy).await?;
    let source = bench.source()?;
    let health = source.check(&bench.cx).await?;
    ensure!(health.denied.is_empty(), "a healthy product, and yet {:?}", health.denied);
    kit.secrets.look("health", &format!("{health:?}"));
    ensure!(!bench.is_served || bench.front.requests() > 0, "check asked the product nothing");
    let empty = |text: &Option<String>| text.as_ref().is_some_and(String::is_empty);
    ensure!(!empty(&health.product_version), "an empty version");
    ensure!(!empty(&health.fingerprint) && !empty(&health.account), "an empty account or fingerprint");
    let again = source.check(&bench.cx).await?;
    ensure!(again.fingerprint == health.fingerprint, "another fingerprint at the second check");
    source.close(&bench.cx).await?;
    Ok(())
}

pub(super) async fn a_wrong_credential_is_refused_once(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench_on_the_wire(Condition::Healthy).await?;
    bench.set_credential(&bench.wrong_credential())?;
    let source = bench.source()?;
    let cx = bench.cx_within(Duration::from_secs(30));
    let checked = source.check(&cx).await;
    let Err(error) = checked else {
        return Err(Trouble::Broken("check accepts a wrong credential".to_owned()));
    };
    kit.secrets.look_at_error(&error);
    ensure!(REFUSED.contains(&error.kind()), "a wrong credential gives {error:?}");
    ensure!(error.hint_text().is_some(), "{error} says nothing of what to try");
    for truth in bench.filled()? {
        for _ in 0..2 {
            match bench.fetch(&*source, &cx, &all(truth)).await {
                Ok(_) => return Err(Trouble::Broken(format!("{}: an answer without a login", truth.stream))),
                Err(error) => ensure!(REFUSED.contains(&error.kind()), "{}: {error:?}", truth.stream),
            }
        }
    }
    let logins = cx.meter.read().logins;
    ensure!(logins <= 1, "a refused credential was tried {logins} times: accounts get locked");
    source.close(&cx).await?;
    Ok(())
}

pub(super) async fn no_right_is_not_empty(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::NoRight).await?;
    let source = bench.source()?;
    for truth in bench.filled()? {
        for page_size in [None, Some(1)] {
            match bench.fetch(&*source, &bench.cx, &PageRequest { page_size, ..all(truth) }).await {
                Ok(page) => {
                    let rows = page.rows.num_rows();
                    return Err(Trouble::Broken(format!("{}: {rows} rows without the right to see any", truth.stream)));
                }
                Err(error) => {
                    ensure!(error.kind() == ErrorKind::Denied, "{}: {error:?} is not denied", truth.stream);
                    ensure!(error.hint_text().is_some(), "{error} does not name what is missing");
                }
            }
        }
    }
    match source.check(&bench.cx).await {
        Ok(health) => {
            for truth in bench.filled()? {
                let told = health.denied.iter().any(|(stream, reason)| *stream == truth.stream && !reason.is_empty());
                ensure!(told, "check does not tell that {} is denied", truth.stream);
            }
        }
        Err(error) => ensure!(error.kind() == ErrorKind::Denied, "check gives {error:?}"),
    }
    source.close(&bench.cx).await?;
    Ok(())
}

fn end_logins(bench: &Bench<'_>) -> Outcome {
    match &bench.product.end_logins {
        Some(end) => {
            end();
            Ok(())
        }
        None => Err(Trouble::Skip("the product has no logins that end".to_owned())),
    }
}

pub(super) async fn a_lost_login_is_renewed(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::Healthy).await?;
    for truth in bench.filled()? {
        let source = bench.source()?;
        let cx = bench.cx_within(Duration::from_mins(1));
        let mut reader = bench.reader(&*source, &in_pages(truth, size_for(truth, 6)))?;
        let mut lost = 0;
        while !reader.done() {
            if reader.reading.pages() == 1 || reader.reading.pages() == 3 {
                end_logins(&bench)?;
                lost += 1;
            }
            let page = bench.fetch(&*source, &cx, &reader.request).await?;
            reader.take(page)?;
        }
        compare(truth, &reader.reading)?;
        let logins = cx.meter.read().logins;
        ensure!(logins <= 1 + lost, "{}: {logins} logins after {lost} were lost", truth.stream);
        source.close(&cx).await?;
    }
    Ok(())
}

pub(super) async fn a_lost_login_is_renewed_once(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::Healthy).await?;
    let source = bench.source()?;
    let cx = bench.cx_within(Duration::from_mins(1));
    let truths = bench.filled()?;
    bench.fetch(&*source, &cx, &in_pages(truths[0], 1)).await?;
    end_logins(&bench)?;
    let readers = truths.iter().cycle().take(6.max(truths.len()));
    try_join_all(readers.map(async |truth| {
        let reading = bench.read_with(&*source, &cx, &in_pages(truth, size_for(truth, 3))).await?;
        compare(truth, &reading)
    }))
    .await?;
    let logins = cx.meter.read().logins;
    ensure!(logins <= 2, "{logins} logins where one was lost");
    source.close(&cx).await?;
    Ok(())
}

pub(super) async fn a_refused_renewal_is_an_error(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::Healthy).await?;
    let truth = bench.fullest()?;
    let source = bench.source()?;
    let cx = bench.cx_within(Duration::from_mins(1));
    let cursor = first_page(&bench, &*source, &cx, truth).await?;
    bench.set_credential(&bench.wrong_credential())?;
    end_logins(&bench)?;
    let request = PageRequest { cursor: Some(cursor), ..in_pages(truth, size_for(truth, 6)) };
    for _ in 0..3 {
        match bench.fetch(&*source, &cx, &request).await {
            // A credential that was read at the start may still be good.
            Ok(page) if cx.meter.read().logins <= 2 && matches!(page.next, Next::More(_)) => {
                return Err(Trouble::Skip(
                    "the credential is read once and kept, so that it was still right".to_owned(),
                ));
            }
            Ok(_) => return Err(Trouble::Broken("an answer without a login".to_owned())),
            Err(error) => ensure!(REFUSED.contains(&error.kind()), "a login that cannot be renewed gives {error:?}"),
        }
    }
    let logins = cx.meter.read().logins;
    ensure!(logins <= 2, "a refused credential was tried {} times", logins - 1);
    source.close(&cx).await?;
    Ok(())
}

pub(super) async fn a_new_credential_is_taken(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::Healthy).await?;
    if !format!("{}{}", kit.settings, bench.product.settings).contains("{secret}") {
        return Err(Trouble::Skip("the settings name no credential".to_owned()));
    }
    let truth = bench.fullest()?;
    bench.set_credential(&bench.wrong_credential())?;
    let source = bench.source()?;
    let refused = join_all([bench.fetch(&*source, &bench.cx, &all(truth))]).await;
    ensure!(refused[0].is_err(), "a wrong credential reads");
    source.close(&bench.cx).await?;
    bench.set_credential(&bench.product.credential)?;
    let reading = bench.read(&*source, &all(truth)).await?;
    compare(truth, &reading)?;
    source.close(&bench.cx).await?;
    Ok(())
}
