//! Which lists hold what a request asks for.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fedaudit_core::{Action, Context, ErrorKind, Operator, PageRequest, Predicate, Result, Time, Window};

use crate::accounts::{Account, below, ids};
use crate::api::{Api, encode};
use crate::normalize::identities;
use crate::stream::Stream;
use crate::walk::{List, Target, asks_for_nothing, chosen, wanted};
use crate::{course, grade_change};

/// The lists for the beginning of a walk; none if nothing can match.
pub(crate) async fn plan(
    cx: &Context,
    api: &Api,
    stream: Stream,
    accounts: &[Account],
    trees: &Trees,
    request: &PageRequest,
) -> Result<Vec<Target>> {
    let columns: &[(&str, List)] = match stream {
        Stream::Authentication => &[("account_id", List::Login), ("user_uid", List::User)],
        Stream::Course => &[("target_uid", List::Course)],
        Stream::GradeChange => &[("user_uid", List::Grader)],
    };
    let names: Vec<&str> = columns.iter().map(|(column, _)| *column).collect();
    let nothing = asks_for_nothing(request, &names)
        || match stream {
            Stream::Authentication => false,
            Stream::Course => excludes(request, &course::ACTIONS),
            Stream::GradeChange => excludes(request, &grade_change::ACTIONS),
        };
    let accounts = wanted(request, accounts);
    if nothing || request.window.is_empty() || accounts.is_empty() {
        return Ok(Vec::new());
    }
    if let Some(target) = chosen(request, columns) {
        // The records of the newer logs do not name their account.
        let tenant = if let [account] = accounts.as_slice() { account.id.as_deref() } else { None };
        return Ok(vec![target.within(tenant.filter(|_| stream != Stream::Authentication))]);
    }
    everything(cx, api, stream, &accounts, trees, request.window).await
}

/// Lists that hold everything of these accounts.
pub(crate) async fn everything(
    cx: &Context,
    api: &Api,
    stream: Stream,
    accounts: &[&Account],
    trees: &Trees,
    window: Window,
) -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    for account in accounts {
        let list = |list: List| Target::new(list, &account.path).within(account.id.as_deref());
        match stream {
            Stream::Authentication => targets.push(Target::new(List::Account, &account.path)),
            Stream::Course => targets.extend(course_lists(cx, api, account, trees, window).await?),
            Stream::GradeChange => targets.push(list(List::Courses)),
        }
    }
    Ok(targets)
}

/// Which lists hold the course changes of a root account, as far as that was found out.
#[derive(Debug, Default)]
pub(crate) struct Trees(Mutex<HashMap<String, Vec<Target>>>);

impl Trees {
    fn get(&self, account: &str) -> Option<Vec<Target>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(account).cloned()
    }

    fn keep(&self, account: &str, lists: Vec<Target>) -> Vec<Target> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(account.to_owned(), lists.clone());
        lists
    }
}

/// Whether the question names only actions that a log does not have.
fn excludes(request: &PageRequest, actions: &[Action]) -> bool {
    let asked = request.predicates.iter().find(|asked| asked.column == "action" && asked.operator == Operator::In);
    asked.and_then(Predicate::texts).is_some_and(|words| !actions.iter().any(|action| words.contains(&action.as_str())))
}

/// The lists of a root account's course changes. Servers differ: some have no list by account, and it is not documented
/// whether that of a root account holds what was done to the courses of its sub-accounts. So that is found out, with a
/// record of a sub-account: either the root account's list has it as well, or every account has to be read.
async fn course_lists(
    cx: &Context,
    api: &Api,
    account: &Account,
    trees: &Trees,
    window: Window,
) -> Result<Vec<Target>> {
    if let Some(lists) = trees.get(&account.path) {
        return Ok(lists);
    }
    let list = |list: List, id: &str| Target::new(list, id).within(account.id.as_deref());
    let root = list(List::CourseAccount, &account.path);
    match api.get(cx, &root.first_page(window, Some(1))).await {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(vec![list(List::Courses, &account.path)]),
        Err(error) => return Err(error),
    }
    let accounts = below(cx, api, &account.path).await.map_err(|error| {
        error.hint("the accounts below the root account have to be known, to read the changes of their courses")
    })?;
    for id in &accounts {
        let response = match api.get(cx, &list(List::CourseAccount, id).first_page(window, Some(1))).await {
            Ok(response) => response,
            // Accounts below have no list of their own: then everything is in that of the root account.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(trees.keep(&account.path, vec![root])),
            Err(error) => return Err(error),
        };
        let Some((record, time)) = identities(&response.body)?.into_iter().next() else { continue };
        let from = Time::from_seconds(time.seconds()).unwrap_or(time);
        let second = Window::new(from, from.plus(Duration::from_secs(1)));
        let response = api.get(cx, &root.first_page(second, None)).await?;
        let whole = identities(&response.body)?.iter().any(|(other, _)| *other == record);
        let lists = if whole {
            vec![root]
        } else {
            std::iter::once(root).chain(accounts.iter().map(|id| list(List::CourseAccount, id))).collect()
        };
        return Ok(trees.keep(&account.path, lists));
    }
    // Nothing below in this window: another window may tell.
    Ok(vec![root])
}

/// Finds out whether a log of an account may be read; the server's clock.
pub(crate) async fn probe(
    cx: &Context,
    api: &Api,
    stream: Stream,
    account: &Account,
    window: Window,
) -> Result<Option<Time>> {
    let by_account = match stream {
        Stream::Authentication => Some(List::Account),
        Stream::Course => Some(List::CourseAccount),
        Stream::GradeChange => None,
    };
    if let Some(list) = by_account {
        match api.get(cx, &Target::new(list, &account.path).first_page(window, Some(1))).await {
            Ok(response) => return Ok(response.server_time()),
            Err(error) if error.kind() == ErrorKind::NotFound && stream == Stream::Course => {}
            Err(error) => return Err(error),
        }
    }
    // It shows with a course, if there is one.
    let path = format!("/api/v1/accounts/{}/courses?per_page=1", encode(&account.path));
    let (courses, _) = ids(cx, api, &path).await?;
    let Some(course) = courses.first() else { return Ok(None) };
    let list = if stream == Stream::Course { List::Course } else { List::GradeCourse };
    Ok(api.get(cx, &Target::new(list, course).first_page(window, Some(1))).await?.server_time())
}
