//! A source that could not be made, because its plugin cannot be used: every question to it fails with the reason, so that
//! the receipt says what is missing and the other sources answer.

use async_trait::async_trait;
use fedaudit_core::{
    AuditSource, Context, Error, Page, PageRequest, Result, SourceHealth, SourceInfo, StreamInfo, StreamKind,
};

#[derive(Debug)]
pub(super) struct Unbuilt {
    info: SourceInfo,
    error: Error,
}

impl Unbuilt {
    /// Which streams there would be is not known, so there is one for each table.
    pub(super) fn new(kind: &str, name: &str, error: Error) -> Self {
        let info = SourceInfo {
            product: kind.to_owned(),
            plugin: kind.to_owned(),
            plugin_version: "unknown".to_owned(),
            // Of its own: two sources that cannot be made are not one.
            origin: format!("{kind}:{name}"),
            streams: vec![
                StreamInfo::new("events", StreamKind::Events),
                StreamInfo::new("sessions", StreamKind::Sessions),
            ],
        };
        Self { info, error }
    }
}

#[async_trait]
impl AuditSource for Unbuilt {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    async fn check(&self, _: &Context) -> Result<SourceHealth> {
        Err(self.error.clone())
    }

    async fn fetch(&self, _: &Context, _: &PageRequest) -> Result<Page> {
        Err(self.error.clone())
    }

    async fn close(&self, _: &Context) -> Result<()> {
        Ok(())
    }
}
