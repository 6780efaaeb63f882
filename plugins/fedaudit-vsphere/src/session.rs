//! One login: finding out how to talk to the server, logging in, what the server says of itself, and logging out.

use std::time::Duration;

use fedaudit_core::{Context, Error, ErrorKind, Meter, Result, Secret, Time};
use fedaudit_transport::{HttpClient, HttpRequest, error_for};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::collectors::Collectors;
use crate::config::{Config, Protocol};
use crate::fault::Failure;
use crate::transcode::{elements, readable};
use crate::wire::{Answer, Call, Dialect, Ref, Wire};

/// Versions this plugin was written for, newest first: the server shapes its answers by the one that is asked for.
const RELEASES: &[&str] = &["9.0.0.0", "8.0.3.0", "8.0.2.0", "8.0.1.0"];
const SOAP_VERSIONS: &[&str] = &[
    "9.0.0.0", "8.0.3.0", "8.0.2.0", "8.0.1.0", "8.0.0.1", "7.0.3.2", "7.0.3.0", "7.0", "6.7.3", "6.7", "6.5", "6.0",
    "5.5",
];

/// The objects of a server that are used here. Ids differ between vCenter and ESXi.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Content {
    pub(crate) about: About,
    pub(crate) property_collector: Ref,
    pub(crate) session_manager: Option<Ref>,
    pub(crate) event_manager: Option<Ref>,
    pub(crate) setting: Option<Ref>,
}

/// What the server says of itself.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct About {
    pub(crate) full_name: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) build: Option<String>,
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
    /// `UserSession.key`: an id that may be shown, unlike the token.
    pub(crate) key: String,
    /// Our account as the server writes it.
    pub(crate) user_name: String,
    pub(crate) content: Content,
    /// Age at which the server deletes events, where it says so.
    pub(crate) max_age: Option<Duration>,
    pub(crate) collectors: Collectors,
}

impl Session {
    /// Logs in. `password` has been resolved by the caller.
    pub(crate) async fn open(cx: &Context, http: HttpClient, config: &Config) -> Result<Self> {
        let dialect = negotiate(cx, &http, config.protocol).await?;
        let wire = Wire { http, dialect };
        let content = content(cx, &wire).await?;
        let manager = content.session_manager.as_ref().ok_or_else(|| missing("session manager"))?;
        let password = config.password.resolve()?;
        Meter::count(&cx.meter.logins);
        let call = Call::new(manager, "Login")
            .text("userName", &config.username)
            .secret("password", password)
            .text("locale", "en");
        let answer = wire.call(cx, None, call).await.map_err(|failure| failure.into_error("Login"))?;
        let token = token(&answer, &wire.dialect)
            .ok_or_else(|| Error::new(ErrorKind::Malformed, "the server accepted the login and sent no session"))?;
        let user: Option<UserSession> = answer.value()?.and_then(|json| serde_json::from_str(&json).ok());
        let user = user.ok_or_else(|| Error::new(ErrorKind::Malformed, "the answer to the login is no UserSession"))?;
        let mut session = Self {
            token,
            key: user.key.unwrap_or_default(),
            user_name: user.user_name.unwrap_or_else(|| config.username.clone()),
            max_age: None,
            collectors: Collectors::default(),
            wire,
            content,
        };
        session.max_age = session.event_max_age(cx).await;
        tracing::debug!(source = %cx.source, dialect = ?session.wire.dialect, "logged in");
        Ok(session)
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
    pub(crate) async fn session_list(&self, cx: &Context) -> Result<(Vec<String>, Option<Time>), Failure> {
        let manager = self.content.session_manager.as_ref().ok_or_else(|| missing("session manager"))?;
        if matches!(self.wire.dialect, Dialect::Json { .. }) {
            let answer = self.wire.get(cx, Some(&self.token), manager, "sessionList").await?;
            let values = answer.values(crate::transcode::Declared::Other)?;
            return Ok((
                values.into_iter().flatten().map(std::borrow::Cow::into_owned).collect(),
                answer.server_time(),
            ));
        }
        let spec = format!(
            "<propSet><type>SessionManager</type><all>false</all><pathSet>sessionList</pathSet></propSet><objectSet><obj type=\"{}\">{}</obj></objectSet>",
            quick_xml::escape::escape(&*manager.kind),
            quick_xml::escape::escape(&*manager.value)
        );
        let call = Call::new(&self.content.property_collector, "RetrievePropertiesEx")
            .object("specSet", &spec, "null")
            .object("options", "", "null");
        let answer = self.call(cx, call).await?;
        let time = answer.server_time();
        match answer.value()? {
            Some(json) => Ok((property_of(&json)?, time)),
            None => Ok((Vec::new(), time)),
        }
    }

    /// `event.maxAge` in days, where it is switched on and this account may read it.
    async fn event_max_age(&self, cx: &Context) -> Option<Duration> {
        #[derive(Deserialize)]
        struct OptionValue {
            key: String,
            value: Box<RawValue>,
        }
        let setting = self.content.setting.as_ref()?;
        let answer = self.call(cx, Call::new(setting, "QueryOptions").text("name", "event.")).await.ok()?;
        let options: Vec<OptionValue> = answer
            .values(crate::transcode::Declared::Other)
            .ok()?
            .into_iter()
            .filter_map(|value| serde_json::from_str(&value.ok()?).ok())
            .collect();
        let value =
            |key: &str| options.iter().find(|option| option.key == key).map(|option| unboxed(option.value.get()));
        if value("event.maxAgeEnabled").as_deref() == Some("false") {
            return None;
        }
        let days: u64 = value("event.maxAge")?.parse().ok()?;
        Some(Duration::from_secs(days.checked_mul(86_400)?))
    }

    /// Ends collectors and login. Safe to call when the server has ended them already.
    pub(crate) async fn end(&self, cx: &Context) -> Result<()> {
        for collector in self.collectors.drain() {
            self.destroy(cx, &collector).await;
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
fn unboxed(json: &str) -> String {
    #[derive(Deserialize)]
    struct Boxed<'a> {
        #[serde(borrow, rename = "_value")]
        value: &'a RawValue,
    }
    let inner = serde_json::from_str::<Boxed<'_>>(json).map_or(json, |boxed| boxed.value.get());
    serde_json::from_str::<String>(inner).unwrap_or_else(|_| inner.to_owned())
}

/// The one property of a `RetrievePropertiesEx` answer; a refusal comes inside a successful one.
fn property_of(json: &str) -> Result<Vec<String>, Failure> {
    #[derive(Deserialize)]
    struct Retrieved<'a> {
        #[serde(borrow, default)]
        objects: Vec<Object<'a>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Object<'a> {
        #[serde(borrow, default)]
        prop_set: Vec<Property<'a>>,
        #[serde(borrow, default)]
        missing_set: Vec<Missing<'a>>,
    }
    #[derive(Deserialize)]
    struct Property<'a> {
        #[serde(borrow)]
        val: Array<'a>,
    }
    #[derive(Deserialize)]
    struct Array<'a> {
        #[serde(borrow, rename = "_value", default)]
        values: Vec<&'a RawValue>,
    }
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
    let retrieved: Retrieved<'_> = serde_json::from_str(json)
        .map_err(|error| Error::new(ErrorKind::Malformed, format!("the answer is no list of properties: {error}")))?;
    let mut values = Vec::new();
    for object in retrieved.objects {
        if let Some(missing) = object.missing_set.into_iter().next() {
            let mut fault = crate::fault::Fault::from_json(missing.fault.fault.get()).unwrap_or_default();
            if fault.text.is_empty() {
                fault.text = missing.fault.localized_message.unwrap_or_default();
            }
            return Err(Failure::Fault(fault));
        }
        values.extend(
            object.prop_set.into_iter().flat_map(|property| property.val.values).map(|raw| raw.get().to_owned()),
        );
    }
    Ok(values)
}

async fn content(cx: &Context, wire: &Wire) -> Result<Content> {
    let instance = Ref::service_instance();
    let answer = match &wire.dialect {
        Dialect::Soap { .. } => wire.call(cx, None, Call::new(&instance, "RetrieveServiceContent")).await,
        Dialect::Json { .. } => wire.get(cx, None, &instance, "content").await,
    };
    let answer = answer.map_err(|failure| failure.into_error("RetrieveServiceContent"))?;
    let json = answer.value()?.unwrap_or_default();
    serde_json::from_str(&json).map_err(|error| {
        Error::new(ErrorKind::Malformed, format!("the answer is no ServiceContent: {error}"))
            .hint("is this the address of vCenter or of an ESXi host itself?")
    })
}

/// Which interface to use, and the newest version both sides know.
async fn negotiate(cx: &Context, http: &HttpClient, protocol: Protocol) -> Result<Dialect> {
    if protocol != Protocol::Soap {
        if let Some(release) = hello(cx, http).await? {
            return Ok(Dialect::Json { release });
        }
        if protocol == Protocol::Json {
            // 8.0 U1 has VI JSON and no way to ask for its releases.
            return Ok(Dialect::Json { release: "8.0.1.0".into() });
        }
    }
    Ok(Dialect::Soap { version: soap_version(cx, http).await? })
}

/// Asks which VI JSON release to use; none where nobody answers to this.
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
        200 => Ok(serde_json::from_slice::<Hello>(&response.body)
            .ok()
            .map(|hello| hello.api_release)
            .filter(|release| !release.is_empty())),
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
    let document = readable(&response.body);
    let offered: Vec<&str> = elements(&document, "namespace")
        .into_iter()
        .filter(|namespace| namespace.contains("<name>urn:vim25</name>"))
        .flat_map(|namespace| elements(namespace, "version"))
        .filter_map(|version| version.strip_prefix("<version>")?.strip_suffix("</version>"))
        .map(str::trim)
        .collect();
    let known = SOAP_VERSIONS.iter().find(|version| offered.contains(version));
    Ok(known.map_or_else(|| offered.first().unwrap_or(&"5.5").to_string(), |version| (*version).to_owned()))
}

/// What proves the login in later requests: a cookie, quotes included, or a header.
fn token(answer: &Answer, dialect: &Dialect) -> Option<Secret> {
    let headers = &answer.response.headers;
    if matches!(dialect, Dialect::Json { .. }) {
        return answer.response.header("vmware-api-session-id").map(Secret::new);
    }
    headers
        .get_all("set-cookie")
        .iter()
        .filter_map(|cookie| cookie.to_str().ok()?.split(';').next())
        .find(|cookie| cookie.starts_with("vmware_soap_session="))
        .map(Secret::new)
}
