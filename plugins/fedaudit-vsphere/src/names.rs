//! How this server's filter compares accounts. That is documented nowhere, and a filter that distinguishes case would leave
//! rows out, so the server itself is asked about an event that it certainly has.

use std::sync::Arc;

use fedaudit_core::{Context, Time};

use crate::fault::Failure;
use crate::filter::Filter;
use crate::normalize::{Position, position};
use crate::record::Record;
use crate::scroll::{latest_page, read_next, try_create};
use crate::session::Session;
use crate::transcode::Declared;
use crate::wire::Call;

/// Events among which one with an account is looked for.
const SAMPLE: usize = 20;

/// Whether a condition on accounts can be left to the server. One answer for the whole login.
pub(crate) async fn ignores_case(cx: &Context, session: &Arc<Session>) -> Result<bool, Failure> {
    session.ignores_case.get_or_try_init(|| ask(cx, session)).await.copied()
}

async fn ask(cx: &Context, session: &Arc<Session>) -> Result<bool, Failure> {
    let everything = try_create(cx, session, &Filter::default()).await?;
    session.call(cx, Call::new(everything.collector(), "SetCollectorPageSize").number("maxCount", SAMPLE)).await?;
    let sample = latest_page(cx, session, &everything).await?;
    session.destroy(cx, &everything.finish()).await;
    let sample = sample.values(Declared::Event)?.map(|record| with_account(record.ok()?));
    let Some((at, user)) = sample.into_iter().flatten().next() else { return Ok(false) };

    let other_case = user.chars().map(swap).collect();
    let instant = Some(Time::from_micros(at.created.micros()));
    let filter = Filter { begin: instant, end: instant, users: Some(vec![other_case]), ..Filter::default() };
    let collector = match try_create(cx, session, &filter).await {
        Ok(collector) => collector,
        // It refuses such a filter.
        Err(Failure::Fault(fault)) if fault.class.starts_with("Invalid") && fault.class != "InvalidState" => {
            return Ok(false);
        }
        Err(failure) => return Err(failure),
    };
    let found = read_next(cx, session, &collector, 1000).await?;
    session.destroy(cx, &collector.finish()).await;
    let same = |record: Record<'_>| with_account(record).is_some_and(|(found, _)| found == at);
    let ignores = found.values(Declared::Event)?.map(|record| record.is_ok_and(same)).contains(&true);
    tracing::debug!(source = %cx.source, ignores, "the server's filter by account was tried");
    Ok(ignores)
}

/// The position and the account of an event whose account has letters.
fn with_account(record: Record<'_>) -> Option<(Position, String)> {
    let members = record.members().ok()?;
    let user = members.text("userName")?;
    user.chars().any(|c| c.is_ascii_alphabetic()).then_some(())?;
    Some((position(&members).ok()?, user.into_owned()))
}

fn swap(c: char) -> char {
    if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }
}
