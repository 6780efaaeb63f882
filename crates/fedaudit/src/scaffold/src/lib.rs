//! A source plugin of fedaudit: the audit log of a product that answers JSON over HTTP.
//!
//! `config` is what users write, `api` what travels, `normalize` what becomes of a record. Looping, retries, filters, limits
//! and receipts are fedaudit's business.

mod api;
mod config;
mod normalize;

use std::time::Duration;

use async_trait::async_trait;
use fedaudit_core::{
    AuditSource, Bound, Context, Cursor, EndReason, Error, ErrorKind, EventBuilder, Next, Observed, Order, Page,
    PageRequest, Plugin, Rejected, Result, SourceHealth, SourceInfo, StreamInfo, StreamKind,
};
use fedaudit_transport::{Discreet, Spoken};

use crate::api::{Api, Listing, Me, read};
pub use crate::config::Config;

/// The plugin for `type = "demo-src"`.
#[derive(Debug)]
pub struct DemoSrc;

impl Plugin for DemoSrc {
    const TYPE: &'static str = "demo-src";
    const VERSION: &'static str = concat!(env!("CARGO_PKG_VERSION"), "+map1");
    const STREAMS: &'static [&'static str] = &["log"];
    type Config = Config;

    fn build(_name: &str, config: Config) -> Result<Box<dyn AuditSource>> {
        let spoken = Spoken::default();
        let api = Api::new(config, &spoken)?;
        let info = SourceInfo {
            product: "demo-src".into(),
            plugin: env!("CARGO_PKG_NAME").into(),
            plugin_version: Self::VERSION.into(),
            origin: api.origin().into(),
            streams: vec![log()],
        };
        // What was sent as a secret comes out in no error and no note.
        Ok(Box::new(Discreet::new(Source { info, api }, spoken)))
    }
}

// The one symbol that fedaudit looks for in the library.
fedaudit_plugin::export_plugin!(DemoSrc);

/// What the log offers. What the product could filter by would stand in `pushable`, what it can never show in `blind_spots`.
fn log() -> StreamInfo {
    StreamInfo {
        time_field: "at".into(),
        lower_bound: Bound::Inclusive,
        upper_bound: Bound::Exclusive,
        order: Order::Ascending,
        lateness: Duration::from_secs(60),
        ..StreamInfo::new("log", StreamKind::Events)
    }
}

#[derive(Debug)]
struct Source {
    info: SourceInfo,
    api: Api,
}

#[async_trait]
impl AuditSource for Source {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    async fn check(&self, cx: &Context) -> Result<SourceHealth> {
        let answer = self.api.get(cx, "/api/v1/me").await?;
        let me: Me = read(&answer)?;
        let denied = match self.api.get(cx, "/api/v1/log?limit=1").await {
            Err(error) if error.kind() == ErrorKind::Denied => vec![("log".into(), error.to_string())],
            other => other.map(|_| Vec::new())?,
        };
        Ok(SourceHealth { account: me.name, product_version: me.version, denied, ..SourceHealth::default() })
    }

    async fn fetch(&self, cx: &Context, request: &PageRequest) -> Result<Page> {
        if request.stream != "log" {
            return Err(Error::new(ErrorKind::NotFound, format!("there is no stream '{}'", request.stream)));
        }
        let mut rows = EventBuilder::new(&cx.source_key);
        if request.count_only || request.window.is_empty() {
            return Ok(Page::last(rows.finish()?, EndReason::NothingAsked));
        }
        let path = request.cursor.as_ref().map_or_else(|| Ok(Api::first(request)), Cursor::read)?;
        let answer = self.api.get(cx, &path).await?;
        let listing: Listing<'_> = read(&answer)?;
        let mut rejected = Vec::new();
        for record in &listing.records {
            // One record that cannot be read is kept with its bytes, and the others come.
            if let Err(reason) = normalize::push(record.get(), &mut rows) {
                rejected.push(Rejected { raw: record.get().to_owned(), reason });
            }
        }
        let next = match &listing.next {
            Some(after) => Next::More(Cursor::new(&format!("{}&after={after}", Api::first(request)))?),
            None => Next::End(EndReason::NoNextLink),
        };
        let observed = Observed { records: listing.records.len() as u64, ..Observed::default() };
        Ok(Page { rows: rows.finish()?, next, frontier: None, observed, rejected })
    }

    async fn close(&self, _: &Context) -> Result<()> {
        // A token is no login: there is nothing to give back.
        Ok(())
    }
}
