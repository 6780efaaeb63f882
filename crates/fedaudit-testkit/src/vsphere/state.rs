//! What the stand-in remembers: logins, their collectors, and the events that were added while it ran.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use crate::records::{VimValue, VsphereEvent, VsphereSession};

/// Everything that changes.
#[derive(Debug, Default)]
pub(super) struct State {
    /// By what the client shows: cookie value or header.
    pub(super) logins: HashMap<String, Login>,
    /// Calls answered after a login.
    pub(super) calls: u64,
    pub(super) counter: u64,
    /// Tokens handed out for the rest of a property.
    pub(super) tokens: u64,
    /// Events that came after the world's own, in the order in which they were stored.
    pub(super) added: Vec<Arc<VsphereEvent>>,
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
    /// Between which events of the log it stands: the next older one is before this index.
    pub(super) at: usize,
    /// Size of its latest page.
    pub(super) page_size: usize,
}

/// An event of the world, or one that was added.
#[derive(Debug, Clone)]
pub(super) enum Shown<'w> {
    World(&'w VsphereEvent),
    Added(Arc<VsphereEvent>),
}

impl Deref for Shown<'_> {
    type Target = VsphereEvent;
    fn deref(&self) -> &VsphereEvent {
        match self {
            Self::World(event) => event,
            Self::Added(event) => event,
        }
    }
}

/// A filter as far as the product applies it.
#[derive(Debug, Default, Clone)]
pub(super) struct Filter {
    pub(super) begin: Option<i64>,
    pub(super) end: Option<i64>,
    pub(super) codes: Vec<String>,
    pub(super) users: Vec<String>,
    pub(super) system_user: bool,
    pub(super) ignore_case: bool,
}

impl Filter {
    /// Both ends of the time are inclusive.
    pub(super) fn matches(&self, event: &VsphereEvent) -> bool {
        let named = |user: &String| {
            if self.ignore_case {
                user.to_lowercase() == event.user_name.to_lowercase()
            } else {
                *user == event.user_name
            }
        };
        let user = if event.user_name.is_empty() { self.system_user } else { self.users.iter().any(named) };
        self.begin.is_none_or(|begin| begin <= event.created)
            && self.end.is_none_or(|end| event.created <= end)
            && (self.codes.is_empty() || self.codes.iter().any(|code| code == code_of(event)))
            && ((self.users.is_empty() && !self.system_user) || user)
    }
}

fn code_of(event: &VsphereEvent) -> &str {
    let id = event.members.iter().find(|(name, _)| *name == "eventTypeId");
    match id {
        Some((_, VimValue::Text(id))) => id,
        _ => event.class,
    }
}
