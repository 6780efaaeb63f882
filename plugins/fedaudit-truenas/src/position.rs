//! Where reading an audit database goes on.
//!
//! Pages go by `message_timestamp`: the next page starts at the last second of this one, and rows of that second that were
//! seen are dropped. Offsets alone would shift when the appliance deletes its oldest rows. Only inside one second with
//! more rows than a page holds are offsets used.

use fedaudit_core::{Cursor, EndReason, Next, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::normalize::Mark;

/// While waiting for new rows this many seconds are read again: the log daemon commits up to a second of rows at once.
const UNSETTLED: i64 = 5;

/// Where the next page starts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// First second to read; going back in time, the last. None: no record had a readable one yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) second: Option<i64>,
    /// Rows of that second (and, while waiting for new ones, of those after it) that were seen, with their seconds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) seen: Vec<(i64, String)>,
    /// Rows to skip inside that one second, or in all where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) offset: Option<usize>,
    /// Going back in time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) newest_first: bool,
    /// The appliance refused the filters: everything is read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) unfiltered: bool,
}

/// A page as far as the order of pages is concerned.
pub(crate) struct Turned<'p> {
    /// The rows that were not seen before.
    pub(crate) marks: &'p [Mark<'p>],
    /// Seconds of those that were.
    pub(crate) repeated: &'p [Option<i64>],
    /// It held as many rows as were asked for.
    pub(crate) full: bool,
    /// How many were asked for.
    pub(crate) limit: usize,
    /// First and last second of the window.
    pub(crate) bounds: (Option<i64>, Option<i64>),
}

impl Position {
    /// The filters on `message_timestamp` that read on from here.
    pub(crate) fn filters(&self, (floor, ceiling): (Option<i64>, Option<i64>)) -> Vec<Json> {
        let at = |operator: &str, second: i64| json!(["message_timestamp", operator, second]);
        if let Self { second: Some(second), offset: Some(_), .. } = *self {
            return vec![at("=", second)];
        }
        let (floor, ceiling) =
            if self.newest_first { (floor, self.second.or(ceiling)) } else { (self.second.or(floor), ceiling) };
        floor.map(|second| at(">=", second)).into_iter().chain(ceiling.map(|second| at("<=", second))).collect()
    }

    /// The last second of seen rows, if it is beyond the first to read.
    fn later(&self, page: &Turned<'_>) -> Option<i64> {
        let last = page.repeated.iter().flatten().max().copied()?;
        (!self.newest_first && self.second.is_some_and(|second| last > second)).then_some(last)
    }

    /// What comes after a page that was read from here; at the end of what there is, also where new rows would be.
    pub(crate) fn after(&self, page: &Turned<'_>) -> Result<(Next, Option<Self>)> {
        let on = |position: Self| Self { newest_first: self.newest_first, unfiltered: self.unfiltered, ..position };
        let more = |position: Self| Ok((Next::More(Cursor::new(&on(position))?), None));
        if let Self { second: Some(second), offset: Some(offset), .. } = *self {
            if page.full {
                return more(Self { offset: Some(offset.saturating_add(page.limit)), ..self.clone() });
            }
            let second = second.saturating_add(if self.newest_first { -1 } else { 1 });
            let past = match page.bounds {
                (floor, _) if self.newest_first => floor.is_some_and(|floor| second < floor),
                (_, ceiling) => ceiling.is_some_and(|ceiling| second > ceiling),
            };
            let onward = Self { second: Some(second), ..Self::default() };
            return if past { Ok((Next::End(EndReason::PastWindow), Some(on(onward)))) } else { more(onward) };
        }
        let seconds = || page.marks.iter().filter_map(|mark| mark.second);
        let last = if self.newest_first { seconds().min() } else { seconds().max() };
        let seen_from = |second: i64| -> Vec<(i64, String)> {
            let wanted = |at: i64| if self.newest_first { at == second } else { at >= second };
            page.marks
                .iter()
                .filter_map(|mark| Some((mark.second.filter(|at| wanted(*at))?, mark.audit_id.as_deref()?.to_owned())))
                .collect()
        };
        if !page.full {
            // Where to look again for rows that are still to come.
            let second = last.map(|last| last.saturating_sub(UNSETTLED)).max(self.second);
            let mut seen = second.map(seen_from).unwrap_or_default();
            seen.extend(self.seen.iter().filter(|(at, _)| second.is_none_or(|second| *at >= second)).cloned());
            return Ok((Next::End(EndReason::ShortPage), Some(on(Self { second, seen, ..Self::default() }))));
        }
        match last {
            // It goes on in the middle of a second that did not fill the page alone.
            Some(last)
                if self.second != Some(last) && (!self.seen.is_empty() || seconds().any(|second| second != last)) =>
            {
                more(Self { second: Some(last), seen: seen_from(last), ..Self::default() })
            }
            // The whole page, seen rows included, is of one second.
            Some(last) => {
                let offset = Some(if self.offset.is_some() { 0 } else { page.limit });
                more(Self { second: Some(last), offset, ..Self::default() })
            }
            // Nothing but rows that were seen, and later ones among them: on from there.
            None if self.later(page).is_some() => {
                let second = self.later(page);
                let mut seen = self.seen.clone();
                seen.retain(|(at, _)| second.is_none_or(|second| *at >= second));
                more(Self { second, seen, ..Self::default() })
            }
            // Nothing new, or nothing readable, on a full page.
            None => more(Self {
                offset: Some(self.offset.unwrap_or(0).saturating_add(page.limit)),
                seen: Vec::new(),
                ..self.clone()
            }),
        }
    }
}
