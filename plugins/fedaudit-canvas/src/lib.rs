#![doc = include_str!("../README.md")]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

mod accounts;
mod api;
mod config;
mod info;
mod login;
mod normalize;
mod walk;
mod wire;

use std::time::Duration;

use async_trait::async_trait;
use fedaudit_core::{
    AuditSource, Context, Cursor, EndReason, Error, ErrorKind, EventBuilder, Next, Observed, Page, PageRequest, Plugin,
    Result, SourceHealth, SourceInfo, Time, Window,
};
use tokio::sync::OnceCell;

use crate::accounts::{Account, Reader};
use crate::api::{Api, next_link};
pub use crate::config::{Config, OAuth};
use crate::info::STREAM;
use crate::normalize::{Decoded, Edge, Frame, Ties, Twice, decode};
use crate::walk::{Target, Walk, account_targets, bookmark_cuts_seconds, plan};

/// The plugin for `type = "canvas"`.
#[derive(Debug)]
pub struct Canvas;

impl Plugin for Canvas {
    const TYPE: &'static str = "canvas";
    type Config = Config;

    fn build(name: &str, config: Config) -> Result<Box<dyn AuditSource>> {
        let origin = config.origin().map_err(|error| error.at(name))?;
        Ok(Box::new(Source {
            info: info::info(&origin),
            names: config.accounts.clone(),
            api: Api::new(origin, config).map_err(|error| error.at(name))?,
            accounts: OnceCell::new(),
            reader: OnceCell::new(),
        }))
    }
}

/// One Canvas installation.
#[derive(Debug)]
struct Source {
    info: SourceInfo,
    /// Root accounts as configured.
    names: Vec<String>,
    api: Api,
    accounts: OnceCell<Vec<Account>>,
    reader: OnceCell<Reader>,
}

#[async_trait]
impl AuditSource for Source {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    async fn check(&self, cx: &Context) -> Result<SourceHealth> {
        // Asked anew, not from memory: a check tells how things are now.
        let reader = accounts::reader(cx, &self.api).await?;
        let accounts = accounts::resolve(cx, &self.api, &self.names).await?;
        let mut health = SourceHealth {
            fingerprint: accounts.first().and_then(|account| account.fingerprint.clone()),
            account: reader.name.or(reader.id),
            server_time: reader.server_time,
            notes: vec!["Canvas does not tell its version".to_owned()],
            ..SourceHealth::default()
        };
        let now = cx.now();
        let moment = Window::new(now.minus(Duration::from_secs(1)), now);
        for target in account_targets(&accounts, None) {
            match self.api.get(cx, &target.first_page(moment, Some(1))).await {
                Ok(response) => health.server_time = response.server_time().or(health.server_time),
                Err(error) if error.kind() == ErrorKind::Denied => {
                    let hint = error.hint_text().map(|hint| format!(" ({hint})")).unwrap_or_default();
                    health.denied.push((STREAM.to_owned(), format!("{error}{hint}")));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(health)
    }

    async fn fetch(&self, cx: &Context, request: &PageRequest) -> Result<Page> {
        if request.stream != STREAM {
            return Err(Error::new(ErrorKind::Config, format!("there is no stream '{}'", request.stream))
                .hint(format!("the only stream is {STREAM}")));
        }
        // Canvas states no counts.
        if request.count_only || request.window.is_empty() {
            return nothing(cx);
        }
        let walk = match &request.cursor {
            Some(cursor) => cursor.read()?,
            None => Walk::new(plan(request, self.accounts(cx).await?)),
        };
        match walk.targets.first().cloned() {
            None => nothing(cx),
            Some(target) if walk.edge.is_some() => self.read_edge(cx, walk, &target).await,
            Some(target) => self.read_page(cx, request, walk, &target).await,
        }
    }

    async fn close(&self, _cx: &Context) -> Result<()> {
        self.api.login.forget().await;
        Ok(())
    }
}

impl Source {
    async fn accounts(&self, cx: &Context) -> Result<&[Account]> {
        let accounts = self.accounts.get_or_try_init(|| accounts::resolve(cx, &self.api, &self.names)).await?;
        Ok(accounts)
    }

    async fn frame<'f>(&'f self, cx: &'f Context) -> Result<Frame<'f>> {
        let reader = self.reader.get_or_try_init(|| accounts::reader(cx, &self.api)).await?;
        Ok(Frame { source_key: &cx.source_key, reader: reader.id.as_deref(), now: cx.now() })
    }

    /// Reads the next page of the first list of a walk.
    async fn read_page(&self, cx: &Context, request: &PageRequest, mut walk: Walk, target: &Target) -> Result<Page> {
        let frame = self.frame(cx).await?;
        let path = walk.link.clone().unwrap_or_else(|| target.first_page(request.window, request.page_size));
        let response = match self.api.get(cx, &path).await {
            Ok(response) => response,
            Err(error)
                if !matches!(target, Target::Account(_))
                    && matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Denied) =>
            {
                let accounts = self.accounts(cx).await?;
                let mut page = nothing(cx)?;
                page.next = Next::More(Cursor::new(&walk.without_first(|| account_targets(accounts, None)))?);
                page.observed.notes.push(format!("{target} cannot be read on its own ({error}); looking further"));
                return Ok(page);
            }
            Err(error) => return Err(error),
        };
        let link = next_link(&response).map(|link| self.api.origin().resolve(link)).transpose()?;
        let mut edge = Edge::default();
        let cuts = link.as_deref().is_some_and(bookmark_cuts_seconds);
        let twice = if cuts { Twice::Remember(&mut edge) } else { Twice::Never };
        let decoded = decode(&response.body, frame, &mut walk.ties, twice)?;
        // Several lists are read one after the other: only the last one bounds what is still to come. The order of a
        // user's list is not reliable where it is merged from several servers.
        let bounded = walk.targets.len() == 1 && matches!(target, Target::Account(_));
        let frontier = decoded.last.filter(|_| bounded && link.is_some()).map(end_of_second);
        let next = match link {
            Some(link) => {
                walk.circle.step(&link)?;
                walk.link = Some(link);
                walk.edge = (cuts && !edge.is_empty()).then_some(edge);
                Some(walk)
            }
            None if walk.targets.len() > 1 => Some(walk.next_target()),
            None => None,
        };
        let next = match next {
            Some(walk) => Next::More(Cursor::new(&walk)?),
            None => Next::End(EndReason::NoNextLink),
        };
        Ok(Page { frontier, ..page(decoded, next, response.server_time()) })
    }

    /// Reads the last second of the page before once more, because the bookmark that follows skips the rest of it.
    async fn read_edge(&self, cx: &Context, mut walk: Walk, target: &Target) -> Result<Page> {
        let frame = self.frame(cx).await?;
        let edge = walk.edge.take().unwrap_or_default();
        let from = Time::from_seconds(edge.second).unwrap_or_default();
        let second = Window::new(from, from.plus(Duration::from_secs(1)));
        let response = self.api.get(cx, &target.first_page(second, None)).await?;
        let decoded = decode(&response.body, frame, &mut Ties::default(), Twice::Skip(&edge))?;
        let mut page = page(decoded, Next::More(Cursor::new(&walk)?), response.server_time());
        if next_link(&response).is_some() {
            page.observed.notes.push(format!(
                "more than {} events at {from}: this Canvas release cannot page inside a second, some are missing",
                page.observed.records
            ));
        }
        Ok(page)
    }
}

fn page(decoded: Decoded, next: Next, server_time: Option<Time>) -> Page {
    let Decoded { rows, rejected, records, last: _, notes } = decoded;
    Page {
        rows,
        next,
        frontier: None,
        observed: Observed { server_time, records, notes, ..Observed::default() },
        rejected,
    }
}

fn nothing(cx: &Context) -> Result<Page> {
    Ok(Page::last(EventBuilder::new(&cx.source_key).finish()?, EndReason::NothingAsked))
}

/// The last instant of a second: rows of later pages may share it.
fn end_of_second(time: Time) -> Time {
    Time::from_micros(time.seconds() * 1_000_000 + 999_999)
}
