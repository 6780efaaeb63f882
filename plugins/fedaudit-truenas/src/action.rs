//! The product's event names and API methods in our words, and back: which events can carry an action.

use std::borrow::Cow;

use fedaudit_core::Action;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::streams::Service;
use crate::wire::{Scalar, truth};

/// What an API method does; `params` are its parameters as they were logged.
pub(crate) fn of_method(method: &str, params: &[&RawValue]) -> Action {
    let (namespace, verb) = method.rsplit_once('.').unwrap_or(("", method));
    match (namespace, verb) {
        ("user", "create") => Action::AccountCreate,
        ("user", "delete") => Action::AccountDelete,
        ("user", "set_password") => Action::AccountPasswordReset,
        ("user", "update") => user_update(params.get(1).copied()),
        ("user", "renew_2fa_secret") => Action::AccountMfaEnable,
        ("user", "unset_2fa_secret") => Action::AccountMfaDisable,
        ("group", "create") => Action::GroupCreate,
        ("group", "update") => Action::GroupUpdate,
        ("group", "delete") => Action::GroupDelete,
        ("privilege", "create") => Action::RoleCreate,
        ("privilege", "update") => Action::RoleUpdate,
        ("privilege", "delete") => Action::RoleDelete,
        ("api_key", "create") | ("auth", "generate_token" | "generate_onetime_password") => Action::CredentialCreate,
        ("api_key", "delete") => Action::CredentialDelete,
        ("audit", "export") => Action::LogExport,
        ("audit", "download_report") => Action::LogRead,
        ("audit", "update") => Action::LogConfig,
        ("service", "start") => Action::ServiceStart,
        ("service", "stop") => Action::ServiceStop,
        ("service", "restart") => Action::ServiceRestart,
        ("service", "control") => service_control(params.first().copied()),
        (_, "create" | "update" | "delete") if holds_objects(namespace) => match verb {
            "create" => Action::ObjectCreate,
            "update" => Action::ObjectUpdate,
            _ => Action::ObjectDelete,
        },
        (_, "create") => Action::ConfigCreate,
        (_, "update") => Action::ConfigUpdate,
        (_, "delete") => Action::ConfigDelete,
        (_, "query") => Action::ConfigRead,
        _ => Action::ConfigCall,
    }
}

fn holds_objects(namespace: &str) -> bool {
    let head = namespace.split('.').next().unwrap_or_default();
    matches!(head, "pool" | "sharing" | "vm" | "app" | "virt")
}

/// `user.update` names only what is changed.
fn user_update(changes: Option<&RawValue>) -> Action {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Changes<'a> {
        #[serde(borrow)]
        locked: Option<&'a RawValue>,
        #[serde(borrow)]
        password_disabled: Option<&'a RawValue>,
        #[serde(borrow)]
        password: Option<&'a RawValue>,
    }
    let changes: Changes<'_> = changes.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    match truth(changes.locked).or(truth(changes.password_disabled)) {
        Some(true) => Action::AccountLock,
        Some(false) => Action::AccountUnlock,
        None if changes.password.is_some() => Action::AccountPasswordReset,
        None => Action::AccountUpdate,
    }
}

/// `service.control` names the verb in its first parameter.
fn service_control(verb: Option<&RawValue>) -> Action {
    match verb.map(RawValue::get) {
        Some("\"START\"") => Action::ServiceStart,
        Some("\"STOP\"") => Action::ServiceStop,
        Some("\"RESTART\"") => Action::ServiceRestart,
        _ => Action::ConfigCall,
    }
}

/// What opening a file did, by the disposition asked for: a name with or without `FILE_`, or its number.
pub(crate) fn of_disposition(disposition: &str) -> Action {
    match disposition.strip_prefix("FILE_").unwrap_or(disposition) {
        "SUPERSEDE" | "0" | "0x0" | "0x00000000" => Action::FileSupersede,
        "CREATE" | "2" | "0x2" | "0x00000002" => Action::FileCreate,
        "OVERWRITE" | "OVERWRITE_IF" | "4" | "5" | "0x4" | "0x5" | "0x00000004" | "0x00000005" => Action::FileOverwrite,
        _ => Action::FileOpen,
    }
}

/// Every event name of a service that can carry one of these actions; none if that cannot be said by name.
///
/// The other direction is in `middleware`, `smb`, `sudo` and `system`; a test walks through both.
pub(crate) fn events_for(service: Service, actions: &[Action]) -> Option<Vec<&'static str>> {
    let mut events: Vec<&'static str> = Vec::new();
    for action in actions {
        let of_action: &[&'static str] = match (service, action) {
            // Names that are not known yet are `other`.
            (_, Action::Other) => return None,
            (Service::Middleware, Action::Login) => &["AUTHENTICATION", "WEBSHELL_AUTHENTICATION"],
            (Service::Middleware, Action::Logout) => &["LOGOUT", "WEBSHELL_LOGOUT"],
            (Service::Middleware, Action::SystemReboot) => &["REBOOT"],
            (Service::Middleware, Action::SystemStop) => &["SHUTDOWN"],
            (Service::Middleware, _) => &["METHOD_CALL"],
            (Service::Smb, Action::Login) => &["AUTHENTICATION"],
            (Service::Smb, Action::ShareConnect) => &["CONNECT"],
            (Service::Smb, Action::ShareDisconnect) => &["DISCONNECT"],
            (Service::Smb, Action::FileOpen | Action::FileCreate | Action::FileOverwrite | Action::FileSupersede) => {
                &["CREATE"]
            }
            (Service::Smb, Action::FileClose) => &["CLOSE"],
            (Service::Smb, Action::FileRead) => &["READ", "OFFLOAD_READ"],
            (Service::Smb, Action::FileWrite) => &["WRITE", "OFFLOAD_WRITE"],
            (Service::Smb, Action::FileRename) => &["RENAME"],
            (Service::Smb, Action::FileDelete) => &["UNLINK"],
            (Service::Smb, Action::FileSetAttr) => &["SET_ATTR"],
            (Service::Smb, Action::FileSetAcl) => &["SET_ACL"],
            (Service::Smb, Action::ConfigUpdate) => &["SET_QUOTA"],
            (Service::Sudo, Action::ExecRun) => &["ACCEPT", "REJECT"],
            (Service::System, Action::Login) => &["LOGIN", "CREDENTIAL"],
            (Service::System, Action::Switch) => &["ESCALATION"],
            (Service::System, Action::ExecRun) => &["PRIVILEGED", "TTY_RECORD"],
            (Service::System, Action::ServiceStart | Action::ServiceStop | Action::ServiceRestart) => &["SERVICE"],
            (Service::System, Action::ConfigUpdate) => &["IDENTITY", "TIME-CHANGE"],
            (Service::System, Action::ObjectUpdate) => &["MODULE-LOAD"],
            _ => &[],
        };
        events.extend(of_action);
    }
    events.sort_unstable();
    events.dedup();
    Some(events)
}

/// The thing a method works on: the first parameter is its id, or an object that names it.
#[derive(Debug, Default)]
pub(crate) struct Target<'a> {
    pub(crate) uid: Option<Cow<'a, str>>,
    pub(crate) name: Option<Cow<'a, str>>,
    /// Account the method works on, where it names one.
    pub(crate) user: Option<Cow<'a, str>>,
}

/// Reads the target of a method from its parameters.
pub(crate) fn target<'a>(method: &str, params: &[&'a RawValue]) -> Target<'a> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Named<'a> {
        #[serde(borrow)]
        username: Scalar<'a>,
        #[serde(borrow)]
        name: Scalar<'a>,
    }
    let of_user = method.starts_with("user.");
    match params.first().map(|raw| raw.get()) {
        Some(object) if object.starts_with('{') => {
            let named: Named<'a> = serde_json::from_str(object).unwrap_or_default();
            let user = named.username.some();
            Target { uid: None, name: named.name.some().or_else(|| user.clone()), user: user.filter(|_| of_user) }
        }
        Some(scalar) if !scalar.starts_with('[') && method != "service.control" => {
            let uid = serde_json::from_str::<Scalar<'a>>(scalar).unwrap_or_default().some();
            Target { uid, name: None, user: None }
        }
        _ => Target {
            name: params
                .get(1)
                .filter(|_| method == "service.control")
                .and_then(|raw| serde_json::from_str::<Scalar<'a>>(raw.get()).ok()?.some()),
            ..Target::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(method: &str, params: &str) -> Action {
        of_method(method, &serde_json::from_str::<Vec<&RawValue>>(params).unwrap())
    }

    #[test]
    fn methods() {
        for (method, params, expected) in [
            ("user.create", "[{}]", "account.create"),
            ("user.update", r#"[7,{"locked":true}]"#, "account.lock"),
            ("user.update", r#"[7,{"password_disabled":false}]"#, "account.unlock"),
            ("user.update", r#"[7,{"password":"********"}]"#, "account.password_reset"),
            ("user.update", r#"[7,{"full_name":"A"}]"#, "account.update"),
            ("user.update", "[7]", "account.update"),
            ("service.control", r#"["STOP","cifs",{}]"#, "service.stop"),
            ("service.control", r#"["RELOAD","cifs"]"#, "config.call"),
            ("pool.dataset.update", "[]", "object.update"),
            ("sharing.smb.create", "[]", "object.create"),
            ("cronjob.create", "[]", "config.create"),
            ("app.start", "[]", "config.call"),
            ("pool.scrub.query", "[]", "config.read"),
            ("reboot", "[]", "config.call"),
            ("audit.update", "[]", "log.config"),
        ] {
            assert_eq!(action(method, params).as_str(), expected, "{method} {params}");
        }
    }

    #[test]
    fn a_question_that_no_event_answers_has_no_events() {
        assert_eq!(events_for(Service::Sudo, &[Action::Login]), Some(vec![]));
        assert_eq!(events_for(Service::Sudo, &[Action::Other]), None);
        assert_eq!(
            events_for(Service::Middleware, &[Action::AccountCreate, Action::RoleCreate]),
            Some(vec!["METHOD_CALL"])
        );
    }
}
