#![doc = include_str!("../README.md")]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may fail"))]
//!
//! # A tour of the code
//!
//! [`Config`] is the `[[source]]` table and [`VSphere`] the source. A fetch logs in when needed (`session`), makes a filter of
//! the request (`filter`, `names`), reads a page through a collector (`events` decides, `scroll` calls, `cursor` remembers,
//! `collectors` gives back) over one of two transports (`wire`; `xml`, `transcode` and `schema` turn SOAP into the VI JSON form),
//! and turns records into rows (`record`, `catalogue`, `normalize`, `redact`).

mod catalogue;
mod collectors;
mod config;
mod cursor;
mod events;
mod fault;
mod filter;
#[cfg(test)]
mod fuzz;
mod info;
mod names;
mod normalize;
mod record;
mod redact;
mod schema;
mod scroll;
mod session;
mod transcode;
mod wire;
mod xml;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fedaudit_core::{
    AuditSource, Context, EndReason, Error, ErrorKind, EventBuilder, Meter, Page, PageRequest, Plugin, Rejected,
    Result, SessionBuilder, SourceHealth, SourceInfo, Time,
};
use fedaudit_transport::{HttpClient, Origin};
use tokio::sync::Mutex;

pub use crate::config::{Config, Protocol};
use crate::fault::Failure;
use crate::filter::Filter;
use crate::info::{EVENTS, SESSIONS};
use crate::normalize::Normalizer;
use crate::record::Record;
use crate::session::Session;
use crate::transcode::Declared;

/// A whole page is read again this often after a temporary failure: reading a page is idempotent, single calls are not.
const ATTEMPTS: u32 = 3;

/// One vCenter or ESXi host.
pub struct VSphere {
    config: Config,
    origin: Origin,
    info: SourceInfo,
    desk: Mutex<Desk>,
}

/// One login for all streams.
struct Desk {
    login: Login,
    /// When the server ended a login of ours, lately.
    losses: Vec<Time>,
}

/// A refusal is remembered, because each further try counts towards a lock-out.
enum Login {
    Out,
    In(Arc<Session>),
    Refused(Error),
}

/// Logins that a server may end within [`LOSSES_WITHIN`] before it is left alone: each one anew is an event in its log.
const MAX_LOSSES: usize = 5;
const LOSSES_WITHIN: Duration = Duration::from_mins(5);

impl Plugin for VSphere {
    const TYPE: &'static str = "vsphere";
    type Config = Config;

    fn build(_name: &str, config: Config) -> Result<Box<dyn AuditSource>> {
        let origin = config.validate()?;
        // The client is made at login; making one now finds mistakes in `tls` early.
        HttpClient::through(origin.clone(), &config.tls, &config.proxy)?;
        let info = info::source_info(&origin, !config.user_forms.is_empty());
        let desk = Mutex::new(Desk { login: Login::Out, losses: Vec::new() });
        Ok(Box::new(Self { config, origin, info, desk }))
    }
}

#[async_trait]
impl AuditSource for VSphere {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    async fn check(&self, cx: &Context) -> Result<SourceHealth> {
        let session = self.session(cx).await?;
        let server_time = match session.current_time(cx).await {
            Err(failure) if failure.is_session_lost() => {
                self.lost(cx, &session).await;
                let session = self.session(cx).await?;
                return self.health(cx, &session, None).await;
            }
            other => other.map_err(|failure| failure.into_error("CurrentTime"))?,
        };
        self.health(cx, &session, server_time).await
    }

    async fn fetch(&self, cx: &Context, request: &PageRequest) -> Result<Page> {
        let mut relogins = 0;
        let mut rereads = 0;
        let mut failures = 0;
        loop {
            let session = self.session(cx).await?;
            let (page, call) = match request.stream.as_str() {
                EVENTS => (self.fetch_events(cx, &session, request).await, "reading events"),
                SESSIONS => (self.fetch_sessions(cx, &session, request).await, "sessionList"),
                other => return Err(Error::new(ErrorKind::NotFound, format!("there is no stream '{other}'"))),
            };
            match page {
                Ok(page) => return Ok(page),
                Err(failure) if failure.is_session_lost() && relogins == 0 => {
                    relogins += 1;
                    self.lost(cx, &session).await;
                }
                // The collector of this cursor is gone: the next round makes a new one that starts where the cursor stands.
                Err(failure) if failure.is_collector_lost() && rereads == 0 => rereads += 1,
                Err(Failure::Error(error)) if error.kind().is_temporary() && failures + 1 < ATTEMPTS => {
                    failures += 1;
                    let delay = Duration::from_millis(250 << failures);
                    if cx.deadline.is_some_and(|deadline| cx.now().plus(delay) >= deadline) {
                        return Err(error);
                    }
                    tokio::time::sleep(delay).await;
                    Meter::count(&cx.meter.retries);
                }
                Err(failure) => return Err(failure.into_error(call)),
            }
        }
    }

    async fn close(&self, cx: &Context) -> Result<()> {
        let login = std::mem::replace(&mut self.desk.lock().await.login, Login::Out);
        match login {
            Login::In(session) => session.end(cx).await,
            Login::Out | Login::Refused(_) => Ok(()),
        }
    }
}

impl VSphere {
    /// The login, made when needed. Concurrent fetches wait for the same one.
    async fn session(&self, cx: &Context) -> Result<Arc<Session>> {
        let mut desk = self.desk.lock().await;
        match &desk.login {
            Login::In(session) => return Ok(Arc::clone(session)),
            Login::Refused(error) => return Err(error.clone()),
            Login::Out => {}
        }
        let since = cx.now().minus(LOSSES_WITHIN);
        desk.losses.retain(|lost| *lost > since);
        if desk.losses.len() >= MAX_LOSSES {
            let text =
                format!("the server ended {} logins within five minutes; not logging in again", desk.losses.len());
            return Err(Error::new(ErrorKind::Unavailable, text)
                .hint("does another tool end sessions, or is the server's session time-out very short?"));
        }
        let http = HttpClient::through(self.origin.clone(), &self.config.tls, &self.config.proxy)?;
        match Session::open(cx, http, &self.config).await {
            Ok(session) => {
                let session = Arc::new(session);
                desk.login = Login::In(Arc::clone(&session));
                Ok(session)
            }
            Err(error) => {
                if matches!(error.kind(), ErrorKind::Unauthenticated | ErrorKind::Denied) {
                    desk.login = Login::Refused(error.clone());
                }
                Err(error)
            }
        }
    }

    /// Forgets a login that the server ended, unless another fetch has replaced it already.
    async fn lost(&self, cx: &Context, session: &Arc<Session>) {
        let mut desk = self.desk.lock().await;
        if matches!(&desk.login, Login::In(current) if Arc::ptr_eq(current, session)) {
            desk.login = Login::Out;
            desk.losses.push(cx.now());
        }
    }

    async fn health(&self, cx: &Context, session: &Arc<Session>, server_time: Option<Time>) -> Result<SourceHealth> {
        let mut denied = Vec::new();
        let mut deny = |stream: &str, failure: Failure| {
            let error = failure.into_error(stream);
            match (error.kind(), error.hint_text()) {
                (ErrorKind::Denied, hint) => {
                    let hint = hint.map_or_else(String::new, |hint| format!("; {hint}"));
                    denied.push((stream.to_owned(), format!("{}{hint}", error.message())));
                    Ok(())
                }
                _ => Err(error),
            }
        };
        let probe = Filter { end: Some(Time::from_micros(1)), ..Filter::default() };
        match scroll::create(cx, session, &probe, scroll::LATEST).await {
            Ok(lease) => session.destroy(cx, &lease.finish()).await,
            Err(failure) => deny(EVENTS, failure)?,
        }
        if let Err(failure) = session.session_list(cx).await {
            deny(SESSIONS, name_privilege(failure))?;
        }
        let about = &session.content.about;
        let mut notes = Vec::new();
        let transport = format!("{:?}", session.wire.dialect);
        let transport = transport.split(' ').next().unwrap_or_default();
        notes.push(format!("{} over {transport}", about.full_name.as_deref().unwrap_or("vSphere")));
        if about.is_host() {
            notes.push("an ESXi host keeps events in memory only, perhaps for minutes: read its vCenter instead where there is one".into());
        }
        Ok(SourceHealth {
            product_version: about.version.clone(),
            fingerprint: about.instance_uuid.clone(),
            account: Some(session.user_name.clone()),
            server_time,
            retention_floor: server_time.zip(session.max_age).map(|(now, age)| now.minus(age)),
            denied,
            notes,
        })
    }

    async fn fetch_events(&self, cx: &Context, session: &Arc<Session>, request: &PageRequest) -> Result<Page, Failure> {
        let empty = || EventBuilder::new(&cx.source_key).finish();
        if request.count_only {
            // vSphere counts nothing.
            return Ok(Page::last(empty()?, EndReason::EnoughRows));
        }
        let Some(mut filter) = Filter::new(request, &self.config.user_forms) else {
            return Ok(Page::last(empty()?, EndReason::NothingAsked));
        };
        if filter.users.is_some() && !names::ignores_case(cx, session).await? {
            filter.users = None;
        }
        events::read_page(cx, session, request, &filter).await
    }

    async fn fetch_sessions(
        &self,
        cx: &Context,
        session: &Arc<Session>,
        request: &PageRequest,
    ) -> Result<Page, Failure> {
        let mut rows = SessionBuilder::new(&cx.source_key);
        if request.count_only {
            return Ok(Page::last(rows.finish()?, EndReason::EnoughRows));
        }
        let answer = session.session_list(cx).await.map_err(name_privilege)?;
        let (records, server_time) = (answer.values(Declared::Other)?, answer.server_time());
        let normalizer = normalizer(cx, session);
        let seen_at = server_time.unwrap_or_else(|| cx.now());
        let row = |record: Result<Record<'_>, &Rejected>| match record {
            Ok(record) => normalizer.session(record.json, seen_at, &mut rows).err(),
            Err(bad) => Some(bad.clone()),
        };
        let rejected = records.iter().filter_map(row).collect();
        let mut page = Page::last(rows.finish()?, EndReason::SinglePage);
        if records.len() == 0 {
            page.observed
                .notes
                .push("the list of live sessions is empty, although this program's own should be in it".into());
        }
        page.rejected = rejected;
        page.observed.records = records.len() as u64;
        page.observed.server_time = server_time;
        Ok(page)
    }
}

fn normalizer<'n>(cx: &Context, session: &'n Session) -> Normalizer<'n> {
    Normalizer {
        own_session: &session.key,
        own_user: &session.user_name,
        product_version: session.content.about.version.as_deref(),
        now: cx.now(),
    }
}

/// Servers do not always say which privilege the live list needs; we know.
fn name_privilege(failure: Failure) -> Failure {
    match failure {
        Failure::Fault(mut fault) if fault.class == "NoPermission" => {
            fault.privilege = Some("Sessions.TerminateSession".into());
            Failure::Fault(fault)
        }
        other => other,
    }
}

impl fmt::Debug for VSphere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VSphere").field("origin", &self.origin).finish_non_exhaustive()
    }
}
