//! The list of live sessions. This program's own is always in it, so that an empty list is not believed; and one that holds
//! nobody else is believed only of a server that lets this account see the others.

use std::sync::Arc;

use fedaudit_core::{Context, EndReason, Error, ErrorKind, Page, PageRequest, Rejected, Result, SessionBuilder};

use crate::fault::{Failure, Fault};
use crate::record::{Members, Record};
use crate::session::Session;
use crate::transcode::Declared;
use crate::wire::Answer;

/// What an account needs that wants to see the sessions of others.
const PRIVILEGE: &str = "Sessions.TerminateSession";

/// The page that the stream has.
pub(crate) async fn read_page(cx: &Context, session: &Arc<Session>, request: &PageRequest) -> Result<Page, Failure> {
    let mut rows = SessionBuilder::new(&cx.source_key);
    if request.count_only {
        return Ok(Page::last(rows.finish()?, EndReason::EnoughRows));
    }
    let (answer, note) = list(cx, session).await?;
    let (records, server_time) = (answer.values(Declared::Other)?, answer.server_time());
    let normalizer = crate::normalizer(cx, session);
    let seen_at = server_time.unwrap_or_else(|| cx.now());
    let row = |record: Result<Record<'_>, Rejected>| normalizer.session(record?.json, seen_at, &mut rows);
    let rejected = records.map(row).into_iter().filter_map(Result::err).collect();
    let mut page = Page::last(rows.finish()?, EndReason::SinglePage);
    page.rejected = rejected;
    page.observed.records = records.len() as u64;
    page.observed.server_time = server_time;
    page.observed.notes.extend(note.map(str::to_owned));
    Ok(page)
}

/// The list, and what the receipt should tell of it. A refusal is remembered as long as the login lasts, because each one can
/// be an event in the server's log.
pub(crate) async fn list(cx: &Context, session: &Session) -> Result<(Answer, Option<&'static str>), Failure> {
    if let Some(refused) = session.list_refused.get() {
        return Err(Failure::Fault(refused.clone()));
    }
    match ask(cx, session).await {
        Err(Failure::Fault(fault)) if fault.class == "NoPermission" => {
            // Servers do not always say which privilege is missing; we know.
            let fault = Fault { privilege: Some(PRIVILEGE.into()), ..fault };
            Err(Failure::Fault(session.list_refused.get_or_init(|| fault).clone()))
        }
        other => other,
    }
}

async fn ask(cx: &Context, session: &Session) -> Result<(Answer, Option<&'static str>), Failure> {
    let answer = session.session_list(cx).await?;
    if names_others(&answer, session.key.as_deref())? {
        return Ok((answer, None));
    }
    let note = match session.has_privilege(cx, PRIVILEGE).await? {
        Some(true) => None,
        Some(false) => {
            let text = "the list shows no session but this program's own".to_owned();
            return Err(Failure::Fault(Fault { class: "NoPermission".into(), text, privilege: None }));
        }
        None => Some("nobody else is logged in, or the account may not see them: the server does not say which"),
    };
    if answer.is_empty() {
        let error = "the list of live sessions is empty, although this program's own has to be in it";
        return Err(Error::new(ErrorKind::Malformed, error).into());
    }
    Ok((answer, note))
}

/// Whether somebody else is in the list, or something that cannot be read. Where the server did not tell our own key, one
/// session is taken for ours.
fn names_others(answer: &Answer, own: Option<&str>) -> Result<bool> {
    let Some(own) = own else { return Ok(answer.values(Declared::Other)?.len() > 1) };
    let key = |record: Record<'_>| Some(Members::parse(record.json).ok()?.text("key")?.into_owned());
    let keys = answer.values(Declared::Other)?.map(|record| record.ok().and_then(key));
    Ok(keys.iter().any(|key| key.as_deref() != Some(own)))
}
