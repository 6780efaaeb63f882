//! SYSTEM: the operating system's own audit trail.

use std::borrow::Cow;

use fedaudit_core::Action;
use serde::Deserialize;

use crate::normalize::{Draft, Session, data, text};
use crate::record::Record;
use crate::wire::{Loose, Scalar};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Data<'a> {
    #[serde(borrow)]
    proctitle: Scalar<'a>,
    #[serde(borrow)]
    syscall: Loose<Syscall<'a>>,
    #[serde(borrow)]
    auid: Scalar<'a>,
    #[serde(borrow)]
    ses: Scalar<'a>,
    #[serde(borrow)]
    auth_action: Scalar<'a>,
    #[serde(borrow)]
    acct: Scalar<'a>,
    #[serde(borrow)]
    username: Scalar<'a>,
    #[serde(borrow)]
    hostname: Scalar<'a>,
    #[serde(borrow)]
    addr: Scalar<'a>,
    #[serde(borrow)]
    service_action: Scalar<'a>,
    #[serde(borrow)]
    unit: Scalar<'a>,
    #[serde(borrow)]
    tty_record: Loose<Tty<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Syscall<'a> {
    #[serde(borrow)]
    auid: Scalar<'a>,
    #[serde(borrow, rename = "AUID")]
    login_name: Scalar<'a>,
    #[serde(borrow, rename = "UID")]
    name: Scalar<'a>,
    #[serde(borrow)]
    ses: Scalar<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Tty<'a> {
    #[serde(borrow)]
    uid: Scalar<'a>,
    #[serde(borrow)]
    ses: Scalar<'a>,
    #[serde(borrow)]
    username: Scalar<'a>,
}

/// Fills the draft of one record.
pub(crate) fn map<'a>(record: &Record<'a>, draft: &mut Draft<'a>) {
    let event = record.event.as_str();
    let data: Data<'a> = data(record.event_data, draft);
    let syscall = data.syscall.0.unwrap_or_default();

    // The login user stays the same through su and sudo.
    let login_name = set(syscall.login_name);
    if login_name.is_some() {
        draft.user = login_name;
    }
    draft.user_uid = set(syscall.auid).or(set(data.auid)).map(|uid| format!("uid:{uid}").into());
    draft.target_user = set(syscall.name).filter(|_| event != "LOGIN");
    draft.operation = text(data.proctitle);
    draft.correlation_id = set(data.ses).or(set(syscall.ses));
    draft.action = match event {
        "LOGIN" => Action::Login,
        "CREDENTIAL" => credential(data.auth_action.as_str()),
        "ESCALATION" => Action::Switch,
        "PRIVILEGED" | "TTY_RECORD" => Action::ExecRun,
        "SERVICE" => service(data.service_action.as_str()),
        "IDENTITY" | "TIME-CHANGE" => Action::ConfigUpdate,
        "MODULE-LOAD" => Action::ObjectUpdate,
        _ => Action::Other,
    };
    match event {
        "LOGIN" if draft.correlation_id.is_some() => draft.session = Session::System,
        "CREDENTIAL" => {
            if let Some(account) = set(data.username).or(set(data.acct)) {
                draft.user = Some(account);
            }
            draft.source_host = set(data.hostname).filter(|host| fedaudit_core::address::parse_ip(host).is_none());
            draft.source = set(data.addr).or(draft.source.take());
        }
        "SERVICE" => {
            draft.target_type = Some("service".into());
            draft.target_name = text(data.unit);
        }
        "TTY_RECORD" => tty(data.tty_record.0.unwrap_or_default(), draft),
        _ => {}
    }
}

/// A value that auditd really has: it writes `?` and `unset` where there is none.
fn set(scalar: Scalar<'_>) -> Option<Cow<'_, str>> {
    scalar.some().filter(|text| !matches!(&**text, "?" | "unset" | "(unknown)" | "(none)" | "4294967295" | "-1"))
}

/// auditd's message types of PAM: those that let somebody in, or refuse to.
fn credential(auth_action: &str) -> Action {
    let says = auth_action.to_ascii_uppercase();
    if says.contains("LOGOUT") {
        Action::Other
    } else if says.is_empty() || says.contains("LOGIN") || says.contains("AUTH") {
        Action::Login
    } else {
        Action::Other
    }
}

fn service(service_action: &str) -> Action {
    let says = service_action.to_ascii_uppercase();
    if says.contains("RESTART") {
        Action::ServiceRestart
    } else if says.contains("START") {
        Action::ServiceStart
    } else if says.contains("STOP") {
        Action::ServiceStop
    } else {
        Action::Other
    }
}

fn tty<'a>(tty: Tty<'a>, draft: &mut Draft<'a>) {
    if let Some(name) = set(tty.username) {
        draft.user = Some(name);
    }
    draft.user_uid = draft.user_uid.take().or_else(|| set(tty.uid).map(|uid| format!("uid:{uid}").into()));
    draft.correlation_id = draft.correlation_id.take().or(set(tty.ses));
}
