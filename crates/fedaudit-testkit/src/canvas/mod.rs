//! A stand-in for Canvas LMS: its audit logs (authentication, course changes, grade changes), the directory of accounts,
//! users and courses around them, access tokens and the request budget, as the server's source has them.

mod access;
mod audit;
mod bucket;
mod changes;
mod directory;
mod document;
mod fault;
mod gradebook;
mod listing;
mod paging;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, header};
use axum::response::Response;

pub use access::OAuthClient;
pub use bucket::{Bucket, Limits};
pub use document::Form;
pub use fault::Fault;
pub use gradebook::{Course, CourseChange, GradeChange, Gradebook};

use crate::records::World;
use crate::request_log::{LogEntry, RequestLog};
use access::Access;
use listing::Listings;

/// How the bookmark of the next page is made, which decides what happens to a second cut by a page boundary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Bookmark {
    /// Time and row number: nothing is lost.
    #[default]
    TimeAndRow,
    /// The time alone, as the first releases on SQL had it: rows of the same second beyond the page are skipped.
    TimeOnly,
}

/// An event that the world does not have: a tombstone, a record that cannot be read, a foreign type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extra {
    /// Where it stands in the log, Unix seconds.
    pub created_at: i64,
    /// Its JSON text, whole.
    pub json: String,
}

/// Credentials and switches.
#[derive(Debug, Clone)]
pub struct Options {
    /// The access token that is accepted; it belongs to the reader.
    pub token: String,
    /// A developer key whose refresh grant is accepted as well.
    pub oauth: Option<OAuthClient>,
    /// An access token bought with the refresh grant is refused after so many requests.
    pub token_requests: Option<u64>,
    /// After so many grants the refresh token is no longer accepted.
    pub refreshes: Option<usize>,
    /// Whether the reader has the right `view_statistics`.
    pub may_view: bool,
    /// Whether the reader may see the account object itself.
    pub may_view_account: bool,
    /// Whether the reader has the right `view_course_changes`.
    pub may_view_course_changes: bool,
    /// Courses whose grades the reader may not see.
    pub closed_gradebooks: Vec<i64>,
    /// Status for a missing right: 401 (older) or 403 (newer).
    pub permission_status: u16,
    /// Form of the documents.
    pub form: Form,
    /// Form of the bookmarks.
    pub bookmark: Bookmark,
    /// Largest page: 100, older servers 50.
    pub page_cap: usize,
    /// The request budget of a token.
    pub limits: Limits,
    /// Status of a throttled answer: 403 (all releases read) or 429 (as documented today).
    pub throttle_status: u16,
    /// `Retry-After` on a throttled answer: Canvas sends none, a proxy may.
    pub retry_after: Option<u64>,
    /// Time zone of the reader's profile, seconds east of UTC; applies to times sent without a zone.
    pub zone: i64,
    /// Users that were deleted: their own list answers 404, the account still shows their events.
    pub deleted_users: Vec<i64>,
    /// Logins that were deleted, likewise.
    pub deleted_logins: Vec<i64>,
    /// Only the path name of 2013, `pseudonyms`, is known.
    pub only_pseudonyms: bool,
    /// Further events of the account's list.
    pub extra: Vec<Extra>,
    /// Base of the links in place of the address asked: a proxy's inner name, or plain http.
    pub link_base: Option<String>,
    /// Every next link points to the page that it stands on.
    pub endless: bool,
    /// A page without events, but with a next link, comes before every page with events.
    pub empty_pages: bool,
    /// Lists by user are merged from several servers: other bookmarks, and a row is lost between pages.
    pub merged_user_lists: bool,
    /// So many of the newest rows appear only after the first request to an audit log.
    pub arrivals: usize,
    /// What goes wrong with which requests to the audit logs, counted from 1.
    pub faults: Vec<(RangeInclusive<u64>, Fault)>,
    /// Requests that do not say which program asks are refused.
    pub needs_user_agent: bool,
    /// Courses, their history and the grades given in them.
    pub gradebook: Arc<Gradebook>,
    /// Whether the course log has the list by account that newer servers have.
    pub course_lists_by_account: bool,
    /// Whether that list of the root account holds the courses of its sub-accounts, too.
    pub course_lists_of_tree: bool,
    /// A log-in page in HTML answers in place of the API.
    pub html: bool,
    /// Whether the reader's own visits are in the log.
    pub list_reader: bool,
    /// Added to every request, and to its cost: it stands for the work of server and database.
    pub latency: Duration,
    /// What was asked.
    pub log: RequestLog,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            token: "7~stand-in".to_owned(),
            oauth: None,
            token_requests: None,
            refreshes: None,
            may_view: true,
            may_view_account: true,
            may_view_course_changes: true,
            closed_gradebooks: Vec::new(),
            permission_status: 403,
            form: Form::Links,
            bookmark: Bookmark::TimeAndRow,
            page_cap: 100,
            limits: Limits::default(),
            throttle_status: 403,
            retry_after: None,
            zone: -7 * 3600,
            deleted_users: Vec::new(),
            deleted_logins: Vec::new(),
            only_pseudonyms: false,
            extra: Vec::new(),
            link_base: None,
            endless: false,
            empty_pages: false,
            merged_user_lists: false,
            arrivals: 0,
            faults: Vec::new(),
            needs_user_agent: false,
            gradebook: Arc::default(),
            course_lists_by_account: true,
            course_lists_of_tree: false,
            html: false,
            list_reader: false,
            latency: Duration::ZERO,
            log: RequestLog::default(),
        }
    }
}

/// One Canvas.
#[derive(Debug, Clone)]
pub struct StandIn(Arc<Server>);

#[derive(Debug)]
struct Server {
    world: Arc<World>,
    options: Options,
    listings: Listings,
    access: Access,
    started: Instant,
    /// Rows of later seconds have not happened yet.
    shown_until: AtomicI64,
}

impl StandIn {
    /// A Canvas that holds the world's log.
    pub fn new(world: Arc<World>, options: Options) -> Self {
        let listings = Listings::new(&world.canvas, &options);
        let access = Access::new(&options);
        Self(Arc::new(Server {
            world,
            options,
            listings,
            access,
            started: Instant::now(),
            shown_until: AtomicI64::new(i64::MAX),
        }))
    }

    /// Its routes.
    pub fn router(&self) -> Router {
        Router::new().fallback(serve).with_state(Arc::clone(&self.0))
    }

    /// Hides what happens after this second.
    pub fn show_until(&self, second: i64) {
        self.0.shown_until.store(second, Ordering::Relaxed);
    }

    /// The most requests that were ever in flight at once.
    pub fn peak_in_flight(&self) -> usize {
        self.0.access.peak()
    }
}

/// An answer before it becomes HTTP.
#[derive(Debug)]
struct Reply {
    status: u16,
    body: String,
    content_type: &'static str,
    headers: Vec<(&'static str, String)>,
    records: u64,
    /// The connection breaks in the middle of the body.
    cut: bool,
}

impl Reply {
    fn json(status: u16, body: impl Into<String>) -> Self {
        Self {
            status,
            body: body.into(),
            content_type: "application/json; charset=utf-8",
            headers: Vec::new(),
            records: 0,
            cut: false,
        }
    }

    fn not_found() -> Self {
        Self::json(404, r#"{"errors":[{"message":"The specified resource does not exist."}]}"#)
    }

    fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// What a request says, as far as any route looks.
#[derive(Debug)]
struct Asked<'r> {
    path: &'r str,
    query: Vec<(Cow<'r, str>, Cow<'r, str>)>,
    host: &'r str,
    string_ids: bool,
    /// Which request to an audit log this is, counted from 1; 0 for others.
    number: u64,
}

impl Asked<'_> {
    fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_ref())
    }
}

async fn serve(State(server): State<Arc<Server>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap_or_else(|_| Bytes::new());
    let text =
        |name: header::HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let path = parts.uri.path();
    let asked = Asked {
        path,
        query: url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).collect(),
        host: text(header::HOST),
        string_ids: text(header::ACCEPT).contains("canvas-string-ids"),
        number: if path.starts_with("/api/v1/audit/") { server.access.next_audit() } else { 0 },
    };
    let reply = if server.options.needs_user_agent && text(header::USER_AGENT).is_empty() {
        Reply { content_type: "text/html", ..Reply::json(403, "<html>who is asking?</html>") }
    } else {
        server.reply(&parts.method, &asked, text(header::AUTHORIZATION), &body).await
    };
    server.options.log.push(LogEntry {
        product: "canvas",
        method: parts.method.to_string(),
        target: parts.uri.path_and_query().map_or_else(String::new, ToString::to_string),
        status: i32::from(reply.status),
        records: reply.records,
    });
    let body = if reply.cut {
        let half = reply.body.as_bytes()[..reply.body.len() / 2].to_vec();
        let broken = std::io::Error::new(std::io::ErrorKind::ConnectionReset, "cut");
        Body::from_stream(futures::stream::iter([Ok(half), Err(broken)]))
    } else {
        Body::from(reply.body)
    };
    let mut response = Response::new(body);
    *response.status_mut() = axum::http::StatusCode::from_u16(reply.status).unwrap_or_default();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    for (name, value) in reply.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    response
}

impl Server {
    async fn reply(&self, method: &Method, asked: &Asked<'_>, authorization: &str, body: &[u8]) -> Reply {
        if self.options.html {
            let page = "<!DOCTYPE html><html><head><title>Log In to Canvas</title></head><body>…</body></html>";
            return Reply { content_type: "text/html; charset=utf-8", ..Reply::json(200, page) };
        }
        if asked.path == "/login/oauth2/token" {
            return match *method {
                Method::POST => self.access.refresh(body),
                Method::DELETE => Reply::json(200, "{}"),
                _ => Reply::not_found(),
            };
        }
        let token =
            authorization.strip_prefix("Bearer ").or_else(|| asked.parameter("access_token")).unwrap_or_default();
        if let Err(refusal) = self.access.admit(token) {
            return refusal;
        }
        let faults = || self.options.faults.iter().filter(|(numbers, _)| numbers.contains(&asked.number));
        if faults().any(|(_, fault)| matches!(fault, Fault::Throttle)) {
            return self.throttled(0.0);
        }
        let Some(mut reservation) = self.access.reserve(token, self.now()) else {
            return self.throttled(self.access.remaining(token, self.now()));
        };
        let begun = Instant::now();
        if !self.options.latency.is_zero() {
            tokio::time::sleep(self.options.latency).await;
        }
        let mut reply = if *method == Method::GET { self.get(asked) } else { Reply::not_found() };
        for (_, fault) in faults() {
            reply = fault.befall(reply).await;
        }
        // The cost is time spent: the server's own and the database's.
        let cost = begun.elapsed().as_secs_f64();
        let remaining = reservation.settle(self.now(), cost);
        reply
            .header("x-request-cost", cost.to_string())
            .header("x-rate-limit-remaining", remaining.to_string())
            .header("x-request-context-id", format!("{:016x}", self.access.next_request()))
    }

    /// Seconds since this server began.
    fn now(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    fn get(&self, asked: &Asked<'_>) -> Reply {
        let path = asked.path.strip_suffix(".json").unwrap_or(asked.path);
        let decoded: Vec<Cow<'_, str>> =
            path.trim_matches('/').split('/').map(|segment| percent_decode(segment)).collect();
        let segments: Vec<&str> = decoded.iter().map(AsRef::as_ref).collect();
        match segments.as_slice() {
            ["api", "v1", "audit", "authentication", kind, id] => self.audit(asked, kind, id),
            ["api", "v1", "audit", "course", kind, id] => self.course_log(asked, kind, id),
            ["api", "v1", "audit", "grade_change"] => self.grade_query(asked),
            ["api", "v1", "audit", "grade_change", kind, id] => self.grade_log(asked, kind, id),
            ["api", "v1", "accounts"] => self.accounts(asked),
            ["api", "v1", "accounts", id] => self.account(id),
            ["api", "v1", "accounts", id, "sub_accounts"] => self.sub_accounts(asked, id),
            ["api", "v1", "accounts", id, "users"] => self.users(asked, id),
            ["api", "v1", "accounts", id, "courses"] => self.courses(asked, id),
            ["api", "v1", "courses", id] => self.course(id),
            ["api", "v1", "users", id] => self.user(id),
            ["api", "v1", "users", id, "logins"] => self.user_logins(id),
            _ => Reply::not_found(),
        }
    }

    fn throttled(&self, remaining: f64) -> Reply {
        let body = match self.options.throttle_status {
            429 => "429 Too Many Requests (Rate Limit Exceeded)\n",
            _ => "403 Forbidden (Rate Limit Exceeded)\n",
        };
        let reply = Reply { content_type: "text/plain", ..Reply::json(self.options.throttle_status, body) }
            .header("x-rate-limit-remaining", format!("{:?}", remaining.max(0.0)));
        match self.options.retry_after {
            Some(seconds) => reply.header("retry-after", seconds.to_string()),
            None => reply,
        }
    }

    fn denied(&self) -> Reply {
        Reply::json(
            self.options.permission_status,
            r#"{"status":"unauthorized","errors":[{"message":"user not authorized to perform that action"}]}"#,
        )
    }
}

fn percent_decode(segment: &str) -> Cow<'_, str> {
    if !segment.contains('%') {
        return segment.into();
    }
    // A plus sign stands for itself in a path.
    let pair = format!("={}", segment.replace('+', "%2B"));
    url::form_urlencoded::parse(pair.as_bytes())
        .next()
        .map_or(Cow::Borrowed(segment), |(_, value)| value.into_owned().into())
}
