//! A small source that reads the sample product, and the mistakes that it can be told to make.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use fedaudit_core::{
    Action, AddressKind, AuditSource, BlindSpot, Bound, Context, Cursor, Direction, EndReason, Error, ErrorKind,
    EventBuilder, EventRow, Next, Observed, Operator, Order, Outcome, Page, PageRequest, Plugin, Predicate, Pushable,
    Rejected, Result, Secret, SourceHealth, SourceInfo, StreamInfo, StreamKind, Time,
};
use fedaudit_transport::{
    Attempt, Discreet, HttpClient, HttpRequest, HttpResponse, Login, Origin, ProxyConfig, SecretRef, Spoken, TlsConfig,
    error_for,
};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The plugin for `type = "sample"`.
#[derive(Debug)]
pub(crate) struct Sample;

/// Its settings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    url: String,
    #[serde(default)]
    tls: TlsConfig,
    #[serde(default)]
    proxy: ProxyConfig,
    password: SecretRef,
    /// The mistake to make.
    mistake: Option<String>,
}

impl Plugin for Sample {
    const TYPE: &'static str = "sample";
    const VERSION: &'static str = "1";
    const STREAMS: &'static [&'static str] = &["log"];
    type Config = Config;

    fn build(_name: &str, config: Config) -> Result<Box<dyn AuditSource>> {
        let origin = Origin::parse(&config.url)?;
        if !origin.is_tls() {
            return Err(Error::new(ErrorKind::Config, "the password does not travel over plain http"));
        }
        let spoken = Spoken::default();
        let source = Source::new(origin, config, &spoken)?;
        if source.errs("shows_the_token_in_errors") {
            return Ok(Box::new(source));
        }
        Ok(Box::new(Discreet::new(source, spoken)))
    }
}

/// The same plugin with settings that nobody checks.
#[derive(Debug)]
pub(crate) struct Lax;

#[derive(Deserialize)]
pub(crate) struct LaxConfig {
    url: String,
    #[serde(default)]
    tls: TlsConfig,
    password: SecretRef,
}

impl Plugin for Lax {
    const TYPE: &'static str = "sample";
    const VERSION: &'static str = "1";
    const STREAMS: &'static [&'static str] = &["log"];
    type Config = LaxConfig;

    fn build(name: &str, config: LaxConfig) -> Result<Box<dyn AuditSource>> {
        let LaxConfig { url, tls, password } = config;
        Sample::build(name, Config { url, tls, password, proxy: ProxyConfig::default(), mistake: None })
    }
}

struct Source {
    info: SourceInfo,
    http: HttpClient,
    tls: TlsConfig,
    password: SecretRef,
    login: Login<Secret>,
    mistake: Option<String>,
    pages: AtomicUsize,
}

#[derive(Deserialize)]
struct Listing<'a> {
    #[serde(borrow)]
    records: Vec<&'a RawValue>,
    total: Option<u64>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Record<'a> {
    id: &'a str,
    at: &'a str,
    user: &'a str,
    what: &'a str,
    from: Option<&'a str>,
}

#[derive(Deserialize)]
struct Me {
    name: String,
    version: String,
}

impl Source {
    fn new(origin: Origin, config: Config, spoken: &Spoken) -> Result<Self> {
        let superset = |column: &str| Pushable { column: column.into(), operators: vec![Operator::In], exact: false };
        let stream = StreamInfo {
            time_field: "at".into(),
            lower_bound: Bound::Inclusive,
            upper_bound: Bound::Exclusive,
            order: Order::Ascending,
            pushable: vec![superset("user_name"), Pushable { exact: true, ..superset("event_code") }],
            parallel_windows: 3,
            blind_spots: vec![BlindSpot {
                predicates: vec![Predicate::any_of("outcome", ["failure"])],
                reason: "only what succeeds is recorded".into(),
            }],
            ..StreamInfo::new("log", StreamKind::Events)
        };
        let info = SourceInfo {
            product: "sample".into(),
            plugin: "sample".into(),
            plugin_version: "1".into(),
            origin: origin.as_str().into(),
            streams: vec![stream],
        };
        let proxy = if config.mistake.as_deref() == Some("goes_past_the_proxy") {
            ProxyConfig::default()
        } else {
            config.proxy
        };
        let http = HttpClient::through(origin, &config.tls, &proxy)?.remembering(spoken);
        Ok(Self {
            info,
            http,
            tls: config.tls,
            password: config.password,
            login: Login::default(),
            mistake: config.mistake,
            pages: AtomicUsize::new(0),
        })
    }

    /// Whether this mistake is to be made.
    fn errs(&self, mistake: &str) -> bool {
        self.mistake.as_deref() == Some(mistake)
    }

    async fn log_in(&self, cx: &Context) -> Result<Secret> {
        let password = self.password.resolve()?;
        let request = HttpRequest::post("/login", "text/plain", password.reveal().to_owned()).hiding(password);
        let response = self.http.send(cx, request).await?;
        if response.status != 200 {
            return Err(error_for(&response).at("log in").hint("check the password"));
        }
        let cookie = response.header("set-cookie").and_then(|cookie| cookie.strip_prefix("token="));
        let token = cookie.ok_or_else(|| Error::new(ErrorKind::Malformed, "the product's login gives no token"))?;
        if self.errs("logs_the_token") {
            tracing::debug!(token, "logged in");
        }
        Ok(Secret::new(token))
    }

    /// Gets a path with the login; anything but 200 is an error.
    async fn get(&self, cx: &Context, path: &str) -> Result<HttpResponse> {
        let make = || async {
            if self.errs("tries_a_refused_password_again") {
                let _ = self.log_in(cx).await;
                fedaudit_core::Meter::count(&cx.meter.logins);
            }
            self.log_in(cx).await
        };
        if self.errs("logs_in_for_every_request") {
            let token = Login::default().get(cx, make()).await?;
            return self.http.send(cx, signed(path, &token)).await;
        }
        self.login
            .with(cx, make, |token| async move {
                let mut request = signed(path, &token);
                if ["ignores_throttling", "hammers", "never_tries_again"].iter().any(|mistake| self.errs(mistake)) {
                    request = request.attempts(1);
                }
                let mut response = self.http.send(cx, request).await?;
                while self.errs("hammers") && response.status == 429 {
                    response = self.http.send(cx, signed(path, &token).attempts(1)).await?;
                }
                match response.status {
                    200 => Ok(Attempt::Done(response)),
                    401 if !self.errs("never_logs_in_again") => Ok(Attempt::Lost(error_for(&response))),
                    403 => Err(error_for(&response).hint("give the account the right AUDITOR")),
                    429 if self.errs("ignores_throttling") => Ok(Attempt::Done(response)),
                    _ => Err(error_for(&response)),
                }
            })
            .await
    }

    fn first_page(&self, request: &PageRequest) -> String {
        let mut path = "/log?".to_owned();
        let mut add = |name: &str, value: &str| {
            let value: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
            path.extend([name, "=", &value, "&"]);
        };
        if let Some(from) = request.window.from {
            let late = i64::from(self.errs("begins_a_microsecond_late"));
            add("from", &(from.micros() + late).to_string());
        }
        if let Some(to) = request.window.to {
            let early = if self.errs("ends_a_second_early") { 1_000_000 } else { 0 };
            add("to", &(to.micros() - early).to_string());
        }
        if let Some(size) = request.page_size {
            add("limit", &size.to_string());
        }
        for predicate in &request.predicates {
            let texts = predicate.texts().unwrap_or_default();
            // The product separates values with a bar: one that holds a bar cannot be said.
            if texts.iter().any(|text| text.contains('|')) {
                continue;
            }
            let list = texts.join("|");
            match predicate.column.as_str() {
                "user_name" if self.errs("pushes_with_the_wrong_case") => add("user_exact", &list),
                "user_name" => add("user", &list),
                "event_code" if self.errs("is_not_as_exact_as_it_says") => {}
                "event_code" => add("what", &list),
                _ => {}
            }
        }
        path
    }

    fn push(&self, cx: &Context, raw: &RawValue, rows: &mut EventBuilder) -> Result<(), String> {
        let record: Record<'_> = serde_json::from_str(raw.get()).map_err(|error| error.to_string())?;
        let mut time = Time::parse(record.at).ok_or_else(|| format!("at: '{}' is no time", record.at))?.time;
        if self.errs("takes_local_time_for_utc") {
            time = Time::parse(&record.at[..record.at.len() - 6]).map_or(time, |parsed| parsed.time);
        }
        if self.errs("drops_what_its_clock_calls_future") && time > cx.now() {
            return Ok(());
        }
        let user = record.user.to_lowercase();
        let address = record.from.and_then(|from| from.parse::<std::net::Ipv6Addr>().ok()).map(|ip| ip.to_string());
        let compact = self.errs("writes_raw_anew").then(|| raw.get().replace(' ', ""));
        let row = EventRow {
            time,
            time_original: Some(record.at),
            event_code: record.what,
            action: match record.what {
                "login" => Action::Login,
                "logout" => Action::Logout,
                _ => Action::Other,
            },
            outcome: Outcome::Success,
            user_name: Some(user.as_str()).filter(|user| !user.is_empty() || self.errs("writes_nothing_for_null")),
            user_original: Some(record.user).filter(|user| !user.is_empty()),
            src_ip: address.as_deref(),
            src_kind: if address.is_some() { AddressKind::Ip } else { AddressKind::None },
            service: self.errs("writes_a_dash_for_null").then_some("-"),
            record_id: Some(record.id),
            raw: compact.as_deref().unwrap_or(raw.get()),
            ..EventRow::new()
        };
        let place = rows.len().to_string();
        let key: &[Option<&str>] = if self.errs("counts_instead_of_keys") {
            &[Some(&place)]
        } else if self.errs("keys_follow_the_name") {
            &[Some(&cx.source), Some(record.id)]
        } else {
            &[Some(record.id)]
        };
        rows.push(key, &[], &row);
        if self.errs("invents_a_row") && record.id == "r007" {
            rows.push(&[Some("r007b")], &[], &EventRow { record_id: Some("r007b"), ..row });
        }
        Ok(())
    }

    async fn page(&self, cx: &Context, request: &PageRequest) -> Result<Page> {
        let mut path = match &request.cursor {
            Some(cursor) => cursor.read::<String>()?,
            None => self.first_page(request),
        };
        if self.errs("remembers_instead_of_a_cursor") && request.cursor.is_some() {
            path.truncate(path.find("after=").unwrap_or(0));
            let page = self.pages.fetch_add(1, Ordering::Relaxed) + 1;
            path = format!("{}&after={}", self.first_page(request), page * request.page_size.unwrap_or(100));
        }
        let cx = if self.errs("has_no_deadline") { &Context { deadline: None, ..cx.clone() } } else { cx };
        let response = match self.get(cx, &path).await {
            Err(error) if self.errs("takes_a_refusal_for_the_end") && error.kind() == ErrorKind::Denied => {
                return nothing(cx);
            }
            other => other?,
        };
        let text = std::str::from_utf8(&response.body).unwrap_or_default();
        let listing: Listing<'_> = match serde_json::from_str(text) {
            Ok(listing) => listing,
            Err(_) if self.errs("takes_nonsense_for_the_end") => return nothing(cx),
            Err(_) if self.errs("ignores_throttling") && response.status == 429 => return nothing(cx),
            Err(error) => return Err(Error::new(ErrorKind::Malformed, format!("the answer is no listing: {error}"))),
        };
        let mut rows = EventBuilder::new(&cx.source_key);
        let mut rejected = Vec::new();
        for raw in &listing.records {
            if let Err(reason) = self.push(cx, raw, &mut rows) {
                if self.errs("stops_at_a_bad_record") {
                    return Err(Error::new(ErrorKind::Malformed, reason));
                }
                rejected.push(Rejected { raw: raw.get().to_owned(), reason });
            }
        }
        if self.errs("drops_bad_records") {
            rejected.clear();
        }
        let observed = Observed { records: listing.records.len() as u64, ..Observed::default() };
        let mut next = match &listing.next {
            Some(link) if self.errs("follows_links_anywhere") => return self.follow_anywhere(cx, link).await,
            Some(link) => Next::More(Cursor::new(&self.http.origin().resolve(link)?)?),
            None => Next::End(EndReason::NoNextLink),
        };
        let count = rows.len();
        if self.errs("loses_ties") && listing.next.is_some() && count > 0 {
            let last: Record<'_> = serde_json::from_str(listing.records[count - 1].get())
                .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
            let at = Time::parse(last.at).map_or(0, |parsed| parsed.time.micros());
            next = Next::More(Cursor::new(&format!("{}after=at:{at}", self.first_page(request)))?);
        }
        if self.errs("ends_at_an_empty_page") && count == 0 {
            next = Next::End(EndReason::EmptyPage);
        }
        if self.errs("never_ends") {
            next = Next::More(Cursor::new(&path)?);
        }
        if self.errs("repeats_a_page") && request.cursor.is_none() && listing.next.is_some() {
            next = Next::More(Cursor::new(&format!("{path}&"))?);
        }
        let mut rows = rows.finish()?;
        if self.errs("drops_the_last_page") && listing.next.is_none() && request.cursor.is_some() {
            rows = rows.slice(0, 0);
        }
        let mut frontier = None;
        if self.errs("promises_too_much") && request.direction == Direction::NewestFirst {
            frontier = Some(Time::from_micros(1));
        }
        Ok(Page { rows, next, frontier, observed, rejected })
    }

    async fn follow_anywhere(&self, cx: &Context, link: &str) -> Result<Page> {
        let url = url::Url::parse(link).map_err(|error| Error::new(ErrorKind::Malformed, error.to_string()))?;
        let http = HttpClient::new(Origin::parse(&url.origin().ascii_serialization())?, &self.tls)?;
        let token = self.login.get(cx, self.log_in(cx)).await?;
        http.send(cx, signed(url.path(), &token)).await?;
        nothing(cx)
    }
}

fn nothing(cx: &Context) -> Result<Page> {
    Ok(Page::last(EventBuilder::new(&cx.source_key).finish()?, EndReason::EmptyPage))
}

fn signed(path: &str, token: &Arc<Secret>) -> HttpRequest {
    HttpRequest::get(path).secret_header("authorization", Secret::new(format!("Bearer {}", token.reveal())))
}

#[async_trait]
impl AuditSource for Source {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    async fn check(&self, cx: &Context) -> Result<SourceHealth> {
        if self.errs("checks_nothing") {
            return Ok(SourceHealth::default());
        }
        let response = self.get(cx, "/me").await?;
        let me: Me = serde_json::from_slice(&response.body).map_err(|error| {
            Error::new(ErrorKind::Malformed, format!("the answer does not say who we are: {error}"))
        })?;
        let mut health =
            SourceHealth { account: Some(me.name), product_version: Some(me.version), ..SourceHealth::default() };
        match self.get(cx, "/log?limit=1").await {
            Err(error) if error.kind() == ErrorKind::Denied => health.denied.push(("log".into(), error.to_string())),
            other => drop(other?),
        }
        Ok(health)
    }

    async fn fetch(&self, cx: &Context, request: &PageRequest) -> Result<Page> {
        if request.stream != "log" && !self.errs("answers_for_any_stream") {
            return Err(Error::new(ErrorKind::NotFound, format!("there is no stream '{}'", request.stream)));
        }
        if request.window.is_empty() {
            return Ok(Page { next: Next::End(EndReason::NothingAsked), ..nothing(cx)? });
        }
        if request.count_only {
            let response = self.get(cx, &format!("{}&limit=1", self.first_page(request))).await?;
            let listing: Listing<'_> = serde_json::from_slice(&response.body)
                .map_err(|error| Error::new(ErrorKind::Malformed, format!("the answer is no listing: {error}")))?;
            let mut page = nothing(cx)?;
            page.observed.count = listing.total.map(|total| total + u64::from(self.errs("counts_wrong")));
            return Ok(page);
        }
        self.page(cx, request).await
    }

    async fn close(&self, cx: &Context) -> Result<()> {
        if let Some(token) = self.login.take().await
            && !self.errs("never_logs_out")
        {
            let token = Secret::new(format!("Bearer {}", token.reveal()));
            let request = HttpRequest::delete("/login").secret_header("authorization", token).attempts(1);
            // A product that does not answer ends its logins by itself.
            let cx = Context { deadline: Some(cx.now().plus(Duration::from_secs(5))), ..cx.clone() };
            if let Err(error) = self.http.send(&cx, request).await {
                tracing::debug!(%error, "log-out was not answered");
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Source");
        if self.errs("shows_the_password_in_debug") {
            shown.field("password", &self.password.resolve().map(|password| password.reveal().to_owned()));
        }
        shown.field("origin", self.http.origin()).finish_non_exhaustive()
    }
}
