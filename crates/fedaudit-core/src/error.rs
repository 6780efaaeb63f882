//! The one error type. Its kind decides retry, exit code and receipt status; its text is for people.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Shorthand for results of this project.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as far as a program has to know. In snake_case this is `coverage.error_kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The configuration or the question is wrong; nothing was asked of a product.
    Config,
    /// The product does not accept who we are.
    Unauthenticated,
    /// The product knows who we are and refuses.
    Denied,
    /// The thing asked for does not exist.
    NotFound,
    /// The product asks us to slow down and the budget for waiting is spent.
    RateLimited,
    /// The product cannot be reached or answers that it cannot serve now.
    Unavailable,
    /// No answer within the deadline.
    Timeout,
    /// The answer is not what the protocol says.
    Malformed,
    /// The product's version or edition cannot do this.
    Unsupported,
    /// A defect of fedaudit.
    Internal,
}

impl ErrorKind {
    /// The snake_case word, as in receipts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Unauthenticated => "unauthenticated",
            Self::Denied => "denied",
            Self::NotFound => "not_found",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Malformed => "malformed",
            Self::Unsupported => "unsupported",
            Self::Internal => "internal",
        }
    }

    /// Whether the same request may succeed a little later.
    pub fn is_temporary(self) -> bool {
        matches!(self, Self::RateLimited | Self::Unavailable | Self::Timeout)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error with its kind, the place it happened at and, where one is known, what to try.
#[derive(Clone, Serialize, Deserialize)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    #[serde(default)]
    place: Option<String>,
    #[serde(default)]
    hint: Option<String>,
}

impl Error {
    /// An error of this kind; the message is lower case without a final stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), place: None, hint: None }
    }

    /// Names the place: a source, a file, a request. An outer place goes in front of an inner one.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.place = Some(match self.place {
            Some(inner) => format!("{place}: {inner}"),
            None => place.to_string(),
        });
        self
    }

    /// The place, if one was named.
    pub fn place(&self) -> Option<&str> {
        self.place.as_deref()
    }

    /// Says what to try. The innermost hint wins, it knows more.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// The same error with its texts rewritten: without a secret, say.
    #[must_use]
    pub fn rewritten(self, rewrite: impl Fn(&str) -> String) -> Self {
        Self {
            kind: self.kind,
            message: rewrite(&self.message),
            place: self.place.as_deref().map(&rewrite),
            hint: self.hint.as_deref().map(&rewrite),
        }
    }

    /// What a program decides by.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The text without place and hint.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to try, where known.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {self}", self.kind)?;
        if let Some(hint) = &self.hint {
            write!(f, " (hint: {hint})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
