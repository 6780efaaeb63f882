//! Watches every text that leaves a source, logs included, for secrets.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use fedaudit_core::Error;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Shorter texts occur by chance.
const SHORTEST: usize = 8;

/// The secrets that are known, and where one of them was seen.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    texts: BTreeSet<String>,
    leaks: BTreeSet<String>,
}

impl Secrets {
    /// From now on this text, plain or encoded, is never to be seen.
    pub(crate) fn learn(&self, secret: &str) {
        if secret.len() >= SHORTEST {
            let encoded = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect::<String>();
            let basic = base64::engine::general_purpose::STANDARD.encode(secret);
            self.lock().texts.extend([secret.to_owned(), encoded, basic]);
        }
    }

    /// Looks at a text; `place` says where it stood.
    pub(crate) fn look(&self, place: &str, text: &str) {
        let mut known = self.lock();
        if let Some(secret) = known.texts.iter().find(|secret| text.contains(secret.as_str())) {
            let around = text.replace(secret.as_str(), "[SECRET]");
            let start = around.find("[SECRET]").unwrap_or(0).saturating_sub(60);
            let shown: String = around.chars().skip(start).take(160).collect();
            known.leaks.insert(format!("{place}: {shown}"));
        }
    }

    /// Looks at an error in all its forms.
    pub(crate) fn look_at_error(&self, error: &Error) {
        self.look("error", &format!("{error} {error:?} {}", error.hint_text().unwrap_or_default()));
    }

    /// Where secrets were seen.
    pub(crate) fn leaks(&self) -> Vec<String> {
        self.lock().leaks.iter().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at everything that this thread logs until the guard is dropped.
pub(crate) fn watch_logs(secrets: &Secrets) -> tracing::subscriber::DefaultGuard {
    tracing::subscriber::set_default(Watch { secrets: secrets.clone(), spans: AtomicU64::new(1) })
}

struct Watch {
    secrets: Secrets,
    spans: AtomicU64,
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, "{field}={value:?} ");
    }
}

impl Subscriber for Watch {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // The stand-ins may say what they like; below debug only our own code is worth the time.
        !metadata.target().starts_with("fedaudit_testkit")
            && (*metadata.level() <= Level::DEBUG || metadata.target().starts_with("fedaudit"))
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut text = Text(String::new());
        span.record(&mut text);
        self.secrets.look("log", &text.0);
        Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed))
    }

    fn record(&self, _span: &Id, values: &Record<'_>) {
        let mut text = Text(String::new());
        values.record(&mut text);
        self.secrets.look("log", &text.0);
    }

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        self.secrets.look("log", &text.0);
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}
