//! What each method does. Both fronts call the same code; they differ in how they carry it.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::{SystemTime, UNIX_EPOCH};

use super::call::{Call, Fault, Reply};
use super::state::{Collector, Filter, Login, State};
use super::text::session_object;
use super::{Inner, SESSION_PRIVILEGE};
use crate::records::{VimValue, VsphereSession};

/// Methods that need no login.
const ANONYMOUS: &[&str] = &["RetrieveServiceContent", "content", "Login", "CurrentTime"];

type Answer<'w> = Result<Reply<'w>, Fault>;

fn text(text: &str) -> VimValue {
    VimValue::Text(text.to_owned())
}

fn reference(kind: &'static str, value: &str) -> VimValue {
    VimValue::Ref { kind, value: value.to_owned() }
}

fn object(type_name: &'static str, members: Vec<(&'static str, VimValue)>) -> VimValue {
    VimValue::Object { type_name, members }
}

pub(super) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}

fn invalid(property: &str) -> Fault {
    Fault::new("InvalidArgument", "A specified parameter was not correct: ").with("invalidProperty", property)
}

fn not_found(id: &str) -> Fault {
    Fault::new("ManagedObjectNotFound", "The object has already been deleted or has not been completely created")
        .with("obj", id)
}

impl Inner {
    /// Carries out a call of the client that shows `token`.
    pub(super) fn answer(&self, call: &Call, token: Option<&str>, user_agent: &str) -> Answer<'_> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !ANONYMOUS.contains(&call.method.as_str()) {
            state.calls += 1;
            if self.options.expire_after.is_some_and(|calls| state.calls == calls) {
                state.logins.clear();
            }
            if token.is_none_or(|token| !state.logins.contains_key(token)) {
                let fault = Fault::new("NotAuthenticated", "The session is not authenticated.");
                return Err(fault.with("privilegeId", "System.View"));
            }
        }
        let token = token.unwrap_or_default();
        match call.method.as_str() {
            "RetrieveServiceContent" | "content" => Ok(Reply::Value(self.content())),
            "CurrentTime" => Ok(Reply::Value(VimValue::Time(now()))),
            "Login" => self.login(&mut state, call, token, user_agent),
            "Logout" => {
                state.logins.remove(token);
                Ok(Reply::Void)
            }
            "QueryOptions" => Ok(self.options_of_the_server(call)),
            "RetrievePropertiesEx" | "sessionList" => Ok(self.session_list(&state)),
            "CreateCollectorForEvents" => self.create(&mut state, call, token),
            "ReadNextEvents" => self.read_next(&mut state, call, token),
            "DestroyCollector" => {
                let login = state.logins.get_mut(token).ok_or_else(|| not_found(&call.object))?;
                login.collectors.remove(&call.object).ok_or_else(|| not_found(&call.object))?;
                Ok(Reply::Void)
            }
            _ => {
                Err(Fault::new("MethodNotFound", "The requested method is not supported").with("method", &call.method))
            }
        }
    }

    fn content(&self) -> VimValue {
        let about = vec![
            ("name", text("VMware vCenter Server")),
            ("fullName", text(&format!("VMware vCenter Server {} build-99", self.world.vsphere.version))),
            ("vendor", text("VMware, Inc.")),
            ("version", text(self.world.vsphere.version)),
            ("build", text("99")),
            ("apiType", text("VirtualCenter")),
            ("apiVersion", text("8.0.3.0")),
            ("instanceUuid", text(&self.world.vsphere.instance_uuid)),
        ];
        object(
            "ServiceContent",
            vec![
                ("rootFolder", reference("Folder", "group-d1")),
                ("propertyCollector", reference("PropertyCollector", "propertyCollector")),
                ("about", object("AboutInfo", about)),
                ("setting", reference("OptionManager", "VpxSettings")),
                ("sessionManager", reference("SessionManager", "SessionManager")),
                ("eventManager", reference("EventManager", "EventManager")),
            ],
        )
    }

    fn login(&self, state: &mut State, call: &Call, token: &str, user_agent: &str) -> Answer<'_> {
        let wrong = || Fault::new("InvalidLogin", "Cannot complete login due to an incorrect user name or password.");
        let right = call.argument("userName") == Some(self.options.username.as_str())
            && call.argument("password") == Some(self.options.password.as_str());
        // A second login on one session is refused with the same words.
        if !right || state.logins.contains_key(token) {
            return Err(wrong());
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
        let reply = Reply::LoggedIn { session: session_object(&session), token: token.clone() };
        state.logins.insert(token, Login { session, collectors: HashMap::new() });
        Ok(reply)
    }

    fn options_of_the_server(&self, call: &Call) -> Reply<'_> {
        let name = call.argument("name").unwrap_or_default();
        let option = |key: &str, value: VimValue| {
            object("OptionValue", vec![("key", text(key)), ("value", VimValue::Any(Box::new(value)))])
        };
        let all = [
            ("event.maxAge", VimValue::Int(self.options.event_max_age)),
            ("event.maxAgeEnabled", VimValue::Bool(true)),
            ("task.maxAge", VimValue::Int(30)),
        ];
        Reply::Values(
            all.into_iter().filter(|(key, _)| key.starts_with(name)).map(|(key, value)| option(key, value)).collect(),
        )
    }

    fn session_list(&self, state: &State) -> Reply<'_> {
        let values = if self.options.may_list_sessions {
            let own = state.logins.values().map(|login| &login.session).filter(|_| self.options.list_reader);
            Ok(self.world.vsphere.sessions.iter().chain(own).map(session_object).collect())
        } else {
            Err(SESSION_PRIVILEGE)
        };
        Reply::Property { name: "sessionList", values }
    }

    fn create(&self, state: &mut State, call: &Call, token: &str) -> Answer<'_> {
        let collectors: usize = state.logins.values().map(|login| login.collectors.len()).sum();
        if collectors >= self.options.max_collectors {
            return Err(Fault::new(
                "InvalidState",
                "The operation is not allowed in the current state: too many collectors.",
            ));
        }
        let bound = |name: &str| match call.argument(&format!("filter/time/{name}")) {
            None => Ok(None),
            Some(text) => chrono::DateTime::parse_from_rfc3339(text)
                .map(|time| Some(time.timestamp_micros()))
                .map_err(|_| invalid("filter.time")),
        };
        if call
            .argument("filter/maxCount")
            .is_some_and(|count| !count.parse().is_ok_and(|count: i64| (0..=1000).contains(&count)))
        {
            return Err(invalid("maxCount"));
        }
        if call.has("filter/type") && call.has("filter/eventTypeId") {
            return Err(invalid("filter.type"));
        }
        let filter = Filter {
            begin: bound("beginTime")?,
            end: bound("endTime")?,
            codes: call.arguments("filter/eventTypeId"),
            users: call.arguments("filter/userName/userList"),
            system_user: call.argument("filter/userName/systemUser") == Some("true"),
        };
        let events = &self.world.vsphere.events;
        let next = filter.begin.map_or(0, |begin| events.partition_point(|event| event.created < begin));
        state.counter += 1;
        let id = format!("session[{}]{:08x}", &token[token.len() - 8..], state.counter);
        let login = state.logins.get_mut(token).ok_or_else(|| not_found(&call.object))?;
        login.collectors.insert(id.clone(), Collector { filter, next });
        Ok(Reply::Value(VimValue::Ref { kind: "EventHistoryCollector", value: id }))
    }

    fn read_next(&self, state: &mut State, call: &Call, token: &str) -> Answer<'_> {
        let count: usize = call
            .argument("maxCount")
            .and_then(|count| count.parse().ok())
            .filter(|count| *count > 0)
            .ok_or_else(|| invalid("maxCount"))?;
        let login = state.logins.get_mut(token).ok_or_else(|| not_found(&call.object))?;
        let collector = login.collectors.get_mut(&call.object).ok_or_else(|| not_found(&call.object))?;
        let events = &self.world.vsphere.events;
        let mut page = Vec::with_capacity(count.min(1000));
        while page.len() < count {
            let Some(event) = events.get(collector.next) else { break };
            if collector.filter.end.is_some_and(|end| event.created > end) {
                break;
            }
            collector.next += 1;
            if collector.filter.matches(event) {
                page.push(event);
            }
        }
        Ok(Reply::Events(page))
    }
}
