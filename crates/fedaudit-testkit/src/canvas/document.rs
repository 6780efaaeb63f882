//! The compound documents, written as text straight into a buffer.

use std::fmt::Write as _;

use chrono::DateTime;

use super::directory::{READER_ID, READER_LOGIN_ID};
use super::listing::Entry;
use super::{Asked, Course, Server};
use crate::records::{CanvasEvent, CanvasPageView};

/// The generations of the audit document.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Form {
    /// 2013: flat events without id, side-loaded objects beside them.
    Flat,
    /// Since: `links` and `linked`.
    #[default]
    Links,
    /// The same with row numbers for ids and nothing side-loaded.
    IntegerIds,
}

/// A document in the making.
pub(super) struct Writer {
    pub(super) out: String,
    /// Members named `id` and `…_id` are texts: the client asked for `application/json+canvas-string-ids`.
    string_ids: bool,
}

impl Writer {
    pub(super) fn new(string_ids: bool) -> Self {
        Self { out: String::new(), string_ids }
    }

    fn id(&mut self, key: &str, id: i64) {
        let quote = if self.string_ids { "\"" } else { "" };
        let _ = write!(self.out, "\"{key}\":{quote}{id}{quote}");
    }

    pub(super) fn text(&mut self, key: &str, text: &str) {
        let _ = write!(self.out, "\"{key}\":");
        quote(&mut self.out, text);
    }

    /// A value that may be missing.
    pub(super) fn text_or_null(&mut self, text: Option<&str>) {
        match text {
            Some(text) => quote(&mut self.out, text),
            None => self.raw("null"),
        }
    }

    pub(super) fn raw(&mut self, text: &str) {
        self.out.push_str(text);
    }

    /// Items of a list, separated.
    pub(super) fn list<T>(
        &mut self,
        key: &str,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) {
        let _ = write!(self.out, "\"{key}\":[");
        let mut is_first = true;
        for item in items {
            if !std::mem::take(&mut is_first) {
                self.out.push(',');
            }
            write(self, item);
        }
        self.out.push(']');
    }
}

/// Whom a page's events refer to; each once, in the order met.
#[derive(Default)]
struct Referred<'w> {
    logins: Vec<i64>,
    users: Vec<i64>,
    page_views: Vec<(&'w CanvasPageView, &'w CanvasEvent)>,
}

impl Server {
    /// The document of these rows.
    pub(super) fn document(&self, rows: &[usize], asked: &Asked<'_>) -> String {
        let canvas = &self.world.canvas;
        let form = self.options.form;
        let mut writer = Writer { out: String::with_capacity(512 + rows.len() * 1400), string_ids: asked.string_ids };
        let mut referred = Referred::default();
        if form == Form::Flat {
            writer.raw(r#"{"meta":{"primaryCollection":"events"},"#);
        } else {
            let _ = write!(
                writer.out,
                r#"{{"links":{{"events.login":null,"events.account":"https://{}/api/v1/accounts/{{events.account}}","events.user":null,"events.page_view":null}},"#,
                asked.host
            );
        }
        writer.list("events", rows, |writer, position| match self.listings.entry(*position) {
            Entry::World(index) => {
                let event = &canvas.events[index as usize];
                referred.add(event, canvas.page_views.get(event.page_view.as_deref().unwrap_or_default()));
                writer.event(event, form, self.listings.row_number(*position));
            }
            Entry::Extra(index) => {
                let json = &self.listings.extra(index).json;
                if json.contains(&format!("\"login\":{READER_LOGIN_ID},")) {
                    referred.logins.push(READER_LOGIN_ID);
                    referred.users.push(READER_ID);
                }
                writer.raw(json);
            }
        });
        if form == Form::IntegerIds {
            referred = Referred::default();
        }
        let has_accounts = form != Form::IntegerIds && !rows.is_empty();
        writer.raw(if form == Form::Flat { "," } else { r#","linked":{"# });
        writer.list(if form == Form::Flat { "pseudonyms" } else { "logins" }, referred.logins, |writer, id| {
            self.login_object(id, |login| writer.login(login.id, login.user_id, login.account_id, &login.unique_id));
        });
        writer.raw(",");
        writer.list("accounts", has_accounts.then_some(()), |writer, ()| {
            writer.account(canvas.root_account_id, &canvas.root_account_name, None, None);
        });
        writer.raw(",");
        writer.list("users", referred.users, |writer, id| {
            self.user_object(id, |user| writer.user(user.id, &user.name, &user.login_id));
        });
        if form != Form::Flat {
            writer.raw(",");
            writer.list("page_views", referred.page_views, |writer, (view, event)| {
                writer.page_view(view, event, asked.host);
            });
            writer.raw("}");
        }
        writer.raw("}");
        writer.out
    }
}

impl<'w> Referred<'w> {
    fn add(&mut self, event: &'w CanvasEvent, view: Option<&'w CanvasPageView>) {
        if !self.logins.contains(&event.login_id) {
            self.logins.push(event.login_id);
        }
        if !self.users.contains(&event.user_id) {
            self.users.push(event.user_id);
        }
        self.page_views.extend(view.map(|view| (view, event)));
    }
}

impl Writer {
    fn event(&mut self, event: &CanvasEvent, form: Form, row: u64) {
        self.raw("{");
        match form {
            Form::Flat => {}
            Form::Links => {
                self.text("id", &event.id);
                self.raw(",");
            }
            Form::IntegerIds => {
                self.id("id", row as i64);
                self.raw(",");
            }
        }
        let _ =
            write!(self.out, r#""created_at":"{}","event_type":"{}","#, timestamp(event.created_at), event.event_type);
        if form == Form::Flat {
            self.id("pseudonym_id", event.login_id);
            self.raw(",");
            self.id("account_id", event.account_id);
            self.raw(",");
            self.id("user_id", event.user_id);
        } else {
            let _ = write!(
                self.out,
                r#""links":{{"login":{},"account":{},"user":{},"page_view":"#,
                event.login_id, event.account_id, event.user_id
            );
            self.text_or_null(event.page_view.as_deref());
            self.raw("}");
        }
        self.raw("}");
    }

    fn login(&mut self, id: i64, user: i64, account: i64, unique_id: &str) {
        self.raw("{");
        self.id("id", id);
        self.raw(",");
        self.id("user_id", user);
        self.raw(",");
        self.id("account_id", account);
        self.raw(",");
        self.text("unique_id", unique_id);
        self.raw(r#","sis_user_id":null,"integration_id":null,"#);
        self.id("authentication_provider_id", 1);
        self.raw(r#","authentication_provider_type":"canvas"}"#);
    }

    fn account(&mut self, id: i64, name: &str, above: Option<(i64, i64)>, uuid: Option<&str>) {
        self.raw("{");
        self.id("id", id);
        self.raw(",");
        self.text("name", name);
        let (parent, root) = above.unzip();
        for (key, account) in [("parent_account_id", parent), ("root_account_id", root)] {
            self.raw(",");
            match account {
                Some(account) => self.id(key, account),
                None => {
                    let _ = write!(self.out, "\"{key}\":null");
                }
            }
        }
        self.raw(r#","workflow_state":"active","default_time_zone":"America/Denver""#);
        if let Some(uuid) = uuid {
            self.raw(",");
            self.text("uuid", uuid);
        }
        self.raw("}");
    }

    pub(super) fn course(&mut self, course: &Course, root: i64) {
        self.raw("{");
        self.id("id", course.id);
        self.raw(",");
        self.text("name", &course.name);
        self.raw(",");
        self.id("account_id", course.account_id);
        self.raw(",");
        self.id("root_account_id", root);
        self.raw(",");
        self.text("workflow_state", if course.is_deleted { "deleted" } else { "available" });
        self.raw("}");
    }

    pub(super) fn user(&mut self, id: i64, name: &str, login_id: &str) {
        let sortable = match name.rsplit_once(' ') {
            Some((first, last)) => format!("{last}, {first}"),
            None => name.to_owned(),
        };
        self.raw("{");
        self.id("id", id);
        self.raw(",");
        self.text("name", name);
        self.raw(",");
        self.text("sortable_name", &sortable);
        self.raw(",");
        self.text("short_name", name);
        self.raw(",");
        self.text("login_id", login_id);
        self.raw("}");
    }

    fn page_view(&mut self, view: &CanvasPageView, event: &CanvasEvent, host: &str) {
        self.raw("{");
        self.text("id", &view.id);
        let path = if event.event_type == "logout" { "logout" } else { "login/canvas" };
        let _ = write!(
            self.out,
            r#","app_name":null,"url":"https://{host}/{path}","context_type":null,"asset_type":null,"controller":"{path}","action":"create","contributed":false,"interaction_seconds":null,"created_at":"{}","user_request":true,"render_time":0.214,"participated":false,"http_method":"post","#,
            timestamp(event.created_at)
        );
        self.text("user_agent", view.user_agent);
        self.raw(",");
        self.text("remote_ip", &view.remote_ip);
        let _ = write!(
            self.out,
            r#","links":{{"user":{},"context":null,"asset":null,"real_user":null,"account":{}}}}}"#,
            event.user_id, event.account_id
        );
    }
}

/// The account object on its own, with the uuid that only its own route shows; `above` are its parent and its root.
pub(super) fn account_json(id: i64, name: &str, above: Option<(i64, i64)>, uuid: Option<&str>) -> String {
    let mut writer = Writer::new(false);
    writer.account(id, name, above, uuid);
    writer.out
}

/// The user object on its own.
pub(super) fn user_json(id: i64, name: &str, login_id: &str) -> String {
    let mut writer = Writer::new(false);
    writer.user(id, name, login_id);
    writer.out
}

/// The login object on its own.
pub(super) fn login_json(id: i64, user: i64, account: i64, unique_id: &str) -> String {
    let mut writer = Writer::new(false);
    writer.login(id, user, account, unique_id);
    writer.out
}

/// Whole seconds, UTC, `Z`: as current servers write times.
pub(super) fn timestamp(seconds: i64) -> String {
    DateTime::from_timestamp(seconds, 0).map_or_else(String::new, |time| {
        use chrono::{Datelike as _, Timelike as _};
        format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
            time.year(),
            time.month(),
            time.day(),
            time.hour(),
            time.minute(),
            time.second()
        )
    })
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            // Rails escapes these three, so that JSON can stand inside HTML.
            '<' | '>' | '&' | '\0'..=' ' if character != ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            _ => out.push(character),
        }
    }
    out.push('"');
}
