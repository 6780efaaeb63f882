//! A source that is read in small pages, so that a small history has many of them.

use std::sync::Arc;

use async_trait::async_trait;
use fedaudit_core::{AuditSource, Context, Page, PageRequest, Result, SourceHealth, SourceInfo};

/// Asks the source within for pages of so many rows, where nobody asks for another number.
#[derive(Debug)]
pub(super) struct SmallPages {
    pub(super) source: Arc<dyn AuditSource>,
    pub(super) rows: usize,
}

#[async_trait]
impl AuditSource for SmallPages {
    fn info(&self) -> &SourceInfo {
        self.source.info()
    }

    async fn check(&self, cx: &Context) -> Result<SourceHealth> {
        self.source.check(cx).await
    }

    async fn fetch(&self, cx: &Context, request: &PageRequest) -> Result<Page> {
        let page_size = Some(request.page_size.unwrap_or(self.rows));
        self.source.fetch(cx, &PageRequest { page_size, ..request.clone() }).await
    }

    async fn close(&self, cx: &Context) -> Result<()> {
        self.source.close(cx).await
    }
}
