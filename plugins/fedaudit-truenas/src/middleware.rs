//! MIDDLEWARE: API logins and logouts, API calls, web shells, restarts of the system.

use std::borrow::Cow;
use std::fmt;

use fedaudit_core::Action;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer as _};
use serde_json::Deserializer;
use serde_json::value::RawValue;

use crate::action;
use crate::credential::{Credential, Proof};
use crate::normalize::{Draft, Session, data, lower, text, upper};
use crate::record::{PLACES, Record};
use crate::wire::{Loose, Scalar, truth};

#[derive(Default, Deserialize)]
#[serde(default)]
struct ServiceData<'a> {
    #[serde(borrow)]
    origin: Scalar<'a>,
    #[serde(borrow)]
    protocol: Scalar<'a>,
    #[serde(borrow)]
    credentials: Loose<Credential<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Login<'a> {
    #[serde(borrow)]
    credentials: Loose<Credential<'a>>,
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
    #[serde(borrow, rename = "shell_type")]
    kind: Scalar<'a>,
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

/// Who called, by the service data.
#[derive(Clone, Debug, Default)]
struct Caller<'a> {
    origin: Option<Cow<'a, str>>,
    protocol: Option<Cow<'a, str>>,
    proof: Option<Proof<'a>>,
}

/// The callers of sessions that were met, with the service data they were read from: all records of a session have the same.
#[derive(Debug, Default)]
pub(crate) struct Callers<'a>(Vec<(&'a str, Caller<'a>)>);

impl<'a> Callers<'a> {
    fn of(&mut self, record: &Record<'a>, draft: &mut Draft<'a>) -> Caller<'a> {
        if self.0.is_empty() {
            self.0.resize_with(PLACES, Default::default);
        }
        let json = record.service_data.unwrap_or_default();
        let (known, caller) = &mut self.0[record.place()];
        if *known == json {
            return caller.clone();
        }
        let marks = (draft.cuts.len(), draft.flags.len());
        let service: ServiceData<'a> = data(record.service_data, draft);
        let found = Caller {
            origin: text(service.origin),
            protocol: text(service.protocol),
            proof: service.credentials.0.map(|credential| credential.proof(&mut draft.cuts)),
        };
        // Secrets are cut out of every record where they lie, and flags are set on every record.
        if marks == (draft.cuts.len(), draft.flags.len()) {
            (*known, *caller) = (json, found.clone());
        }
        found
    }
}

/// Fills the draft of one record.
pub(crate) fn map<'a>(record: &Record<'a>, draft: &mut Draft<'a>, callers: &mut Callers<'a>) {
    draft.session_id = record.session.clone().some();
    if draft.session_id.is_some() {
        draft.session = Session::Api;
    }
    let caller = callers.of(record, draft);
    // The address says 127.0.0.1 for local sockets; the origin knows better.
    if let Some(origin) = caller.origin {
        draft.source = Some(origin);
        draft.port_may_follow = true;
    }
    draft.protocol = caller.protocol.map(upper);
    if let Some(proof) = caller.proof {
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
    if let Some(credential) = login.credentials.0 {
        let mut proof = credential.proof(&mut draft.cuts);
        draft.user_unless_named(proof.username.take());
        draft.proof(proof);
    }
    draft.outcome_reason = text(login.error);
}

/// Events that never present a secret of their own.
pub(crate) fn is_harmless(event: &str) -> bool {
    matches!(event, "METHOD_CALL" | "LOGOUT" | "REBOOT" | "SHUTDOWN" | "WEBSHELL_LOGOUT")
}

fn call<'a>(record: &Record<'a>, draft: &mut Draft<'a>) {
    let call: Call<'a> = data(record.event_data, draft);
    let method = call.method.as_str();
    if method.is_empty() {
        // The data are lost: what was called is not known.
        draft.action = Action::Other;
        draft.flags.push("no_method");
        return;
    }
    let mut room = [RawValue::NULL; 2];
    let params = leading(call.params, &mut room);
    draft.action = action::of_method(method, params);
    let target = action::target(method, params);
    draft.target_name = target.name;
    draft.target_uid = target.uid;
    draft.target_user = target.user;
    draft.message = text(call.description);
    draft.operation = text(call.method);
    draft.target_type = draft.operation.as_ref().and_then(namespace);
    if truth(call.authenticated) == Some(false) {
        draft.refused("not_authenticated");
    } else if truth(call.authorized) == Some(false) {
        draft.refused("not_authorized");
    }
}

/// The part of a method's name before the last point.
fn namespace<'a>(method: &Cow<'a, str>) -> Option<Cow<'a, str>> {
    match method {
        Cow::Borrowed(method) => method.rsplit_once('.').map(|(namespace, _)| namespace.into()),
        Cow::Owned(method) => method.rsplit_once('.').map(|(namespace, _)| namespace.to_owned().into()),
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
    draft.target_type = text(shell.kind).map(lower);
    draft.resources = shell.target.filter(|target| target.get() != "null").map(|target| format!("[{}]", target.get()));
    draft.outcome_reason = text(shell.error);
}

fn lifecycle<'a>(action: Action, record: &Record<'a>, draft: &mut Draft<'a>) {
    draft.action = action;
    let lifecycle: Lifecycle<'a> = data(record.event_data, draft);
    draft.outcome_reason = text(lifecycle.reason);
}
