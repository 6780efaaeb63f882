//! How long the server keeps events, as far as it says.

use std::time::Duration;

use fedaudit_core::{Context, ErrorKind, Time};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::fault::Failure;
use crate::session::{Session, unboxed};
use crate::transcode::Declared;
use crate::wire::{Answer, Call};

/// What is known of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Retention {
    /// Events are deleted at this age.
    Age(Duration),
    /// Nothing is deleted.
    Unlimited,
    /// The server does not say, for this reason.
    Unknown(&'static str),
}

impl Retention {
    /// Reads `event.maxAge`, in days, and whether it is switched on. What passes is an error, so that it is asked again.
    pub(crate) async fn ask(cx: &Context, session: &Session) -> Result<Self, Failure> {
        let Some(setting) = &session.content.setting else {
            return Ok(Self::Unknown("the server has no options"));
        };
        match session.call(cx, Call::new(setting, "QueryOptions").text("name", "event.")).await {
            Ok(answer) => Ok(Self::of(&answer)),
            Err(failure) if failure.is_session_lost() || failure.passes() => Err(failure),
            Err(failure) => Ok(Self::Unknown(match failure.into_error("QueryOptions").kind() {
                ErrorKind::Denied => "the account may not read the server's options",
                _ => "the server does not answer to a question for its options",
            })),
        }
    }

    fn of(answer: &Answer) -> Self {
        #[derive(Deserialize)]
        struct OptionValue {
            key: String,
            value: Box<RawValue>,
        }
        let unknown = || Self::Unknown("the server's options do not tell");
        let Ok(values) = answer.values(Declared::Other) else { return unknown() };
        let options = values.map(|value| serde_json::from_str::<OptionValue>(value.ok()?.json).ok());
        let value = |key: &str| {
            let option = options.iter().flatten().find(|option| option.key == key);
            option.map(|option| unboxed(option.value.get()))
        };
        if value("event.maxAgeEnabled").as_deref() == Some("false") {
            return Self::Unlimited;
        }
        let days = value("event.maxAge").and_then(|days| days.parse::<u64>().ok());
        days.and_then(|days| days.checked_mul(86_400)).map_or_else(unknown, |age| Self::Age(Duration::from_secs(age)))
    }

    /// What is older than this is gone.
    pub(crate) fn floor(&self, server_time: Option<Time>) -> Option<Time> {
        match self {
            Self::Age(age) => Some(server_time?.minus(*age)),
            Self::Unlimited | Self::Unknown(_) => None,
        }
    }

    /// What the receipt should tell: an answer that may lack old events looks whole otherwise.
    pub(crate) fn note(&self) -> Option<String> {
        match self {
            Self::Unknown(reason) => {
                Some(format!("retention is not known: {reason}; old events may have been deleted"))
            }
            Self::Age(_) | Self::Unlimited => None,
        }
    }
}
