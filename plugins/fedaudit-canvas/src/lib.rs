#![doc = include_str!("../README.md")]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

mod accounts;
mod api;
mod authentication;
mod budget;
mod config;
mod course;
#[cfg(test)]
mod fuzz;
mod grade_change;
mod info;
mod links;
mod login;
mod normalize;
mod plan;
mod reading;
mod record;
mod stream;
mod walk;
mod wire;

use std::time::Duration;

use async_trait::async_trait;
use fedaudit_core::{
    AuditSource, Context, ErrorKind, Page, PageRequest, Plugin, Result, SourceHealth, SourceInfo, Window,
};
use fedaudit_transport::{Discreet, Spoken};
use tokio::sync::OnceCell;

use crate::accounts::{Account, Reader};
use crate::api::Api;
pub use crate::config::{Config, OAuth};
use crate::normalize::Frame;
use crate::plan::Trees;
use crate::reading::{Outcome, Reading, nothing};
pub use crate::stream::Stream;
use crate::walk::{Walk, wanted};

/// The plugin for `type = "canvas"`.
#[derive(Debug)]
pub struct Canvas;

impl Plugin for Canvas {
    const TYPE: &'static str = "canvas";
    const VERSION: &'static str = concat!(env!("CARGO_PKG_VERSION"), "+map.2");
    const STREAMS: &'static [&'static str] = &["audit.authentication", "audit.course", "audit.grade_change"];
    type Config = Config;

    fn build(name: &str, config: Config) -> Result<Box<dyn AuditSource>> {
        let origin = config.origin().map_err(|error| error.at(name))?;
        let spoken = Spoken::default();
        let source = Source {
            info: info::info(&origin, &config.streams),
            names: config.accounts.clone(),
            streams: config.streams.clone(),
            api: Api::new(origin, config, &spoken).map_err(|error| error.at(name))?,
            accounts: OnceCell::new(),
            reader: OnceCell::new(),
            trees: Trees::default(),
        };
        Ok(Box::new(Discreet::new(source, spoken)))
    }
}

/// One Canvas installation.
#[derive(Debug)]
struct Source {
    info: SourceInfo,
    /// Root accounts as configured.
    names: Vec<String>,
    streams: Vec<Stream>,
    api: Api,
    accounts: OnceCell<Vec<Account>>,
    reader: OnceCell<Reader>,
    trees: Trees,
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
        for stream in &self.streams {
            for account in &accounts {
                match plan::probe(cx, &self.api, *stream, account, moment).await {
                    Ok(server_time) => health.server_time = server_time.or(health.server_time),
                    Err(error) if error.kind() == ErrorKind::Denied => {
                        let error = error.hint(stream.right());
                        let hint = error.hint_text().map(|hint| format!(" ({hint})")).unwrap_or_default();
                        health.denied.push((stream.name().to_owned(), format!("{error}{hint}")));
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(health)
    }

    async fn fetch(&self, cx: &Context, request: &PageRequest) -> Result<Page> {
        let stream = Stream::named(&request.stream, &self.streams)?;
        // Canvas states no counts.
        if request.count_only || request.window.is_empty() {
            return nothing(cx);
        }
        let accounts = self.accounts.get_or_try_init(|| accounts::resolve(cx, &self.api, &self.names)).await?;
        let walk: Walk = if let Some(cursor) = &request.cursor {
            cursor.read()?
        } else {
            let targets = plan::plan(cx, &self.api, stream, accounts, &self.trees, request).await;
            Walk::new(targets.map_err(|error| with_right(error, stream))?)
        };
        if request.cursor.is_none() && walk.targets.is_empty() {
            return nothing(cx);
        }
        let reader = self.reader.get_or_try_init(|| accounts::reader(cx, &self.api)).await?;
        let frame = Frame { stream, source_key: &cx.source_key, reader: reader.id.as_deref(), now: cx.now() };
        let reading = Reading { cx, api: &self.api, stream, request, frame };
        match reading.page(walk).await.map_err(|error| with_right(error, stream))? {
            Outcome::Page(page) => Ok(page),
            Outcome::Elsewhere(mut walk, note) => {
                let accounts = wanted(request, accounts);
                let everything =
                    plan::everything(cx, &self.api, stream, &accounts, &self.trees, request.window).await?;
                walk.without_chosen(|| everything);
                reading.elsewhere(&walk, note)
            }
        }
    }

    async fn close(&self, _cx: &Context) -> Result<()> {
        self.api.access.forget().await;
        Ok(())
    }
}

/// Names the right that is missing.
fn with_right(error: fedaudit_core::Error, stream: Stream) -> fedaudit_core::Error {
    if error.kind() == ErrorKind::Denied { error.hint(stream.right()) } else { error }
}
