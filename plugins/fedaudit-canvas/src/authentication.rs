//! Rows of the authentication log.

use fedaudit_core::{Action, EventRow, Outcome};

use crate::normalize::Identity;
use crate::record::{Push, Record, Scratch, filled, write_unmapped};
use crate::wire::text;

/// Fills in what this log tells and hands the row over.
pub(crate) fn push(record: &Record<'_>, row: &EventRow<'_>, scratch: &mut Scratch, push: Push<'_>) {
    let Scratch { unmapped, flags, .. } = scratch;
    let (event, document) = (record.event, record.document);
    let (action, outcome) = match record.code {
        // Written once the first factor is accepted; whether a second one was asked for and given is not recorded.
        "login" => {
            flags.push("before_second_factor");
            (Action::Login, Outcome::Success)
        }
        "logout" => (Action::Logout, Outcome::Success),
        _ => (Action::Other, Outcome::Unknown),
    };
    let login = event.login().and_then(|id| document.logins.get(id));
    // Both equal those of the login by definition, so the login can fill a gap.
    let account = event.account().or_else(|| login.and_then(|login| text(login.members.account_id.as_ref())));
    let user = event.user().or_else(|| login.and_then(|login| text(login.members.user_id.as_ref())));
    let name = login.and_then(|login| text(login.members.unique_id.as_ref()));
    if event.login().is_some() && name.is_none() {
        flags.push("login_not_linked");
    }
    let actor = record.actor(user, name, flags);
    write_unmapped(
        unmapped,
        event,
        &[
            ("login", login),
            ("user", user.and_then(|id| document.users.get(id))),
            ("account", account.and_then(|id| document.accounts.get(id))),
            ("page_view", record.page_view()),
        ],
    );
    let identity =
        Identity { stream: None, id: row.record_id, account, parts: [user, event.login(), Some(record.code)] };
    let row = EventRow {
        action,
        outcome,
        account_id: event.login(),
        is_remote: (action != Action::Other).then_some(true),
        tenant: account,
        quality_flags: flags,
        unmapped: filled(unmapped),
        ..actor.of(row)
    };
    push(&identity, &row);
}
