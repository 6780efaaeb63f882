//! A look at everything that reading needs: which server answers, and what this account may read.

use std::sync::Arc;

use fedaudit_core::{Context, ErrorKind, Result, SourceHealth, Time};
use fedaudit_transport::Attempt;

use crate::fault::Failure;
use crate::filter::Filter;
use crate::info::{EVENTS, SESSIONS};
use crate::session::Session;
use crate::{live, scroll};

/// Looks; a stream that is refused is no error here.
pub(crate) async fn ask(cx: &Context, session: Arc<Session>) -> Result<Attempt<SourceHealth>> {
    match health(cx, &session).await {
        Ok(health) => Ok(Attempt::Done(health)),
        Err(failure) => failure.into_attempt("check"),
    }
}

async fn health(cx: &Context, session: &Arc<Session>) -> Result<SourceHealth, Failure> {
    let server_time = session.current_time(cx).await?;
    let mut denied = Vec::new();
    let mut deny = |stream: &str, failure: Failure| {
        if failure.is_session_lost() {
            return Err(failure);
        }
        let error = failure.into_error(stream);
        if error.kind() != ErrorKind::Denied {
            return Err(error.into());
        }
        let hint = error.hint_text().map_or_else(String::new, |hint| format!("; {hint}"));
        denied.push((stream.to_owned(), format!("{}{hint}", error.message())));
        Ok(())
    };
    let probe = Filter { end: Some(Time::from_micros(1)), ..Filter::default() };
    match scroll::create(cx, session, &probe, scroll::LATEST).await {
        Ok(lease) => session.destroy(cx, &lease.finish()).await,
        Err(failure) => deny(EVENTS, failure)?,
    }
    if let Err(failure) = live::list(cx, session).await {
        deny(SESSIONS, failure)?;
    }
    let retention = session.retention(cx).await?;
    let about = &session.content.about;
    let transport = format!("{:?}", session.wire.dialect);
    let transport = transport.split(' ').next().unwrap_or_default();
    let mut notes = vec![format!("{} over {transport}", about.full_name.as_deref().unwrap_or("vSphere"))];
    if about.is_host() {
        notes.push("an ESXi host keeps events in memory only, perhaps for minutes: read its vCenter instead where there is one".into());
    }
    if !about.is_host() {
        notes.extend(retention.note());
    }
    Ok(SourceHealth {
        product_version: about.version.clone(),
        fingerprint: about.instance_uuid.clone(),
        account: Some(session.user_name.clone()),
        server_time,
        retention_floor: retention.floor(server_time),
        denied,
        notes,
    })
}
