//! What the library logs with `tracing`, told to the host.

use std::fmt::{Debug, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::abi::{self, Host, Slice};

/// Forwards from now on. In a program that has a log of its own, such as a test, that one stays.
pub(crate) fn forward(host: Option<&'static Host>) {
    let Some(host) = host.filter(|host| host.size >= size_of::<Host>() && host.log.is_some()) else { return };
    let _ = tracing::subscriber::set_global_default(Forward { host, spans: AtomicU64::new(1) });
}

struct Forward {
    host: &'static Host,
    spans: AtomicU64,
}

fn number(level: Level) -> u32 {
    match level {
        Level::ERROR => abi::LOG_ERROR,
        Level::WARN => abi::LOG_WARN,
        Level::INFO => abi::LOG_INFO,
        Level::DEBUG => abi::LOG_DEBUG,
        Level::TRACE => abi::LOG_TRACE,
    }
}

impl Subscriber for Forward {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && number(*metadata.level()) <= self.host.max_level
    }

    fn event(&self, event: &Event<'_>) {
        let Some(log) = self.host.log else { return };
        let mut line = Line(String::new());
        event.record(&mut line);
        let target = event.metadata().target().as_bytes();
        // SAFETY: the host's function; both texts are lent for the call.
        unsafe { log(number(*event.metadata().level()), Slice::of(target), Slice::of(line.0.as_bytes())) };
    }

    // Spans are not forwarded, but each wants a number.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed))
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// The message first, then `name=value` for each further field.
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let space = if self.0.is_empty() { "" } else { " " };
        let _ = match field.name() {
            "message" => write!(self.0, "{space}{value:?}"),
            name => write!(self.0, "{space}{name}={value:?}"),
        };
    }
}
