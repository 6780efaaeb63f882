//! Courses, what was done to them, and the grades given in them: what the course log and the grade-change log tell.

use super::directory::{DEPARTMENT, FACULTY};
use crate::random::Random;
use crate::records::World;

/// A course.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Course {
    /// Its number.
    pub id: i64,
    /// The account it belongs to: the root account or one below it.
    pub account_id: i64,
    /// Its name.
    pub name: String,
    /// A deleted course is still in the course log; its gradebook cannot be reached any more.
    pub is_deleted: bool,
}

/// One row of the course log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CourseChange {
    /// UUID of the row.
    pub id: String,
    /// Unix seconds.
    pub created_at: i64,
    /// `created`, `updated`, `copied_from`, …
    pub event_type: &'static str,
    /// `manual`, `api`, `sis`, or null.
    pub event_source: Option<&'static str>,
    /// JSON object: what changed, from what to what.
    pub event_data: String,
    /// The course.
    pub course_id: i64,
    /// Who did it; null for the system.
    pub user_id: Option<i64>,
    /// The other course, under the event's own word in `links`.
    pub other_course_id: Option<i64>,
    /// Id of the linked page view, where there is one.
    pub page_view: Option<String>,
    /// Number of the SIS import that did it.
    pub sis_batch_id: Option<i64>,
}

/// One row of the grade-change log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GradeChange {
    /// UUID of the row.
    pub id: String,
    /// Unix seconds.
    pub created_at: i64,
    /// The course.
    pub course_id: i64,
    /// The assignment; none for an override of the final grade.
    pub assignment_id: Option<i64>,
    /// Whose grade it is; null where grading is anonymous.
    pub student_id: Option<i64>,
    /// Who graded; null for the system.
    pub grader_id: Option<i64>,
    /// The grade before.
    pub grade_before: Option<String>,
    /// The grade after.
    pub grade_after: Option<String>,
    /// Number of the submission's version.
    pub version: i64,
    /// The reader may not see it: taken out after the page is cut.
    pub is_hidden: bool,
}

/// Courses and both logs, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gradebook {
    /// Courses by number.
    pub courses: Vec<Course>,
    /// The course log by (`created_at`, `id`), newest first.
    pub course_changes: Vec<CourseChange>,
    /// The grade-change log in the same order.
    pub grade_changes: Vec<GradeChange>,
}

/// Words of the course log that come with no data.
const PLAIN: &[&str] =
    &["concluded", "unconcluded", "deleted", "restored", "published", "claimed", "copied_from", "copied_to"];

impl Gradebook {
    /// So many courses with a history of so many rows in each log, within the world's time and by its people.
    pub fn generate(world: &World, seed: u64, courses: usize, rows: usize) -> Self {
        let mut random = Random::new(seed);
        let random = &mut random;
        let accounts = [world.canvas.root_account_id, FACULTY, DEPARTMENT];
        let courses: Vec<Course> = (0..courses.max(1))
            .map(|index| Course {
                id: 501 + index as i64,
                account_id: accounts[index % accounts.len()],
                name: format!("Course {index} <{}>", random.token(4)),
                is_deleted: index % 7 == 6,
            })
            .collect();
        let users: Vec<i64> = world.canvas.users.iter().map(|user| user.id).collect();
        let mut course_changes: Vec<CourseChange> =
            (0..rows).map(|_| course_change(world, random, &courses, &users)).collect();
        let mut grade_changes: Vec<GradeChange> =
            (0..rows).map(|_| grade_change(world, random, &courses, &users)).collect();
        course_changes.sort_unstable_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
        grade_changes.sort_unstable_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
        Self { courses, course_changes, grade_changes }
    }

    /// A course by its number.
    pub fn course(&self, id: i64) -> Option<&Course> {
        self.courses.iter().find(|course| course.id == id)
    }
}

fn second(world: &World, random: &mut Random) -> i64 {
    random.range(world.from / 1_000_000, world.to / 1_000_000)
}

fn course_change(world: &World, random: &mut Random, courses: &[Course], users: &[i64]) -> CourseChange {
    let course = &courses[random.index(courses.len())];
    let event_type =
        if random.chance(0.5) { random.pick(&["created", "updated", "updated"]) } else { random.pick(PLAIN) };
    let by_import = random.chance(0.1);
    let event_data = match event_type {
        "created" => format!(r#"{{"name":[null,"{}"],"created_source":"manual"}}"#, random.token(6)),
        "updated" => format!(r#"{{"name":["{}","{}"]}}"#, random.token(6), random.token(6)),
        _ => "{}".to_owned(),
    };
    CourseChange {
        id: random.uuid(),
        created_at: second(world, random),
        event_type,
        event_source: if by_import { Some("sis") } else { random.pick(&[Some("manual"), Some("api"), None]) },
        event_data,
        course_id: course.id,
        user_id: (!by_import).then(|| random.pick(users)),
        other_course_id: event_type.starts_with("copied").then(|| courses[random.index(courses.len())].id),
        page_view: random.chance(0.3).then(|| random.uuid()),
        sis_batch_id: by_import.then(|| random.range(1, 90)),
    }
}

fn grade_change(world: &World, random: &mut Random, courses: &[Course], users: &[i64]) -> GradeChange {
    let is_override = random.chance(0.1);
    let grade = |random: &mut Random| {
        if is_override { format!("{}%", random.range(40, 100)) } else { random.range(0, 20).to_string() }
    };
    GradeChange {
        id: random.uuid(),
        created_at: second(world, random),
        course_id: courses[random.index(courses.len())].id,
        assignment_id: (!is_override).then(|| random.range(70, 90)),
        student_id: random.chance(0.9).then(|| random.pick(users)),
        grader_id: random.chance(0.9).then(|| random.pick(users)),
        grade_before: random.chance(0.7).then(|| grade(random)),
        grade_after: Some(grade(random)),
        version: random.range(1, 5),
        is_hidden: random.chance(0.15),
    }
}
