//! How far a reader came, in words that outlive every login: which server, which instant, which events near it.

use std::collections::HashSet;
use std::time::Duration;

use fedaudit_core::{Cursor, Error, ErrorKind, Result, Time};
use serde::{Deserialize, Serialize};

use crate::normalize::Position;

/// Events of almost one time can be stored out of order: a collector that goes on begins this much before the last row.
pub(crate) const OVERLAP: Duration = Duration::from_secs(1);
/// Rows of the overlap that are remembered; with more, those of the last instant only. A row that comes twice has the same
/// key and is dropped by the engine.
const MAX_SEEN: usize = 1000;

/// Where reading goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// `instanceUuid` of the server that was read; none for a host.
    pub(crate) server: Option<String>,
    pub(crate) way: Way,
}

/// In which direction, and how far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Way {
    /// Oldest first.
    Forward(Edge),
    /// Newest first: the latest page, then what is before it once the collector was told to scroll.
    Backward { edge: Edge, scrolling: bool },
    /// Newest first came to an end here: whatever is older still is read forward.
    Rest { below: Edge, edge: Edge },
}

/// The last instant delivered in one direction, and what was delivered near it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Edge {
    /// Time of the last event delivered, in the order of reading.
    pub(crate) created: Option<Time>,
    /// The seen events are complete from here to the last one.
    from: Option<Time>,
    /// Time in µs and key.
    seen: Vec<(i64, i64)>,
    /// Pages read: one of nothing but unreadable records is progress, too, up to a point.
    pages: u64,
    /// Pages in a row that moved nothing.
    idle: u32,
}

/// Pages that move nothing are late events, or records that cannot be read; so many in a row have no end.
const MAX_IDLE: u32 = 64;

/// Which way an edge moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Toward {
    Newer,
    Older,
}

impl Way {
    /// The edge that moves, and where to.
    pub(crate) fn edge(&mut self) -> (&mut Edge, Toward) {
        match self {
            Self::Forward(edge) | Self::Rest { edge, .. } => (edge, Toward::Newer),
            Self::Backward { edge, .. } => (edge, Toward::Older),
        }
    }

    /// What was delivered and can come again.
    pub(crate) fn seen(&self) -> HashSet<Position> {
        match self {
            Self::Forward(edge) | Self::Backward { edge, .. } => edge.seen(),
            Self::Rest { below, edge } => edge.seen().into_iter().chain(below.seen()).collect(),
        }
    }

    /// No row of a later page is later than this: an event of the same second may come yet.
    pub(crate) fn frontier(&self) -> Option<Time> {
        let (Self::Backward { edge, .. } | Self::Rest { below: edge, .. }) = self else { return None };
        edge.created.map(|created| created.plus(OVERLAP))
    }
}

impl Place {
    /// The place a cursor stands for, if it is one of this server.
    pub(crate) fn read(cursor: &Cursor, server: Option<&str>) -> Result<Self> {
        let place: Self = cursor.read()?;
        match (place.server.as_deref(), server) {
            (Some(then), Some(now)) if then != now => {
                Err(Error::new(ErrorKind::Malformed, format!("another vCenter answers: {now} instead of {then}")).hint(
                    "the server was replaced or restored while it was read; its log is another one, so ask again",
                ))
            }
            _ => Ok(place),
        }
    }
}

impl Edge {
    /// Where a new collector starts, so that it repeats what it must and no more.
    pub(crate) fn resume(&self) -> Option<Time> {
        self.from
    }

    /// What was delivered near the edge.
    pub(crate) fn seen(&self) -> HashSet<Position> {
        self.seen.iter().map(|&(created, key)| Position { created: Time::from_micros(created), key }).collect()
    }

    /// Whether reading gets nowhere.
    pub(crate) fn is_stuck(&self) -> bool {
        self.idle > MAX_IDLE
    }

    /// Stays where it is, because a watch saw nothing; the next look is another one all the same.
    pub(crate) fn wait(&mut self) {
        self.pages += 1;
    }

    /// Moves the edge over a page, of which it is handed what it did not remember.
    pub(crate) fn advance(&mut self, toward: Toward, delivered: impl IntoIterator<Item = Position>) {
        self.pages = self.pages.saturating_add(1);
        self.idle = self.idle.saturating_add(1);
        let before = self.seen.len();
        self.seen.extend(delivered.into_iter().map(|at| (at.created.micros(), at.key)));
        if self.seen.len() == before {
            return;
        }
        let times = self.seen.iter().map(|(created, _)| *created);
        let (overlap, known) = (OVERLAP.as_micros() as i64, self.from.map(Time::micros));
        // What was forgotten stays forgotten: the seen events are complete from the old bound at most.
        let (last, mut from) = match toward {
            Toward::Newer => {
                let last = times.max().unwrap_or_default();
                // A cursor holds no time before 1970.
                let bound = last.saturating_sub(overlap).max(0);
                (last, known.map_or(bound, |known| known.max(bound)))
            }
            Toward::Older => {
                let last = times.min().unwrap_or_default();
                (last, known.map_or(last.saturating_add(overlap), |known| known.min(last.saturating_add(overlap))))
            }
        };
        let new_at_the_edge = self.seen[before..].iter().any(|(created, _)| *created == last);
        if new_at_the_edge {
            self.idle = 0;
        }
        self.keep(toward, from);
        if self.seen.len() > MAX_SEEN {
            from = last;
            self.keep(toward, from);
        }
        self.created = Some(Time::from_micros(last));
        self.from = Some(Time::from_micros(from));
    }

    fn keep(&mut self, toward: Toward, from: i64) {
        self.seen.retain(|(created, _)| match toward {
            Toward::Newer => *created >= from,
            Toward::Older => *created <= from,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64, key: i64) -> Position {
        Position { created: Time::from_micros(micros), key }
    }

    fn resume(edge: &Edge) -> Option<i64> {
        edge.resume().map(Time::micros)
    }

    #[test]
    fn an_edge_remembers_what_a_new_collector_sends_again() {
        let mut edge = Edge::default();
        assert!(edge.seen().is_empty() && resume(&edge).is_none());
        edge.advance(Toward::Newer, [at(1_000_000, 1), at(5_000_000, 3), at(5_200_000, -2)]);
        assert_eq!(resume(&edge), Some(4_200_000));
        assert!(edge.seen().contains(&at(5_000_000, 3)) && !edge.seen().contains(&at(1_000_000, 1)));
        edge.advance(Toward::Newer, (0..3000).map(|key| at(5_200_000 + key, key)));
        assert_eq!((resume(&edge), edge.seen.as_slice()), (Some(5_202_999), [(5_202_999, 2999)].as_slice()));
        // What was forgotten cannot be asked for again: it would come twice.
        edge.advance(Toward::Newer, [at(5_300_000, 1)]);
        assert_eq!((resume(&edge), edge.pages), (Some(5_202_999), 3));
        edge.advance(Toward::Newer, std::iter::empty());
        assert_eq!((edge.created, edge.pages), (Some(Time::from_micros(5_300_000)), 4));
    }

    #[test]
    fn one_page_over_and_over_is_noticed() {
        let page = || [at(1_000_000, 1), at(9_000_000, 2)].into_iter();
        let mut read = Edge::default();
        for number in 0..=MAX_IDLE + 1 {
            assert!(!read.is_stuck(), "page {number}");
            let seen = read.seen();
            read.advance(Toward::Newer, page().filter(|at| !seen.contains(at)));
        }
        assert!(read.is_stuck());
        // More events of one instant are progress.
        for key in 0..200 {
            read.advance(Toward::Newer, [at(9_000_000, key + 3)]);
        }
        assert!(!read.is_stuck());
    }

    #[test]
    fn and_the_same_backwards() {
        let mut edge = Edge::default();
        edge.advance(Toward::Older, [at(9_000_000, 9), at(5_000_000, 3), at(4_500_000, 2)]);
        assert_eq!((resume(&edge), edge.created), (Some(5_500_000), Some(Time::from_micros(4_500_000))));
        assert!(edge.seen().contains(&at(5_000_000, 3)) && !edge.seen().contains(&at(9_000_000, 9)));
        edge.advance(Toward::Older, (0..3000).map(|key| at(4_400_000 - key, key)));
        assert_eq!((resume(&edge), edge.seen.len()), (Some(4_397_001), 1));
    }

    #[test]
    fn a_cursor_of_another_server_is_refused() {
        let place = Place { server: Some("a".into()), way: Way::Forward(Edge::default()) };
        let cursor = Cursor::new(&place).unwrap();
        assert_eq!(Place::read(&cursor, Some("a")).unwrap(), place);
        // A server that does not name itself cannot be told from another.
        assert!(Place::read(&cursor, None).is_ok());
        assert_eq!(Place::read(&cursor, Some("b")).unwrap_err().kind(), ErrorKind::Malformed);
    }
}
