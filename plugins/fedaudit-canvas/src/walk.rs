//! Which lists answer a request, in which order they are walked, and where a walk stands: the cursor.

use std::fmt;

use fedaudit_core::{Error, ErrorKind, Operator, PageRequest, Predicate, Result, Value, Window};
use serde::{Deserialize, Serialize};

use crate::accounts::Account;
use crate::api::encode;
use crate::normalize::{Edge, Ties};

pub(crate) const PER_PAGE: usize = 100;
/// So many ids of courses are named in an error.
const NAMED: usize = 10;

/// One kind of list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum List {
    /// Logins and logouts of a root account.
    Account,
    /// Those of a user.
    User,
    /// Those of a login.
    Login,
    /// The same by the name that the path had in 2013.
    Pseudonym,
    /// Course changes of an account.
    CourseAccount,
    /// Those of a course.
    Course,
    /// Grade changes of a course.
    GradeCourse,
    /// Those by a grader.
    Grader,
    /// The courses of an account, each of which has a list of its own.
    Courses,
}

impl List {
    fn path(self) -> &'static str {
        match self {
            Self::Account => "audit/authentication/accounts",
            Self::User => "audit/authentication/users",
            Self::Login => "audit/authentication/logins",
            Self::Pseudonym => "audit/authentication/pseudonyms",
            Self::CourseAccount => "audit/course/accounts",
            Self::Course => "audit/course/courses",
            Self::GradeCourse => "audit/grade_change/courses",
            Self::Grader => "audit/grade_change/graders",
            Self::Courses => "accounts",
        }
    }

    /// Whether its pages come newest first without doubt. A user's list may be merged from several servers.
    pub(crate) fn is_ordered(self) -> bool {
        matches!(self, Self::Account | Self::CourseAccount)
    }
}

/// One list to walk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) list: List,
    pub(crate) id: String,
    /// The root account, for records that do not name theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<String>,
    /// Stands in for everything because the question names it; if it cannot be read, everything is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_chosen: bool,
    /// A course that was deleted: Canvas does not show the grades of those.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_deleted: bool,
    /// Path and query of its next page; none for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) link: Option<String>,
}

impl Target {
    pub(crate) fn new(list: List, id: &str) -> Self {
        Self { list, id: id.to_owned(), tenant: None, is_chosen: false, is_deleted: false, link: None }
    }

    /// A list of this root account, or of something in it.
    #[must_use]
    pub(crate) fn within(mut self, tenant: Option<&str>) -> Self {
        self.tenant = tenant.map(str::to_owned);
        self
    }

    fn chosen(mut self) -> Self {
        self.is_chosen = true;
        self
    }

    /// Path and query of the next page.
    pub(crate) fn page(&self, window: Window, page_size: Option<usize>) -> String {
        self.link.clone().unwrap_or_else(|| self.first_page(window, page_size))
    }

    /// Path and query of the first page.
    pub(crate) fn first_page(&self, window: Window, page_size: Option<usize>) -> String {
        let (base, id) = (self.list.path(), encode(&self.id));
        if self.list == List::Courses {
            // Deleted courses are listed only where they are named.
            let states =
                ["created", "claimed", "available", "completed", "deleted"].map(|state| format!("&state[]={state}"));
            return format!("/api/v1/{base}/{id}/courses?per_page={PER_PAGE}{}", states.concat());
        }
        let size = page_size.unwrap_or(PER_PAGE).clamp(1, PER_PAGE);
        let mut path = format!("/api/v1/{base}/{id}?per_page={size}");
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
        let kind = match self.list {
            List::Account | List::CourseAccount => "account",
            List::User => "user",
            List::Login => "login",
            List::Pseudonym => "pseudonym",
            List::Course | List::GradeCourse => "course",
            List::Grader => "grader",
            List::Courses => "courses of account",
        };
        write!(f, "{kind} {}", self.id)
    }
}

/// A second as Canvas takes it; before 1970 there is no event to exclude.
fn stamp(second: i64) -> String {
    fedaudit_core::Time::from_seconds(second.max(0)).unwrap_or_default().to_string()
}

/// Where reading stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Walk {
    /// Lists not finished yet; the first one is being read.
    pub(crate) targets: Vec<Target>,
    /// Notices a list of pages that bites its own tail.
    #[serde(default)]
    pub(crate) circle: Circle,
    /// The same for the list of courses that other lists hang on.
    #[serde(default)]
    pub(crate) courses: Circle,
    /// Tells equal events without id apart.
    #[serde(default)]
    pub(crate) ties: Ties,
    /// A second that holds more than a page, to be read user by user before going on.
    #[serde(default)]
    pub(crate) crowd: Option<Crowd>,
    /// Courses that could not be read.
    #[serde(default)]
    pub(crate) denied: LeftOut,
    /// Deleted courses, which have no list.
    #[serde(default)]
    pub(crate) gone: LeftOut,
    /// Courses that should have a list.
    #[serde(default)]
    pub(crate) lost: LeftOut,
}

/// A second with more events than a page holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Crowd {
    /// The account.
    pub(crate) account: String,
    /// What was handed out of that second already.
    pub(crate) edge: Edge,
    /// Path and query of the next page of users; none for the first.
    pub(crate) users: Option<String>,
}

/// Lists that were left out: how many, and the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeftOut {
    pub(crate) count: u64,
    named: Vec<String>,
    pub(crate) why: Option<String>,
}

impl LeftOut {
    pub(crate) fn add(&mut self, target: &Target, why: &Error) {
        self.count += 1;
        if self.named.len() < NAMED {
            self.named.push(target.id.clone());
        }
        self.why.get_or_insert_with(|| why.to_string());
    }

    /// The ids, as far as they are kept.
    pub(crate) fn names(&self) -> String {
        let more = if self.count as usize > self.named.len() { ", …" } else { "" };
        format!("{}{more}", self.named.join(", "))
    }
}

impl Walk {
    /// A walk from the beginning.
    pub(crate) fn new(targets: Vec<Target>) -> Self {
        Self { targets, ..Self::default() }
    }

    /// Goes on with this page of the first list, or with the next list.
    pub(crate) fn follow(&mut self, link: Option<String>) -> Result<()> {
        if let Some(link) = link {
            self.circle.step(&link)?;
            if let Some(target) = self.targets.first_mut() {
                target.link = Some(link);
            }
        } else {
            self.targets.remove(0);
            self.begin_list();
        }
        Ok(())
    }

    fn begin_list(&mut self) {
        (self.circle, self.ties) = (Circle::default(), Ties::default());
    }

    /// A login or user that Canvas does not know, or does not show, may have events all the same: deleted ones stay in the
    /// account's log. Reads the older path next, then everything.
    pub(crate) fn without_chosen(&mut self, everything: impl FnOnce() -> Vec<Target>) {
        let target = self.targets.remove(0);
        match target.list {
            List::Login => self.targets.insert(0, Target { list: List::Pseudonym, ..target }),
            _ => self.targets = everything(),
        }
        self.begin_list();
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
        self.steps = self.steps.saturating_add(1);
        if self.steps >= self.power {
            (self.mark, self.steps, self.power) = (link.to_owned(), 0, self.power.saturating_mul(2).max(1));
        }
        Ok(())
    }
}

/// The one list that holds everything asked for, if the question names a single object that has one. With several, an
/// object whose list cannot be read would be looked for in everything, and what other lists brought would come twice.
pub(crate) fn chosen(request: &PageRequest, columns: &[(&str, List)]) -> Option<Target> {
    columns.iter().find_map(|(column, list)| match ids(&request.predicates, column)?.as_slice() {
        [id] => Some(Target::new(*list, id).chosen()),
        _ => None,
    })
}

/// Whether the question names only values that these columns never have.
pub(crate) fn asks_for_nothing(request: &PageRequest, columns: &[&str]) -> bool {
    columns.iter().any(|column| ids(&request.predicates, column).is_some_and(|ids| ids.is_empty()))
}

/// The ids that a column is asked for. Only ids are ever in these columns, and names such as `self` must not reach a path.
fn ids(predicates: &[Predicate], column: &str) -> Option<Vec<String>> {
    let predicate = predicates.iter().find(|p| p.column == column && p.operator == Operator::In)?;
    let text = |value: &Value| match value {
        Value::Text(text) => text.clone(),
        other => other.to_string(),
    };
    let is_id = |id: &String| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
    let mut ids: Vec<String> = predicate.values.iter().map(text).filter(is_id).collect();
    ids.sort_unstable();
    ids.dedup();
    Some(ids)
}

/// The accounts, or those of the wanted tenants. An account whose id is not known may be any of them.
pub(crate) fn wanted<'a>(request: &PageRequest, accounts: &'a [Account]) -> Vec<&'a Account> {
    let tenants = ids(&request.predicates, "tenant");
    let is_wanted = |account: &&Account| match (&account.id, &tenants) {
        (Some(id), Some(tenants)) => tenants.contains(id),
        _ => true,
    };
    accounts.iter().filter(is_wanted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedaudit_core::Time;

    #[test]
    fn bounds_are_whole_seconds_inside_the_window() {
        let window = Window::new(Time::from_micros(1_000_000), Time::from_micros(3_000_000));
        let page = |list, window, size| Target::new(list, "1").first_page(window, size);
        assert_eq!(
            page(List::Account, window, Some(5000)),
            "/api/v1/audit/authentication/accounts/1?per_page=100&start_time=1970-01-01T00:00:01Z&end_time=1970-01-01T00:00:02Z"
        );
        let ragged = Window::new(Time::from_micros(1_500_000), Time::from_micros(3_000_001));
        assert!(
            page(List::User, ragged, None).ends_with("start_time=1970-01-01T00:00:01Z&end_time=1970-01-01T00:00:03Z")
        );
        assert!(!page(List::Login, Window::ALL, None).contains("time"));
    }

    #[test]
    fn the_most_selective_list_is_walked() {
        const COLUMNS: &[(&str, List)] = &[("account_id", List::Login), ("user_uid", List::User)];
        let account = |id: &str| Account { path: id.to_owned(), id: Some(id.to_owned()), fingerprint: None };
        let accounts = [account("1"), account("2")];
        let mut request = PageRequest::first("audit.authentication", Window::ALL);
        assert_eq!(chosen(&request, COLUMNS), None);
        assert_eq!(wanted(&request, &accounts).len(), 2);
        request.predicates = vec![Predicate::any_of("tenant", ["2", "9"])];
        assert_eq!(wanted(&request, &accounts), [&accounts[1]]);
        request.predicates.push(Predicate::any_of("user_uid", ["7", "self", "7"]));
        assert_eq!(chosen(&request, COLUMNS), Some(Target::new(List::User, "7").chosen()));
        request.predicates.push(Predicate::any_of("account_id", ["8"]));
        assert_eq!(chosen(&request, COLUMNS), Some(Target::new(List::Login, "8").chosen()));
        request.predicates = vec![Predicate::any_of("user_uid", ["7", "8"])];
        assert_eq!(chosen(&request, COLUMNS), None);
        request.predicates = vec![Predicate::any_of("tenant", ["9"])];
        assert!(wanted(&request, &accounts).is_empty());
        request.predicates = vec![Predicate::any_of("user_uid", ["self"])];
        assert!(asks_for_nothing(&request, &["account_id", "user_uid"]));
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
}
