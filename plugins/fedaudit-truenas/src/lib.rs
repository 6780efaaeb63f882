#![doc = include_str!("../README.md")]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod action;
mod config;
mod credential;
#[cfg(test)]
mod fuzz;
mod gate;
mod isolate;
mod items;
mod live;
mod middleware;
mod normalize;
mod page;
mod paths;
mod position;
mod push;
mod question;
mod record;
mod redact;
mod rpc;
mod scram;
mod sessions;
mod smb;
mod streams;
mod sudo;
mod system;
mod walk;
mod wire;

use std::fmt;

use async_trait::async_trait;
use fedaudit_core::{
    AuditSource, Context, Error, ErrorKind, Page, PageRequest, Plugin, Result, SourceHealth, SourceInfo,
};
use fedaudit_transport::{Discreet, Spoken};
use serde::Deserialize;

pub use config::Config;
pub use normalize::{Decoded, Reading, decode_page};
pub use sessions::decode_sessions;
pub use streams::Service;

use gate::Gate;
use live::Ear;
use page::Reader;
use paths::Trails;
use question::{Members, Question};
use rpc::{EACCES, EPERM, Failure};
use streams::{Feed, SESSIONS};

/// The plugin for `type = "truenas"`.
#[derive(Clone, Copy, Debug)]
pub struct TrueNasPlugin;

impl Plugin for TrueNasPlugin {
    const TYPE: &'static str = "truenas";
    const VERSION: &'static str = concat!(env!("CARGO_PKG_VERSION"), "+map1");
    const STREAMS: &'static [&'static str] = streams::NAMES;
    type Config = Config;

    fn build(name: &str, config: Config) -> Result<Box<dyn AuditSource>> {
        let spoken = Spoken::default();
        let gate = Gate::new(&config, &spoken).map_err(|error| error.at(format!("source '{name}'")))?;
        let own_key = gate.key_id();
        let info = streams::info(gate.origin().as_str(), config.remote_controller);
        let source = TrueNas {
            info,
            gate,
            own_key,
            both_controllers: config.remote_controller,
            trails: Trails::default(),
            ear: Ear::default(),
        };
        Ok(Box::new(Discreet::new(source, spoken)))
    }
}

/// One TrueNAS.
struct TrueNas {
    info: SourceInfo,
    gate: Gate,
    own_key: Option<String>,
    both_controllers: bool,
    trails: Trails,
    ear: Ear,
}

impl fmt::Debug for TrueNas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrueNas").field("origin", self.gate.origin()).finish_non_exhaustive()
    }
}

#[async_trait]
impl AuditSource for TrueNas {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    async fn check(&self, cx: &Context) -> Result<SourceHealth> {
        let connection = self.gate.connection(cx).await?;
        let mut health = SourceHealth {
            product_version: Some(connection.release.clone()),
            account: connection.account.clone(),
            server_time: connection.server_time,
            retention_floor: connection.retention_floor(cx).await,
            ..SourceHealth::default()
        };
        if !self.gate.origin().is_tls() {
            health.notes.push("the password travels in clear text: use https in url".to_owned());
        }
        // Both are courtesies: a reader with nothing but the audit role may be refused them.
        if let Ok(version) = self.ask::<String>(cx, "system.version_short", "[]").await {
            health.product_version = Some(version);
        }
        health.fingerprint = self.ask::<String>(cx, "system.host_id", "[]").await.ok();
        let streams = self.info.streams.iter().filter_map(|stream| Feed::of_stream(&stream.name));
        for feed in streams {
            let question = Question { feed, filters: Vec::new(), newest_first: false };
            let params = question.rows(0, 1, Members::Identity);
            let outcome = self.ask(cx, "audit.query", &params).await;
            if let Err(Failure::Refused(refusal)) = &outcome
                && refusal.is_other_controller()
            {
                health.notes.push(format!(
                    "{}: the other controller does not answer: {}",
                    feed.stream(),
                    refusal.text()
                ));
                continue;
            }
            let found: Option<Vec<serde::de::IgnoredAny>> =
                allowed(&mut health, &feed.stream(), "audit.query", outcome)?;
            if feed.service == Service::System && found.is_some_and(|rows| rows.is_empty()) {
                health.notes.push(format!("{} is empty: TrueNAS fills it on Enterprise systems only", feed.stream()));
            }
        }
        let sessions = self.ask::<serde::de::IgnoredAny>(cx, "auth.sessions", r#"[[],{"limit":1}]"#).await;
        allowed(&mut health, SESSIONS, "auth.sessions", sessions)?;
        match self.ask::<AuditConfig>(cx, "audit.config", "[]").await {
            Ok(config) => match config.enabled_services.smb.as_slice() {
                [] => health.notes.push("no SMB share is audited: audit.SMB shows logins at most".to_owned()),
                shares => health.notes.push(format!("audited SMB shares: {}", shares.join(", "))),
            },
            Err(_) => health
                .notes
                .push("the account may not read audit.config: how far back rows are kept is unknown".to_owned()),
        }
        Ok(health)
    }

    async fn fetch(&self, cx: &Context, request: &PageRequest) -> Result<Page> {
        if request.stream == SESSIONS {
            let reader = live::Reader { gate: &self.gate, own_key: self.own_key.as_deref(), ear: &self.ear };
            return reader.page(cx, request).await.map_err(|error| error.at(SESSIONS));
        }
        let Some(feed) = Feed::of_stream(&request.stream).filter(|feed| self.both_controllers || !feed.other) else {
            return Err(Error::new(ErrorKind::Internal, format!("TrueNAS has no stream '{}'", request.stream)));
        };
        let reader = Reader {
            gate: &self.gate,
            own_key: self.own_key.as_deref(),
            trails: &self.trails,
            feed,
            node: self.both_controllers.then_some(if feed.other { "other" } else { "this" }),
        };
        reader.page(cx, request).await.map_err(|error| error.at(&request.stream))
    }

    async fn close(&self, cx: &Context) -> Result<()> {
        self.ear.close().await;
        self.gate.close(cx).await;
        Ok(())
    }
}

impl TrueNas {
    async fn ask<T: for<'a> Deserialize<'a>>(&self, cx: &Context, method: &str, params: &str) -> Result<T, Failure> {
        self.gate.call(cx, method, params).await?.result().map_err(|error| Failure::Wire(error.at(method)))
    }
}

/// Notes a refusal as a denied stream; other failures end the check.
fn allowed<T>(health: &mut SourceHealth, stream: &str, method: &str, outcome: Result<T, Failure>) -> Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(Failure::Refused(refusal)) if matches!(refusal.number(), Some(EACCES | EPERM)) => {
            let error = Failure::Refused(refusal).into_error(method);
            let hint = error.hint_text().unwrap_or_default().to_owned();
            health.denied.push((stream.to_owned(), format!("{}: {hint}", error.message())));
            Ok(None)
        }
        Err(failure) => Err(failure.into_error(method)),
    }
}

#[derive(Deserialize)]
struct AuditConfig {
    #[serde(default)]
    enabled_services: EnabledServices,
}

#[derive(Default, Deserialize)]
struct EnabledServices {
    #[serde(default, rename = "SMB")]
    smb: Vec<String>,
}
