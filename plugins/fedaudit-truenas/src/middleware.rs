//! MIDDLEWARE: API logins and logouts, API calls, web shells, restarts of the system.

use fedaudit_core::Action;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::action;
use crate::credential::Credential;
use crate::normalize::{Draft, Session, data, lower, text};
use crate::record::Record;
use crate::wire::{Scalar, truth};

#[derive(Default, Deserialize)]
#[serde(default)]
struct ServiceData<'a> {
    #[serde(borrow)]
    origin: Scalar<'a>,
    #[serde(borrow)]
    protocol: Scalar<'a>,
    #[serde(borrow)]
    credentials: Option<Credential<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Login<'a> {
    #[serde(borrow)]
    credentials: Option<Credential<'a>>,
    #[serde(borrow)]
    error: Scalar<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Call<'a> {
    #[serde(borrow)]
    method: Scalar<'a>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    description: Scalar<'a>,
    #[serde(borrow)]
    authenticated: Option<&'a RawValue>,
    #[serde(borrow)]
    authorized: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Shell<'a> {
    #[serde(borrow)]
    shell_type: Scalar<'a>,
    #[serde(borrow)]
    target: Option<&'a RawValue>,
    #[serde(borrow)]
    username: Scalar<'a>,
    #[serde(borrow)]
    error: Scalar<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Lifecycle<'a> {
    #[serde(borrow)]
    reason: Scalar<'a>,
}

/// Fills the draft of one record.
pub(crate) fn map<'a>(record: &Record<'a>, draft: &mut Draft<'a>) {
    draft.session_id = record.session.clone().some();
    if draft.session_id.is_some() {
        draft.session = Session::Api;
    }
    let service: ServiceData<'a> = data(record.service_data, draft);
    // The address says 127.0.0.1 for local sockets; the origin knows better.
    if let Some(origin) = text(service.origin) {
        draft.source = Some(origin);
        draft.port_may_follow = true;
    }
    draft.protocol = text(service.protocol);
    if let Some(credential) = service.credentials {
        let proof = credential.proof(&mut draft.cuts);
        draft.proof(proof);
    }
    match record.event.as_str() {
        "AUTHENTICATION" => login(Action::Login, record, draft),
        "LOGOUT" => login(Action::Logout, record, draft),
        "METHOD_CALL" => call(record, draft),
        "WEBSHELL_AUTHENTICATION" => shell(Action::Login, record, draft),
        "WEBSHELL_LOGOUT" => shell(Action::Logout, record, draft),
        "REBOOT" => lifecycle(Action::SystemReboot, record, draft),
        "SHUTDOWN" => lifecycle(Action::SystemStop, record, draft),
        _ => draft.action = Action::Other,
    }
}

fn login<'a>(action: Action, record: &Record<'a>, draft: &mut Draft<'a>) {
    draft.action = action;
    let login: Login<'a> = data(record.event_data, draft);
    if let Some(credential) = login.credentials {
        let mut proof = credential.proof(&mut draft.cuts);
        draft.user_unless_named(proof.username.take());
        draft.proof(proof);
    }
    draft.outcome_reason = text(login.error);
}

fn call<'a>(record: &Record<'a>, draft: &mut Draft<'a>) {
    let call: Call<'a> = data(record.event_data, draft);
    let params: Vec<&'a RawValue> =
        call.params.and_then(|params| serde_json::from_str(params.get()).ok()).unwrap_or_default();
    let method = call.method.as_str();
    draft.action = action::of_method(method, &params);
    let target = action::target(method, &params);
    draft.target_type = method.rsplit_once('.').map(|(namespace, _)| namespace.to_owned().into());
    draft.target_name = target.name;
    draft.target_uid = target.uid;
    draft.target_user = target.user;
    draft.message = text(call.description);
    draft.operation = text(call.method);
    if truth(call.authenticated) == Some(false) {
        draft.refused("not_authenticated");
    } else if truth(call.authorized) == Some(false) {
        draft.refused("not_authorized");
    }
}

fn shell<'a>(action: Action, record: &Record<'a>, draft: &mut Draft<'a>) {
    draft.action = action;
    let shell: Shell<'a> = data(record.event_data, draft);
    draft.user_unless_named(text(shell.username));
    draft.target_type = text(shell.shell_type).map(lower);
    draft.resources = shell.target.filter(|target| target.get() != "null").map(|target| format!("[{}]", target.get()));
    draft.outcome_reason = text(shell.error);
}

fn lifecycle<'a>(action: Action, record: &Record<'a>, draft: &mut Draft<'a>) {
    draft.action = action;
    let lifecycle: Lifecycle<'a> = data(record.event_data, draft);
    draft.outcome_reason = text(lifecycle.reason);
}
