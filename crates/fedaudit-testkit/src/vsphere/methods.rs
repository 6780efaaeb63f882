//! What each method does. Both fronts call the same code; they differ in how they carry it.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::Inner;
use super::call::{Call, Fault, Reply};
use super::options::{Introduction, Kind};
use super::property::asked;
use super::state::{Login, State};
use super::text::session_object;
use crate::records::{VimValue, VsphereEvent, VsphereSession};

/// Methods that need no login.
const ANONYMOUS: &[&str] = &["RetrieveServiceContent", "content", "Login", "CurrentTime"];

pub(super) type Answer<'w> = Result<Reply<'w>, Fault>;

fn text(text: &str) -> VimValue {
    VimValue::Text(text.to_owned())
}

fn reference(kind: &'static str, value: &str) -> VimValue {
    VimValue::Ref { kind, value: value.to_owned() }
}

pub(super) fn object(type_name: &'static str, members: Vec<(&'static str, VimValue)>) -> VimValue {
    VimValue::Object { type_name, members }
}

pub(super) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}

pub(super) fn invalid(property: &str) -> Fault {
    Fault::new("InvalidArgument", "A specified parameter was not correct: ").with("invalidProperty", property)
}

pub(super) fn not_found(id: &str) -> Fault {
    Fault::new("ManagedObjectNotFound", "The object has already been deleted or has not been completely created")
        .with("obj", id)
}

fn not_authenticated() -> Fault {
    Fault::new("NotAuthenticated", "The session is not authenticated.").with("privilegeId", "System.View")
}

impl Inner {
    /// Carries out a call of the client that shows `token`.
    pub(super) fn answer(&self, call: &Call, token: Option<&str>, user_agent: &str) -> Answer<'_> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        let (object, property) = asked(call);
        if !ANONYMOUS.contains(&call.method.as_str()) && property != "content" {
            state.calls += 1;
            self.lose(state);
            if token.is_none_or(|token| !state.logins.contains_key(token)) {
                return Err(not_authenticated());
            }
        }
        let token = token.unwrap_or_default();
        match call.method.as_str() {
            "RetrieveServiceContent" => Ok(Reply::Value(self.content())),
            "CurrentTime" => Ok(Reply::Value(VimValue::Time(now()))),
            "Login" => self.login(state, call, token, user_agent),
            "Logout" => {
                if let Some(login) = state.logins.remove(token) {
                    self.record(state, "UserLogoutSessionEvent", &login.session);
                }
                Ok(Reply::Void)
            }
            "QueryOptions" => self.options_of_the_server(call),
            "RetrievePropertiesEx" if self.options.property_tokens > 0 => {
                state.tokens = 1;
                Ok(Reply::Value(token_only()))
            }
            "ContinueRetrievePropertiesEx" if state.tokens < self.options.property_tokens => {
                state.tokens += 1;
                Ok(Reply::Value(token_only()))
            }
            "ContinueRetrievePropertiesEx" => self.property(
                state,
                self.options.id("SessionManager", "ha-sessionmgr").to_owned(),
                "sessionList",
                token,
            ),
            "HasPrivilegeOnEntities" => self.privileges(call),
            "CreateCollectorForEvents" => self.create(state, call, token),
            "QueryEvents" if matches!(self.options.kind, Kind::Host { .. }) => {
                Err(Fault::new("NotImplemented", "The operation is not implemented"))
            }
            "ReadNextEvents"
            | "ReadPreviousEvents"
            | "RewindCollector"
            | "ResetCollector"
            | "SetCollectorPageSize"
            | "DestroyCollector" => self.collect(state, call, token),
            "RetrievePropertiesEx"
            | "Fetch"
            | "sessionList"
            | "currentSession"
            | "latestEvent"
            | "latestPage"
            | "content" => self.property(state, object, &property, token),
            _ => {
                Err(Fault::new("MethodNotFound", "The requested method is not supported").with("method", &call.method))
            }
        }
    }

    /// What the options say is lost at this call.
    fn lose(&self, state: &mut State) {
        let every = self.options.expire_every.is_some_and(|every| state.calls.is_multiple_of(every));
        if every || self.options.expire_after == Some(state.calls) {
            state.logins.clear();
        }
        if self.options.lose_collectors_after == Some(state.calls) {
            state.logins.values_mut().for_each(|login| login.collectors.clear());
        }
    }

    pub(super) fn content(&self) -> VimValue {
        let vsphere = &self.world.vsphere;
        let host = matches!(self.options.kind, Kind::Host { .. });
        let product = if host { "VMware ESXi" } else { "VMware vCenter Server" };
        let mut about = vec![
            ("name", text(product)),
            ("fullName", text(&format!("{product} {} build-99", vsphere.version))),
            ("vendor", text("VMware, Inc.")),
            ("version", text(vsphere.version)),
            ("build", text("99")),
            ("localeVersion", text("INTL")),
            ("localeBuild", text("000")),
            ("osType", text("linux-x64")),
            ("productLineId", text(if host { "embeddedEsx" } else { "vpx" })),
            ("apiType", text(if host { "HostAgent" } else { "VirtualCenter" })),
            ("apiVersion", text(self.options.releases.first().copied().unwrap_or("6.0"))),
        ];
        if !host {
            about.push(("instanceUuid", text(&vsphere.instance_uuid)));
        }
        let id = |of_vcenter, of_host| self.options.id(of_vcenter, of_host);
        let mut members = vec![
            ("rootFolder", reference("Folder", id("group-d1", "ha-folder-root"))),
            ("propertyCollector", reference("PropertyCollector", id("propertyCollector", "ha-property-collector"))),
            ("about", object("AboutInfo", about)),
        ];
        if !host {
            members.push(("setting", reference("OptionManager", "VpxSettings")));
        }
        members.push((
            "authorizationManager",
            reference("AuthorizationManager", id("AuthorizationManager", "ha-authmgr")),
        ));
        members.push(("sessionManager", reference("SessionManager", id("SessionManager", "ha-sessionmgr"))));
        members.push(("eventManager", reference("EventManager", id("EventManager", "ha-eventmgr"))));
        object("ServiceContent", members)
    }

    fn login(&self, state: &mut State, call: &Call, token: &str, user_agent: &str) -> Answer<'_> {
        let wrong = || Fault::new("InvalidLogin", "Cannot complete login due to an incorrect user name or password.");
        let right = call.argument("userName") == Some(self.options.username.as_str())
            && call.argument("password") == Some(self.options.password.as_str());
        // A second login on one session is refused with the same words.
        if !right || state.logins.contains_key(token) {
            return Err(wrong());
        }
        if let Some(class) = self.options.login_fault {
            return Err(Fault::new(class, "Permission to perform this operation was denied."));
        }
        state.counter += 1;
        let (name, domain) = self.options.username.split_once('@').unwrap_or((&self.options.username, "vsphere.local"));
        let session = VsphereSession {
            key: format!("52ffffff-0000-4000-8000-{:012x}", state.counter),
            user_name: format!("{}\\{name}", domain.to_uppercase()),
            full_name: "Audit reader".to_owned(),
            login_time: now(),
            last_active_time: now(),
            ip_address: "127.0.0.1".to_owned(),
            user_agent: user_agent.to_owned(),
            call_count: 0,
            extension_session: false,
            locale: call.argument("locale").unwrap_or("en").to_owned(),
        };
        let token = format!("{:040x}", (u128::from(state.counter) << 64) ^ u128::from(self.world.seed));
        let mut introduced = session_object(&session);
        match (self.options.introduction, &mut introduced) {
            (Introduction::WithoutKey, VimValue::Object { members, .. }) => members.retain(|(name, _)| *name != "key"),
            (Introduction::Missing, _) => introduced = text("welcome"),
            _ => {}
        }
        let reply = Reply::LoggedIn { session: introduced, token: token.clone() };
        self.record(state, "UserLoginSessionEvent", &session);
        state.logins.insert(token, Login { session, collectors: HashMap::new() });
        Ok(reply)
    }

    /// Writes the reader's own coming or going into the log, as the product does with everybody's.
    fn record(&self, state: &mut State, class: &'static str, session: &VsphereSession) {
        if !self.options.list_reader {
            return;
        }
        let last = state.added.last().map(|event| event.key);
        let last = last.or_else(|| self.world.vsphere.events.last().map(|event| event.key));
        let key = last.unwrap_or_default().wrapping_add(1);
        let mut members = vec![
            ("fullFormattedMessage", text(&format!("{class} of {}", session.user_name))),
            ("ipAddress", text(&session.ip_address)),
            ("userAgent", text(&session.user_agent)),
        ];
        if class == "UserLoginSessionEvent" {
            members.push(("locale", text(&session.locale)));
            members.push(("sessionId", text(&session.key)));
        } else {
            members.push(("callCount", VimValue::Int(1)));
            members.push(("sessionId", text(&session.key)));
            members.push(("loginTime", VimValue::Time(session.login_time)));
        }
        let user_name = session.user_name.clone();
        let event = VsphereEvent { class, key, chain_id: key, created: now(), user_name, members };
        state.added.push(Arc::new(event));
    }

    fn options_of_the_server(&self, call: &Call) -> Answer<'_> {
        if !self.options.may_read_options {
            let fault = Fault::new("NoPermission", "Permission to perform this operation was denied.");
            return Err(fault.with("privilegeId", "System.Read"));
        }
        let name = call.argument("name").unwrap_or_default();
        let option = |key: &str, value: VimValue| {
            object("OptionValue", vec![("key", text(key)), ("value", VimValue::Any(Box::new(value)))])
        };
        let all = [
            ("event.maxAge", VimValue::Int(self.options.event_max_age)),
            ("event.maxAgeEnabled", VimValue::Bool(self.options.event_max_age_enabled)),
            ("task.maxAge", VimValue::Int(30)),
        ];
        Ok(Reply::Values(
            all.into_iter().filter(|(key, _)| key.starts_with(name)).map(|(key, value)| option(key, value)).collect(),
        ))
    }
}

/// A part of properties that come in several: nothing yet, and how to go on.
fn token_only() -> VimValue {
    object("RetrieveResult", vec![("token", text("more-of-it"))])
}
