//! One login: finding out how to talk to the server, logging in, what the server says of itself, and logging out.

use std::sync::OnceLock;

use fedaudit_core::{Context, Error, ErrorKind, Result, Secret, Time};
use fedaudit_transport::{HttpClient, HttpRequest, error_for};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::OnceCell;

use crate::collectors::Collectors;
use crate::config::{Config, Protocol};
use crate::fault::{Failure, Fault};
use crate::retention::Retention;
use crate::transcode::{Declared, elements, readable, to_json};
use crate::wire::{Answer, Call, Dialect, Ref, Wire};

/// Versions this plugin was written for, newest first: the server shapes its answers by the one that is asked for.
const RELEASES: &[&str] = &["9.0.0.0", "8.0.3.0", "8.0.2.0", "8.0.1.0"];
const SOAP_VERSIONS: &[&str] = &[
    "9.0.0.0", "8.0.3.0", "8.0.2.0", "8.0.1.0", "8.0.0.1", "7.0.3.2", "7.0.3.0", "7.0", "6.7.3", "6.7", "6.5", "6.0",
    "5.5",
];

/// Answers to one read of a property; one property is in the first of them, or the second.
const MAX_PARTS: usize = 64;

/// The objects of a server that are used here. Ids differ between vCenter and ESXi.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Content {
    pub(crate) about: About,
    pub(crate) property_collector: Ref,
    pub(crate) session_manager: Option<Ref>,
    pub(crate) event_manager: Option<Ref>,
    pub(crate) authorization_manager: Option<Ref>,
    pub(crate) root_folder: Option<Ref>,
    pub(crate) setting: Option<Ref>,
}

/// What the server says of itself.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct About {
    pub(crate) full_name: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) api_type: Option<String>,
    pub(crate) instance_uuid: Option<String>,
}

impl About {
    /// Whether it is an ESXi host.
    pub(crate) fn is_host(&self) -> bool {
        self.api_type.as_deref() == Some("HostAgent")
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UserSession {
    key: Option<String>,
    user_name: Option<String>,
}

/// A login and what was learned with it.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) wire: Wire,
    token: Secret,
    /// `UserSession.key`: an id that may be shown, unlike the token. Old servers may not tell it.
    pub(crate) key: Option<String>,
    /// Our account as the server writes it.
    pub(crate) user_name: String,
    pub(crate) content: Content,
    /// How long the server keeps events, once it said so.
    retention: OnceCell<Retention>,
    pub(crate) collectors: Collectors,
    /// Why the live list was refused.
    pub(crate) list_refused: OnceLock<Fault>,
    /// Whether the server's filter ignores the case of accounts, once somebody had to know.
    pub(crate) ignores_case: OnceCell<bool>,
}

impl Session {
    /// Logs in. `password` has been resolved by the caller.
    pub(crate) async fn open(cx: &Context, http: HttpClient, config: &Config) -> Result<Self> {
        let dialect = negotiate(cx, &http, config.protocol).await?;
        let wire = Wire { http, dialect };
        let content = content(cx, &wire).await?;
        let manager = content.session_manager.as_ref().ok_or_else(|| missing("session manager"))?;
        let password = config.password.resolve()?;
        let call = Call::new(manager, "Login")
            .text("userName", &config.username)
            .secret("password", password)
            .text("locale", "en");
        let answer = wire.call(cx, None, call).await.map_err(|failure| failure.into_error("Login"))?;
        let token = token(&answer, &wire.dialect)
            .ok_or_else(|| Error::new(ErrorKind::Malformed, "the server accepted the login and sent no session"))?;
        let mut session = Self {
            token,
            key: None,
            user_name: config.username.clone(),
            retention: OnceCell::new(),
            collectors: Collectors::default(),
            list_refused: OnceLock::new(),
            ignores_case: OnceCell::new(),
            wire,
            content,
        };
        // From here on the server holds something for us.
        if let Err(error) = session.introduce(&answer) {
            if let Err(left) = Box::pin(session.end(cx)).await {
                tracing::debug!(source = %cx.source, %left, "a login that came to nothing could not be given back");
            }
            return Err(error);
        }
        tracing::debug!(source = %cx.source, dialect = ?session.wire.dialect, "logged in");
        Ok(session)
    }

    /// Takes over who the server says that we are.
    fn introduce(&mut self, login: &Answer) -> Result<()> {
        let user: Option<UserSession> = login.value()?.and_then(|json| serde_json::from_str(&json).ok());
        let user = user.ok_or_else(|| Error::new(ErrorKind::Malformed, "the answer to the login is no UserSession"))?;
        self.key = user.key.filter(|key| !key.is_empty());
        self.user_name = user.user_name.unwrap_or_else(|| self.user_name.clone());
        Ok(())
    }

    /// Calls a method as this login.
    pub(crate) async fn call(&self, cx: &Context, call: Call<'_>) -> Result<Answer, Failure> {
        self.wire.call(cx, Some(&self.token), call).await
    }

    /// The event manager, which every server has.
    pub(crate) fn event_manager(&self) -> Result<&Ref> {
        self.content.event_manager.as_ref().ok_or_else(|| missing("event manager"))
    }

    /// The server's clock, exactly.
    pub(crate) async fn current_time(&self, cx: &Context) -> Result<Option<Time>, Failure> {
        let answer = self.call(cx, Call::new(&Ref::service_instance(), "CurrentTime")).await?;
        let text: Option<String> = answer.value()?.and_then(|json| serde_json::from_str(&json).ok());
        Ok(text.and_then(|text| Time::parse(&text)).map(|parsed| parsed.time))
    }

    /// The live sessions, each in VI JSON form.
    pub(crate) async fn session_list(&self, cx: &Context) -> Result<Answer, Failure> {
        let manager = self.content.session_manager.as_ref().ok_or_else(|| missing("session manager"))?;
        self.array(cx, manager, "sessionList", "UserSession").await
    }

    /// Whether this login has a privilege at the root, where the server says so.
    pub(crate) async fn has_privilege(&self, cx: &Context, privilege: &str) -> Result<Option<bool>, Failure> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct EntityPrivilege {
            priv_availability: Vec<Availability>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Availability {
            is_granted: bool,
        }
        let Content { authorization_manager: Some(manager), root_folder: Some(root), .. } = &self.content else {
            return Ok(None);
        };
        let Some(key) = &self.key else { return Ok(None) };
        let call = Call::new(manager, "HasPrivilegeOnEntities")
            .list_of_ref("entity", root)
            .text("sessionId", key)
            .list_of_text("privId", privilege);
        let answer = match self.call(cx, call).await {
            Err(Failure::Fault(fault)) if fault.is_of_old_server() => return Ok(None),
            other => other?,
        };
        let told = answer.value()?.and_then(|json| serde_json::from_str::<EntityPrivilege>(&json).ok());
        Ok(told
            .map(|told| !told.priv_availability.is_empty() && told.priv_availability.iter().all(|one| one.is_granted)))
    }

    /// A property that is an array of elements named like this.
    pub(crate) async fn array(
        &self,
        cx: &Context,
        of: &Ref,
        name: &str,
        element: &'static str,
    ) -> Result<Answer, Failure> {
        if matches!(self.wire.dialect, Dialect::Json { .. }) {
            return self.wire.get(cx, Some(&self.token), of, name).await;
        }
        let spec = format!(
            "<propSet><type>{kind}</type><all>false</all><pathSet>{name}</pathSet></propSet><objectSet><obj type=\"{kind}\">{}</obj></objectSet>",
            quick_xml::escape::escape(&*of.value),
            kind = quick_xml::escape::escape(&*of.kind),
        );
        let collector = &self.content.property_collector;
        let call = Call::new(collector, "RetrievePropertiesEx").object("specSet", &spec, "null");
        let mut answer = self.call(cx, call.object("options", "", "null")).await?;
        for _ in 0..MAX_PARTS {
            match property_in(answer.document())? {
                Part::Here => return Ok(answer.of_elements(element)),
                Part::Later(token) => {
                    let call = Call::new(collector, "ContinueRetrievePropertiesEx").text("token", &token);
                    answer = self.call(cx, call).await?;
                }
            }
        }
        let error = format!("the server keeps putting off the property '{name}'");
        Err(Error::new(ErrorKind::Malformed, error).into())
    }

    /// How long the server keeps events; asked once, unless the answer was that it is busy.
    pub(crate) async fn retention(&self, cx: &Context) -> Result<&Retention, Failure> {
        self.retention.get_or_try_init(|| Retention::ask(cx, self)).await
    }

    /// Ends collectors and login. Safe to call when the server has ended them already.
    pub(crate) async fn end(&self, cx: &Context) -> Result<()> {
        // A server that does not answer this may still answer the logout, which ends its collectors as well.
        let half = |deadline: Time| Time::from_micros(i64::midpoint(cx.now().micros(), deadline.micros()));
        let brief = Context { deadline: cx.deadline.map(half), ..cx.clone() };
        for collector in self.collectors.drain() {
            self.destroy(&brief, &collector).await;
        }
        let Some(manager) = &self.content.session_manager else { return Ok(()) };
        match self.call(cx, Call::new(manager, "Logout")).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.is_session_lost() => Ok(()),
            Err(failure) => Err(failure.into_error("Logout")),
        }
    }

    /// Frees a collector's slot; a collector that is gone already needs nothing.
    pub(crate) async fn destroy(&self, cx: &Context, collector: &Ref) {
        if let Err(failure) = self.call(cx, Call::new(collector, "DestroyCollector")).await {
            tracing::debug!(source = %cx.source, ?failure, "a collector could not be destroyed");
        }
    }
}

fn missing(what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("this server has no {what}"))
}

/// The text of a value that may be boxed.
pub(crate) fn unboxed(json: &str) -> String {
    #[derive(Deserialize)]
    struct Boxed<'a> {
        #[serde(borrow, rename = "_value")]
        value: &'a RawValue,
    }
    let inner = serde_json::from_str::<Boxed<'_>>(json).map_or(json, |boxed| boxed.value.get());
    serde_json::from_str::<String>(inner).unwrap_or_else(|_| inner.to_owned())
}

/// Where the one property of a `RetrievePropertiesEx` answer is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Here,
    /// In a later answer, which this token asks for.
    Later(String),
}

/// Looks for the property: a refusal comes inside a successful answer, and silence is no empty list.
pub(crate) fn property_in(document: &str) -> Result<Part, Failure> {
    #[derive(Deserialize)]
    struct Missing<'a> {
        #[serde(borrow)]
        fault: Localized<'a>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Localized<'a> {
        #[serde(borrow)]
        fault: &'a RawValue,
        localized_message: Option<String>,
    }
    if elements(document, "propSet").next().is_some() {
        return Ok(Part::Here);
    }
    let json = |name| elements(document, name).next().and_then(|xml| to_json(xml, Declared::Other).ok());
    if let Some(json) = json("missingSet") {
        let mut fault = Fault { class: "NoPermission".into(), ..Fault::default() };
        if let Ok(Missing { fault: told }) = serde_json::from_str::<Missing<'_>>(&json) {
            fault = Fault::from_json(told.fault.get()).unwrap_or(fault);
            if fault.text.is_empty() {
                fault.text = told.localized_message.unwrap_or_default();
            }
        }
        return Err(Failure::Fault(fault));
    }
    if let Some(token) = json("token").and_then(|json| serde_json::from_str(&json).ok()) {
        return Ok(Part::Later(token));
    }
    Err(Error::new(ErrorKind::Malformed, "the answer has neither the property nor a reason why not").into())
}

async fn content(cx: &Context, wire: &Wire) -> Result<Content> {
    let instance = Ref::service_instance();
    let answer = match &wire.dialect {
        Dialect::Soap { .. } => wire.call(cx, None, Call::new(&instance, "RetrieveServiceContent")).await,
        Dialect::Json { .. } => wire.get(cx, None, &instance, "content").await,
    };
    let answer = answer.map_err(|failure| {
        let error = failure.into_error("RetrieveServiceContent");
        match (&wire.dialect, error.kind()) {
            (Dialect::Json { .. }, ErrorKind::NotFound) => Error::new(
                ErrorKind::Unsupported,
                "this server has no VI JSON (vCenter has it from 8.0 U1 on, ESXi never)",
            )
            .hint("protocol = \"auto\" or \"soap\" reads it over SOAP"),
            _ => error,
        }
    })?;
    let json = answer.value()?.unwrap_or_default();
    serde_json::from_str(&json).map_err(|error| {
        Error::new(ErrorKind::Malformed, format!("the answer is no ServiceContent: {error}"))
            .hint("is this the address of vCenter or of an ESXi host itself?")
    })
}

/// Which interface to use, and the newest version both sides know.
async fn negotiate(cx: &Context, http: &HttpClient, protocol: Protocol) -> Result<Dialect> {
    if protocol != Protocol::Soap {
        match (hello(cx, http).await?, protocol) {
            (Some(release), _) if !release.is_empty() => return Ok(Dialect::Json { release }),
            (Some(_), Protocol::Json) => {
                return Err(Error::new(ErrorKind::Unsupported, "no release of VI JSON in common with this server")
                    .hint("protocol = \"auto\" or \"soap\" reads it over SOAP"));
            }
            // 8.0 U1 has VI JSON and no way to ask for its releases.
            (None, Protocol::Json) => return Ok(Dialect::Json { release: "8.0.1.0".into() }),
            _ => {}
        }
    }
    Ok(Dialect::Soap { version: soap_version(cx, http).await? })
}

/// Asks which VI JSON release to use; an empty text where there is none in common, nothing where nobody answers to this.
async fn hello(cx: &Context, http: &HttpClient) -> Result<Option<String>> {
    #[derive(Deserialize)]
    struct Hello {
        api_release: String,
    }
    let releases = RELEASES.iter().map(|release| format!("\"{release}\"")).collect::<Vec<_>>().join(",");
    let request = HttpRequest::post(
        "/api/vcenter/system?action=hello",
        "application/json",
        format!("{{\"api_releases\":[{releases}]}}"),
    );
    let response = http.send(cx, request).await?;
    match response.status {
        200 => Ok(serde_json::from_slice::<Hello>(&response.body).ok().map(|hello| hello.api_release)),
        429 | 502..=504 => Err(error_for(&response)),
        _ => Ok(None),
    }
}

/// The newest SOAP version that both sides know. A server without the list is very old.
async fn soap_version(cx: &Context, http: &HttpClient) -> Result<String> {
    let response = http.send(cx, HttpRequest::get("/sdk/vimServiceVersions.xml")).await?;
    if matches!(response.status, 429 | 502..=504) {
        return Err(error_for(&response));
    }
    Ok(newest_version(&readable(response.body.into())))
}

/// The newest SOAP version of ours in a list of them; else the first, which is the server's newest.
pub(crate) fn newest_version(document: &str) -> String {
    let offered: Vec<&str> = elements(document, "namespace")
        .filter(|namespace| namespace.contains("<name>urn:vim25</name>"))
        .flat_map(|namespace| elements(namespace, "version"))
        .filter_map(|version| version.strip_prefix("<version>")?.strip_suffix("</version>"))
        .map(str::trim)
        // It goes into a header of every request.
        .filter(|version| !version.is_empty() && version.bytes().all(is_of_version))
        .collect();
    let known = SOAP_VERSIONS.iter().find(|version| offered.contains(version));
    known.or(offered.first()).map_or_else(|| "5.5".to_owned(), |version| (*version).to_owned())
}

fn is_of_version(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-".contains(&byte)
}

/// What proves the login in later requests: a cookie, quotes included, or a header.
fn token(answer: &Answer, dialect: &Dialect) -> Option<Secret> {
    let headers = answer.headers();
    if matches!(dialect, Dialect::Json { .. }) {
        let header = headers.get("vmware-api-session-id")?;
        return header.to_str().ok().map(Secret::new);
    }
    headers
        .get_all("set-cookie")
        .iter()
        .filter_map(|cookie| cookie.to_str().ok()?.split(';').next())
        .find(|cookie| cookie.starts_with("vmware_soap_session="))
        .map(Secret::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_is_there_or_refused() {
        let kind = |document: &str| property_in(document).map_err(|failure| failure.into_error("x").kind());
        let refused = "<returnval><objects><missingSet><path>p</path><fault><fault xsi:type=\"NotAuthenticated\"/></fault></missingSet></objects></returnval>";
        assert_eq!(kind(refused), Err(ErrorKind::Unauthenticated));
        let unclear = "<returnval><objects><missingSet><path>p</path></missingSet></objects></returnval>";
        assert_eq!(kind(unclear), Err(ErrorKind::Denied));
        let empty = "<propSet><name>p</name><val xsi:type=\"ArrayOfUserSession\"/></propSet>";
        assert_eq!(kind(empty), Ok(Part::Here));
        assert_eq!(kind("<returnval><token>a&amp;b</token></returnval>"), Ok(Part::Later("a&b".into())));
        for silence in ["<RetrievePropertiesExResponse/>", "<returnval><objects><obj>s</obj></objects></returnval>"] {
            assert_eq!(kind(silence), Err(ErrorKind::Malformed));
        }
    }

    #[test]
    fn values_of_options_may_be_boxed() {
        assert_eq!(unboxed(r#"{"_typeName":"int","_value":30}"#), "30");
        assert_eq!(unboxed("\"30\""), "30");
        assert_eq!(unboxed("true"), "true");
    }
}
