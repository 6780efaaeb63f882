//! What a source has sent as a secret does not come out of it in an error or a note, whoever put it there: a product that
//! repeats a login inside a successful answer, a parser that quotes the value it did not expect.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use fedaudit_core::{AuditSource, Context, Page, PageRequest, Rejected, Result, Secret, SourceHealth, SourceInfo};

use crate::echo::{cut, forms};

/// As many are remembered: logins come and go, and the error tells of the last ones.
const REMEMBERED: usize = 32;

/// The secrets that a source has sent, the newest last. Clones share them.
#[derive(Clone, Default)]
pub struct Spoken(Arc<Mutex<Vec<Secret>>>);

impl Spoken {
    /// Remembers one that is about to be sent.
    pub fn remember(&self, secret: &Secret) {
        let mut secrets = self.secrets();
        if !secrets.contains(secret) {
            if secrets.len() == REMEMBERED {
                secrets.remove(0);
            }
            secrets.push(secret.clone());
        }
    }

    fn secrets(&self) -> MutexGuard<'_, Vec<Secret>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The text without any of them, in whatever spelling.
    fn hidden_in(&self) -> impl Fn(&str) -> String {
        let forms = forms(&self.secrets());
        move |text| cut(text, &forms).unwrap_or_else(|| text.to_owned())
    }
}

impl fmt::Debug for Spoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secrets", self.secrets().len())
    }
}

/// A source whose errors, notes and rejected records are without what it has sent as secrets. Its rows are what they are.
#[derive(Debug)]
pub struct Discreet<S> {
    source: S,
    spoken: Spoken,
}

impl<S: AuditSource> Discreet<S> {
    /// Wraps a source whose clients remember in `spoken` what they send.
    pub fn new(source: S, spoken: Spoken) -> Self {
        Self { source, spoken }
    }

    fn hiding<T>(&self, outcome: Result<T>) -> Result<T> {
        outcome.map_err(|error| error.rewritten(self.spoken.hidden_in()))
    }

    fn hide_in(&self, texts: &mut [String]) {
        if !texts.is_empty() {
            let hidden = self.spoken.hidden_in();
            texts.iter_mut().for_each(|text| *text = hidden(text));
        }
    }
}

#[async_trait]
impl<S: AuditSource> AuditSource for Discreet<S> {
    fn info(&self) -> &SourceInfo {
        self.source.info()
    }

    async fn check(&self, cx: &Context) -> Result<SourceHealth> {
        let mut health = self.hiding(self.source.check(cx).await)?;
        self.hide_in(&mut health.notes);
        let hidden = self.spoken.hidden_in();
        health.denied.iter_mut().for_each(|(_, reason)| *reason = hidden(reason));
        Ok(health)
    }

    async fn fetch(&self, cx: &Context, request: &PageRequest) -> Result<Page> {
        let mut page = self.hiding(self.source.fetch(cx, request).await)?;
        self.hide_in(&mut page.observed.notes);
        if !page.rejected.is_empty() {
            let hidden = self.spoken.hidden_in();
            for Rejected { raw, reason } in &mut page.rejected {
                (*raw, *reason) = (hidden(raw), hidden(reason));
            }
        }
        Ok(page)
    }

    async fn close(&self, cx: &Context) -> Result<()> {
        self.hiding(self.source.close(cx).await)
    }
}
