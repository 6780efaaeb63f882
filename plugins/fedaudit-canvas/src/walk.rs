//! Which endpoints answer a request, in which order they are walked, and where a walk stands: the cursor.

use std::fmt;

use fedaudit_core::{Error, ErrorKind, Operator, PageRequest, Result, Window};
use serde::{Deserialize, Serialize};

use crate::accounts::Account;
use crate::api::encode;
use crate::normalize::{Edge, Ties};

/// With more ids than this the accounts are walked. It is one, because an id whose own list cannot be read is looked for in
/// the accounts, and what other lists brought before would come twice then.
const FAN_OUT: usize = 1;
const PER_PAGE: usize = 100;

/// One list to walk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// All events of a root account.
    Account(String),
    /// Those of a user.
    User(String),
    /// Those of a login.
    Login(String),
    /// The same by the name that the path had in 2013.
    Pseudonym(String),
}

impl Target {
    /// Path and query of the first page.
    pub(crate) fn first_page(&self, window: Window, page_size: Option<usize>) -> String {
        let (kind, id) = match self {
            Self::Account(id) => ("accounts", id),
            Self::User(id) => ("users", id),
            Self::Login(id) => ("logins", id),
            Self::Pseudonym(id) => ("pseudonyms", id),
        };
        let size = page_size.unwrap_or(PER_PAGE).clamp(1, PER_PAGE);
        let mut path = format!("/api/v1/audit/authentication/{kind}/{}?per_page={size}", encode(id));
        // Both bounds are inclusive and Canvas keeps whole seconds: the last second inside [from, to) is the one that
        // begins before `to`.
        if let Some(from) = window.from {
            path += "&start_time=";
            path += &stamp(from.seconds());
        }
        if let Some(to) = window.to {
            path += "&end_time=";
            path += &stamp((to.micros() - 1).div_euclid(1_000_000));
        }
        path
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(id) => write!(f, "account {id}"),
            Self::User(id) => write!(f, "user {id}"),
            Self::Login(id) => write!(f, "login {id}"),
            Self::Pseudonym(id) => write!(f, "pseudonym {id}"),
        }
    }
}

/// A second as Canvas takes it; before 1970 there is no event to exclude.
fn stamp(second: i64) -> String {
    fedaudit_core::Time::from_seconds(second.max(0)).unwrap_or_default().to_string()
}

/// Where reading stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Walk {
    /// Lists not finished yet; the first one is being read.
    pub(crate) targets: Vec<Target>,
    /// Path and query of the next page of that list; none for its first page.
    pub(crate) link: Option<String>,
    /// Notices a list of pages that bites its own tail.
    pub(crate) circle: Circle,
    /// Tells equal events without id apart.
    pub(crate) ties: Ties,
    /// The second to read once more before going on.
    pub(crate) edge: Option<Edge>,
}

impl Walk {
    /// A walk from the beginning.
    pub(crate) fn new(targets: Vec<Target>) -> Self {
        Self { targets, link: None, circle: Circle::default(), ties: Ties::default(), edge: None }
    }

    /// Goes on with the next list.
    pub(crate) fn next_target(mut self) -> Self {
        self.targets.remove(0);
        Self::new(self.targets)
    }

    /// A login or user that Canvas does not know, or does not show, may have events all the same: deleted ones stay in the
    /// account's log. Reads the older path next, then the accounts, which hold everything.
    pub(crate) fn without_first(mut self, accounts: impl FnOnce() -> Vec<Target>) -> Self {
        match self.targets.remove(0) {
            Target::Login(id) => self.targets.insert(0, Target::Pseudonym(id)),
            _ => self.targets = accounts(),
        }
        Self::new(self.targets)
    }
}

/// Brent's method: one remembered link finds any circle, however long, after at most a few rounds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Circle {
    mark: String,
    steps: u64,
    power: u64,
}

impl Circle {
    /// Takes the next link; an error if the walk was here before. Canvas answers a bookmark that it cannot read with page
    /// one and status 200, so that a walk could go round for ever.
    pub(crate) fn step(&mut self, link: &str) -> Result<()> {
        if self.mark == link {
            return Err(Error::new(ErrorKind::Malformed, "the list links to a page that was read before")
                .hint("Canvas does that when it cannot read its own bookmark; a proxy that rewrites links has the same effect"));
        }
        self.steps += 1;
        if self.steps >= self.power {
            (self.mark, self.steps, self.power) = (link.to_owned(), 0, (self.power * 2).max(1));
        }
        Ok(())
    }
}

/// The lists that hold everything asked for; none if nothing can match.
pub(crate) fn plan(request: &PageRequest, accounts: &[Account]) -> Vec<Target> {
    if request.window.is_empty() {
        return Vec::new();
    }
    let ids = |column: &str| {
        let predicate = request.predicates.iter().find(|p| p.column == column && p.operator == Operator::In)?;
        let mut ids: Vec<String> = predicate
            .values
            .iter()
            .map(|value| match value {
                fedaudit_core::Value::Text(text) => text.clone(),
                other => other.to_string(),
            })
            // Only ids are ever in these columns, and names such as `self` must not reach the path.
            .filter(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()))
            .collect();
        ids.sort_unstable();
        ids.dedup();
        Some(ids)
    };
    let whole = account_targets(accounts, ids("tenant").as_deref());
    if whole.is_empty() {
        return whole;
    }
    let fan = |ids: Vec<String>, kind: fn(String) -> Target| ids.into_iter().map(kind).collect();
    match (ids("account_id"), ids("user_uid")) {
        (Some(logins), _) if logins.len() <= FAN_OUT => fan(logins, Target::Login),
        (_, Some(users)) if users.len() <= FAN_OUT => fan(users, Target::User),
        _ => whole,
    }
}

/// The accounts, or those of the wanted tenants. An account whose id is not known may be any of them.
pub(crate) fn account_targets(accounts: &[Account], tenants: Option<&[String]>) -> Vec<Target> {
    accounts
        .iter()
        .filter(|account| match (&account.id, tenants) {
            (Some(id), Some(tenants)) => tenants.contains(id),
            _ => true,
        })
        .map(|account| Target::Account(account.path.clone()))
        .collect()
}

/// Whether the bookmark in a link is a bare timestamp, as Canvas wrote it from 2020 for a while: the next page then begins
/// strictly before the last row's second, and rows of that second beyond the page are lost unless it is read once more.
pub(crate) fn bookmark_cuts_seconds(link: &str) -> bool {
    link.split(['?', '&'])
        .find_map(|part| part.strip_prefix("page=bookmark:").or_else(|| part.strip_prefix("page=bookmark%3A")))
        // URL-safe base64 of JSON: a text begins with a quotation mark (0x22), which is `I` and then one of `Q` to `f`;
        // a list begins with `W`.
        .is_some_and(|bookmark| bookmark.starts_with('I'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedaudit_core::{Predicate, Time};

    fn account(id: &str) -> Account {
        Account { path: id.to_owned(), id: Some(id.to_owned()), fingerprint: None }
    }

    #[test]
    fn bounds_are_whole_seconds_inside_the_window() {
        let window = Window::new(Time::from_micros(1_000_000), Time::from_micros(3_000_000));
        assert_eq!(
            Target::Account("1".into()).first_page(window, Some(5000)),
            "/api/v1/audit/authentication/accounts/1?per_page=100&start_time=1970-01-01T00:00:01Z&end_time=1970-01-01T00:00:02Z"
        );
        let ragged = Window::new(Time::from_micros(1_500_000), Time::from_micros(3_000_001));
        assert!(
            Target::User("1".into())
                .first_page(ragged, None)
                .ends_with("start_time=1970-01-01T00:00:01Z&end_time=1970-01-01T00:00:03Z")
        );
        assert!(!Target::Login("1".into()).first_page(Window::ALL, None).contains("time"));
    }

    #[test]
    fn the_most_selective_list_is_walked() {
        let accounts = [account("1"), account("2")];
        let mut request = PageRequest::first("audit.authentication", Window::ALL);
        assert_eq!(plan(&request, &accounts).len(), 2);
        request.predicates = vec![Predicate::any_of("tenant", ["2", "9"])];
        assert_eq!(plan(&request, &accounts), [Target::Account("2".into())]);
        request.predicates.push(Predicate::any_of("user_uid", ["7", "self", "7"]));
        assert_eq!(plan(&request, &accounts), [Target::User("7".into())]);
        request.predicates.push(Predicate::any_of("account_id", ["8"]));
        assert_eq!(plan(&request, &accounts), [Target::Login("8".into())]);
        request.predicates = vec![Predicate::any_of("user_uid", (0..40).map(|n| n.to_string()))];
        assert_eq!(plan(&request, &accounts).len(), 2);
        request.predicates = vec![Predicate::any_of("tenant", ["9"])];
        assert!(plan(&request, &accounts).is_empty());
    }

    #[test]
    fn circles_of_any_length_are_found() {
        for (tail, length) in [(0, 1), (0, 2), (3, 1), (5, 7), (1, 100)] {
            let mut circle = Circle::default();
            let found = (0..2000).find(|step| {
                let at = if *step < tail { *step } else { tail + (step - tail) % length };
                circle.step(&format!("/page{at}")).is_err()
            });
            assert!(found.is_some_and(|steps| steps >= length), "tail {tail}, length {length}");
        }
        let mut circle = Circle::default();
        assert!((0..2000).all(|step| circle.step(&format!("/page{step}")).is_ok()));
    }

    #[test]
    fn bookmarks_by_era() {
        assert!(bookmark_cuts_seconds("/x?page=bookmark:IjIwMjYtMDMtMDJUMDg6MTU6MzBaIg&per_page=100"));
        assert!(!bookmark_cuts_seconds("/x?page=bookmark:WyIyMDI2LTAzLTAyVDA4OjE1OjMwWiIsNDJd&per_page=100"));
        assert!(!bookmark_cuts_seconds("/x?per_page=100"));
    }
}
