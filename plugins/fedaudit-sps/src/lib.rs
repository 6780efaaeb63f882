#![doc = include_str!("../README.md")]
//!
//! # Tour
//!
//! `scan` walks through the session list page by page, over `api` (requests, answers, refusals) and `login` (how a login is
//! made); `position` is where a walk stands, `filter` translates conditions; `record` decodes one session document out of an
//! `object`, `normalize` makes rows of it. `details` reads the lists below sessions, `entry` makes rows of those.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod api;
mod config;
mod details;
mod entry;
mod filter;
#[cfg(test)]
mod fuzz;
mod info;
mod login;
mod normalize;
mod object;
mod position;
mod record;
mod scan;
mod verdict;

use std::time::Duration;

use async_trait::async_trait;
use fedaudit_core::{AuditSource, Context, ErrorKind, Page, PageRequest, Plugin, Result, SourceHealth, SourceInfo};
use fedaudit_transport::{Discreet, HttpClient, Spoken};

pub use config::{Config, Detail};

use api::Api;
use details::Details;
use login::Credentials;
use scan::Scan;

/// The plugin for `type = "sps"`.
#[derive(Debug)]
pub struct Sps;

impl Plugin for Sps {
    const TYPE: &'static str = "sps";
    const VERSION: &'static str = concat!(env!("CARGO_PKG_VERSION"), "+map1");
    const STREAMS: &'static [&'static str] =
        &["sessions", "sps.sessions", "sps.events", "sps.alerts", "sps.channels", "sps.trail_downloads"];
    type Config = Config;

    fn build(_name: &str, config: Config) -> Result<Box<dyn AuditSource>> {
        let origin = config.origin()?;
        let info = info::source_info(origin.as_str(), &config);
        let details = Details::new(&config)?;
        let spoken = Spoken::default();
        let http = HttpClient::through(origin, &config.tls, &config.proxy)?.remembering(&spoken);
        let look_back = config.look_back();
        let credentials = Credentials {
            username: config.username,
            password: config.password,
            method: config.login_method,
            allow_search_minion: config.allow_search_minion,
        };
        let api = Api::new(http, credentials, config.snapshots);
        let source = Source { info, api, look_back, user_forms: config.user_forms, details };
        Ok(Box::new(Discreet::new(source, spoken)))
    }
}

/// One appliance.
#[derive(Debug)]
struct Source {
    info: SourceInfo,
    api: Api,
    look_back: Duration,
    user_forms: Vec<String>,
    details: Details,
}

#[async_trait]
impl AuditSource for Source {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    async fn check(&self, cx: &Context) -> Result<SourceHealth> {
        let mut health =
            SourceHealth { account: Some(self.api.credentials.username.clone()), ..SourceHealth::default() };
        match self.api.probe(cx).await {
            Ok(response) => {
                health.server_time = response.server_time();
                health.notes = self.details.probe(cx, &self.api, &response).await?;
            }
            Err(error) if error.kind() == ErrorKind::Denied => {
                let reason = match error.hint_text() {
                    Some(hint) => format!("{error}; {hint}"),
                    None => error.to_string(),
                };
                health.denied = self.info.streams.iter().map(|stream| (stream.name.clone(), reason.clone())).collect();
            }
            Err(error) => return Err(error),
        }
        let appliance = self.api.appliance(cx).await?;
        health.server_time = health.server_time.or(appliance.server_time);
        health.product_version = appliance.firmware;
        health.fingerprint = appliance.host;
        match appliance.roles.iter().find(|role| role.starts_with("search-")).map(String::as_str) {
            Some("search-local") => health.notes.push("a search-local node: it shows its own sessions only".to_owned()),
            Some("search-minion") => {
                health.notes.push("a search minion: its sessions are searchable on the search master only".to_owned());
            }
            Some("search-master") => {
                health.notes.push("the search master: sessions of search-local nodes are not here".to_owned());
            }
            _ => {}
        }
        Ok(health)
    }

    async fn fetch(&self, cx: &Context, request: &PageRequest) -> Result<Page> {
        if let Some(detail) = self.details.of_stream(&request.stream) {
            return self.details.page(cx, &self.api, detail, request).await;
        }
        Scan { api: &self.api, look_back: self.look_back, user_forms: &self.user_forms }.page(cx, request).await
    }

    async fn close(&self, cx: &Context) -> Result<()> {
        self.api.log_out(cx).await;
        Ok(())
    }
}
