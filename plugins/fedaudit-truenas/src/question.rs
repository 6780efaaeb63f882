//! One question to `audit.query`, written so that every release understands the same: one service, an explicit limit, and no
//! parameter that some release refuses.

use serde_json::{Value as Json, json};

use crate::streams::Feed;

/// Which members of the records are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Members {
    /// All.
    All,
    /// Those that are no JSON of their own.
    Plain,
    /// One.
    Only(&'static str),
    /// What tells a record from the others.
    Identity,
}

impl Members {
    fn select(self) -> Option<Json> {
        match self {
            Self::All => None,
            Self::Plain => Some(json!(PLAIN)),
            Self::Only(member) => Some(json!([member])),
            Self::Identity => Some(json!(["audit_id", "message_timestamp"])),
        }
    }
}

/// The members that are no JSON of their own.
pub(crate) const PLAIN: [&str; 9] =
    ["audit_id", "message_timestamp", "timestamp", "address", "username", "session", "service", "event", "success"];
/// The two that are.
pub(crate) const DATA: [&str; 2] = ["service_data", "event_data"];

/// What is asked; how much of it, every call says for itself.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) feed: Feed,
    pub(crate) filters: Vec<Json>,
    pub(crate) newest_first: bool,
}

impl Question {
    /// The parameters of a call for rows.
    pub(crate) fn rows(&self, offset: usize, limit: usize, members: Members) -> String {
        let order =
            if self.newest_first { ["-message_timestamp", "-audit_id"] } else { ["message_timestamp", "audit_id"] };
        let mut options = json!({"order_by": order, "limit": limit});
        if offset > 0 {
            options["offset"] = json!(offset);
        }
        if let Some(select) = members.select() {
            options["select"] = select;
        }
        self.wrap(&options)
    }

    /// The parameters of a call for the product's own count.
    pub(crate) fn count(&self) -> String {
        self.wrap(&json!({"count": true}))
    }

    /// The same question with other filters.
    pub(crate) fn with(&self, filters: Vec<Json>) -> Self {
        Self { filters, ..self.clone() }
    }

    fn wrap(&self, options: &Json) -> String {
        let mut question = json!({
            "services": [self.feed.service.as_str()],
            "query-filters": self.filters,
            "query-options": options,
        });
        if self.feed.other {
            question["remote_controller"] = json!(true);
        }
        json!([question]).to_string()
    }
}
