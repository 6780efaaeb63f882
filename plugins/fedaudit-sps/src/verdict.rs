//! What the appliance decided about a session. The sets of words are open and differ by version, so they are read by
//! their parts.

use std::borrow::Cow;

use fedaudit_core::{EndCause, Outcome};

/// A verdict in upper case with `_` for `-`.
pub(crate) fn normal_form(verdict: Cow<'_, str>) -> Cow<'_, str> {
    if verdict.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_') {
        return verdict;
    }
    Cow::Owned(verdict.trim().to_ascii_uppercase().replace('-', "_"))
}

/// Success, failure, or unknown for a word that says neither; and why the session ended, where the word tells.
pub(crate) fn meaning(verdict: &str) -> (Outcome, Option<EndCause>) {
    let has = |part: &str| verdict.contains(part);
    if has("TERMINATED") {
        // It was let in first: only a running session can be terminated.
        (Outcome::Success, Some(EndCause::Terminated))
    } else if has("FAIL") || has("ERROR") || has("REJECT") || has("DENY") || has("DENIED") || has("TIMEOUT") {
        (Outcome::Failure, None)
    } else if has("ACCEPT") {
        (Outcome::Success, None)
    } else {
        (Outcome::Unknown, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_several_versions() {
        for (word, outcome) in [
            ("ACCEPT", Outcome::Success),
            ("Accepted", Outcome::Success),
            ("accept-terminated", Outcome::Success),
            ("TERMINATED", Outcome::Success),
            ("DENY", Outcome::Failure),
            ("AUTH_FAIL", Outcome::Failure),
            ("gateway-auth-fail", Outcome::Failure),
            ("KEY_ERROR", Outcome::Failure),
            ("four-eyes-reject", Outcome::Failure),
            ("FOUR_EYES_DEFERRED", Outcome::Unknown),
            ("", Outcome::Unknown),
        ] {
            assert_eq!(meaning(&normal_form(word.into())).0, outcome, "{word}");
        }
    }
}
