//! The routes of the course log and the grade-change log: whose rows answer, to whom, and their documents.

use std::collections::BTreeSet;

use super::directory::{DEPARTMENT, FACULTY, number};
use super::document::{Writer, timestamp};
use super::listing::cut;
use super::{Asked, CourseChange, GradeChange, Reply, Server};

impl Server {
    pub(super) fn course_log(&self, asked: &Asked<'_>, kind: &str, id: &str) -> Reply {
        let changes = &self.options.gradebook.course_changes;
        let rows: Vec<&CourseChange> = match kind {
            // A deleted course keeps its log.
            "courses" => match self.course_number(id) {
                Some(id) => changes.iter().filter(|change| change.course_id == id).collect(),
                None => return Reply::not_found(),
            },
            "accounts" if self.options.course_lists_by_account => match self.any_account_number(id) {
                Some(account) => {
                    let whole = self.options.course_lists_of_tree && self.root_account_number(id).is_some();
                    let own =
                        |change: &&CourseChange| whole || self.account_of_course(change.course_id) == Some(account);
                    changes.iter().filter(own).collect()
                }
                None => return Reply::not_found(),
            },
            _ => return Reply::not_found(),
        };
        if !self.options.may_view_course_changes {
            return self.denied();
        }
        self.rows(
            asked,
            &format!("course/{kind}/{id}"),
            &rows,
            |change| change.created_at,
            |rows| self.course_document(rows, asked),
        )
    }

    pub(super) fn grade_log(&self, asked: &Asked<'_>, kind: &str, id: &str) -> Reply {
        let by: fn(&GradeChange, i64) -> bool = match kind {
            "courses" => |change, id| change.course_id == id,
            "assignments" => |change, id| change.assignment_id == Some(id),
            "students" => |change, id| change.student_id == Some(id),
            "graders" => |change, id| change.grader_id == Some(id),
            _ => return Reply::not_found(),
        };
        let known = match kind {
            "courses" => self.course_number(id).filter(|id| self.live_course(*id)),
            "assignments" if id == "override" => Some(0),
            "assignments" => number(id),
            _ => self.user_number(id),
        };
        let Some(known) = known else { return Reply::not_found() };
        let closed = |course: i64| self.options.closed_gradebooks.contains(&course);
        if kind == "courses" && closed(known) || !self.options.may_view {
            return self.denied();
        }
        let is_asked_for =
            |change: &GradeChange| by(change, known) || (id == "override" && change.assignment_id.is_none());
        self.grades(asked, &format!("grade_change/{kind}/{id}"), is_asked_for)
    }

    /// The advanced query: all conditions at once, and at least one.
    pub(super) fn grade_query(&self, asked: &Asked<'_>) -> Reply {
        let condition = |name: &str| asked.parameter(name).and_then(number);
        let (course, assignment) = (condition("course_id"), condition("assignment_id"));
        let (student, grader) = (condition("student_id"), condition("grader_id"));
        if [course, assignment, student, grader].iter().all(Option::is_none) {
            return Reply::json(400, r#"{"message":"Must specify at least one query condition"}"#);
        }
        if !self.options.may_view {
            return self.denied();
        }
        self.grades(asked, "grade_change", |change| {
            course.is_none_or(|id| change.course_id == id)
                && assignment.is_none_or(|id| change.assignment_id == Some(id))
                && student.is_none_or(|id| change.student_id == Some(id))
                && grader.is_none_or(|id| change.grader_id == Some(id))
        })
    }

    fn grades(&self, asked: &Asked<'_>, path: &str, is_asked_for: impl Fn(&GradeChange) -> bool) -> Reply {
        let changes = self.options.gradebook.grade_changes.iter();
        let rows: Vec<&GradeChange> = changes.filter(|change| is_asked_for(change)).collect();
        self.rows(
            asked,
            path,
            &rows,
            |change| change.created_at,
            |rows| {
                // What the reader may not see goes after the page is cut: a page can be short or empty and not the last.
                let visible: Vec<&GradeChange> = rows.iter().copied().filter(|change| !change.is_hidden).collect();
                self.grade_document(&visible, asked)
            },
        )
    }

    /// A page of rows that stand newest first.
    fn rows<'r, T>(
        &self,
        asked: &Asked<'_>,
        path: &str,
        rows: &'r [&'r T],
        time: impl Fn(&T) -> i64,
        document: impl FnOnce(&[&'r T]) -> (String, usize),
    ) -> Reply {
        let paging = self.paging(asked);
        let place = |index: usize| (time(rows[index]), (rows.len() - index) as u64);
        let (range, more) =
            cut(rows.len(), paging.size, |index| paging.skips(place(index)), |index| paging.stops(time(rows[index])));
        let next = range.clone().last().filter(|_| more).map(|last| self.bookmark(place(last), false));
        let (body, records) = document(&rows[range]);
        let mut reply = Reply::json(200, body).header("link", self.links(asked, path, &paging, next.as_deref()));
        reply.records = records as u64;
        reply
    }

    fn course_number(&self, id: &str) -> Option<i64> {
        number(id).filter(|id| self.options.gradebook.course(*id).is_some())
    }

    fn live_course(&self, id: i64) -> bool {
        self.options.gradebook.course(id).is_some_and(|course| !course.is_deleted)
    }

    fn account_of_course(&self, id: i64) -> Option<i64> {
        self.options.gradebook.course(id).map(|course| course.account_id)
    }

    fn course_document(&self, rows: &[&CourseChange], asked: &Asked<'_>) -> (String, usize) {
        let mut writer = Writer::new(asked.string_ids);
        writer.raw(&format!(
            r#"{{"links":{{"events.course":"https://{}/api/v1/courses/{{events.course}}","events.user":null,"events.sis_batch":null}},"#,
            asked.host
        ));
        writer.list("events", rows, |writer, change| {
            writer.raw("{");
            writer.text("id", &change.id);
            writer.raw(&format!(
                r#","created_at":"{}","event_type":"{}","event_source":{},"event_data":{},"links":{{"course":{},"user":{},"page_view":"#,
                timestamp(change.created_at),
                change.event_type,
                change.event_source.map_or_else(|| "null".to_owned(), |source| format!("\"{source}\"")),
                change.event_data,
                change.course_id,
                or_null(change.user_id),
            ));
            writer.text_or_null(change.page_view.as_deref());
            writer.raw(&format!(r#","sis_batch":{}"#, or_null(change.sis_batch_id)));
            if let Some(other) = change.other_course_id {
                writer.raw(&format!(r#","{}":{other}"#, change.event_type));
            }
            writer.raw("}}");
        });
        writer.raw(r#","linked":{"page_views":[],"#);
        self.linked_courses(&mut writer, &rows.iter().map(|change| change.course_id).collect());
        writer.raw(",");
        self.linked_users(&mut writer, rows.iter().filter_map(|change| change.user_id).collect());
        writer.raw("}}");
        (writer.out, rows.len())
    }

    fn grade_document(&self, rows: &[&GradeChange], asked: &Asked<'_>) -> (String, usize) {
        let mut writer = Writer::new(asked.string_ids);
        writer.raw(&format!(
            r#"{{"links":{{"events.assignment":"https://{0}/api/v1/courses/{{events.course}}/assignments/{{events.assignment}}","events.course":"https://{0}/api/v1/courses/{{events.course}}","events.student":{{"href":null,"type":"user"}},"events.grader":{{"href":null,"type":"user"}},"events.page_view":null}},"#,
            asked.host
        ));
        writer.list("events", rows, |writer, change| {
            writer.raw("{");
            writer.text("id", &change.id);
            writer.raw(&format!(
                r#","created_at":"{}","event_type":"grade_change","grade_before":"#,
                timestamp(change.created_at)
            ));
            writer.text_or_null(change.grade_before.as_deref());
            writer.raw(r#","grade_after":"#);
            writer.text_or_null(change.grade_after.as_deref());
            writer.raw(&format!(
                r#","excused_before":false,"excused_after":false,"graded_anonymously":{},"version_number":{},"points_possible_before":10.0,"points_possible_after":10.0,"#,
                change.student_id.is_none(),
                change.version
            ));
            match change.assignment_id {
                Some(assignment) => writer.raw(&format!(r#""links":{{"assignment":{assignment},"#)),
                None => writer.raw(r#""course_override_grade":true,"links":{"#),
            }
            // Texts beside numbers, as the server has them.
            let person = |id: Option<i64>| id.map_or_else(|| "null".to_owned(), |id| format!("\"{id}\""));
            writer.raw(&format!(
                r#""course":{},"student":{},"grader":{},"page_view":null}}}}"#,
                change.course_id,
                person(change.student_id),
                person(change.grader_id)
            ));
        });
        writer.raw(r#","linked":{"assignments":["#);
        let assignments: BTreeSet<i64> = rows.iter().filter_map(|change| change.assignment_id).collect();
        let objects: Vec<String> =
            assignments.iter().map(|id| format!(r#"{{"id":{id},"name":"Assignment {id}"}}"#)).collect();
        writer.raw(&objects.join(","));
        writer.raw("],");
        self.linked_courses(&mut writer, &rows.iter().map(|change| change.course_id).collect());
        writer.raw(",");
        self.linked_users(
            &mut writer,
            rows.iter().flat_map(|change| [change.student_id, change.grader_id]).flatten().collect(),
        );
        writer.raw(r#","page_views":[]}}"#);
        (writer.out, rows.len())
    }

    fn linked_courses(&self, writer: &mut Writer, ids: &BTreeSet<i64>) {
        let courses = ids.iter().filter_map(|id| self.options.gradebook.course(*id));
        writer.list("courses", courses, |writer, course| writer.course(course, self.world.canvas.root_account_id));
    }

    fn linked_users(&self, writer: &mut Writer, ids: BTreeSet<i64>) {
        writer.list("users", ids, |writer, id| {
            self.user_object(id, |user| writer.user(user.id, &user.name, &user.login_id));
        });
    }

    /// Courses of an account and of those below it, with numbered pages; deleted ones when they are asked for.
    pub(super) fn courses(&self, asked: &Asked<'_>, id: &str) -> Reply {
        let Some(account) = self.any_account_number(id) else { return Reply::not_found() };
        if !self.options.may_view {
            return self.denied();
        }
        let states: Vec<&str> =
            asked.query.iter().filter(|(key, _)| key == "state[]").map(|(_, value)| value.as_ref()).collect();
        let deleted = states.iter().any(|state| matches!(*state, "deleted" | "all"));
        let below = |of: i64| {
            // The one account with something below it besides the root account is the faculty.
            of == account || account == self.world.canvas.root_account_id || (account == FACULTY && of == DEPARTMENT)
        };
        let objects: Vec<String> = self
            .options
            .gradebook
            .courses
            .iter()
            .filter(|course| below(course.account_id) && (deleted || !course.is_deleted))
            .map(|course| self.course_json(course))
            .collect();
        self.numbered(asked, &objects)
    }

    pub(super) fn course(&self, id: &str) -> Reply {
        match self.course_number(id).filter(|id| self.live_course(*id)) {
            Some(id) => {
                let course = self.options.gradebook.course(id);
                Reply::json(200, course.map_or_else(String::new, |course| self.course_json(course)))
            }
            None => Reply::not_found(),
        }
    }

    fn course_json(&self, course: &super::Course) -> String {
        let mut writer = Writer::new(false);
        writer.course(course, self.world.canvas.root_account_id);
        writer.out
    }
}

fn or_null(id: Option<i64>) -> String {
    id.map_or_else(|| "null".to_owned(), |id| id.to_string())
}
