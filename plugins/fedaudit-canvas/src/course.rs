//! Rows of the course log: what was done to a course, from what to what.

use fedaudit_core::{Action, EventRow, Outcome};

use crate::normalize::Identity;
use crate::record::{Push, Record, Scratch, filled, write_resources, write_unmapped};
use crate::stream::Stream;
use crate::wire::text;

/// Every action that rows of this log have.
pub(crate) const ACTIONS: [Action; 4] =
    [Action::ObjectCreate, Action::ObjectUpdate, Action::ObjectDelete, Action::Other];

/// What a word of the log says was done.
fn action(word: &str) -> (Action, Outcome) {
    let action = match word {
        "created" => Action::ObjectCreate,
        "deleted" => Action::ObjectDelete,
        "updated" | "concluded" | "unconcluded" | "restored" | "published" | "unpublished" | "claimed"
        | "copied_from" | "copied_to" | "reset_from" | "reset_to" => Action::ObjectUpdate,
        _ => return (Action::Other, Outcome::Unknown),
    };
    (action, Outcome::Success)
}

/// Fills in what this log tells and hands the row over.
pub(crate) fn push(record: &Record<'_>, row: &EventRow<'_>, scratch: &mut Scratch, push: Push<'_>) {
    let Scratch { unmapped, resources, flags } = scratch;
    let (event, document) = (record.event, record.document);
    let (action, outcome) = action(record.code);
    let (course, user) = (event.course(), event.user());
    let actor = record.actor(user, record.login_of(user), flags);
    let linked = course.and_then(|id| document.courses.get(id));
    let course_name = linked.and_then(|course| text(course.members.name.as_ref()));
    // The other course of a copy or a reset stands under the event's own word.
    let other = event.links.as_ref().and_then(|links| links.further.iter().find(|(key, _)| key.text() == record.code));
    let other = other.map(|(_, value)| value.get().trim_matches('"')).filter(|id| *id != "null");
    write_resources(resources, &[("course", course, course_name), ("course", other, None)]);
    write_unmapped(
        unmapped,
        event,
        &[("user", user.and_then(|id| document.users.get(id))), ("course", linked), ("page_view", record.page_view())],
    );
    let identity = Identity {
        stream: Some(Stream::Course.name()),
        id: row.record_id,
        account: record.tenant,
        parts: [course, user, Some(record.code)],
    };
    let row = EventRow {
        action,
        outcome,
        target_type: Some("course"),
        target_name: course_name,
        target_uid: course,
        resources: filled(resources),
        tenant: record.tenant,
        quality_flags: flags,
        unmapped: filled(unmapped),
        ..actor.of(row)
    };
    push(&identity, &row);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn course_words() {
        assert_eq!(action("created").0, Action::ObjectCreate);
        assert_eq!(action("deleted").0, Action::ObjectDelete);
        for word in ["claimed", "unpublished", "published", "reset_to"] {
            assert_eq!(action(word), (Action::ObjectUpdate, Outcome::Success));
        }
        assert_eq!(action("moved"), (Action::Other, Outcome::Unknown));
        assert!(["created", "deleted", "updated", "moved"].iter().all(|word| ACTIONS.contains(&action(word).0)));
    }
}
