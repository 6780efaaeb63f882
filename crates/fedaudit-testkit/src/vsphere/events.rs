//! The log and its collectors: a scroll position that goes both ways, and a latest page that stands in no order.

use super::call::{Call, Fault, Reply};
use super::methods::{Answer, invalid, not_found};
use super::options::Kind;
use super::state::{Collector, Filter, Shown, State};
use super::{Inner, property::Property};
use crate::records::{VimValue, VsphereEvent};

/// Rows of a latest page whose size nobody set.
const DEFAULT_PAGE: usize = 10;

impl Inner {
    /// Index of the oldest event that is still there.
    fn oldest(&self, state: &State) -> usize {
        match self.options.kind {
            Kind::VirtualCenter => 0,
            Kind::Host { buffer } => self.events(state).saturating_sub(buffer),
        }
    }

    fn events(&self, state: &State) -> usize {
        self.world.vsphere.events.len() + state.added.len()
    }

    fn event<'w>(&'w self, state: &State, index: usize) -> Option<Shown<'w>> {
        let world = &self.world.vsphere.events;
        match world.get(index) {
            Some(event) => Some(Shown::World(event)),
            None => state.added.get(index - world.len()).cloned().map(Shown::Added),
        }
    }

    fn is_visible(&self, event: &VsphereEvent) -> bool {
        !self.options.hidden.iter().any(|hidden| hidden.contains(&event.key))
    }

    /// The newest event of the log.
    pub(super) fn latest_event(&self, state: &State) -> Property<'_> {
        let newest = self.events(state).checked_sub(1).and_then(|last| self.event(state, last));
        Property::Event(newest.filter(|event| self.is_visible(event)))
    }

    pub(super) fn create(&self, state: &mut State, call: &Call, token: &str) -> Answer<'_> {
        let collectors: usize = state.logins.values().map(|login| login.collectors.len()).sum();
        if collectors + self.options.foreign_collectors >= self.options.max_collectors {
            return Err(Fault::new(
                "InvalidState",
                "The operation is not allowed in the current state: too many collectors.",
            ));
        }
        let bound = |name: &str| match call.argument(&format!("filter/time/{name}")) {
            None => Ok(None),
            Some(text) => chrono::DateTime::parse_from_rfc3339(text)
                .map(|time| Some(time.timestamp_micros()))
                .map_err(|_| invalid("filter.time")),
        };
        let page_size = match call.argument("filter/maxCount") {
            Some(count) => page_size(count)?,
            None => DEFAULT_PAGE,
        };
        if call.has("filter/type") && call.has("filter/eventTypeId") {
            return Err(invalid("filter.type"));
        }
        if self.options.refuse_codes && call.has("filter/eventTypeId") {
            return Err(invalid("filter.eventTypeId"));
        }
        let filter = Filter {
            begin: bound("beginTime")?,
            end: bound("endTime")?,
            codes: call.arguments("filter/eventTypeId"),
            users: call.arguments("filter/userName/userList"),
            system_user: call.argument("filter/userName/systemUser") == Some("true"),
            ignore_case: self.options.users_ignore_case,
        };
        state.counter += 1;
        let id = format!("session[{}]{:08x}", &token[token.len() - 8..], state.counter);
        let at = self.first(state, &filter);
        let login = state.logins.get_mut(token).ok_or_else(|| not_found(&call.object))?;
        login.collectors.insert(id.clone(), Collector { filter, at, page_size });
        Ok(Reply::Value(VimValue::Ref { kind: "EventHistoryCollector", value: id }))
    }

    /// Where reading with this filter begins; the log of a world in order of time is searched, not walked.
    fn first(&self, state: &State, filter: &Filter) -> usize {
        let events = &self.world.vsphere.events;
        let begin = filter.begin.filter(|_| self.in_order);
        begin.map_or(0, |begin| events.partition_point(|event| event.created < begin)).max(self.oldest(state))
    }

    /// One call to a collector.
    pub(super) fn collect(&self, state: &mut State, call: &Call, token: &str) -> Answer<'_> {
        let gone = || {
            let text = "The object has already been deleted or has not been completely created";
            Fault::new(self.options.lost_collector, text).with("obj", &call.object)
        };
        let login = state.logins.get_mut(token).ok_or_else(|| not_found(&call.object))?;
        let mut collector = login.collectors.remove(&call.object).ok_or_else(gone)?;
        let before = collector.at;
        let answer = match call.method.as_str() {
            "DestroyCollector" => return Ok(Reply::Void),
            "ReadNextEvents" => count(call).map(|count| Reply::Events(self.next(state, &mut collector, count))),
            "ReadPreviousEvents" => count(call).map(|count| Reply::Events(self.previous(state, &mut collector, count))),
            "RewindCollector" => {
                collector.at = self.first(state, &collector.filter);
                Ok(Reply::Void)
            }
            "ResetCollector" => {
                collector.at = self.latest_page(state, &collector).0;
                Ok(Reply::Void)
            }
            "SetCollectorPageSize" => page_size(call.argument("maxCount").unwrap_or_default()).map(|size| {
                collector.page_size = size;
                Reply::Void
            }),
            _ => Ok(Reply::Property {
                kind: "EventHistoryCollector",
                object: call.object.clone(),
                name: "latestPage",
                value: Ok(Property::Events(self.latest_page(state, &collector).1)),
            }),
        };
        let at_broken = || {
            let Ok(Reply::Events(page)) = &answer else { return false };
            self.options.stuck_at_broken && page.iter().any(|event| Some(event.key) == self.options.broken_event)
        };
        if (self.options.stuck_collectors || at_broken()) && call.method.starts_with("Read") {
            collector.at = before;
        }
        if let Some(login) = state.logins.get_mut(token) {
            login.collectors.insert(call.object.clone(), collector);
        }
        answer
    }

    fn next(&self, state: &State, collector: &mut Collector, count: usize) -> Vec<Shown<'_>> {
        let mut page = Vec::with_capacity(count.min(1000));
        collector.at = collector.at.max(self.oldest(state));
        while page.len() < count {
            let Some(event) = self.event(state, collector.at) else { break };
            let past = self.in_order && collector.filter.end.is_some_and(|end| event.created > end);
            if past && matches!(event, Shown::World(_)) {
                // What was added afterwards may still be older.
                if state.added.is_empty() {
                    break;
                }
                collector.at = self.world.vsphere.events.len();
                continue;
            }
            if self.options.stops_after.is_some_and(|last| event.key > last) {
                break;
            }
            collector.at += 1;
            if collector.filter.matches(&event) {
                page.push(event);
            }
        }
        page.retain(|event| self.is_visible(event));
        page
    }

    fn previous(&self, state: &State, collector: &mut Collector, count: usize) -> Vec<Shown<'_>> {
        let mut page = Vec::with_capacity(count.min(1000));
        let oldest = self.first(state, &collector.filter);
        while page.len() < count && collector.at > oldest {
            collector.at -= 1;
            if let Some(event) = self.event(state, collector.at).filter(|event| collector.filter.matches(event)) {
                page.push(event);
            }
        }
        page.retain(|event| self.is_visible(event));
        page
    }

    /// The newest matching events, in no order, and the index where they begin.
    fn latest_page(&self, state: &State, collector: &Collector) -> (usize, Vec<Shown<'_>>) {
        let events = &self.world.vsphere.events;
        let end = collector.filter.end.filter(|_| self.in_order && state.added.is_empty());
        let at = end.map_or(self.events(state), |end| events.partition_point(|event| event.created <= end));
        let mut back = Collector { filter: collector.filter.clone(), at, page_size: 0 };
        let newest = self.previous(state, &mut back, collector.page_size);
        let (even, odd): (Vec<_>, Vec<_>) = newest.into_iter().enumerate().partition(|(place, _)| place % 2 == 0);
        (back.at, odd.into_iter().rev().chain(even).map(|(_, event)| event).collect())
    }
}

fn count(call: &Call) -> Result<usize, Fault> {
    let count = call.argument("maxCount").and_then(|count| count.parse().ok());
    count.filter(|count| *count > 0).ok_or_else(|| invalid("maxCount"))
}

fn page_size(count: &str) -> Result<usize, Fault> {
    count.parse().ok().filter(|count| *count <= 1000).ok_or_else(|| invalid("maxCount"))
}
