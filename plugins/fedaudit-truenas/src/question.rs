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
    /// What tells a record from the others.
    Identity,
}

impl Members {
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::All => &[],
            Self::Plain => &[
                "audit_id",
                "message_timestamp",
                "timestamp",
                "address",
                "username",
                "session",
                "service",
                "event",
                "success",
            ],
            Self::Identity => &["audit_id", "message_timestamp"],
        }
    }
}

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
        if members != Members::All {
            options["select"] = json!(members.names());
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
