//! Which release writes a document, as far as its form depends on it.

use super::Options;

/// Releases whose documents look alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Generation {
    /// Before 5 LTS: Unix seconds, numbered index status, no analytics.
    Early,
    /// 6.x: ISO times, one server account as text, no gateway user of its own, no scores.
    Six,
    /// 7.0 and later: lists of server accounts, gateway users, scores.
    Current,
}

/// How a release writes its documents.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) generation: Generation,
    /// Zone of the appliance, minutes east of UTC.
    pub(super) zone: i32,
    /// Times without a zone are the appliance's own instead of UTC.
    pub(super) naive_local: bool,
}

impl Shape {
    pub(super) fn of(options: &Options) -> Self {
        let generation = match options.version() {
            _ if options.old_bodies => Generation::Early,
            (..7, _) => Generation::Six,
            _ => Generation::Current,
        };
        Self { generation, zone: options.zone_minutes, naive_local: options.naive_local }
    }
}
