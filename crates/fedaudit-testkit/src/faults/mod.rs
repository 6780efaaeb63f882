//! Faults in front of the stand-ins, as data: one seed makes one plan, and the plan decides which connections and which
//! requests of which product go wrong, and how. The products behind know nothing of it.

mod front;
mod http;
mod names;
mod plan;
mod refusal;
#[cfg(test)]
mod tests;
mod websocket;

use std::fmt;
use std::time::Duration;

pub(crate) use front::{Admission, Front};
pub use front::{Faults, Hit};
pub(crate) use http::Broken;

/// The four products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Product {
    /// TrueNAS
    TrueNas,
    /// vSphere
    Vsphere,
    /// One Identity SPS
    Sps,
    /// Canvas
    Canvas,
}

impl Product {
    /// All of them, in the order of the demo's configuration.
    pub const ALL: [Self; 4] = [Self::TrueNas, Self::Vsphere, Self::Sps, Self::Canvas];

    /// Name of its source in the demo's configuration.
    pub fn source(self) -> &'static str {
        match self {
            Self::TrueNas => "nas-1",
            Self::Vsphere => "vc-1",
            Self::Sps => "sps-1",
            Self::Canvas => "lms",
        }
    }
}

/// What goes wrong in a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What the plan was made from.
    pub seed: u64,
    /// The faults, in no order of time.
    pub faults: Vec<Fault>,
}

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Whose requests.
    pub product: Product,
    /// Which requests, by the name of `names`; empty for every one.
    pub on: &'static str,
    /// The first one that is hit, counted from one among those.
    pub nth: u32,
    /// How many in a row; none for all that follow.
    pub times: Option<u32>,
    /// What happens to them.
    pub what: What,
}

/// What happens to a request, or to a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The connection ends before the request is carried out.
    Unheard,
    /// The request is carried out, and the connection ends before the answer.
    Unanswered,
    /// The connection ends in the middle of the answer, after so many thousandths of it.
    Cut(u16),
    /// So many thousandths of the answer come, and look like all of it.
    Truncated(u16),
    /// Bytes that are nothing, with status 200.
    Garbage,
    /// An empty answer with status 200.
    Nothing,
    /// A login page in HTML with status 200; as XHTML if so.
    LoginPage {
        /// Its content type contains `xml`.
        xhtml: bool,
    },
    /// This status, with a page of some proxy.
    Status(u16),
    /// Too many requests.
    Throttled(RetryAfter),
    /// The answer comes late.
    Late(Duration),
    /// The answer never comes.
    Silent,
    /// The login ends before the request is carried out.
    LoginLost,
    /// The account has lost the right to this.
    Denied,
    /// The answer to the request before, once more; the request itself is not carried out.
    Repeated,
    /// The answer with another content type; in a WebSocket as a binary frame.
    OtherType,
    /// The WebSocket is closed with this code; elsewhere like [`Unheard`](Self::Unheard).
    Closed(u16),
    /// The product goes away: every connection ends, and so many attempts to come back are refused; none for all.
    Gone(Option<u32>),
    /// A connection ends in the middle of the TLS handshake.
    NoHandshake,
}

/// When to come back, as the product says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfter {
    /// It does not.
    Unsaid,
    /// In seconds.
    Seconds(u32),
    /// As a date that lies so many seconds ahead, in whole seconds.
    Date(u32),
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.faults {
            writeln!(f, "  {fault}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { product, on, nth, times, what } = self;
        let on = match (what, *on) {
            (What::NoHandshake, _) => "connection".to_owned(),
            (_, "") => "request".to_owned(),
            (_, name) => format!("'{name}'"),
        };
        write!(f, "{}: {on} {nth}", product.source())?;
        match times {
            None => write!(f, " and all after it")?,
            Some(1) => {}
            Some(times) => write!(f, " to {}", nth + times - 1)?,
        }
        write!(f, ": {what}")
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unheard => f.write_str("the connection ends before it is heard"),
            Self::Unanswered => f.write_str("carried out, the connection ends before the answer"),
            Self::Cut(part) => write!(f, "the connection ends after {part}/1000 of the answer"),
            Self::Truncated(part) => write!(f, "{part}/1000 of the answer come as if they were all"),
            Self::Garbage => f.write_str("garbage with status 200"),
            Self::Nothing => f.write_str("nothing with status 200"),
            Self::LoginPage { xhtml: false } => f.write_str("an HTML page with status 200"),
            Self::LoginPage { xhtml: true } => f.write_str("an XHTML page with status 200"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::Throttled(RetryAfter::Unsaid) => f.write_str("too many requests"),
            Self::Throttled(RetryAfter::Seconds(after)) => write!(f, "too many requests, again after {after} s"),
            Self::Throttled(RetryAfter::Date(after)) => write!(f, "too many requests, again at a date in {after} s"),
            Self::Late(by) => write!(f, "late by {} ms", by.as_millis()),
            Self::Silent => f.write_str("never answered"),
            Self::LoginLost => f.write_str("the login ends"),
            Self::Denied => f.write_str("the right to it is withdrawn"),
            Self::Repeated => f.write_str("the answer before it is repeated"),
            Self::OtherType => f.write_str("the answer comes with another content type"),
            Self::Closed(code) => write!(f, "the socket is closed with {code}"),
            Self::Gone(None) => f.write_str("the product goes away for good"),
            Self::Gone(Some(count)) => write!(f, "the product goes away and refuses {count} connections"),
            Self::NoHandshake => f.write_str("ends in the middle of the TLS handshake"),
        }
    }
}
