//! The way in: which release answers, one login for all concurrent readers, and one new login when that was lost.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fedaudit_core::{Context, Error, ErrorKind, Result, Secret, Time};
use fedaudit_transport::{HttpClient, HttpRequest, Login, Origin, Spoken, TlsConfig, WebSocket, error_for};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{Mutex, OnceCell};

use crate::config::{Config, Credential};
use crate::rpc::{Answer, EOPNOTSUPP, Failure, Rpc};
use crate::scram;

/// How long a product that takes no more logins is left alone.
const THROTTLED_FOR: Duration = Duration::from_mins(1);
/// The same of one that cannot be reached.
const UNREACHABLE_FOR: Duration = Duration::from_secs(5);
/// So many connections that ended within this time are made good: each login is a record in the product's log.
const MAX_LOSSES: usize = 5;
const LOSSES_WITHIN: Duration = Duration::from_mins(5);
/// A logout that takes longer is given up; closing the socket ends the session as well.
const LOGOUT: Duration = Duration::from_secs(5);

/// How a release answers audit queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Regime {
    /// Before 25.10.1: filters in SQL or in memory, results checked as a whole.
    A,
    /// 25.10.1 to 25.10.7: SQL only, a limit is required, and OR means AND.
    B,
    /// 26 and later: as B with OR repaired.
    C,
}

/// A release of the product, as the newest version of its API.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Release(Vec<u32>);

impl Release {
    /// `v25.10.1`
    fn parse(text: &str) -> Option<Self> {
        text.strip_prefix('v')?.split('.').map(|part| part.parse().ok()).collect::<Option<_>>().map(Self)
    }

    /// How it answers audit queries.
    pub(crate) fn regime(&self) -> Regime {
        match self.0.as_slice() {
            release if release >= &[26] => Regime::C,
            release if release >= &[25, 10, 1] => Regime::B,
            _ => Regime::A,
        }
    }

    /// Logins without sending the key came with 26.
    fn offers_scram(&self) -> bool {
        self.regime() == Regime::C
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(u32::to_string).collect();
        f.write_str(&parts.join("."))
    }
}

/// A connection that is logged in.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) rpc: Rpc,
    /// Release as text: `25.10.1`.
    pub(crate) release: String,
    /// Whether the end of a connection is written down.
    pub(crate) writes_logouts: bool,
    /// The product's clock when the connection was made.
    pub(crate) server_time: Option<Time>,
    /// Account the product says we are.
    pub(crate) account: Option<String>,
    /// Id of this connection's session, where we may see it.
    pub(crate) session: Option<String>,
    /// Days that audit rows are kept, where we may see it.
    retention: OnceCell<Option<i64>>,
}

impl Connection {
    /// Before this time nothing is kept.
    pub(crate) async fn retention_floor(&self, cx: &Context) -> Option<Time> {
        #[derive(Deserialize)]
        struct AuditConfig {
            retention: i64,
        }
        let days = self
            .retention
            .get_or_init(|| async {
                let answer = self.rpc.call(cx, "audit.config", "[]").await.ok()?;
                answer.result::<AuditConfig>().ok().map(|config| config.retention).filter(|days| *days > 0)
            })
            .await;
        days.map(|days| cx.now().minus(Duration::from_secs(days as u64 * 86_400)))
    }
}

/// Logs in when a call needs it.
#[derive(Debug)]
pub(crate) struct Gate {
    origin: Origin,
    tls: TlsConfig,
    proxy: fedaudit_transport::ProxyConfig,
    http: HttpClient,
    username: String,
    credential: Credential,
    login: Login<Connection>,
    /// Why the product is left alone, and until when.
    rest: Mutex<Option<(Error, Time)>>,
    spoken: Spoken,
}

impl Gate {
    pub(crate) fn new(config: &Config, spoken: &Spoken) -> Result<Self> {
        let origin = Origin::parse(&config.url)?;
        let credential = config.credential(&origin)?;
        if !origin.is_tls() {
            tracing::warn!(%origin, "the password of this source travels in clear text");
        }
        Ok(Self {
            http: HttpClient::through(origin.clone(), &config.tls, &config.proxy)?,
            tls: config.tls.clone(),
            proxy: config.proxy.clone(),
            username: config.username.clone(),
            credential,
            login: Login::bearing(MAX_LOSSES, LOSSES_WITHIN),
            rest: Mutex::new(None),
            spoken: spoken.clone(),
            origin,
        })
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Id of the API key, the number in front of its secret part.
    pub(crate) fn key_id(&self) -> Option<String> {
        let Credential::ApiKey(key) = &self.credential else { return None };
        let key = key.resolve().ok()?;
        let (id, _) = key.reveal().split_once('-')?;
        id.parse::<u64>().ok().map(|id| id.to_string())
    }

    /// The connection; opened and logged in if there is none.
    pub(crate) async fn connection(&self, cx: &Context) -> Result<Arc<Connection>> {
        self.login.forget_if(|connection| connection.rpc.is_over()).await;
        self.login.get(cx, Box::pin(self.open(cx))).await
    }

    /// Calls a method, with one new login where the old one was lost. Only for calls that change nothing.
    pub(crate) async fn call(&self, cx: &Context, method: &str, params: &str) -> std::result::Result<Answer, Failure> {
        let connection = self.connection(cx).await.map_err(Failure::Wire)?;
        match connection.rpc.call(cx, method, params).await {
            Err(failure) if failure.is_lost_login() => {
                tracing::debug!(method, "the login was lost, logging in again");
                self.login.forget(&connection).await;
                let connection = self.connection(cx).await.map_err(Failure::Wire)?;
                connection.rpc.call(cx, method, params).await
            }
            outcome => outcome,
        }
    }

    /// Logs out and closes the connection, if there is one.
    pub(crate) async fn close(&self, cx: &Context) {
        *self.rest.lock().await = None;
        if let Some(connection) = self.login.take().await {
            // The caller's deadline may be what brought us here.
            let cx = Context { deadline: None, ..cx.clone() };
            let logout = connection.rpc.call(&cx, "auth.logout", "[]");
            if !matches!(tokio::time::timeout(LOGOUT, logout).await, Ok(Ok(_))) {
                tracing::debug!("no answer to the logout; closing the connection ends the session, too");
            }
            connection.rpc.close().await;
        }
    }

    /// Opens a connection. Every stream asks for it: where the product cannot be reached, one attempt speaks for all of them.
    async fn open(&self, cx: &Context) -> Result<Connection> {
        let mut rest = self.rest.lock().await;
        if let Some((error, until)) = &*rest
            && cx.now() < *until
        {
            return Err(error.clone());
        }
        let opened = Box::pin(self.open_now(cx)).await;
        *rest = opened.as_ref().err().and_then(|error| {
            let span = match error.kind() {
                ErrorKind::RateLimited => THROTTLED_FOR,
                ErrorKind::Unavailable | ErrorKind::Timeout => UNREACHABLE_FOR,
                _ => return None,
            };
            Some((error.clone(), cx.now().plus(span)))
        });
        opened
    }

    async fn open_now(&self, cx: &Context) -> Result<Connection> {
        let (release, server_time) = self.release(cx).await?;
        let socket = WebSocket::connect_through(cx, &self.origin, "/api/current", &self.tls, &self.proxy).await?;
        let rpc = Rpc::new(cx, socket);
        let account = self.login(cx, &rpc, &release).await.map_err(|error| self.explained(error))?;
        let session = own_session(cx, &rpc).await;
        let writes_logouts = release >= Release(vec![25, 4, 1]);
        let release = release.to_string();
        Ok(Connection { rpc, release, writes_logouts, server_time, account, session, retention: OnceCell::new() })
    }

    /// Says what to do about a connection that was closed for where it came from.
    fn explained(&self, error: Error) -> Error {
        let error = error.at(&self.origin);
        if error.kind() == ErrorKind::Denied && error.hint_text().is_none() {
            return error
                .hint("System > General Settings > GUI lists the addresses that may use the API: add this host's");
        }
        error
    }

    /// The newest API version, from the one question that needs no login.
    async fn release(&self, cx: &Context) -> Result<(Release, Option<Time>)> {
        const PATH: &str = "/api/versions";
        let response = self.http.send(cx, HttpRequest::get(PATH)).await?;
        let place = format!("{}{PATH}", self.origin);
        if response.status == 404 {
            return Err(Error::new(ErrorKind::Unsupported, "this TrueNAS has no JSON-RPC API")
                .at(place)
                .hint("fedaudit reads TrueNAS 25.04 and later"));
        }
        let versions: Option<Vec<String>> =
            serde_json::from_slice(&response.body).ok().filter(|_| response.status == 200);
        let newest = versions.and_then(|versions| versions.iter().filter_map(|text| Release::parse(text)).max());
        let Some(release) = newest else {
            return Err(if response.status == 200 {
                Error::new(ErrorKind::Malformed, "the answer is no list of API versions")
                    .hint("is this the address of a TrueNAS, and is nothing in front of it answering?")
                    .at(place)
            } else {
                error_for(&response).at(place)
            });
        };
        Ok((release, response.server_time()))
    }

    /// Proves who we are; returns the account that the product made of it.
    async fn login(&self, cx: &Context, rpc: &Rpc, release: &Release) -> Result<Option<String>> {
        let user = &self.username;
        let (secret, attempt) = match &self.credential {
            Credential::ApiKey(key) => {
                let key = key.resolve()?;
                if let Some(parts) = scram::Parts::of(&key)
                    && release.offers_scram()
                    && self.mechanisms(cx, rpc).await?.iter().any(|mechanism| mechanism == "SCRAM")
                {
                    return self.prove(cx, rpc, &key, &parts).await;
                }
                let attempt = json!({"mechanism": "API_KEY_PLAIN", "username": user, "api_key": key.reveal()});
                (key, attempt)
            }
            Credential::Password(password) => {
                let password = password.resolve()?;
                let attempt = json!({"mechanism": "PASSWORD_PLAIN", "username": user, "password": password.reveal()});
                (password, attempt)
            }
            Credential::Token(token) => {
                let token = token.resolve()?;
                let attempt = json!({"mechanism": "TOKEN_PLAIN", "token": token.reveal()});
                (token, attempt)
            }
        };
        let login = self.attempt(cx, rpc, &secret, &attempt).await?;
        match login.response_type.as_str() {
            "SUCCESS" => Ok(login.account()),
            other => Err(self.refused(other, &login.urls)),
        }
    }

    /// A login with an API key that does not leave this process.
    async fn prove(&self, cx: &Context, rpc: &Rpc, key: &Secret, parts: &scram::Parts) -> Result<Option<String>> {
        let message = |kind: &str, text: &str| json!({"mechanism": "SCRAM", "scram_type": kind, "rfc_str": text});
        let opening = scram::Opening::new(&self.username, parts)?;
        let first = self.attempt(cx, rpc, key, &message("CLIENT_FIRST_MESSAGE", &opening.message())).await?;
        if first.response_type != "SCRAM_RESPONSE" {
            return Err(self.refused(&first.response_type, &first.urls));
        }
        let secret = parts.secret.clone();
        let prove = move || Ok::<_, Error>(opening.read(&first.rfc_str)?.prove(&secret));
        let proof = tokio::task::spawn_blocking(prove)
            .await
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))??;
        let last = self.attempt(cx, rpc, key, &message("CLIENT_FINAL_MESSAGE", &proof.message)).await?;
        if last.response_type != "SCRAM_RESPONSE" {
            return Err(self.refused(&last.response_type, &last.urls));
        }
        proof.verify(&last.rfc_str)?;
        Ok(last.account())
    }

    /// The ways to log in that the product names to anybody.
    async fn mechanisms(&self, cx: &Context, rpc: &Rpc) -> Result<Vec<String>> {
        const METHOD: &str = "auth.mechanism_choices";
        let answer = rpc.call(cx, METHOD, "[]").await.map_err(|failure| failure.into_error(METHOD))?;
        answer.result()
    }

    /// One message of a login. Should the product repeat the secret, it is not shown.
    async fn attempt(
        &self,
        cx: &Context,
        rpc: &Rpc,
        secret: &Secret,
        attempt: &serde_json::Value,
    ) -> Result<LoginAnswer> {
        const METHOD: &str = "auth.login_ex";
        self.spoken.remember(secret);
        let params = Secret::new(json!([attempt]).to_string());
        match rpc.call(cx, METHOD, params.reveal()).await {
            Ok(answer) => answer.result(),
            Err(Failure::Refused(refusal)) if refusal.number() == Some(EOPNOTSUPP) => {
                Err(Error::new(ErrorKind::Unsupported, refusal.without(secret.reveal()).text()).at(METHOD).hint(
                    "the security settings of this TrueNAS allow a password with a second factor only: no program can \
                     log in",
                ))
            }
            Err(Failure::Refused(refusal)) => {
                Err(Failure::Refused(Box::new(refusal.without(secret.reveal()))).into_error(METHOD))
            }
            Err(failure) => Err(failure.into_error(METHOD)),
        }
    }

    fn refused(&self, answer: &str, urls: &[String]) -> Error {
        let refused = |text: &str, hint: &str| Error::new(ErrorKind::Unauthenticated, text).hint(hint);
        let user = match self.username.as_str() {
            "" => "the token".to_owned(),
            user => format!("'{user}'"),
        };
        match answer {
            "AUTH_ERR" => refused(
                &format!("TrueNAS does not accept the credential of {user}"),
                match self.credential {
                    Credential::ApiKey(_) => "the key must belong to exactly this username and must not be revoked",
                    Credential::Password(_) => "check the password and that the account is not locked",
                    Credential::Token(_) => {
                        "tokens end ten minutes after their last use, some after the first: make one"
                    }
                },
            ),
            "EXPIRED" => refused(
                &format!("the credential of {user} is expired or revoked"),
                "create a new API key; TrueNAS revokes keys that were ever sent over plain HTTP",
            ),
            "OTP_REQUIRED" => refused(
                &format!("{user} needs a second factor, which a program cannot give"),
                "read with an API key, or with an account without two-factor authentication",
            ),
            "DENIED" => Error::new(ErrorKind::Denied, format!("{user} may not use the API"))
                .hint("give the account a privilege with the roles SYSTEM_AUDIT_READ and AUTH_SESSIONS_READ"),
            "REDIRECT" => {
                let active = if urls.is_empty() { String::new() } else { format!(" ({})", urls.join(", ")) };
                Error::new(ErrorKind::Unavailable, "this is the standby controller").hint(format!(
                    "configure the address of the active controller{active}, or the virtual address of the pair"
                ))
            }
            other => Error::new(ErrorKind::Unsupported, format!("unknown answer to the login: {other}")),
        }
    }
}

/// An answer of `auth.login_ex`.
#[derive(Deserialize)]
struct LoginAnswer {
    response_type: String,
    #[serde(default)]
    user_info: Option<UserInfo>,
    #[serde(default)]
    urls: Vec<String>,
    #[serde(default)]
    rfc_str: String,
}

#[derive(Deserialize)]
struct UserInfo {
    pw_name: Option<String>,
}

impl LoginAnswer {
    fn account(self) -> Option<String> {
        self.user_info?.pw_name
    }
}

/// Our own session's id, so that the rows we cause ourselves can be told.
async fn own_session(cx: &Context, rpc: &Rpc) -> Option<String> {
    #[derive(Deserialize)]
    struct Session {
        id: String,
    }
    let answer = rpc.call(cx, "auth.sessions", r#"[[["current","=",true]],{"limit":1}]"#).await.ok()?;
    answer.result::<Vec<Session>>().ok()?.into_iter().next().map(|session| session.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_decides_the_regime() {
        let newest = |list: &[&str]| list.iter().filter_map(|text| Release::parse(text)).max().unwrap().regime();
        assert_eq!(newest(&["v25.10.0", "v25.04.0", "v24.10"]), Regime::A);
        assert_eq!(newest(&["v25.10.0.1"]), Regime::A);
        assert_eq!(newest(&["v25.10.7", "v25.10.0", "nonsense"]), Regime::B);
        assert_eq!(newest(&["v25.10.1"]), Regime::B);
        assert_eq!(newest(&["v26.0.0", "v25.10.7"]), Regime::C);
        assert_eq!(newest(&["v27.0.0"]), Regime::C);
    }

    #[test]
    fn releases_are_ordered_by_number() {
        let of = |text| Release::parse(text).unwrap();
        assert!(of("v25.10.10") > of("v25.10.9"));
        assert!(of("v26.0.0") > of("v25.10.7"));
        assert_eq!(of("v25.10.1").to_string(), "25.10.1");
        assert_eq!(Release::parse("current"), None);
    }
}
