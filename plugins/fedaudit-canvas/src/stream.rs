//! The three audit logs of Canvas: one stream each.

use fedaudit_core::{Error, ErrorKind, Result};
use serde::Deserialize;

/// One audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Stream {
    /// Who logged in and out.
    #[serde(rename = "audit.authentication")]
    Authentication,
    /// What was done to courses.
    #[serde(rename = "audit.course")]
    Course,
    /// Which grades were given.
    #[serde(rename = "audit.grade_change")]
    GradeChange,
}

impl Stream {
    /// Every stream.
    pub(crate) const ALL: [Self; 3] = [Self::Authentication, Self::Course, Self::GradeChange];

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Authentication => "audit.authentication",
            Self::Course => "audit.course",
            Self::GradeChange => "audit.grade_change",
        }
    }

    /// The stream of that name among those that are read.
    pub(crate) fn named(name: &str, read: &[Self]) -> Result<Self> {
        read.iter().copied().find(|stream| stream.name() == name).ok_or_else(|| {
            let names = read.iter().map(|stream| stream.name()).collect::<Vec<_>>().join(", ");
            Error::new(ErrorKind::Config, format!("there is no stream '{name}'")).hint(format!("there is: {names}"))
        })
    }

    /// What reading it takes.
    pub(crate) fn right(self) -> &'static str {
        match self {
            Self::Authentication => {
                "the token's user needs the right 'Statistics - view' (view_statistics) in the root account; a developer \
                 key that enforces scopes needs url:GET|/api/v1/audit/authentication/accounts/:account_id as well"
            }
            Self::Course => {
                "the token's user needs the right 'Course change log - view' (view_course_changes) in the root account; a \
                 developer key that enforces scopes needs the scopes of /api/v1/audit/course as well"
            }
            Self::GradeChange => {
                "the token's user needs the right 'Grades - view all grades' (view_all_grades) in the root account; a \
                 developer key that enforces scopes needs the scopes of /api/v1/audit/grade_change as well"
            }
        }
    }
}
