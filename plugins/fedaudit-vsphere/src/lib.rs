#![doc = include_str!("../README.md")]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may fail"))]
//!
//! # A tour of the code
//!
//! [`Config`] is the `[[source]]` table and [`VSphere`] the source. A fetch logs in when needed (`session`), makes a filter of
//! the request (`filter`), reads a page through a collector (`events`, `collectors`) over one of two transports (`wire`; `transcode`
//! and `schema` turn SOAP's XML into the VI JSON form), and turns records into rows (`record`, `catalogue`, `normalize`).

mod catalogue;
mod collectors;
mod config;
mod events;
mod fault;
mod filter;
mod info;
mod normalize;
mod record;
mod schema;
mod session;
mod transcode;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fedaudit_core::{
    AuditSource, Context, EndReason, Error, ErrorKind, EventBuilder, Meter, Page, PageRequest, Plugin, Result,
    SessionBuilder, SourceHealth, SourceInfo,
};
use fedaudit_transport::{HttpClient, Origin};
use tokio::sync::Mutex;

pub use crate::config::{Config, Protocol};
use crate::fault::Failure;
use crate::filter::Filter;
use crate::info::{EVENTS, SESSIONS};
use crate::normalize::Normalizer;
use crate::session::Session;

/// A whole page is read again this often after a temporary failure: reading a page is idempotent, single calls are not.
const ATTEMPTS: u32 = 3;

/// One vCenter or ESXi host.
pub struct VSphere {
    config: Config,
    origin: Origin,
    info: SourceInfo,
    login: Mutex<Login>,
}

/// One login for all streams. A refusal is remembered, because each further try counts towards a lock-out.
enum Login {
    Out,
    In(Arc<Session>),
    Refused(Error),
}

impl Plugin for VSphere {
    const TYPE: &'static str = "vsphere";
    type Config = Config;

    fn build(_name: &str, config: Config) -> Result<Box<dyn AuditSource>> {
        let origin = config.validate()?;
        // The client is made at login; making one now finds mistakes in `tls` early.
        HttpClient::through(origin.clone(), &config.tls, &config.proxy)?;
        let info = info::source_info(&origin, !config.user_forms.is_empty());
        Ok(Box::new(Self { config, origin, info, login: Mutex::new(Login::Out) }))
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
                self.lost(&session).await;
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
                    self.lost(&session).await;
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
        let login = std::mem::replace(&mut *self.login.lock().await, Login::Out);
        match login {
            Login::In(session) => session.end(cx).await,
            Login::Out | Login::Refused(_) => Ok(()),
        }
    }
}

impl VSphere {
    /// The login, made when needed. Concurrent fetches wait for the same one.
    async fn session(&self, cx: &Context) -> Result<Arc<Session>> {
        let mut login = self.login.lock().await;
        match &*login {
            Login::In(session) => return Ok(Arc::clone(session)),
            Login::Refused(error) => return Err(error.clone()),
            Login::Out => {}
        }
        let http = HttpClient::through(self.origin.clone(), &self.config.tls, &self.config.proxy)?;
        match Session::open(cx, http, &self.config).await {
            Ok(session) => {
                let session = Arc::new(session);
                *login = Login::In(Arc::clone(&session));
                Ok(session)
            }
            Err(error) => {
                if matches!(error.kind(), ErrorKind::Unauthenticated | ErrorKind::Denied) {
                    *login = Login::Refused(error.clone());
                }
                Err(error)
            }
        }
    }

    /// Forgets a login that the server ended, unless another fetch has replaced it already.
    async fn lost(&self, session: &Arc<Session>) {
        let mut login = self.login.lock().await;
        if matches!(&*login, Login::In(current) if Arc::ptr_eq(current, session)) {
            *login = Login::Out;
        }
    }

    async fn health(
        &self,
        cx: &Context,
        session: &Arc<Session>,
        server_time: Option<fedaudit_core::Time>,
    ) -> Result<SourceHealth> {
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
        let probe = Filter { page_size: 1, end: Some(fedaudit_core::Time::from_micros(1)), ..Filter::default() };
        match events::create(cx, session, &probe).await {
            Ok(lease) => {
                if let Some(collector) = lease.finish() {
                    session.destroy(cx, &collector).await;
                }
            }
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
        match Filter::new(request, &self.config.user_forms) {
            Some(filter) => events::read_page(cx, session, request, &filter).await,
            None => Ok(Page::last(empty()?, EndReason::NothingAsked)),
        }
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
        let (records, server_time) = session.session_list(cx).await.map_err(name_privilege)?;
        let normalizer = normalizer(cx, session);
        let seen_at = server_time.unwrap_or_else(|| cx.now());
        let rejected = records.iter().filter_map(|raw| normalizer.session(raw, seen_at, &mut rows).err()).collect();
        let mut page = Page::last(rows.finish()?, EndReason::SinglePage);
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
