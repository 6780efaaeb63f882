//! MIDDLEWARE: API logins and logouts, API calls, web shells, restarts of the system.

use std::fmt;

use fedaudit_core::Action;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer as _};
use serde_json::Deserializer;
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
    let method = call.method.as_str();
    let mut room = [RawValue::NULL; 2];
    let params = leading(call.params, &mut room);
    draft.action = action::of_method(method, params);
    let target = action::target(method, params);
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

/// As many items of a list as there is room for; nothing of anything else.
fn leading<'a, 'r>(list: Option<&'a RawValue>, room: &'r mut [&'a RawValue]) -> &'r [&'a RawValue] {
    struct Leading<'r, 'a>(&'r mut [&'a RawValue]);
    impl<'a> Visitor<'a> for Leading<'_, 'a> {
        type Value = usize;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }
        fn visit_seq<S: SeqAccess<'a>>(self, mut list: S) -> Result<usize, S::Error> {
            let mut count = 0;
            for slot in self.0 {
                let Some(item) = list.next_element()? else { break };
                *slot = item;
                count += 1;
            }
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(count)
        }
    }
    let count = list.and_then(|list| Deserializer::from_str(list.get()).deserialize_seq(Leading(&mut *room)).ok());
    &room[..count.unwrap_or(0)]
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
