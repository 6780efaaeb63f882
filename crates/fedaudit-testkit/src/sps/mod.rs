//! A stand-in for a privileged-session gateway (One Identity SPS): login, `/api/info`, the session list in both ways of
//! paging, with the quirks that clients trip over. No defects are smoothed out for anybody's convenience.

mod access;
mod body;
mod data;
mod details;
mod listing;
mod lucene;
mod manners;
mod shape;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;

use crate::records::{SpsSession, World};
use crate::request_log::{LogEntry, RequestLog};
use access::Access;
use data::{Data, Document};
use listing::{Params, Views};
use manners::Manners;

pub use details::{Alert, Channel, ContentEvent, Details, Download, LISTS, details_of};

/// How the appliance is set up and which release it is.
#[derive(Debug, Clone)]
pub struct Options {
    /// The account that may log in.
    pub username: String,
    /// Its password.
    pub password: String,
    /// Login method that has to be named, where one has to be.
    pub login_method: Option<String>,
    /// The account has the Search privilege.
    pub may_search: bool,
    /// The password alone is not enough.
    pub second_factor: bool,
    /// Firmware version: 7.1 and later have snapshots, 7.0 and later lists of server accounts and scores.
    pub firmware: String,
    /// Roles in a cluster; none where the release tells none.
    pub roles: Vec<String>,
    /// Idle time after which a login ends.
    pub idle: Duration,
    /// Readers that may hold a snapshot at once.
    pub snapshot_quota: usize,
    /// `start` and `end` mean "running in between" instead of "started after" and "ended before".
    pub overlap_dates: bool,
    /// Zone of the appliance, minutes east of UTC.
    pub zone_minutes: i32,
    /// Documents as releases before 5 LTS wrote them.
    pub old_bodies: bool,
    /// Times without a zone are the appliance's own instead of UTC.
    pub naive_local: bool,
    /// Recordings are indexed; otherwise indexing failed, and sessions have no content events.
    pub indexing: bool,
    /// Keys of sessions whose details this account may not see.
    pub refused_details: Vec<String>,
    /// This account may see no details at all.
    pub may_see_details: bool,
    /// The information resource answers with this status instead of 200.
    pub info_status: Option<u16>,
    /// Sessions of one instant come in another order with every basic search.
    pub restless_ties: bool,
    /// Every query is answered with 400.
    pub refuse_queries: bool,
    /// `sort` has no effect.
    pub ignore_sort: bool,
    /// Added to each request.
    pub latency: Duration,
    /// What was asked.
    pub log: RequestLog,
    /// No effect: the product never lists logins to its own interface as sessions.
    pub list_reader: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            username: "reader".to_owned(),
            password: "reader-password".to_owned(),
            login_method: None,
            may_search: true,
            second_factor: false,
            firmware: "8.2.0".to_owned(),
            roles: vec!["search-master".to_owned(), "central-management".to_owned()],
            idle: Duration::from_mins(10),
            snapshot_quota: 8,
            overlap_dates: false,
            zone_minutes: 120,
            old_bodies: false,
            naive_local: false,
            indexing: true,
            refused_details: Vec::new(),
            may_see_details: true,
            info_status: None,
            restless_ties: false,
            refuse_queries: false,
            ignore_sort: false,
            latency: Duration::ZERO,
            log: RequestLog::default(),
            list_reader: false,
        }
    }
}

impl Options {
    fn version(&self) -> (u32, u32) {
        let mut parts = self.firmware.split('.').map(|part| part.parse().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    }

    fn has_snapshots(&self) -> bool {
        self.version() >= (7, 1)
    }
}

/// The stand-in; clones share everything.
#[derive(Debug, Clone)]
pub struct StandIn(Arc<Appliance>);

#[derive(Debug)]
struct Appliance {
    options: Options,
    hostname: String,
    data: RwLock<Data>,
    desk: Mutex<Desk>,
    /// How far the appliance's clock was moved, microseconds.
    moved: AtomicI64,
}

/// What changes with requests.
#[derive(Debug)]
struct Desk {
    access: Access,
    views: Views,
    script: VecDeque<Scripted>,
    manners: Manners,
}

#[derive(Debug)]
struct Scripted {
    part: String,
    answer: Answer,
}

/// An answer before it is sent.
#[derive(Debug, Clone)]
struct Answer {
    status: u16,
    content_type: &'static str,
    body: Bytes,
    cookies: Vec<String>,
    records: u64,
}

impl Answer {
    fn bytes(body: Vec<u8>) -> Self {
        Self { status: 200, content_type: "application/json", body: body.into(), cookies: Vec::new(), records: 0 }
    }

    fn json(text: String) -> Self {
        Self::bytes(text.into_bytes())
    }

    fn error(status: u16, kind: &str, message: &str) -> Self {
        let mut body = b"{\"error\":{\"type\":".to_vec();
        body::push_text(&mut body, kind);
        body.extend_from_slice(b",\"message\":");
        body::push_text(&mut body, message);
        body.extend_from_slice(b",\"details\":{}}}");
        Self { status, ..Self::bytes(body) }
    }

    fn into_response(self) -> Response {
        let mut response = Response::new(self.body.into());
        *response.status_mut() =
            http::StatusCode::from_u16(self.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert("content-type", http::HeaderValue::from_static(self.content_type));
        for cookie in &self.cookies {
            if let Ok(cookie) = cookie.parse() {
                headers.append("set-cookie", cookie);
            }
        }
        response
    }
}

impl StandIn {
    /// An appliance that holds the world's sessions.
    pub fn new(world: Arc<World>, options: Options) -> Self {
        let desk = Desk {
            access: Access::new(),
            views: Views::default(),
            script: VecDeque::new(),
            manners: Manners::default(),
        };
        Self(Arc::new(Appliance {
            options,
            hostname: world.sps.hostname.clone(),
            data: RwLock::new(Data::new(world)),
            desk: Mutex::new(desk),
            moved: AtomicI64::new(0),
        }))
    }

    /// Its web interface.
    pub fn router(&self) -> Router {
        Router::new().fallback(answer).with_state(self.clone())
    }

    /// A session arrives.
    pub fn insert(&self, session: SpsSession) {
        self.change(|data| data.insert(session));
    }

    /// A list item arrives as text, for documents that the generator does not make; `start` is what it is sorted by.
    pub fn insert_item(&self, start: i64, key: &str, text: &str) {
        self.change(|data| data.insert_item(start, key, text));
    }

    /// A session's document is written anew, as when it ends.
    pub fn replace(&self, session: SpsSession) {
        self.change(|data| {
            data.remove(&session.key);
            data.insert(session);
        });
    }

    /// A session is cleaned up.
    pub fn remove(&self, key: &str) {
        self.change(|data| data.remove(key));
    }

    /// The next request whose path and query contain `part` gets this answer.
    pub fn answer_next(&self, part: &str, status: u16, content_type: &'static str, body: &str) {
        let answer = Answer { status, content_type, ..Answer::json(body.to_owned()) };
        self.desk().script.push_back(Scripted { part: part.to_owned(), answer });
    }

    /// An item appears below a session, in one of [`LISTS`].
    pub fn insert_detail(&self, key: &str, list: &str, item: &str) {
        if let Some(list) = details::list_named(list) {
            self.change(|data| data.insert_detail(key, list, item));
        }
    }

    /// What a client did that the product answers silently wrong or that is no business of an auditor: to be empty.
    pub fn complaints(&self) -> Vec<String> {
        self.desk().manners.complaints.clone()
    }

    /// Most requests that were answered at once.
    pub fn most_in_flight(&self) -> usize {
        self.desk().manners.most_in_flight
    }

    /// Forgets all logins.
    pub fn expire_logins(&self) {
        self.desk().access.expire();
    }

    /// Ends all search snapshots.
    pub fn expire_snapshots(&self) {
        self.desk().views.expire();
    }

    /// Moves the clock that logins and snapshots live by.
    pub fn advance(&self, span: Duration) {
        self.0.moved.fetch_add(span.as_micros() as i64, Relaxed);
    }

    /// Logins that succeeded so far.
    pub fn logins(&self) -> u64 {
        self.desk().access.logins
    }

    /// Logins that were not ended.
    pub fn open_logins(&self) -> usize {
        self.desk().access.open()
    }

    fn change(&self, change: impl FnOnce(&mut Data)) {
        change(&mut self.0.data.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.0.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        since.as_micros() as i64 + self.0.moved.load(Relaxed)
    }

    fn serve(&self, method: &http::Method, path: &str, query: &str, headers: &HeaderMap) -> Answer {
        let Appliance { options, hostname, data, .. } = &*self.0;
        let now = self.now();
        let params = Params::parse(query);
        let agent = headers.get("user-agent").and_then(|agent| agent.to_str().ok()).unwrap_or_default();
        let mut desk = self.desk();
        let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        desk.manners.watch(method, path, &params, headers);
        if let Some(at) = desk.script.iter().position(|scripted| target.contains(&scripted.part)) {
            return desk
                .script
                .remove(at)
                .map_or_else(|| Answer::error(500, "Internal", ""), |scripted| scripted.answer);
        }
        let get = method == http::Method::GET;
        match path {
            "/api/authentication" if get => {
                return desk.access.log_in(options, headers, params.get("login_method"), now);
            }
            "/api/authentication/login_methods" if options.version() >= (7, 0) => {
                return Answer::json("{\"login_methods\":[\"local\"]}".to_owned());
            }
            "/api/authentication/types" if options.version() < (7, 0) => {
                return Answer::json("{\"types\":[\"basic\"]}".to_owned());
            }
            _ => {}
        }
        let admitted = desk.access.admits(options, headers, now);
        let remaining = options.idle.as_secs();
        if path == "/api/info" && get {
            if let Some(status) = options.info_status {
                return Answer::error(status, "Error", "no information");
            }
            return info(options, hostname, admitted.then_some(remaining));
        }
        if !admitted {
            return Answer::error(401, "AuthenticationRequired", "Authentication required");
        }
        if !get {
            // Agents that look like a browser need a token here.
            if agent.contains("Mozilla") && !headers.contains_key("x-token") {
                return Answer::error(403, "InvalidToken", "X-Token header is missing");
            }
            if method == http::Method::DELETE && path == "/api/authentication" {
                desk.access.log_out(headers);
                return Answer::json("{\"meta\":{\"href\":\"/api/authentication\",\"parent\":\"/api\"}}".to_owned());
            }
            return Answer::error(405, "MethodNotAllowed", "Method not allowed");
        }
        let Some(rest) = path.strip_prefix("/api/audit/sessions") else {
            return Answer::error(404, "ObjectNotFound", "The requested object was not found");
        };
        if !options.may_search {
            return Answer::error(403, "Unauthorized", "You do not have the required privileges");
        }
        // One client address is as good as another on loopback: account and agent tell the readers apart.
        let reader = format!("{}\n{agent}", options.username);
        let data = data.read().unwrap_or_else(PoisonError::into_inner);
        match rest {
            "" | "/" => match desk.views.page(&params, &reader, &data, options, now) {
                Ok(found) => {
                    drop(desk);
                    found.write(&params, &data, options, remaining)
                }
                Err(answer) => answer,
            },
            "/_snapshot" => desk.views.open(&reader, &data, options, now),
            "/_count" => desk.views.count(&params, &reader, &data, options, now),
            below => {
                drop(desk);
                self.below(below.trim_start_matches('/'), &params, &data, remaining)
            }
        }
    }
}

impl StandIn {
    /// Answers `…/<key>` and `…/<key>/<list>`.
    fn below(&self, path: &str, params: &Params, data: &Data, remaining: u64) -> Answer {
        let options = &self.0.options;
        let (key, list) = path.split_once('/').map_or((path, None), |(key, list)| (key, Some(list)));
        let key = decoded(key);
        let Some(list) = list else { return listing::single(data, &key, options, remaining) };
        let (Some(list), Some(number)) = (details::list_named(list), data.find(&key)) else {
            return Answer::error(404, "ObjectNotFound", "The requested object was not found");
        };
        if !options.may_see_details || options.refused_details.contains(&key) {
            return Answer::error(403, "Unauthorized", "You do not have the required privileges");
        }
        let session = match data.get(number) {
            Document::Session(session) => Some(session),
            Document::Item { .. } => None,
        };
        details::answer(session, &key, list, data.details(&key, list), params, options, remaining)
    }
}

/// A piece of a path without percent-encoding.
fn decoded(piece: &str) -> String {
    let mut bytes = Vec::with_capacity(piece.len());
    let mut rest = piece;
    while let Some((plain, encoded)) = rest.split_once('%') {
        bytes.extend_from_slice(plain.as_bytes());
        if let Some(byte) = encoded.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            bytes.push(byte);
            rest = &encoded[2..];
        } else {
            bytes.push(b'%');
            rest = encoded;
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

fn info(options: &Options, hostname: &str, remaining: Option<u64>) -> Answer {
    let (host, domain) = hostname.split_once('.').unwrap_or((hostname, ""));
    let names = format!("\"hostname\":\"{host}\",\"domainname\":\"{domain}\",\"nickname\":null");
    let Some(remaining) = remaining else {
        return Answer::json(format!(
            "{{\"key\":\"about_info\",\"body\":{{{names}}},\"meta\":{{\"href\":\"/api/info\",\"parent\":\"/api\"}}}}"
        ));
    };
    let (major, minor) = options.version();
    let roles = options.roles.iter().map(|role| format!("\"{role}\"")).collect::<Vec<_>>().join(",");
    let roles = if roles.is_empty() { String::new() } else { format!("\"roles\":[{roles}],") };
    let marketing = if major < 7 { format!("{major} F{minor}") } else { format!("{major}.{minor}") };
    Answer::json(format!(
        "{{\"key\":\"about_info\",\"body\":{{\"firmware_version\":\"{}\",\"version\":\"{marketing}\",{names},{roles}\
         \"analytics_enabled\":true,\"build_date\":\"2024-01-02T03:04:05+00:00\"}},\
         \"meta\":{{\"href\":\"/api/info\",\"parent\":\"/api\",\"remaining_seconds\":{remaining}}}}}",
        options.firmware
    ))
}

/// A request being answered; a client that goes away ends it too.
struct Busy(StandIn);

impl Busy {
    fn new(stand_in: &StandIn) -> Self {
        stand_in.desk().manners.begin();
        Self(stand_in.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.desk().manners.end();
    }
}

async fn answer(State(stand_in): State<StandIn>, request: Request) -> Response {
    let options = &stand_in.0.options;
    let _busy = Busy::new(&stand_in);
    if !options.latency.is_zero() {
        tokio::time::sleep(options.latency).await;
    }
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let answer = stand_in.serve(request.method(), &path, &query, request.headers());
    options.log.push(LogEntry {
        product: "sps",
        method: request.method().to_string(),
        target: if query.is_empty() { path } else { format!("{path}?{query}") },
        status: i32::from(answer.status),
        records: answer.records,
    });
    answer.into_response()
}
