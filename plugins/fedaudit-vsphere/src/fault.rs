//! What a vSphere fault means: which kind of error it is, and what an operator can do about it.

use fedaudit_core::{Error, ErrorKind, Result};
use fedaudit_transport::Attempt;
use serde::Deserialize;

/// A fault, the same from both transports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Its class: `InvalidLogin`, `NoPermission`, …
    pub(crate) class: String,
    /// The server's text, often empty.
    pub(crate) text: String,
    /// The privilege that is missing.
    pub(crate) privilege: Option<String>,
}

/// Why a call gave no result.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server understood and said no.
    Fault(Fault),
    /// Everything else.
    Error(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Failure {
    /// The login is gone: it expired, or an operator ended it.
    pub(crate) fn is_session_lost(&self) -> bool {
        self.is("NotAuthenticated")
    }

    /// The collector is gone, for reasons of the server's own.
    pub(crate) fn is_collector_lost(&self) -> bool {
        self.is("ManagedObjectNotFound") || self.is("InvalidState")
    }

    /// It may be gone when the same is asked again.
    pub(crate) fn passes(&self) -> bool {
        match self {
            Self::Fault(fault) => {
                matches!(&*fault.class, "HostCommunication" | "SystemError" | "RuntimeFault" | "RequestCanceled")
            }
            Self::Error(error) => error.kind().is_temporary(),
        }
    }

    pub(crate) fn is(&self, class: &str) -> bool {
        matches!(self, Self::Fault(fault) if fault.class == class)
    }

    /// As an error of this call.
    pub(crate) fn into_error(self, call: &str) -> Error {
        match self {
            Self::Fault(fault) => fault.into_error().at(call),
            Self::Error(error) => error,
        }
    }

    /// As what came of an attempt at this call: a lost login is made anew, anything else is an error.
    pub(crate) fn into_attempt<T>(self, call: &str) -> Result<Attempt<T>> {
        if self.is_session_lost() { Ok(Attempt::Lost(self.into_error(call))) } else { Err(self.into_error(call)) }
    }
}

impl Fault {
    /// The server does not know what it is asked for.
    pub(crate) fn is_of_old_server(&self) -> bool {
        matches!(self.class.as_str(), "MethodNotFound" | "NotImplemented" | "NotSupported" | "InvalidRequest")
    }

    /// Reads a fault object in VI JSON form.
    pub(crate) fn from_json(json: &str) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire {
            #[serde(rename = "_typeName")]
            class: String,
            #[serde(default, rename = "faultstring")]
            text: String,
            privilege_id: Option<String>,
            #[serde(default)]
            missing_privileges: Vec<Missing>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Missing {
            #[serde(default)]
            privilege_ids: Vec<String>,
        }
        let wire: Wire = serde_json::from_str(json).ok()?;
        // `privilegeId` is the older of the two ways to say it.
        let privilege = wire
            .missing_privileges
            .into_iter()
            .flat_map(|missing| missing.privilege_ids)
            .next()
            .or(wire.privilege_id)
            .filter(|id| !id.is_empty());
        Some(Self { class: wire.class, text: wire.text, privilege })
    }

    /// Whether its class is one that is expected, which no data object has.
    pub(crate) fn is_known(&self) -> bool {
        self.meaning().is_some()
    }

    /// The kind of error and what to do about it, where the class is known: subclasses stand before their bases.
    fn meaning(&self) -> Option<(ErrorKind, Option<&'static str>)> {
        Some(match self.class.as_str() {
            "InvalidLogin" | "NoClientCertificate" | "AuthenticationRequired" => (
                ErrorKind::Unauthenticated,
                Some(
                    "check username (with its domain, as reader@vsphere.local) and password; the login is not repeated, because failures count towards a lock-out",
                ),
            ),
            "NotAuthenticated" => (ErrorKind::Unauthenticated, Some("the server ended the login twice in a row")),
            "NoPermission" | "RestrictedVersion" | "NoAccess" => (
                ErrorKind::Denied,
                Some(match self.privilege.as_deref() {
                    Some("Sessions.TerminateSession") => SESSION_LIST_HINT,
                    _ => "give the account the Read-only role at the vCenter root, with propagation to children",
                }),
            ),
            "ManagedObjectNotFound" => (ErrorKind::NotFound, None),
            "InvalidState" => (
                ErrorKind::Unavailable,
                Some(
                    "the server has no event collector left (32 by default): another tool leaks them; they go with its session",
                ),
            ),
            "NotImplemented" | "NotSupported" | "MethodNotFound" | "InvalidType" => (ErrorKind::Unsupported, None),
            "InvalidArgument" | "InvalidRequest" => (ErrorKind::Malformed, None),
            "RequestCanceled" => (ErrorKind::Timeout, None),
            "HostCommunication" | "SystemError" | "RuntimeFault" => (ErrorKind::Unavailable, None),
            _ => return None,
        })
    }

    /// As an error.
    pub(crate) fn into_error(self) -> Error {
        let (kind, hint) = self.meaning().unwrap_or((ErrorKind::Unavailable, None));
        let text = if self.text.is_empty() { String::new() } else { format!(": {}", excerpt(&self.text)) };
        let privilege =
            self.privilege.map_or_else(String::new, |privilege| format!(" (privilege {})", excerpt(&privilege)));
        let error = Error::new(kind, format!("{}{privilege}{text}", excerpt(&self.class)));
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

/// What the live list needs, said plainly.
const SESSION_LIST_HINT: &str = "the list of live sessions needs 'View and stop sessions' (Sessions.TerminateSession) at the \
    vCenter root, which also lets the account end other sessions; without it sessions are rebuilt from events alone";

fn excerpt(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_hints() {
        let fault = Fault::from_json(r#"{"object":{"type":"SessionManager","value":"s"},"privilegeId":"Sessions.TerminateSession","_typeName":"NoPermission","faultstring":"no"}"#).unwrap();
        let error = fault.into_error();
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(error.hint_text().unwrap().contains("View and stop sessions"));
        assert_eq!(error.to_string(), "NoPermission (privilege Sessions.TerminateSession): no");
        for (class, kind) in [
            ("NotAuthenticated", ErrorKind::Unauthenticated),
            ("InvalidLogin", ErrorKind::Unauthenticated),
            ("NotSupported", ErrorKind::Unsupported),
            ("SystemError", ErrorKind::Unavailable),
            ("HostCommunication", ErrorKind::Unavailable),
            ("RuntimeFault", ErrorKind::Unavailable),
            ("NotImplemented", ErrorKind::Unsupported),
            ("MethodNotFound", ErrorKind::Unsupported),
            ("NoClientCertificate", ErrorKind::Unauthenticated),
            ("AuthenticationRequired", ErrorKind::Unauthenticated),
            ("NoPermission", ErrorKind::Denied),
            ("RestrictedVersion", ErrorKind::Denied),
            ("InvalidArgument", ErrorKind::Malformed),
            ("InvalidRequest", ErrorKind::Malformed),
            ("RequestCanceled", ErrorKind::Timeout),
            ("SomethingNew", ErrorKind::Unavailable),
        ] {
            assert_eq!(Fault { class: class.into(), ..Fault::default() }.is_known(), class != "SomethingNew");
            assert_eq!(Fault { class: class.into(), ..Fault::default() }.into_error().kind(), kind);
        }
        assert_eq!(Fault::from_json("<html>"), None);
        // The bases of a fault are not named; the subclass is a lost login, whatever privilege it speaks of.
        let expired = Fault::from_json(r#"{"_typeName":"NotAuthenticated","privilegeId":"System.View"}"#).unwrap();
        assert!(Failure::Fault(expired).is_session_lost());
    }

    #[test]
    fn both_ways_to_name_a_privilege() {
        let privilege = |json| Fault::from_json(json).unwrap().privilege;
        let newer = r#"{"_typeName":"NoPermission","missingPrivileges":[{"entity":{"type":"Folder","value":"group-d1"},"privilegeIds":["System.Read"]}]}"#;
        assert_eq!(privilege(newer).as_deref(), Some("System.Read"));
        let older = r#"{"_typeName":"NoPermission","privilegeId":"System.View","missingPrivileges":[]}"#;
        assert_eq!(privilege(older).as_deref(), Some("System.View"));
        assert_eq!(privilege(r#"{"_typeName":"NoPermission","privilegeId":""}"#), None);
    }
}
