//! Properties of managed objects: SOAP reads them through the property collector or with `Fetch`, VI JSON with a GET.

use super::Inner;
use super::call::{Call, Fault, Reply};
use super::methods::{Answer, not_found, object};
use super::state::{Shown, State};
use super::text::session_object;
use crate::records::VimValue;

/// The right that the live list needs.
const SESSION_PRIVILEGE: &str = "Sessions.TerminateSession";
/// The right to see an object, which at the root shows every event.
const READ_PRIVILEGE: &str = "System.Read";

/// What a property holds.
pub(super) enum Property<'w> {
    /// `UserSession[]`.
    Sessions(Vec<VimValue>),
    /// `Event[]`.
    Events(Vec<Shown<'w>>),
    /// One event, or none.
    Event(Option<Shown<'w>>),
    /// A data object, or none.
    Object(Option<VimValue>),
}

impl Property<'_> {
    /// Records in it, for the log of requests.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Sessions(sessions) => sessions.len(),
            Self::Events(events) => events.len(),
            Self::Event(event) => usize::from(event.is_some()),
            Self::Object(object) => usize::from(object.is_some()),
        }
    }
}

/// The object and the name of the property that a call asks for, whichever way it does.
pub(super) fn asked(call: &Call) -> (String, String) {
    match call.method.as_str() {
        "RetrievePropertiesEx" => (
            call.argument("specSet/objectSet/obj").unwrap_or_default().to_owned(),
            call.argument("specSet/propSet/pathSet").unwrap_or_default().to_owned(),
        ),
        "Fetch" => (call.object.clone(), call.argument("prop").unwrap_or_default().to_owned()),
        name => (call.object.clone(), name.to_owned()),
    }
}

impl Inner {
    pub(super) fn property(&self, state: &mut State, object: String, name: &str, token: &str) -> Answer<'_> {
        let invalid = || Fault::new("InvalidProperty", "").with("name", name);
        let of = |kind, name, value| Reply::Property { kind, object: object.clone(), name, value };
        match name {
            "sessionList" => Ok(of("SessionManager", "sessionList", self.session_list(state))),
            "currentSession" => {
                let session = state.logins.get(token).map(|login| session_object(&login.session));
                Ok(of("SessionManager", "currentSession", Ok(Property::Object(session))))
            }
            "latestEvent" => Ok(of("EventManager", "latestEvent", Ok(self.latest_event(state)))),
            "latestPage" => self.collect(state, &Call::plain(object, "latestPage"), token),
            "content" => Ok(of("ServiceInstance", "content", Ok(Property::Object(Some(self.content()))))),
            _ if object.is_empty() => Err(not_found(&object)),
            _ => Err(invalid()),
        }
    }

    fn session_list(&self, state: &State) -> Result<Property<'_>, Fault> {
        let options = &self.options;
        if !options.may_list_sessions && !options.lists_own_sessions {
            let fault = Fault::new("NoPermission", "Permission to perform this operation was denied.");
            return Err(fault.with("privilegeId", SESSION_PRIVILEGE));
        }
        let others: &[_] =
            if options.may_list_sessions && !options.lists_nobody { &self.world.vsphere.sessions } else { &[] };
        // Whoever reads the list is in it, whatever a test wants to see of that: there is no empty list.
        let with_own = (options.list_reader || others.is_empty()) && !options.lists_nobody;
        let own = state.logins.values().map(|login| &login.session).filter(|_| with_own);
        Ok(Property::Sessions(others.iter().chain(own).map(session_object).collect()))
    }

    /// Whether a session has privileges at the root: all, unless an option takes one away.
    pub(super) fn privileges(&self, call: &Call) -> Answer<'_> {
        if !self.options.tells_privileges {
            return Err(Fault::new("MethodNotFound", "The requested method is not supported"));
        }
        let availability = call.arguments("privId").into_iter().map(|privilege| {
            let granted = match privilege.as_str() {
                SESSION_PRIVILEGE => self.options.may_list_sessions,
                READ_PRIVILEGE => self.options.hidden.is_empty(),
                _ => true,
            };
            object(
                "PrivilegeAvailability",
                vec![("privId", VimValue::Text(privilege)), ("isGranted", VimValue::Bool(granted))],
            )
        });
        let entity = VimValue::Ref { kind: "Folder", value: call.argument("entity").unwrap_or_default().to_owned() };
        Ok(Reply::Values(vec![object(
            "EntityPrivilege",
            vec![("entity", entity), ("privAvailability", VimValue::List(availability.collect()))],
        )]))
    }
}
