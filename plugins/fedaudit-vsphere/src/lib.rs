#![doc = include_str!("../README.md")]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may fail"))]
//!
//! # A tour of the code
//!
//! [`Config`] is the `[[source]]` table and [`VSphere`] the source. A fetch logs in when needed (`session`), makes a filter of
//! the request (`filter`, `names`), reads a page through a collector (`events` decides, `scroll` calls, `cursor` remembers,
//! `collectors` gives back) or the live list (`live`), asks how long events are kept (`retention`), all over one of two transports (`wire`; `xml`, `transcode` and `schema` turn SOAP into the VI JSON form),
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
mod health;
mod info;
mod live;
mod names;
mod normalize;
mod record;
mod redact;
mod retention;
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
    AuditSource, Context, EndReason, Error, ErrorKind, EventBuilder, Meter, Page, PageRequest, Plugin, Result,
    SourceHealth, SourceInfo,
};
use fedaudit_transport::{Attempt, Discreet, HttpClient, Login, Origin, Spoken};

pub use crate::config::{Config, Protocol};
use crate::fault::Failure;
use crate::filter::Filter;
use crate::info::{EVENTS, SESSIONS};
use crate::normalize::Normalizer;
use crate::session::Session;

/// A whole page is read again this often after a temporary failure: reading a page is idempotent, single calls are not.
const ATTEMPTS: u32 = 3;

/// Logins that a server may end within [`LOSSES_WITHIN`] before it is left alone.
const MAX_LOSSES: usize = 5;
const LOSSES_WITHIN: Duration = Duration::from_mins(5);

/// One vCenter or ESXi host.
pub struct VSphere {
    config: Config,
    origin: Origin,
    info: SourceInfo,
    /// One for all streams.
    login: Login<Session>,
    spoken: Spoken,
}

impl Plugin for VSphere {
    const TYPE: &'static str = "vsphere";
    const VERSION: &'static str = concat!(env!("CARGO_PKG_VERSION"), "+map.1");
    const STREAMS: &'static [&'static str] = &[info::EVENTS, info::SESSIONS];
    type Config = Config;

    fn build(_name: &str, config: Config) -> Result<Box<dyn AuditSource>> {
        let origin = config.validate()?;
        // The client is made at login; making one now finds mistakes in `proxy` early. Those in `tls` come with the first request.
        HttpClient::through(origin.clone(), &config.tls, &config.proxy)?;
        let info = info::source_info(&origin, !config.user_forms.is_empty());
        let spoken = Spoken::default();
        let login = Login::bearing(MAX_LOSSES, LOSSES_WITHIN);
        let source = Self { config, origin, info, login, spoken: spoken.clone() };
        Ok(Box::new(Discreet::new(source, spoken)))
    }
}

#[async_trait]
impl AuditSource for VSphere {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    async fn check(&self, cx: &Context) -> Result<SourceHealth> {
        self.login.with(cx, || self.log_in(cx), |session| health::ask(cx, session)).await
    }

    async fn fetch(&self, cx: &Context, request: &PageRequest) -> Result<Page> {
        if !matches!(request.stream.as_str(), EVENTS | SESSIONS) {
            return Err(Error::new(ErrorKind::NotFound, format!("there is no stream '{}'", request.stream)));
        }
        self.login.with(cx, || self.log_in(cx), |session| self.read(cx, session, request)).await
    }

    async fn close(&self, cx: &Context) -> Result<()> {
        match self.login.take().await {
            Some(session) => session.end(cx).await,
            None => Ok(()),
        }
    }
}

impl VSphere {
    async fn log_in(&self, cx: &Context) -> Result<Session> {
        let http = HttpClient::through(self.origin.clone(), &self.config.tls, &self.config.proxy)?;
        let http = http.remembering(&self.spoken);
        Session::open(cx, http, &self.config).await
    }

    /// Reads a page, more than once where that helps.
    async fn read(&self, cx: &Context, session: Arc<Session>, request: &PageRequest) -> Result<Attempt<Page>> {
        let mut rereads = 0;
        let mut failures = 0;
        loop {
            let (page, call) = if request.stream == EVENTS {
                (self.fetch_events(cx, &session, request).await, "reading events")
            } else {
                (live::read_page(cx, &session, request).await, "sessionList")
            };
            match page {
                Ok(page) => return Ok(Attempt::Done(page)),
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
                Err(failure) => return failure.into_attempt(call),
            }
        }
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
}

fn normalizer<'n>(cx: &Context, session: &'n Session) -> Normalizer<'n> {
    Normalizer {
        own_session: session.key.as_deref().unwrap_or_default(),
        own_user: &session.user_name,
        product_version: session.content.about.version.as_deref(),
        now: cx.now(),
    }
}

impl fmt::Debug for VSphere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VSphere").field("origin", &self.origin).finish_non_exhaustive()
    }
}
