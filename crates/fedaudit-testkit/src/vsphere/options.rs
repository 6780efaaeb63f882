//! How the stand-in behaves; the default is a current, healthy vCenter whose account may see everything.

use std::ops::Range;
use std::time::Duration;

use crate::request_log::RequestLog;

/// Which product answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// vCenter.
    VirtualCenter,
    /// A standalone ESXi host: other ids, no VI JSON, no options, and a log in memory that holds only so many events.
    Host {
        /// The newest events, which are all it has.
        buffer: usize,
    },
}

/// What the answer to a login tells of the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Introduction {
    /// Everything.
    Whole,
    /// All but its key.
    WithoutKey,
    /// Nothing: it is accepted and no session is named.
    Missing,
}

/// How the stand-in behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which product it is.
    pub kind: Kind,
    /// The account that may log in, as `reader@vsphere.local`.
    pub username: String,
    /// Its password.
    pub password: String,
    /// VI JSON exists, as from 8.0 U1 on.
    pub json: bool,
    /// VI JSON's releases can be asked for, as from 8.0 U2 on.
    pub hello: bool,
    /// Releases of the interface, newest first.
    pub releases: Vec<&'static str>,
    /// The list of SOAP versions exists; only very old servers have none.
    pub versions_file: bool,
    /// The account may see the live list.
    pub may_list_sessions: bool,
    /// An account that may not see the live list sees its own sessions there instead of a refusal.
    pub lists_own_sessions: bool,
    /// The account may ask what it may do.
    pub tells_privileges: bool,
    /// The live list holds nobody, which no product sends.
    pub lists_nobody: bool,
    /// Every login with the right password ends in this fault: the account has no role, say.
    pub login_fault: Option<&'static str>,
    /// What the answer to a login tells of the session.
    pub introduction: Introduction,
    /// Collectors that all clients together may hold.
    pub max_collectors: usize,
    /// Collectors that other clients hold.
    pub foreign_collectors: usize,
    /// Days after which the product says it deletes events.
    pub event_max_age: i64,
    /// Whether it deletes them.
    pub event_max_age_enabled: bool,
    /// The account may read options.
    pub may_read_options: bool,
    /// Accounts in a filter are compared without regard to case.
    pub users_ignore_case: bool,
    /// A filter that names event classes is refused, as by a server that does not know one of them.
    pub refuse_codes: bool,
    /// Events with these keys belong to objects that the account cannot see. They are taken out after a page was made, so
    /// that pages are short, or empty in the middle or at either end. Such an account has no role at the root.
    pub hidden: Vec<Range<i32>>,
    /// Reading forward ends after the event with this key for good, whatever the latest page holds.
    pub stops_after: Option<i32>,
    /// Collectors do not move: every page is the first one.
    pub stuck_collectors: bool,
    /// All logins end before this call (counted without logins) is answered.
    pub expire_after: Option<u64>,
    /// All logins end whenever so many calls were answered.
    pub expire_every: Option<u64>,
    /// A login that has ended is not a fault: the answer is a success that says so for each property, or holds the fault.
    pub fault_in_200: bool,
    /// All collectors vanish before this call is answered; the logins stay.
    pub lose_collectors_after: Option<u64>,
    /// The fault of a collector that vanished.
    pub lost_collector: &'static str,
    /// The event with this key is sent in a form that cannot be decoded.
    pub broken_event: Option<i32>,
    /// Collectors do not move past it.
    pub stuck_at_broken: bool,
    /// XML names types with the odd prefix of one simulator, and the cookie has no quotes.
    pub odd_prefix: bool,
    /// JSON objects name their type last, or not at all where it is fixed.
    pub json_disorder: bool,
    /// Answers to a read of properties that hold nothing but a token, which asks for the next one.
    pub property_tokens: u64,
    /// Something in front of the product answers everything with an HTML page.
    pub html: bool,
    /// Requests that are answered with 503.
    pub unavailable: u64,
    /// Requests that are answered before those.
    pub available_first: u64,
    /// The reader's own session is in the live list, its logins and logouts in the log.
    pub list_reader: bool,
    /// Time that every answer takes.
    pub latency: Duration,
    /// What was asked.
    pub log: RequestLog,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            kind: Kind::VirtualCenter,
            username: "reader@vsphere.local".to_owned(),
            password: "correct horse".to_owned(),
            json: true,
            hello: true,
            releases: vec!["8.0.3.0", "8.0.2.0", "8.0.1.0"],
            versions_file: true,
            may_list_sessions: true,
            lists_own_sessions: false,
            tells_privileges: true,
            lists_nobody: false,
            login_fault: None,
            introduction: Introduction::Whole,
            max_collectors: 32,
            foreign_collectors: 0,
            event_max_age: 30,
            event_max_age_enabled: true,
            may_read_options: true,
            users_ignore_case: true,
            refuse_codes: false,
            hidden: Vec::new(),
            stops_after: None,
            stuck_collectors: false,
            expire_after: None,
            expire_every: None,
            fault_in_200: false,
            lose_collectors_after: None,
            lost_collector: "ManagedObjectNotFound",
            broken_event: None,
            stuck_at_broken: false,
            odd_prefix: false,
            json_disorder: false,
            property_tokens: 0,
            html: false,
            unavailable: 0,
            available_first: 0,
            list_reader: false,
            latency: Duration::ZERO,
            log: RequestLog::default(),
        }
    }
}

impl Options {
    /// A standalone ESXi host with so many events in memory.
    pub fn host(buffer: usize) -> Self {
        Self { kind: Kind::Host { buffer }, json: false, ..Self::default() }
    }

    /// The id of a manager, which differs between the products.
    pub(super) fn id(&self, of_vcenter: &'static str, of_host: &'static str) -> &'static str {
        match self.kind {
            Kind::VirtualCenter => of_vcenter,
            Kind::Host { .. } => of_host,
        }
    }
}
