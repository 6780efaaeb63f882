//! What the stand-in remembers: logins, their collectors, and the reader's own traces where those are wanted.

use std::collections::HashMap;

use crate::records::{VsphereEvent, VsphereSession};

/// Everything that changes.
#[derive(Debug, Default)]
pub(super) struct State {
    /// By what the client shows: cookie value or header.
    pub(super) logins: HashMap<String, Login>,
    /// Calls answered after a login.
    pub(super) calls: u64,
    pub(super) counter: u64,
}

/// One login.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) session: VsphereSession,
    pub(super) collectors: HashMap<String, Collector>,
}

/// One event history collector.
#[derive(Debug)]
pub(super) struct Collector {
    pub(super) filter: Filter,
    /// Index of the next event in the log.
    pub(super) next: usize,
}

/// A filter as far as the product applies it.
#[derive(Debug, Default)]
pub(super) struct Filter {
    pub(super) begin: Option<i64>,
    pub(super) end: Option<i64>,
    pub(super) codes: Vec<String>,
    pub(super) users: Vec<String>,
    pub(super) system_user: bool,
}

impl Filter {
    /// Both ends of the time are inclusive; names are compared exactly.
    pub(super) fn matches(&self, event: &VsphereEvent) -> bool {
        let user = if event.user_name.is_empty() { self.system_user } else { self.users.contains(&event.user_name) };
        self.begin.is_none_or(|begin| begin <= event.created)
            && self.end.is_none_or(|end| event.created <= end)
            && (self.codes.is_empty() || self.codes.iter().any(|code| code == code_of(event)))
            && ((self.users.is_empty() && !self.system_user) || user)
    }
}

fn code_of(event: &VsphereEvent) -> &str {
    let id = event.members.iter().find(|(name, _)| *name == "eventTypeId");
    match id {
        Some((_, crate::records::VimValue::Text(id))) => id,
        _ => event.class,
    }
}
