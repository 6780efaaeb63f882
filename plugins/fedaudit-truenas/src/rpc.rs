//! JSON-RPC over one WebSocket that many calls share: a task owns the socket, pairs answers with calls by their id, and
//! keeps idle connections alive.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fedaudit_core::{Context, Error, ErrorKind, Result};
use fedaudit_transport::WebSocket;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// Calls in flight; the product runs ten at once and refuses the connection's 21st.
const IN_FLIGHT: usize = 10;
/// The proxy in front of the product drops connections after a minute of silence.
const KEEP_ALIVE: Duration = Duration::from_secs(25);
/// Not even an answer to a ping for this long: the other side is gone.
const SILENCE: Duration = Duration::from_secs(90);
/// How long a connection that takes nothing more may go on to say why.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Notices that are kept for a slow listener; a list that is read again makes up for more.
const NOTICES: usize = 1024;
/// Id of keep-alive calls; the others count from one.
const PING_ID: u64 = 0;

/// Errors of the product's own numbering.
pub(crate) const EPERM: i64 = 1;
pub(crate) const EACCES: i64 = 13;
const ENOENT: i64 = 2;
const EBUSY: i64 = 16;
const EINVAL: i64 = 22;
pub(crate) const EOPNOTSUPP: i64 = 95;
const ENOTAUTHENTICATED: i64 = 207;

/// Why a call has no result.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The product answered with an error.
    Refused(Box<Refusal>),
    /// There is no answer.
    Wire(Error),
}

/// An error as the product sent it, without its trace: that one can hold server-side values.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Refusal {
    code: i64,
    #[serde(default)]
    message: String,
    #[serde(default)]
    data: Option<Details>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    error: Option<i64>,
    reason: Option<String>,
    trace: Option<Trace>,
    extra: Option<serde_json::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Trace {
    class: Option<String>,
}

impl Refusal {
    /// The product's error number, where it gives one.
    pub(crate) fn number(&self) -> Option<i64> {
        self.data.as_ref()?.error
    }

    /// Whether a record of the page, not the question, made the call fail: one that the product itself cannot decode, or not
    /// send.
    pub(crate) fn is_spoilt_page(&self) -> bool {
        let data = self.data.as_ref();
        let class = data.and_then(|data| data.trace.as_ref()?.class.as_deref()).unwrap_or_default();
        let reason = data.and_then(|data| data.reason.as_deref()).unwrap_or_default();
        let is_of_row =
            class == "JSONDecodeError" || reason.contains("validation error") || reason.contains("malformed JSON");
        self.code == -32603 || (self.code == -32001 && is_of_row)
    }

    /// Whether the other controller of a pair did not answer.
    pub(crate) fn is_other_controller(&self) -> bool {
        let extra = self.data.as_ref().and_then(|data| data.extra.as_ref()?.as_array());
        let mut attributes = extra.into_iter().flatten().filter_map(|entry| entry.get(0)?.as_str());
        self.code == -32602 && attributes.any(|attribute| attribute.ends_with(".remote_controller"))
    }

    /// Whether the question was refused for what it says.
    pub(crate) fn is_of_question(&self) -> bool {
        let is_invalid = self.code == -32602 || (self.code == -32001 && self.number() == Some(EINVAL));
        is_invalid && !self.is_spoilt_page() && !self.is_other_controller()
    }

    /// The same without a text that must not be shown, should the product have repeated it.
    pub(crate) fn without(mut self, secret: &str) -> Self {
        self.message = self.message.replace(secret, "***");
        if let Some(data) = &mut self.data {
            data.reason = data.reason.as_ref().map(|reason| reason.replace(secret, "***"));
        }
        self
    }

    /// What the product said, on one line.
    pub(crate) fn text(&self) -> String {
        let reason = self.data.as_ref().and_then(|data| data.reason.as_deref()).unwrap_or(&self.message);
        reason.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(300).collect()
    }
}

impl Failure {
    /// Whether a new login may help.
    pub(crate) fn is_lost_login(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.number() == Some(ENOTAUTHENTICATED),
            Self::Wire(error) => error.kind() == ErrorKind::Unavailable,
        }
    }

    /// The error for people and for the receipt.
    pub(crate) fn into_error(self, method: &str) -> Error {
        let refusal = match self {
            Self::Wire(error) => return error.at(method),
            Self::Refused(refusal) => refusal,
        };
        if refusal.is_other_controller() {
            return Error::new(ErrorKind::Unavailable, format!("the other controller: {}", refusal.text()))
                .at(method)
                .hint("is the other controller of the pair up? it has two seconds to answer");
        }
        let kind = match (refusal.code, refusal.number()) {
            (-32000, _) | (_, Some(EBUSY)) => ErrorKind::RateLimited,
            (-32601 | -32602, _) | (_, Some(EOPNOTSUPP)) => ErrorKind::Unsupported,
            (_, Some(ENOTAUTHENTICATED)) => ErrorKind::Unauthenticated,
            (_, Some(EPERM | EACCES)) => ErrorKind::Denied,
            (_, Some(ENOENT)) => ErrorKind::NotFound,
            (-32700 | -32600, _) => ErrorKind::Internal,
            (_, Some(EINVAL)) => ErrorKind::Malformed,
            _ => ErrorKind::Unavailable,
        };
        let error = Error::new(kind, refusal.text()).at(method);
        match kind {
            ErrorKind::Denied => error.hint(if method == "auth.sessions" {
                "give the account the role AUTH_SESSIONS_READ (READONLY_ADMIN includes it)"
            } else {
                "give the account the role SYSTEM_AUDIT_READ (READONLY_ADMIN includes it)"
            }),
            ErrorKind::RateLimited => {
                error.hint("TrueNAS allows 20 logins a minute from one address; wait a minute, or query less often")
            }
            _ => error,
        }
    }
}

/// The text of an answer.
#[derive(Debug)]
pub(crate) struct Answer(String);

impl Answer {
    /// An answer put together from others.
    pub(crate) fn of(result: &str) -> Self {
        Self(format!(r#"{{"result":{result}}}"#))
    }

    /// The result, borrowed from the answer.
    pub(crate) fn result<'a, T: Deserialize<'a>>(&'a self) -> Result<T> {
        #[derive(Deserialize)]
        struct Envelope<T> {
            result: T,
        }
        serde_json::from_str::<Envelope<T>>(&self.0)
            .map(|envelope| envelope.result)
            .map_err(|error| Error::new(ErrorKind::Malformed, format!("the answer cannot be read: {error}")))
    }

    /// All of it, for results that are read piece by piece.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// The answer that a text is, or the refusal.
    ///
    /// Answers are megabytes and refusals are short, and `error` comes before anything long: so only a text without a
    /// result is decoded here.
    pub(crate) fn received(text: String) -> std::result::Result<Self, Failure> {
        #[derive(Deserialize)]
        struct Refused {
            error: Refusal,
        }
        let head = text.get(..64).unwrap_or(&text);
        let says_result = head.contains("\"result\"") && !head.contains("\"error\"");
        if says_result {
            return Ok(Self(text));
        }
        match serde_json::from_str::<Refused>(&text) {
            Ok(refused) => Err(Failure::Refused(Box::new(refused.error))),
            Err(_) => Ok(Self(text)),
        }
    }
}

enum Command {
    Call { cx: Context, id: u64, text: String, reply: oneshot::Sender<Result<String>> },
    Close(oneshot::Sender<()>),
}

/// A shared connection.
#[derive(Debug)]
pub(crate) struct Rpc {
    commands: mpsc::Sender<Command>,
    /// Weak: listeners are to notice that nobody speaks any more.
    notices: broadcast::WeakSender<Arc<str>>,
    /// Why it ended, once it has.
    end: Arc<OnceLock<Error>>,
    slots: Semaphore,
    next_id: AtomicU64,
}

impl Rpc {
    /// Takes over an open socket.
    pub(crate) fn new(cx: &Context, socket: WebSocket) -> Self {
        Self::with_keep_alive(cx, socket, KEEP_ALIVE)
    }

    fn with_keep_alive(cx: &Context, socket: WebSocket, keep_alive: Duration) -> Self {
        let (commands, received) = mpsc::channel(IN_FLIGHT);
        let (notices, _) = broadcast::channel(NOTICES);
        let end = Arc::new(OnceLock::new());
        // The task outlives the call that opened the connection: neither its deadline nor its counters.
        let cx = Context { deadline: None, meter: Arc::default(), ..cx.clone() };
        let weak = notices.downgrade();
        let wire = Wire { cx, socket, notices, end: Arc::clone(&end), keep_alive };
        tokio::spawn(wire.drive(received));
        Self { commands, notices: weak, end, slots: Semaphore::new(IN_FLIGHT), next_id: AtomicU64::new(PING_ID + 1) }
    }

    /// Hears what the product says unasked, from now on; at once the end of a connection that has ended.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Arc<str>> {
        self.notices.upgrade().unwrap_or_else(|| broadcast::channel(1).0).subscribe()
    }

    /// Calls a method; `params` is a JSON list.
    pub(crate) async fn call(&self, cx: &Context, method: &str, params: &str) -> std::result::Result<Answer, Failure> {
        let text = self.exchange(cx, method, params).await.map_err(Failure::Wire)?;
        cx.meter.bytes.fetch_add(text.len() as u64, Relaxed);
        Answer::received(text)
    }

    async fn exchange(&self, cx: &Context, method: &str, params: &str) -> Result<String> {
        let lost = || match self.end.get() {
            Some(error) => error.clone(),
            None => Error::new(ErrorKind::Unavailable, "the connection was lost"),
        };
        let id = self.next_id.fetch_add(1, Relaxed);
        let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#);
        let exchange = async {
            let _slot = self.slots.acquire().await.map_err(|_| lost())?;
            let (reply, answer) = oneshot::channel();
            self.commands.send(Command::Call { cx: cx.clone(), id, text, reply }).await.map_err(|_| lost())?;
            answer.await.map_err(|_| lost())?
        };
        match cx.deadline {
            None => exchange.await,
            Some(deadline) => {
                let left = deadline.micros().saturating_sub(cx.now().micros()).max(0);
                tokio::time::timeout(Duration::from_micros(left as u64), exchange)
                    .await
                    .unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout, "no answer within the deadline")))
            }
        }
    }

    /// Whether the connection has ended: whoever calls next needs another.
    pub(crate) fn is_over(&self) -> bool {
        self.end.get().is_some()
    }

    /// Closes the socket and waits until it is.
    pub(crate) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.commands.send(Command::Close(done)).await.is_ok() {
            let _ = closed.await;
        }
    }
}

/// The socket and what its task needs.
struct Wire {
    cx: Context,
    socket: WebSocket,
    notices: broadcast::Sender<Arc<str>>,
    end: Arc<OnceLock<Error>>,
    keep_alive: Duration,
}

impl Wire {
    /// Owns the socket until it is closed, fails, or nobody holds the connection any more.
    async fn drive(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut waiting: HashMap<u64, oneshot::Sender<Result<String>>> = HashMap::new();
        let mut keep_alive = interval_at(Instant::now() + self.keep_alive, self.keep_alive);
        keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        let failure = loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Call { cx, id, text, reply }) => {
                        waiting.insert(id, reply);
                        if let Err(error) = self.socket.send(&cx, text).await {
                            // What the product said last tells more than that nobody listens any more.
                            let last = tokio::time::timeout(LAST_WORDS, self.socket.next(&self.cx)).await;
                            break last.ok().and_then(Result::err).unwrap_or(error);
                        }
                    }
                    Some(Command::Close(done)) => {
                        self.socket.close().await;
                        let _ = done.send(());
                        return;
                    }
                    None => {
                        self.socket.close().await;
                        return;
                    }
                },
                message = self.socket.next(&self.cx) => match message {
                    Ok(text) => {
                        heard = Instant::now();
                        match Heard::of(&text) {
                            // Answers to calls that were given up have no taker.
                            Heard::Answer(id) => drop(waiting.remove(&id).map(|reply| reply.send(Ok(text)))),
                            Heard::Notice => drop(self.notices.send(text.into())),
                            // It may have been any call's answer: waiting for another is in vain.
                            Heard::Nonsense(what) => {
                                let error = Error::new(ErrorKind::Malformed, format!("the product sent {what}"));
                                break error.at(self.socket.place());
                            }
                        }
                    }
                    Err(error) => break error,
                },
                _ = keep_alive.tick() => {
                    if heard.elapsed() > SILENCE {
                        break Error::new(ErrorKind::Unavailable, "the product has fallen silent");
                    }
                    let ping = format!(r#"{{"jsonrpc":"2.0","id":{PING_ID},"method":"core.ping","params":[]}}"#);
                    if let Err(error) = self.socket.send(&self.cx, ping).await {
                        break error;
                    }
                }
            }
        };
        let _ = self.end.set(failure.clone());
        for (_, reply) in waiting {
            let _ = reply.send(Err(failure.clone()));
        }
    }
}

/// What a message is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The answer to the call of this id.
    Answer(u64),
    /// Something that the product says unasked.
    Notice,
    /// Neither. Its text may repeat anything, a login as well: so it is described, not shown.
    Nonsense(String),
}

impl Heard {
    pub(crate) fn of(text: &str) -> Self {
        #[derive(Deserialize)]
        struct Envelope<'a> {
            #[serde(borrow)]
            id: Option<&'a RawValue>,
            #[serde(borrow)]
            method: Option<&'a RawValue>,
            error: Option<Refusal>,
        }
        if let Some(id) = trailing_id(text) {
            return Self::Answer(id);
        }
        let Ok(envelope) = serde_json::from_str::<Envelope<'_>>(text) else {
            return Self::Nonsense(format!("{} bytes that are no JSON-RPC message", text.len()));
        };
        match (envelope.id.map(|id| id.get().parse()), envelope.method, envelope.error) {
            (Some(Ok(id)), _, _) => Self::Answer(id),
            (Some(Err(_)), _, _) => Self::Nonsense("the answer to a call that was not made".to_owned()),
            (None, Some(_), _) => Self::Notice,
            (None, None, Some(error)) => Self::Nonsense(format!("an error ({}) that names no call", error.code)),
            (None, None, None) => Self::Nonsense("JSON that is neither an answer nor a notice".to_owned()),
        }
    }
}

/// The product writes the id last. A text that ends in `,"id":7}` has it as a member of the outermost object, so that
/// megabytes of result need not be decoded to find it. Without the comma the name could be a longer one: `"x\"id"`.
fn trailing_id(text: &str) -> Option<u64> {
    let inner = text.trim_end().strip_suffix('}')?.trim_end();
    let head = inner.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = &inner[head.len()..];
    let before = head.trim_end().strip_suffix(':')?.trim_end().strip_suffix("\"id\"")?;
    before.trim_end().ends_with([',', '{']).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fedaudit_core::{Clock, Time};
    use fedaudit_testkit::truenas::{Options, StandIn};
    use fedaudit_testkit::{Authority, Settings, World, serve};
    use fedaudit_transport::{Origin, TlsConfig};

    use super::*;

    struct Wall;
    impl Clock for Wall {
        fn now(&self) -> Time {
            Time::from_micros(1_795_300_000_000_000)
        }
    }

    #[tokio::test]
    async fn idle_connections_are_kept_alive() {
        let world = World::generate(&Settings { events: 100, ..Settings::new(1, 1_795_300_000_000_000) });
        let options = Options { idle: Some(Duration::from_millis(400)), ..Options::default() };
        let authority = Authority::new().unwrap();
        let server = serve(StandIn::new(Arc::new(world), options).router(), &authority).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, authority.ca_pem()).unwrap();
        let tls: TlsConfig = serde_json::from_value(serde_json::json!({"ca_file": ca})).unwrap();
        let cx = Context {
            source: "nas-1".into(),
            source_key: "nas".into(),
            clock: Arc::new(Wall),
            deadline: None,
            meter: Arc::default(),
        };
        let origin = Origin::parse(&server.origin).unwrap();
        let mut outcomes = Vec::new();
        for keep_alive in [Duration::from_millis(100), Duration::from_mins(1)] {
            let socket = WebSocket::connect(&cx, &origin, "/api/current", &tls).await.unwrap();
            let rpc = Rpc::with_keep_alive(&cx, socket, keep_alive);
            tokio::time::sleep(Duration::from_millis(1200)).await;
            outcomes.push(rpc.call(&cx, "core.ping", "[]").await.is_ok());
        }
        // Without pings the stand-in hangs up: the test can fail.
        assert_eq!(outcomes, [true, false]);
    }

    #[test]
    fn answers_find_their_call_and_the_rest_is_told_apart() {
        assert_eq!(Heard::of(r#"{"jsonrpc": "2.0", "result": [1], "id": 12}"#), Heard::Answer(12));
        assert_eq!(Heard::of(r#"{"jsonrpc":"2.0","id":12,"result":{"a":{"id":7}}}"#), Heard::Answer(12));
        assert_eq!(Heard::of(r#"{"jsonrpc":"2.0","method":"collection_update","params":{"id":7}}"#), Heard::Notice);
        for (text, word) in [
            ("", "0 bytes"),
            ("no JSON", "no JSON-RPC"),
            ("[1]", "no JSON-RPC"),
            (r#"{"jsonrpc":"2.0","result":[{"audit_id":"#, "no JSON-RPC"),
            (r#"{"jsonrpc":"2.0","result":[]}"#, "neither"),
            (r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"Parse error"},"id":null}"#, "(-32700)"),
            (r#"{"jsonrpc":"2.0","result":[],"id":"seven"}"#, "was not made"),
        ] {
            assert!(matches!(Heard::of(text), Heard::Nonsense(what) if what.contains(word)), "{text}");
        }
        assert!(matches!(Heard::of(r#"{"x\"id":7}"#), Heard::Nonsense(_)));
    }

    #[test]
    fn errors_are_told_apart_by_code_and_number() {
        let refused = |error: &str| match Answer::received(format!(r#"{{"error":{error},"id":1}}"#)) {
            Err(Failure::Refused(refusal)) => *refusal,
            other => panic!("{other:?} is no refusal"),
        };
        for (error, kind) in [
            (r#"{"code":-32601,"message":"Method does not exist"}"#, ErrorKind::Unsupported),
            (
                r#"{"code":-32000,"message":"Maximum number of concurrent calls (20) has exceeded"}"#,
                ErrorKind::RateLimited,
            ),
            (r#"{"code":-32700,"message":"Parse error"}"#, ErrorKind::Internal),
            (
                r#"{"code":-32001,"message":"","data":{"error":16,"reason":"[EBUSY] Rate Limit Exceeded"}}"#,
                ErrorKind::RateLimited,
            ),
            (
                r#"{"code":-32001,"message":"","data":{"error":207,"reason":"[ENOTAUTHENTICATED]"}}"#,
                ErrorKind::Unauthenticated,
            ),
            (r#"{"code":-32001,"message":"","data":{"error":95,"reason":"[EOPNOTSUPP]"}}"#, ErrorKind::Unsupported),
            (r#"{"code":-32001,"message":"","data":{"error":13,"trace":null,"extra":null}}"#, ErrorKind::Denied),
            (
                r#"{"code":-32602,"message":"Invalid params","data":{"error":22,"extra":[["audit.query.remote_controller","timed out",22]]}}"#,
                ErrorKind::Unavailable,
            ),
        ] {
            let refusal = refused(error);
            assert!(!refusal.is_spoilt_page(), "{error}");
            assert_eq!(Failure::Refused(Box::new(refusal)).into_error("audit.query").kind(), kind, "{error}");
        }
        for error in [
            r#"{"code":-32603,"message":"Internal error"}"#,
            r#"{"code":-32001,"message":"","data":{"error":22,"reason":"Expecting value","trace":{"class":"JSONDecodeError"}}}"#,
            r#"{"code":-32001,"message":"","data":{"error":22,"reason":"3 validation errors for AuditQueryResult"}}"#,
        ] {
            assert!(refused(error).is_spoilt_page() && !refused(error).is_of_question(), "{error}");
        }
        let operator = r#"{"code":-32001,"message":"","data":{"error":22,"reason":"Invalid operation: rin"}}"#;
        assert!(refused(operator).is_of_question());
    }

    #[test]
    fn refusals_have_kinds_and_no_traces() {
        let text = r#"{"jsonrpc":"2.0","error":{"code":-32001,"message":"Method call error","data":{"error":13,"errname":"EACCES",
            "reason":"[EACCES] Not authorized","trace":{"class":"CallError","frames":[{"locals":{"password":"hunter"}}]},"extra":null}},"id":3}"#;
        let Err(failure) = Answer::received(text.to_owned()) else { panic!("a refusal") };
        let error = failure.into_error("audit.query");
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(error.hint_text().unwrap().contains("SYSTEM_AUDIT_READ"));
        assert!(!format!("{error:?}").contains("hunter"));
    }
}
