//! How a login is made and given back, and what the appliance says of itself to whoever is logged in.

use std::time::Duration;

use base64::Engine as _;
use fedaudit_core::{Context, Error, ErrorKind, Result, Secret, Time};
use fedaudit_transport::{HttpClient, HttpRequest, HttpResponse, SecretRef};

use crate::api::{encode, refusal};
use crate::object::{Object, Tape, texts};

/// What may be wrong where a login does not last.
pub(crate) const FORGOTTEN: &str =
    "the appliance forgot a login it had just given; is the idle time-out, or a limit of logins, too small?";
/// How long a login that came to nothing may take to be given back.
const PARTING: Duration = Duration::from_secs(3);

/// What the appliance says of itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Appliance {
    pub(crate) firmware: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) roles: Vec<String>,
    pub(crate) server_time: Option<Time>,
}

/// A login that the appliance has accepted.
#[derive(Debug)]
pub(crate) struct Accepted {
    cookie: Secret,
    pub(crate) appliance: Appliance,
    /// Why this node must not be read, if it must not.
    refused: Option<Error>,
    /// What every answer obtained with this login has to be taken with.
    pub(crate) note: Option<String>,
}

impl Accepted {
    /// The request with the login in it. The cookie is kept by value: cookie stores drop it when the clocks differ,
    /// because the appliance gives it an expiry.
    pub(crate) fn sign(&self, request: HttpRequest) -> HttpRequest {
        let cookie = Secret::new(format!("session_id={}", self.cookie.reveal()));
        request.header("accept", "application/json").secret_header("cookie", cookie)
    }

    /// An error where this node must not be read. The login is kept all the same, to be given back at the end.
    pub(crate) fn permit(&self) -> Result<()> {
        self.refused.clone().map_or(Ok(()), Err)
    }

    /// Logs out. The answer does not matter: an unused login ends by itself after the idle time.
    pub(crate) async fn end(&self, cx: &Context, http: &HttpClient) {
        let request = self.sign(HttpRequest::delete("/api/authentication")).attempts(1);
        if let Err(error) = http.send(cx, request).await {
            tracing::debug!(%error, "log-out was not answered");
        }
    }
}

/// Who logs in, and how.
#[derive(Debug)]
pub(crate) struct Credentials {
    pub(crate) username: String,
    pub(crate) password: SecretRef,
    pub(crate) method: Option<String>,
    pub(crate) allow_search_minion: bool,
}

impl Credentials {
    /// Makes a login, and asks the appliance who it is.
    pub(crate) async fn log_in(&self, cx: &Context, http: &HttpClient) -> Result<Accepted> {
        let cookie = self.cookie(cx, http).await.map_err(|error| {
            let place = format!("log in as {} at {}", self.username, http.origin());
            error.at(place)
        })?;
        let mut login = Accepted { cookie, appliance: Appliance::default(), refused: None, note: None };
        if let Err(error) = self.introduce(cx, http, &mut login).await {
            // Logged in, and nobody would know of it. The time for the page may be up already.
            let soon = Context { deadline: Some(cx.now().plus(PARTING)), ..cx.clone() };
            login.end(&soon, http).await;
            return Err(error);
        }
        Ok(login)
    }

    async fn cookie(&self, cx: &Context, http: &HttpClient) -> Result<Secret> {
        let password = self.password.resolve()?;
        let token =
            base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", self.username, password.reveal()));
        let path = match &self.method {
            Some(method) => format!("/api/authentication?type=password&login_method={}", encode(method)),
            None => "/api/authentication".to_owned(),
        };
        let request = HttpRequest::get(path)
            .header("accept", "application/json")
            .secret_header("authorization", Secret::new(format!("Basic {token}")));
        let response = http.send(cx, request).await?;
        match response.status {
            200..300 => session_cookie(&response).ok_or_else(|| interactive(&response)),
            401 if asks_for_more(&response) => Err(interactive(&response)),
            401 => Err(refusal(&response).hint(format!(
                "check username and password; an account of another login backend needs login_method{}. \
                 The password is not tried again, so that the account is not locked",
                self.offered(cx, http).await
            ))),
            _ => Err(refusal(&response)
                .hint("is this the address of the SPS web interface, with management access enabled?")),
        }
    }

    /// The ways to log in that the appliance names to anybody, for a hint.
    async fn offered(&self, cx: &Context, http: &HttpClient) -> String {
        // 6.x has the second one.
        for (path, member) in
            [("/api/authentication/login_methods", "login_methods"), ("/api/authentication/types", "types")]
        {
            let request = HttpRequest::get(path).header("accept", "application/json").attempts(1);
            let Ok(response) = http.send(cx, request).await else { break };
            let text = String::from_utf8_lossy(&response.body);
            let tape = Tape::check(&text).ok().filter(|_| response.status == 200);
            let names = tape.and_then(|tape| texts(tape.root().take(member)?).map(|names| names.join(", ")));
            if let Some(names) = names {
                return format!(" (the appliance offers: {names})");
            }
        }
        String::new()
    }

    /// Asks the appliance who it is, and decides whether it may be read.
    async fn introduce(&self, cx: &Context, http: &HttpClient, login: &mut Accepted) -> Result<()> {
        let response = http.send(cx, login.sign(HttpRequest::get("/api/info"))).await?;
        match response.status {
            200 => {
                login.appliance = appliance(&response)
                    .map_err(|error| malformed(&response, &error).at(format!("GET {}/api/info", http.origin())))?;
                // Whoever is not logged in gets a shorter answer.
                if login.appliance.firmware.is_none() {
                    login.note = Some(untold("it names neither"));
                }
            }
            // The login itself was accepted: no refusal of the credentials, to be remembered as one.
            401 => {
                let place = format!("GET {}/api/info", http.origin());
                return Err(Error::new(ErrorKind::Unavailable, refusal(&response).message()).at(place).hint(FORGOTTEN));
            }
            429 | 500.. => return Err(refusal(&response).at(format!("GET {}/api/info", http.origin()))),
            // The sessions may be readable all the same; but nobody knows whether they are the node's own.
            status => login.note = Some(untold(&format!("HTTP {status}"))),
        }
        login.appliance.server_time = response.server_time();
        let minion = login.appliance.roles.iter().any(|role| role == "search-minion");
        if minion && self.allow_search_minion {
            login.note = Some("this node is a search minion: its sessions are on the search master only".to_owned());
        }
        login.refused = self.minion(&login.appliance);
        Ok(())
    }

    /// A minion answers every search with "nothing", and looks healthy.
    fn minion(&self, appliance: &Appliance) -> Option<Error> {
        let minion = appliance.roles.iter().any(|role| role == "search-minion");
        (minion && !self.allow_search_minion).then(|| {
            let host = appliance.host.as_deref().unwrap_or("this node");
            Error::new(ErrorKind::Config, format!("{host} is a search minion: its sessions can be searched on the search master only"))
                .hint("configure the search master as the source, or set allow_search_minion = true to read this node all the same")
        })
    }
}

/// A node that keeps its roles to itself.
fn untold(why: &str) -> String {
    format!(
        "the appliance does not tell its version and roles ({why}): if it is a search minion, its sessions are on the \
         search master only"
    )
}

/// The value of the `session_id` cookie; others come beside it and are not needed.
fn session_cookie(response: &HttpResponse) -> Option<Secret> {
    response.headers.get_all("set-cookie").iter().find_map(|cookie| {
        let value = cookie.to_str().ok()?.trim_start().strip_prefix("session_id=")?.split(';').next()?.trim();
        (!value.is_empty()).then(|| Secret::new(value))
    })
}

fn asks_for_more(response: &HttpResponse) -> bool {
    let text = String::from_utf8_lossy(&response.body).to_lowercase();
    text.contains("challenge") || text.contains("two-factor") || text.contains("one-time")
}

/// The password alone was not enough.
fn interactive(response: &HttpResponse) -> Error {
    if !response.is_json() && !response.body.is_empty() {
        return fedaudit_transport::error_for(response);
    }
    Error::new(
        ErrorKind::Unauthenticated,
        "the appliance wants an interactive login: it accepted the request without giving a login",
    )
    .hint("use a dedicated local user without a second factor, and login_method = \"local\"")
}

fn malformed(response: &HttpResponse, error: &impl std::fmt::Display) -> Error {
    if response.is_json() {
        Error::new(ErrorKind::Malformed, format!("the answer cannot be read: {error}"))
    } else {
        fedaudit_transport::error_for(response)
    }
}

pub(crate) fn appliance(response: &HttpResponse) -> Result<Appliance, String> {
    let text = String::from_utf8_lossy(&response.body);
    let tape = Tape::check(&text)?;
    let mut body = tape.root().object("body");
    let text = |body: &mut Object<'_, '_>, name: &str| body.text(name).map(std::borrow::Cow::into_owned);
    let host = text(&mut body, "hostname");
    let domain = text(&mut body, "domainname");
    let roles = body.take("roles").and_then(texts);
    Ok(Appliance {
        firmware: text(&mut body, "firmware_version"),
        host: match (host, domain) {
            (Some(host), Some(domain)) => Some(format!("{host}.{domain}")),
            (host, _) => host,
        },
        roles: roles.unwrap_or_default().into_iter().map(std::borrow::Cow::into_owned).collect(),
        server_time: None,
    })
}
