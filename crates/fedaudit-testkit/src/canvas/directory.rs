//! The accounts, users and logins around the log.

use super::document::{account_json, login_json, user_json};
use super::{Asked, Reply, Server};
use crate::records::{CanvasLogin, CanvasUser};

/// Number of the user that the reader's token acts for.
pub(super) const READER_ID: i64 = 990_001;
/// Number of that user's login.
pub(super) const READER_LOGIN_ID: i64 = 990_002;
const READER_NAME: &str = "Auditor";
const READER_LOGIN: &str = "auditor";
/// Number of the sub-account.
pub(super) const FACULTY: i64 = 990_100;
/// Number of the account below that.
pub(super) const DEPARTMENT: i64 = 990_101;

/// An id, perhaps with its shard in front: `1~123`.
pub(super) fn number(id: &str) -> Option<i64> {
    let local = id.split_once('~').map_or(id, |(_, local)| local);
    local.parse().ok().filter(|id| *id > 0)
}

impl Server {
    /// The root account by any of its names; everything else looks as if it did not exist.
    pub(super) fn root_account_number(&self, id: &str) -> Option<i64> {
        let root = self.world.canvas.root_account_id;
        (matches!(id, "self" | "default") || number(id) == Some(root)).then_some(root)
    }

    /// Any account by its number, and the root account by any of its names.
    pub(super) fn any_account_number(&self, id: &str) -> Option<i64> {
        self.root_account_number(id).or_else(|| number(id).filter(|id| [FACULTY, DEPARTMENT].contains(id)))
    }

    pub(super) fn user_number(&self, id: &str) -> Option<i64> {
        let users = &self.world.canvas.users;
        let found = match id.split_once(':') {
            None if id == "self" => Some(READER_ID),
            None => number(id).filter(|id| *id == READER_ID || users.binary_search_by_key(id, |user| user.id).is_ok()),
            Some(("sis_login_id", name)) => users.iter().find(|user| user.login_id == name).map(|user| user.id),
            Some(_) => None,
        };
        found.filter(|id| !self.options.deleted_users.contains(id))
    }

    /// Logins have plain numbers only.
    pub(super) fn login_number(&self, id: &str) -> Option<i64> {
        let id = id.parse().ok()?;
        let known =
            id == READER_LOGIN_ID || self.world.canvas.logins.binary_search_by_key(&id, |login| login.id).is_ok();
        (known && !self.options.deleted_logins.contains(&id)).then_some(id)
    }

    /// Deleted logins still resolve where they are side-loaded.
    pub(super) fn login_object(&self, id: i64, then: impl FnOnce(&CanvasLogin)) {
        let logins = &self.world.canvas.logins;
        match logins.binary_search_by_key(&id, |login| login.id) {
            Ok(index) => then(&logins[index]),
            Err(_) => then(&CanvasLogin {
                id: READER_LOGIN_ID,
                user_id: READER_ID,
                account_id: self.world.canvas.root_account_id,
                unique_id: READER_LOGIN.to_owned(),
            }),
        }
    }

    /// Likewise deleted users.
    pub(super) fn user_object(&self, id: i64, then: impl FnOnce(&CanvasUser)) {
        let users = &self.world.canvas.users;
        match users.binary_search_by_key(&id, |user| user.id) {
            Ok(index) => then(&users[index]),
            Err(_) => {
                then(&CanvasUser { id: READER_ID, name: READER_NAME.to_owned(), login_id: READER_LOGIN.to_owned() });
            }
        }
    }

    fn root_account_json(&self) -> String {
        let canvas = &self.world.canvas;
        account_json(canvas.root_account_id, &canvas.root_account_name, None, Some(&canvas.root_account_uuid))
    }

    fn sub_account_json(&self, id: i64) -> String {
        let root = self.world.canvas.root_account_id;
        match id {
            DEPARTMENT => account_json(id, "Department of History", Some((FACULTY, root)), None),
            _ => account_json(id, "Faculty of Arts", Some((root, root)), None),
        }
    }

    /// The accounts that the reader administers; without a role there are none.
    pub(super) fn accounts(&self, asked: &Asked<'_>) -> Reply {
        if self.options.may_view {
            let below = [FACULTY, DEPARTMENT].map(|id| self.sub_account_json(id));
            self.numbered(asked, &[self.root_account_json()].into_iter().chain(below).collect::<Vec<_>>())
        } else {
            Reply::json(200, "[]")
        }
    }

    pub(super) fn account(&self, id: &str) -> Reply {
        match self.any_account_number(id) {
            Some(_) if !self.options.may_view_account => self.denied(),
            Some(found @ (FACULTY | DEPARTMENT)) => Reply::json(200, self.sub_account_json(found)),
            Some(_) => Reply::json(200, self.root_account_json()),
            None => Reply::not_found(),
        }
    }

    /// The accounts below one: its children, or with `recursive` all of them.
    pub(super) fn sub_accounts(&self, asked: &Asked<'_>, id: &str) -> Reply {
        let Some(account) = self.any_account_number(id) else { return Reply::not_found() };
        if !self.options.may_view {
            return self.denied();
        }
        let recursive = asked.parameter("recursive").is_some_and(|text| matches!(text, "true" | "1"));
        let ids: &[i64] = match account {
            DEPARTMENT => &[],
            FACULTY => &[DEPARTMENT],
            _ if recursive => &[FACULTY, DEPARTMENT],
            _ => &[FACULTY],
        };
        self.numbered(asked, &ids.iter().map(|id| self.sub_account_json(*id)).collect::<Vec<_>>())
    }

    pub(super) fn user(&self, id: &str) -> Reply {
        match self.user_number(id) {
            Some(id) if id == READER_ID || self.options.may_view => {
                let mut body = String::new();
                self.user_object(id, |user| body = user_json(user.id, &user.name, &user.login_id));
                Reply::json(200, body)
            }
            Some(_) => self.denied(),
            None => Reply::not_found(),
        }
    }

    pub(super) fn users(&self, asked: &Asked<'_>, account: &str) -> Reply {
        if self.root_account_number(account).is_none() {
            return Reply::not_found();
        }
        if !self.options.may_view {
            return self.denied();
        }
        let objects: Vec<String> = self
            .world
            .canvas
            .users
            .iter()
            .filter(|user| !self.options.deleted_users.contains(&user.id))
            .map(|user| user_json(user.id, &user.name, &user.login_id))
            .collect();
        self.numbered(asked, &objects)
    }

    /// A list with numbered pages.
    pub(super) fn numbered(&self, asked: &Asked<'_>, objects: &[String]) -> Reply {
        let parameter = |name: &str| asked.parameter(name).and_then(|text| text.parse::<usize>().ok());
        let size = parameter("per_page").unwrap_or(10).clamp(1, self.options.page_cap);
        let page = parameter("page").unwrap_or(1).max(1);
        let last = objects.len().div_ceil(size).max(1);
        let shown = objects.iter().skip((page - 1) * size).take(size).map(String::as_str).collect::<Vec<_>>();
        let mut kept = url::form_urlencoded::Serializer::new(String::new());
        kept.extend_pairs(
            asked
                .query
                .iter()
                .filter(|(key, _)| !matches!(key.as_ref(), "page" | "per_page" | "access_token" | "api_key")),
        );
        let kept = kept.finish();
        let kept = if kept.is_empty() { kept } else { kept + "&" };
        let base = self.options.link_base.clone().unwrap_or_else(|| format!("https://{}", asked.host));
        let link =
            |page: usize, rel: &str| format!("<{base}{}?{kept}page={page}&per_page={size}>; rel=\"{rel}\"", asked.path);
        let mut links = vec![link(page, "current")];
        links.extend((page < last).then(|| link(page + 1, "next")));
        links.extend((page > 1).then(|| link(page - 1, "prev")));
        links.extend([link(1, "first"), link(last, "last")]);
        Reply::json(200, format!("[{}]", shown.join(","))).header("link", links.join(","))
    }

    pub(super) fn user_logins(&self, id: &str) -> Reply {
        let Some(user) = self.user_number(id) else { return Reply::not_found() };
        if !self.options.may_view && user != READER_ID {
            return self.denied();
        }
        let objects: Vec<String> = self
            .world
            .canvas
            .logins
            .iter()
            .filter(|login| login.user_id == user && !self.options.deleted_logins.contains(&login.id))
            .map(|login| login_json(login.id, login.user_id, login.account_id, &login.unique_id))
            .collect();
        Reply::json(200, format!("[{}]", objects.join(",")))
    }
}
