//! The stream of live sessions: one look at the list, or watching it.
//!
//! An account with full administration rights is told of logins and ends; messages may be lost and are never repeated, so the
//! list is looked at as well. Everybody else looks at the list again and again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fedaudit_core::{
    Context, Cursor, EndReason, Error, ErrorKind, Next, Observed, Page, PageRequest, Rejected, Result, SessionBuilder,
    Time,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::{Mutex, broadcast};

use crate::gate::{Connection, Gate};
use crate::normalize::Reading;
use crate::rpc::Failure;
use crate::sessions::{self, Fate};
use crate::wire::Scalar;

const METHOD: &str = "auth.sessions";
/// Time between two looks at the list where nothing is told.
const POLL: Duration = Duration::from_secs(2);
/// The same where it is: only what was lost on the way is looked for.
const RECONCILE: Duration = Duration::from_secs(30);

/// What is heard on the connection, from page to page.
#[derive(Debug, Default)]
pub(crate) struct Ear(Mutex<Option<Listening>>);

#[derive(Debug)]
struct Listening {
    connection: Arc<Connection>,
    /// None where the account may not listen.
    notices: Option<broadcast::Receiver<Arc<str>>>,
}

impl Ear {
    /// Forgets the subscription, which ends with the login.
    pub(crate) async fn close(&self) {
        *self.0.lock().await = None;
    }
}

/// The sessions that were seen, as the cursor keeps them.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Seen {
    /// When the list was looked at last.
    at: Time,
    /// Their descriptions by id.
    sessions: BTreeMap<String, String>,
}

/// The reader of one source's live sessions.
pub(crate) struct Reader<'s> {
    pub(crate) gate: &'s Gate,
    pub(crate) own_key: Option<&'s str>,
    pub(crate) ear: &'s Ear,
}

/// What became of sessions, as it is found out.
#[derive(Default)]
struct News {
    list: Vec<(String, Fate)>,
    rejected: Vec<Rejected>,
    notes: Vec<String>,
    records: u64,
}

impl Reader<'_> {
    /// The list, or what changed in it.
    pub(crate) async fn page(&self, cx: &Context, request: &PageRequest) -> Result<Page> {
        if request.count_only {
            let (_, list) = self.list(cx).await?;
            let mut page = Page::last(SessionBuilder::new(&cx.source_key).finish()?, EndReason::SinglePage);
            page.observed.count = Some(list.len() as u64);
            return Ok(page);
        }
        let Some(wait) = request.follow else {
            let (connection, list) = self.list(cx).await?;
            let news = News {
                records: list.len() as u64,
                list: list.into_iter().map(|raw| (raw, Fate::Listed)).collect(),
                ..News::default()
            };
            return self.write(cx, &connection, news, Next::End(EndReason::SinglePage));
        };
        let mut seen: Seen = request.cursor.as_ref().map(Cursor::read).transpose()?.unwrap_or_default();
        let first = request.cursor.is_none();
        let mut news = News::default();
        let connection = self.watch(cx, wait, first, &mut seen, &mut news).await?;
        let next = Next::More(Cursor::new(&seen)?);
        self.write(cx, &connection, news, next)
    }

    /// Waits for news, but not longer than that.
    async fn watch(
        &self,
        cx: &Context,
        wait: Duration,
        first: bool,
        seen: &mut Seen,
        news: &mut News,
    ) -> Result<Arc<Connection>> {
        let mut ear = self.ear.0.lock().await;
        let until = tokio::time::Instant::now() + wait;
        let mut look_now = first;
        loop {
            // Perhaps one that has ended: the next call finds out.
            let connection = self.gate.connection(cx).await?;
            if ear.as_ref().is_none_or(|known| !Arc::ptr_eq(&known.connection, &connection)) {
                // What happened before this is in the list only.
                *ear = Some(self.listen(cx).await?);
                look_now = true;
            }
            if look_now {
                let (connection, list) = self.list(cx).await?;
                news.records += list.len() as u64;
                compare(seen, list, cx.now(), news);
                look_now = false;
                if first || !news.list.is_empty() {
                    return Ok(connection);
                }
            }
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            if left.is_zero() {
                return Ok(connection);
            }
            let Some(Listening { notices, .. }) = ear.as_mut() else { continue };
            match notices {
                None => {
                    tokio::time::sleep(POLL.min(left)).await;
                    look_now = true;
                }
                Some(heard) => match tokio::time::timeout(RECONCILE.min(left), heard.recv()).await {
                    Ok(Ok(text)) => match Notice::read(&text) {
                        Notice::Ended => *ear = None,
                        notice => take(notice, seen, cx.now(), news),
                    },
                    // Too much at once: the list knows.
                    Ok(Err(broadcast::error::RecvError::Lagged(_))) | Err(_) => look_now = true,
                    // The connection is gone; the next call opens another.
                    Ok(Err(broadcast::error::RecvError::Closed)) => {
                        *ear = None;
                        look_now = true;
                    }
                },
            }
            if !news.list.is_empty() {
                return Ok(connection);
            }
        }
    }

    /// Asks to be told. What is said before this returns may be missed: the list is to be looked at afterwards.
    async fn listen(&self, cx: &Context) -> Result<Listening> {
        const METHOD: &str = "core.subscribe";
        let may_listen = match self.gate.call(cx, METHOD, r#"["auth.sessions"]"#).await {
            Ok(_) => true,
            Err(Failure::Refused(refusal)) => {
                tracing::debug!(reason = refusal.text(), "sessions are looked at, not listened to");
                false
            }
            Err(failure) => return Err(failure.into_error(METHOD)),
        };
        let connection = self.gate.connection(cx).await?;
        let notices = may_listen.then(|| connection.rpc.listen());
        Ok(Listening { connection, notices })
    }

    /// The list as texts.
    async fn list(&self, cx: &Context) -> Result<(Arc<Connection>, Vec<String>)> {
        let answer = self.gate.call(cx, METHOD, "[]").await.map_err(|failure| failure.into_error(METHOD))?;
        let list: Vec<&RawValue> = answer.result().map_err(|error| error.at(METHOD))?;
        let connection = self.gate.connection(cx).await?;
        if !names_the_reader(&list, connection.session.as_deref()) {
            let text = "the list of sessions lacks the one that asks for it, so others may be missing as well";
            return Err(Error::new(ErrorKind::Malformed, text).at(METHOD));
        }
        Ok((connection, list.iter().map(|raw| raw.get().to_owned()).collect()))
    }

    fn write(&self, cx: &Context, connection: &Connection, mut news: News, next: Next) -> Result<Page> {
        let reading = Reading {
            now: cx.now(),
            product_version: Some(&connection.release),
            source_node: None,
            own_session: connection.session.as_deref(),
            own_key: self.own_key,
        };
        let mut builder = SessionBuilder::new(&cx.source_key);
        for (raw, fate) in &news.list {
            news.rejected.extend(sessions::add(&mut builder, raw, *fate, &reading).err());
        }
        let records = news.records.max((builder.len() + news.rejected.len()) as u64);
        let observed = Observed { records, notes: news.notes, ..Observed::default() };
        Ok(Page { rows: builder.finish()?, next, frontier: None, observed, rejected: news.rejected })
    }
}

/// Whether the session that asks is in the list, as it is in any. Where its id is not known, anybody's will do.
fn names_the_reader(list: &[&RawValue], own: Option<&str>) -> bool {
    let is_own = |raw: &&RawValue| sessions::identity(raw.get()).is_some_and(|(id, _)| own.is_none_or(|own| own == id));
    list.iter().any(is_own)
}

/// What the list says that was not known, and what it does not say any more.
fn compare(seen: &mut Seen, list: Vec<String>, now: Time, news: &mut News) {
    let mut before = std::mem::take(&mut seen.sessions);
    for raw in list {
        let Some((id, login)) = sessions::identity(&raw) else {
            // Let the decoder say what is wrong with it.
            news.list.push((raw, Fate::Listed));
            continue;
        };
        let is_known =
            before.remove(&id).and_then(|known| sessions::identity(&known)).is_some_and(|(_, known)| known == login);
        if !is_known {
            news.list.push((raw.clone(), Fate::Listed));
        }
        seen.sessions.insert(id, raw);
    }
    let last = seen.at;
    news.list.extend(before.into_values().map(|raw| (raw, Fate::Vanished(last))));
    seen.at = now;
}

/// What was told.
fn take(notice: Notice, seen: &mut Seen, now: Time, news: &mut News) {
    match notice {
        Notice::Added(raw) => {
            news.records += 1;
            match sessions::identity(&raw) {
                Some((id, login)) => {
                    let known = seen.sessions.get(&id).and_then(|known| sessions::identity(known));
                    if known.is_none_or(|(_, known)| known != login) {
                        news.list.push((raw.clone(), Fate::Listed));
                        seen.sessions.insert(id, raw);
                    }
                }
                None => news.list.push((raw, Fate::Listed)),
            }
        }
        Notice::Removed(id) => {
            news.records += 1;
            // One that was never seen began and ended between two looks; the audit database knows of it.
            if let Some(raw) = seen.sessions.remove(&id) {
                news.list.push((raw, Fate::Ended(now)));
            }
        }
        Notice::Ended | Notice::Other => {}
    }
}

/// A message that answers no call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// A session began; its description.
    Added(String),
    /// The session of this id ended.
    Removed(String),
    /// The subscription is over.
    Ended,
    /// Something else.
    Other,
}

impl Notice {
    /// Reads a message.
    pub(crate) fn read(text: &str) -> Self {
        #[derive(Deserialize)]
        struct Message<'a> {
            #[serde(default)]
            method: String,
            #[serde(borrow)]
            params: Params<'a>,
        }
        #[derive(Deserialize)]
        struct Params<'a> {
            #[serde(default)]
            msg: String,
            #[serde(default)]
            collection: String,
            #[serde(borrow, default)]
            fields: Option<&'a RawValue>,
            #[serde(borrow, default)]
            extra: Option<Extra<'a>>,
        }
        #[derive(Deserialize)]
        struct Extra<'a> {
            #[serde(borrow, default)]
            fields: Option<&'a RawValue>,
        }
        #[derive(Deserialize)]
        struct Id<'a> {
            #[serde(borrow, default)]
            id: Scalar<'a>,
        }
        let Ok(Message { method, params }) = serde_json::from_str::<Message<'_>>(text) else { return Self::Other };
        if params.collection != METHOD {
            return Self::Other;
        }
        // The id of a session that ended is not where it is documented to be.
        let fields = params.fields.or(params.extra.and_then(|extra| extra.fields)).map(RawValue::get);
        match (method.as_str(), params.msg.to_ascii_lowercase().as_str(), fields) {
            ("notify_unsubscribed", ..) => Self::Ended,
            ("collection_update", "added" | "changed", Some(fields)) => Self::Added(fields.to_owned()),
            ("collection_update", "removed", Some(fields)) => {
                let id = serde_json::from_str::<Id<'_>>(fields).ok().and_then(|fields| fields.id.some());
                id.map_or(Self::Other, |id| Self::Removed(id.into_owned()))
            }
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notifications_in_every_form() {
        let update = |rest: &str| {
            Notice::read(&format!(
                r#"{{"jsonrpc":"2.0","method":"collection_update","params":{{"collection":"auth.sessions",{rest}}}}}"#
            ))
        };
        assert_eq!(
            update(r#""msg":"added","fields":{"id":"a","origin":"x"}"#),
            Notice::Added(r#"{"id":"a","origin":"x"}"#.to_owned())
        );
        let removed = Notice::Removed("a".to_owned());
        assert_eq!(update(r#""msg":"removed","extra":{"fields":{"id":"a"}}"#), removed);
        assert_eq!(update(r#""msg":"REMOVED","fields":{"id":"a"}"#), removed);
        assert_eq!(update(r#""msg":"removed""#), Notice::Other);
        let ended = r#"{"method":"notify_unsubscribed","params":{"collection":"auth.sessions","error":null}}"#;
        assert_eq!(Notice::read(ended), Notice::Ended);
        assert_eq!(Notice::read(&ended.replace("auth.sessions", "alert.list")), Notice::Other);
        assert_eq!(Notice::read("17"), Notice::Other);
    }

    #[test]
    fn whoever_asks_is_in_the_list() {
        let names = |list: &str, own| names_the_reader(&serde_json::from_str::<Vec<&RawValue>>(list).unwrap(), own);
        let two = r#"[{"id":"a"},{"id":"b"}]"#;
        assert!(names(two, Some("b")) && names(two, None));
        assert!(!names(two, Some("c")) && !names("[]", Some("c")) && !names("[]", None));
    }

    #[test]
    fn sessions_without_an_id_do_not_hide_the_others() {
        let mut seen = Seen::default();
        let mut news = News::default();
        let list = [r#"{"origin":"x"}"#, r#"{"id":"a","credentials":"API_KEY"}"#].map(str::to_owned).to_vec();
        compare(&mut seen, list, Time::EPOCH, &mut news);
        assert_eq!((news.list.len(), seen.sessions.len()), (2, 1));
    }
}
