//! SUDO: commands run as another account.

use std::borrow::Cow;

use fedaudit_core::Action;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::normalize::{Draft, data, text};
use crate::record::Record;
use crate::wire::{Loose, Scalar};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Data<'a> {
    #[serde(borrow)]
    sudo: Loose<Verdict<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Verdict<'a> {
    #[serde(borrow)]
    accept: Loose<Command<'a>>,
    #[serde(borrow)]
    reject: Loose<Command<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Command<'a> {
    #[serde(borrow, rename = "command")]
    path: Scalar<'a>,
    #[serde(borrow)]
    runargv: Option<&'a RawValue>,
    #[serde(borrow)]
    runuser: Scalar<'a>,
    #[serde(borrow)]
    submituser: Scalar<'a>,
    #[serde(borrow)]
    submithost: Scalar<'a>,
    #[serde(borrow)]
    reason: Scalar<'a>,
}

/// Fills the draft of one record.
pub(crate) fn map<'a>(record: &Record<'a>, draft: &mut Draft<'a>) {
    // It is a process id, not a session.
    draft.pid = record.session.clone().some();
    draft.action = match record.event.as_str() {
        "ACCEPT" | "REJECT" => Action::ExecRun,
        _ => Action::Other,
    };
    let data: Data<'a> = data(record.event_data, draft);
    let Some(command) = data.sudo.0.and_then(|verdict| verdict.accept.0.or(verdict.reject.0)) else { return };
    draft.user_unless_named(text(command.submituser));
    draft.source = draft.source.take().or(text(command.submithost));
    draft.target_user = text(command.runuser);
    draft.outcome_reason = text(command.reason);
    draft.operation = command_line(text(command.path), command.runargv);
}

/// The command's path and its arguments; the first of these is the command as it was typed.
fn command_line<'a>(command: Option<Cow<'a, str>>, arguments: Option<&'a RawValue>) -> Option<Cow<'a, str>> {
    let raw = arguments.map_or("null", RawValue::get);
    let arguments: Vec<Cow<'_, str>> = serde_json::from_str(raw)
        .or_else(|_| {
            serde_json::from_str::<String>(raw).map(|joined| joined.split(',').map(|a| a.to_owned().into()).collect())
        })
        .unwrap_or_default();
    let typed = arguments.first().map(|first| Cow::Owned(first.clone().into_owned()));
    let mut line = command.or(typed)?;
    for argument in arguments.iter().skip(1) {
        let line = line.to_mut();
        line.push(' ');
        line.push_str(argument);
    }
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_come_as_a_list_or_joined() {
        for json in [r#"["apt","update","-y"]"#, r#""apt,update,-y""#] {
            let raw: &RawValue = serde_json::from_str(json).unwrap();
            assert_eq!(command_line(Some("/usr/bin/apt".into()), Some(raw)).as_deref(), Some("/usr/bin/apt update -y"));
        }
        assert_eq!(command_line(None, None), None);
    }
}
