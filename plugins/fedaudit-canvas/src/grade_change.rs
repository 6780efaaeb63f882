//! Rows of the grade-change log: whose grade was changed, by whom, from what to what.

use fedaudit_core::{Action, EventRow, Outcome};

use crate::normalize::Identity;
use crate::record::{Push, Record, Scratch, bare, filled, principal, write_resources, write_unmapped};
use crate::stream::Stream;
use crate::wire::text;

/// Every action that rows of this log have.
pub(crate) const ACTIONS: [Action; 2] = [Action::ObjectUpdate, Action::Other];

/// Fills in what this log tells and hands the row over.
pub(crate) fn push(record: &Record<'_>, row: &EventRow<'_>, scratch: &mut Scratch, push: Push<'_>) {
    let Scratch { unmapped, resources, flags } = scratch;
    let (event, document) = (record.event, record.document);
    let (action, outcome) = match record.code {
        "grade_change" => (Action::ObjectUpdate, Outcome::Success),
        _ => (Action::Other, Outcome::Unknown),
    };
    // The grader acts; without one it was Canvas itself.
    let (student, grader) = (event.student(), event.grader());
    let actor = record.actor(grader, record.login_of(grader), flags);
    let student_name = record.login_of(student);
    let target = principal(student_name);
    let (course, assignment) = (event.course(), event.assignment());
    let linked_course = course.and_then(|id| document.courses.get(id));
    let linked_assignment = assignment.and_then(|id| document.assignments.get(id));
    let [course_name, assignment_name] =
        [linked_course, linked_assignment].map(|object| object.and_then(|object| text(object.members.name.as_ref())));
    write_resources(
        resources,
        &[
            ("course", course, course_name),
            ("assignment", assignment, assignment_name),
            ("user", student, student_name),
        ],
    );
    write_unmapped(
        unmapped,
        event,
        &[
            ("grader", grader.and_then(|id| document.users.get(id))),
            ("student", student.and_then(|id| document.users.get(id))),
            ("course", linked_course),
            ("assignment", linked_assignment),
            ("page_view", record.page_view()),
        ],
    );
    let identity = Identity {
        stream: Some(Stream::GradeChange.name()),
        id: row.record_id,
        account: record.tenant,
        parts: [assignment.or(course), student, grader],
    };
    let row = EventRow {
        action,
        outcome,
        target_user: bare(&target),
        target_type: Some("grade"),
        target_name: assignment_name,
        target_uid: assignment,
        resources: filled(resources),
        tenant: record.tenant,
        quality_flags: flags,
        unmapped: filled(unmapped),
        ..actor.of(row)
    };
    push(&identity, &row);
}
