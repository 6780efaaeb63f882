//! The appliance's REST interface: signed requests, the paths of the session list, what its answers and refusals look
//! like.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};
use std::sync::Arc;
use std::time::Duration;

use fedaudit_core::{Context, Error, ErrorKind, Result, Time};
use fedaudit_transport::{Attempt, HttpClient, HttpRequest, HttpResponse, Login, error_for, error_saying};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::{Mutex, Semaphore};

use crate::login::{Accepted, Appliance, Credentials, FORGOTTEN};
use crate::object::{Tape, text_of};

/// Larger values are cut to this one without a word.
pub(crate) const LARGEST_PAGE: usize = 500;
/// Basic search shows no more hits than these, and ignores an offset beyond them.
pub(crate) const BASIC_HITS: u64 = 10_000;

const SESSIONS: &str = "/api/audit/sessions";
/// The appliance may hand out an earlier snapshot of the same reader; one of this age is as good as a new one.
const FRESH: Duration = Duration::from_secs(30);

/// One page of the session list.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct List<'a> {
    /// The sessions, not decoded yet: one bad record must not cost the page.
    #[serde(borrow)]
    pub(crate) items: Vec<&'a RawValue>,
    /// Where the next page is.
    #[serde(borrow, default)]
    pub(crate) meta: Meta<'a>,
}

/// What a list says of itself.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Meta<'a> {
    /// Link to the next page.
    #[serde(borrow, default)]
    pub(crate) next: Option<Cow<'a, str>>,
    /// Hits; stops counting at [`BASIC_HITS`], missing in snapshots.
    #[serde(default)]
    pub(crate) match_count: Option<u64>,
}

/// Where a list begins and what it holds.
#[derive(Debug)]
pub(crate) struct ListQuery<'q> {
    /// Sessions that started after this.
    pub(crate) start: Option<Time>,
    /// Filter.
    pub(crate) q: Option<&'q str>,
    /// Sessions a page holds.
    pub(crate) limit: usize,
    /// Snapshot to read, or else the offset in a basic search.
    pub(crate) view: View<'q>,
}

/// Which view of the sessions a list shows.
#[derive(Debug)]
pub(crate) enum View<'q> {
    /// A frozen one.
    Snapshot(&'q str),
    /// The one of now, from an offset on.
    Basic(u64),
}

impl ListQuery<'_> {
    /// Path and query. `end` is never sent: it bounds end times, and would hide sessions that outlast the window.
    pub(crate) fn path(&self) -> String {
        let mut path = format!("{SESSIONS}?fields=*&sort=start_time&limit={}", self.limit);
        if let Some(start) = self.start {
            // A time without an offset would be read in the appliance's own zone.
            let text = start.to_string();
            let _ = write!(path, "&start={}", encode(&format!("{}+00:00", text.trim_end_matches('Z'))));
        }
        if let Some(q) = self.q {
            let _ = write!(path, "&q={}", encode(q));
        }
        match self.view {
            View::Snapshot(id) => {
                let _ = write!(path, "&snapshot={}", encode(id));
            }
            View::Basic(offset) => {
                let _ = write!(path, "&offset={offset}");
            }
        }
        path
    }
}

/// The appliance, logged in when needed.
#[derive(Debug)]
pub(crate) struct Api {
    http: HttpClient,
    pub(crate) credentials: Credentials,
    login: Login<Accepted>,
    snapshots: Mutex<Snapshots>,
    /// Requests at once, whatever stream they are for.
    room: Semaphore,
}

/// The appliance's search is slow and shared with people; no limit is documented, so this one is small.
pub(crate) const AT_ONCE: usize = 2;
/// Newest sessions by which a snapshot is compared with the present.
const COMPARED: usize = 25;

/// What is known of the appliance's snapshots.
#[derive(Debug)]
struct Snapshots {
    wanted: bool,
    /// The one handed out last, and when it was new.
    last: Option<(String, Time)>,
}

impl Api {
    pub(crate) fn new(http: HttpClient, credentials: Credentials, snapshots: bool) -> Self {
        Self {
            http,
            credentials,
            login: Login::default(),
            snapshots: Mutex::new(Snapshots { wanted: snapshots, last: None }),
            room: Semaphore::new(AT_ONCE),
        }
    }

    /// GET with the login; when that was lost, with one new login. The status is the caller's to judge, except for 401.
    pub(crate) async fn get(&self, cx: &Context, path: &str) -> Result<(HttpResponse, Arc<Accepted>)> {
        self.ask(cx, path, HttpRequest::get).await
    }

    async fn ask(
        &self,
        cx: &Context,
        path: &str,
        request: impl Fn(String) -> HttpRequest,
    ) -> Result<(HttpResponse, Arc<Accepted>)> {
        let _room = self.room.acquire().await.map_err(|_| Error::new(ErrorKind::Internal, "the source is gone"))?;
        let request = &request;
        let ask = |login: Arc<Accepted>| async move {
            login.permit()?;
            let response = self.http.send(cx, login.sign(request(path.to_owned()))).await?;
            if response.status == 401 {
                return Ok(Attempt::Lost(refusal(&response).at(self.place(path)).hint(FORGOTTEN)));
            }
            Ok(Attempt::Done((response, login)))
        };
        let (response, login) = self.login.with(cx, || self.credentials.log_in(cx, &self.http), ask).await?;
        // A list in place of the object would be taken for its members, in their order, and show nothing.
        let lists = path.strip_prefix(SESSIONS).is_some_and(|rest| rest.is_empty() || rest.starts_with('?'));
        if lists && response.status == 200 && !response.body.trim_ascii_start().starts_with(b"{") {
            return Err(self.unreadable(
                &response,
                &<serde_json::Error as serde::de::Error>::custom("this is no object"),
                path,
            ));
        }
        Ok((response, login))
    }

    /// Opens a snapshot. None where the firmware has none or none is left, or where the one on offer is too old to show
    /// the present: the basic search serves as well.
    pub(crate) async fn open_snapshot(&self, cx: &Context, notes: &mut Vec<String>) -> Result<Option<String>> {
        let path = format!("{SESSIONS}/_snapshot");
        let mut snapshots = self.snapshots.lock().await;
        if !snapshots.wanted {
            return Ok(None);
        }
        // All snapshots are taken for minutes, not for seconds: no use in trying again soon.
        let (mut response, _) = self.ask(cx, &path, |path| HttpRequest::get(path).attempts(1)).await?;
        if response.status >= 500 {
            (response, _) = self.get(cx, &path).await?;
        }
        let id = match response.status {
            200 => {
                let text = String::from_utf8_lossy(&response.body);
                let tape = Tape::check(&text).map_err(|error| self.unreadable(&response, &error, &path))?;
                tape.root().object("body").text("snapshot").map(Cow::into_owned)
            }
            // Before 7.1 this is the key of a session that does not exist.
            400 | 404 | 405 => None,
            429 => {
                notes.push("other readers hold all search snapshots; the basic search was used instead".to_owned());
                return Ok(None);
            }
            _ => return Err(self.refused(&response, &path)),
        };
        let Some(id) = id else {
            snapshots.wanted = false;
            return Ok(None);
        };
        let now = cx.now();
        let (current, since) = match &snapshots.last {
            Some((last, since)) if *last == id => (since.plus(FRESH) >= now, *since),
            // Another process with the same account may have made it long ago.
            _ => (self.shows_the_present(cx, &id).await?, now),
        };
        snapshots.last = Some((id.clone(), if current { since } else { Time::EPOCH }));
        if !current {
            notes.push("the search snapshot on offer was old; the basic search was used instead".to_owned());
        }
        Ok(current.then_some(id))
    }

    /// Whether a snapshot shows the same newest sessions, in the same revisions, as a search of now.
    async fn shows_the_present(&self, cx: &Context, id: &str) -> Result<bool> {
        let newest = format!("{SESSIONS}?fields=revision,active&sort=-start_time&limit={COMPARED}");
        let (now, _) = self.get(cx, &newest).await?;
        let (then, _) = self.get(cx, &format!("{newest}&snapshot={}", encode(id))).await?;
        if now.status != 200 || then.status != 200 {
            return Ok(false);
        }
        let items = |response: &HttpResponse| {
            let list: List<'_> = serde_json::from_slice(&response.body).ok()?;
            Some(list.items.iter().map(|item| item.get().to_owned()).collect::<Vec<_>>())
        };
        Ok(matches!((items(&now), items(&then)), (Some(now), Some(then)) if now == then))
    }

    /// GET of one session.
    pub(crate) async fn session(&self, cx: &Context, key: &str) -> Result<(HttpResponse, String)> {
        let path = format!("{SESSIONS}/{}", encode(key));
        Ok((self.get(cx, &path).await?.0, path))
    }

    /// GET of a part of one of a session's lists.
    pub(crate) async fn detail(
        &self,
        cx: &Context,
        key: &str,
        list: &str,
        offset: u64,
    ) -> Result<(HttpResponse, String)> {
        let path = format!("{SESSIONS}/{}/{list}?limit={LARGEST_PAGE}&offset={offset}", encode(key));
        Ok((self.get(cx, &path).await?.0, path))
    }

    /// Number of sessions in all, the appliance's own count.
    pub(crate) async fn count(&self, cx: &Context) -> Result<(Option<u64>, Option<Time>)> {
        #[derive(Deserialize)]
        struct Count {
            count: u64,
        }
        let path = format!("{SESSIONS}/_count");
        let (response, _) = self.get(cx, &path).await?;
        let count = match response.status {
            200 => {
                let count: Count = serde_json::from_slice(&response.body)
                    .map_err(|error| self.unreadable(&response, &error, &path))?;
                Some(count.count)
            }
            404 => None,
            _ => return Err(self.refused(&response, &path)),
        };
        Ok((count, response.server_time()))
    }

    /// Whether this login may list sessions: the smallest list there is.
    pub(crate) async fn probe(&self, cx: &Context) -> Result<HttpResponse> {
        let path = format!("{SESSIONS}?limit=1");
        let (response, _) = self.get(cx, &path).await?;
        if response.status != 200 {
            return Err(self.refused(&response, &path));
        }
        serde_json::from_slice::<List<'_>>(&response.body)
            .map_err(|error| self.unreadable(&response, &error, &path))?;
        Ok(response)
    }

    /// What the appliance says of itself.
    pub(crate) async fn appliance(&self, cx: &Context) -> Result<Appliance> {
        let login = self.login.get(cx, self.credentials.log_in(cx, &self.http)).await?;
        login.permit()?;
        Ok(login.appliance.clone())
    }

    /// Path of a link that the appliance sent; only its own origin is followed.
    pub(crate) fn resolve(&self, link: &str) -> Result<String> {
        self.http.origin().resolve(link)
    }

    /// Gives the login back.
    pub(crate) async fn log_out(&self, cx: &Context) {
        if let Some(login) = self.login.take().await {
            login.end(cx, &self.http).await;
        }
    }

    /// The error for a status that is no success.
    pub(crate) fn refused(&self, response: &HttpResponse, path: &str) -> Error {
        let error = refusal(response).at(self.place(path));
        match response.status {
            403 => error.hint(format!(
                "give a group of '{}' the Search privilege (for all connections), or the REST server privilege that covers the whole interface",
                self.credentials.username
            )),
            404 => error.hint("is this an SPS appliance with its REST interface, version 6.0 or later?"),
            _ => error,
        }
    }

    /// The error for an answer that is not what the interface promises.
    pub(crate) fn unreadable(&self, response: &HttpResponse, error: &dyn Display, path: &str) -> Error {
        let html = response.header("content-type").is_some_and(|kind| kind.contains("html"));
        let found = if html {
            error_for(response)
        } else {
            Error::new(ErrorKind::Malformed, format!("the answer cannot be read: {error}"))
        };
        found.at(self.place(path))
    }

    fn place(&self, path: &str) -> String {
        format!("GET {}{}", self.http.origin(), path.split('?').next().unwrap_or_default())
    }
}

/// The error for a refusal, with the appliance's own words where it gives some.
pub(crate) fn refusal(response: &HttpResponse) -> Error {
    let text = String::from_utf8_lossy(&response.body);
    match Tape::check(&text).ok().and_then(|tape| error_words(tape.root().take("error")?)) {
        Some(words) => error_saying(response, &words),
        None => error_for(response),
    }
}

/// `{"type", "message"}`, or a bare text.
fn error_words(error: &str) -> Option<String> {
    let words = match Tape::parse(error) {
        Ok(tape) => {
            let mut error = tape.root();
            let parts: Vec<_> = [error.text("type"), error.text("message")].into_iter().flatten().collect();
            parts.join(": ")
        }
        Err(_) => text_of(error)?.into_owned(),
    };
    let line: String = words.chars().filter(|c| !c.is_control()).take(300).collect();
    (!line.is_empty()).then_some(line)
}

/// Percent-encodes everything but unreserved characters; a `+` would otherwise arrive as a space.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_never_bound_the_end() {
        let query = ListQuery {
            start: Time::parse("2026-01-01T00:00:00.25Z").map(|parsed| parsed.time),
            q: Some(r#"user.name:"a+b""#),
            limit: 500,
            view: View::Basic(500),
        };
        assert_eq!(
            query.path(),
            "/api/audit/sessions?fields=*&sort=start_time&limit=500&start=2026-01-01T00%3A00%3A00.25%2B00%3A00\
             &q=user.name%3A%22a%2Bb%22&offset=500"
        );
    }
}
