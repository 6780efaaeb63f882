//! `audit.query`: what is asked, and the rows as text.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use serde::Deserialize;
use serde_json::Value as Json;

use super::answer::{Problem, push_ascii, push_text};
use super::filter::Filters;
use super::{Appliance, Regime};
use crate::records::{TrueNasRecord, TrueNasService};

const MEMBERS: [&str; 11] = [
    "audit_id",
    "message_timestamp",
    "timestamp",
    "address",
    "username",
    "session",
    "service",
    "service_data",
    "event",
    "event_data",
    "success",
];
/// Most rows of one answer since 25.10.1.
const MOST: u64 = 10_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    services: Option<Vec<String>>,
    #[serde(default, rename = "query-filters")]
    filters: Vec<Json>,
    #[serde(default, rename = "query-options")]
    options: Settings,
    #[serde(default)]
    remote_controller: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    #[serde(rename = "extra")]
    _extra: Option<Json>,
    order_by: Vec<String>,
    select: Vec<Json>,
    count: bool,
    get: bool,
    offset: u64,
    limit: u64,
    #[serde(rename = "force_sql_filters")]
    _force_sql_filters: bool,
}

/// Answers a query: the result as text, and how many rows it holds.
pub(super) fn answer(appliance: &Appliance, params: &Json, out: &mut String) -> Result<u64, Problem> {
    let first = params.get(0).cloned().unwrap_or_else(|| Json::Object(serde_json::Map::default()));
    let question: Question = serde_json::from_value(first)
        .map_err(|error| Problem::invalid("data", &format!("Extra inputs are not permitted: {error}")))?;
    let services = services(appliance.regime, &question)?;
    let options = &question.options;
    if appliance.regime > Regime::A {
        if options.limit == 0 && !options.count && !options.get {
            return Err(Problem::invalid("audit.query.query-options", "Pagination is required: limit, count or get"));
        }
        if options.limit > MOST {
            return Err(Problem::invalid("data.query-options.limit", "Input should be less than or equal to 10000"));
        }
        if options.count && options.get {
            return Err(Problem::exception("count and get exclude each other", "ValueError"));
        }
    }
    // A single controller takes the parameter and ignores it.
    let elsewhere = appliance.options.other.as_ref().filter(|_| question.remote_controller);
    if elsewhere.is_some_and(|other| !other.reachable) {
        return Err(Problem::invalid(
            "audit.query.remote_controller",
            "Failed to query the remote controller: timed out",
        ));
    }
    let members = members(&options.select)?;
    let filters = Filters::parse(&question.filters, appliance.regime, appliance.options.unknown_operator)?;
    let order = order(&options.order_by)?;
    let defects = Defects::of(appliance);
    if appliance.regime == Regime::B && filters.read_json() && defects.any_spoilt(&services, appliance) {
        return Err(Problem::exception("malformed JSON", "OperationalError"));
    }

    let mut own = Vec::new();
    let world = elsewhere.map_or(&appliance.world, |other| &other.world);
    if elsewhere.is_none() {
        for service in &services {
            own.extend(appliance.own_rows(*service));
        }
    }
    let tables: Vec<&[TrueNasRecord]> = services.iter().map(|service| world.truenas.records(*service)).collect();
    let rows = Rows {
        tables,
        own: &own,
        filters: &filters,
        order: &order,
        kept: (appliance.kept_from.load(Ordering::Relaxed), appliance.stored_until.load(Ordering::Relaxed)),
        // The end of a connection is written down since 25.04.1.
        hidden: (!appliance.since(&[25, 4, 1])).then_some("LOGOUT"),
        defects: &defects,
    };

    if options.count {
        let count = if appliance.regime > Regime::A && options.offset > 0 { 0 } else { rows.all().count() };
        let _ = write!(out, "{count}");
        return Ok(0);
    }
    let limit = match (options.get, options.limit) {
        (true, _) => 1,
        (false, 0) => usize::MAX,
        (false, limit) => limit as usize,
    };
    let page = rows.page(options.offset as usize, limit);
    defects.refuse(appliance, &page, &members)?;
    if options.get {
        let Some(row) = page.first() else { return Err(Problem::exception("MatchNotFound()", "MatchNotFound")) };
        defects.write(appliance, out, row, &members);
        return Ok(1);
    }
    out.push('[');
    for (index, row) in page.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        defects.write(appliance, out, row, &members);
    }
    out.push(']');
    Ok(page.len() as u64)
}

/// Rows that are not as they should be, and what the release makes of them.
#[derive(Debug)]
struct Defects<'a> {
    spoilt: HashSet<&'a str>,
    nulls: HashMap<&'a str, Vec<&'static str>>,
}

impl<'a> Defects<'a> {
    fn of(appliance: &'a Appliance) -> Self {
        let mut nulls: HashMap<&str, Vec<&'static str>> = HashMap::new();
        for (id, column) in &appliance.options.nulls {
            nulls.entry(id).or_default().push(column);
        }
        Self { spoilt: appliance.options.poisoned.iter().map(String::as_str).collect(), nulls }
    }

    fn nulls(&self, row: &TrueNasRecord) -> &[&'static str] {
        if self.nulls.is_empty() {
            return &[];
        }
        self.nulls.get(row.audit_id.as_str()).map_or(&[], Vec::as_slice)
    }

    fn is_spoilt(&self, row: &TrueNasRecord) -> bool {
        !self.spoilt.is_empty() && self.spoilt.contains(row.audit_id.as_str())
    }

    fn any_spoilt(&self, services: &[TrueNasService], appliance: &Appliance) -> bool {
        let rows = services.iter().flat_map(|service| appliance.world.truenas.records(*service));
        !self.spoilt.is_empty() && rows.into_iter().any(|row| self.is_spoilt(row))
    }

    /// Some releases fail the whole page for one row.
    fn refuse(&self, appliance: &Appliance, page: &[&TrueNasRecord], members: &[&str]) -> Result<(), Problem> {
        if appliance.regime == Regime::A {
            // 25.04 and older do not check their results.
            let is_bad = |row: &&&TrueNasRecord| {
                self.nulls(row).iter().any(|column| !column.ends_with("_data") && members.contains(column))
            };
            let bad = page.iter().filter(is_bad).count();
            if bad > 0 && appliance.since(&[25, 10]) {
                let text = format!("{bad} validation errors for AuditQueryResult");
                return Err(Problem::exception(&text, "ValidationError"));
            }
        } else if members.contains(&"event_data") && page.iter().any(|row| self.is_spoilt(row)) {
            return Err(Problem::exception("Expecting value: line 1 column 1 (char 0)", "JSONDecodeError"));
        }
        Ok(())
    }

    fn write(&self, appliance: &Appliance, out: &mut String, row: &TrueNasRecord, members: &[&'static str]) {
        let (nulls, is_spoilt) = (self.nulls(row), self.is_spoilt(row));
        if nulls.is_empty() && !is_spoilt && appliance.since(&[25, 10]) {
            return write_row(out, row, members, &[]);
        }
        let mut row = row.clone();
        row.service_data = appliance.without_login_id(&row.service_data).into();
        row.event_data = appliance.without_login_id(&row.event_data).into();
        let is_null = |column: &str| nulls.contains(&column) || (column == "event_data" && is_spoilt);
        if appliance.regime == Regime::A {
            for (column, data) in [("service_data", &mut row.service_data), ("event_data", &mut row.event_data)] {
                if is_null(column) {
                    *data = "{}".into();
                }
            }
            let nulls: Vec<&str> = nulls.iter().copied().filter(|column| !column.ends_with("_data")).collect();
            write_row(out, &row, members, &nulls);
        } else {
            write_row(out, &row, members, nulls);
        }
    }
}

fn services(regime: Regime, question: &Question) -> Result<Vec<TrueNasService>, Problem> {
    let named: Vec<&str> = match (&question.services, regime) {
        (Some(services), _) => services.iter().map(String::as_str).collect(),
        (None, Regime::A) => vec!["MIDDLEWARE", "SUDO"],
        (None, _) => vec!["MIDDLEWARE"],
    };
    let services: Vec<TrueNasService> = named
        .iter()
        .enumerate()
        .map(|(index, name)| {
            TrueNasService::ALL.into_iter().find(|service| service.as_str() == *name).ok_or_else(|| {
                let attribute = format!("data.services.{index}");
                Problem::invalid(&attribute, "Input should be 'MIDDLEWARE', 'SMB', 'SUDO' or 'SYSTEM'")
            })
        })
        .collect::<Result<_, _>>()?;
    match (services.len(), regime) {
        (0, Regime::A) => Err(Problem::invalid("audit.query.query-filters", "services must be specified")),
        (0, _) => Err(Problem::exception("list index out of range", "IndexError")),
        (2.., Regime::B | Regime::C) => {
            Err(Problem::invalid("audit.query.services", "Only one service may be specified per query"))
        }
        _ => Ok(services),
    }
}

fn members(select: &[Json]) -> Result<Vec<&'static str>, Problem> {
    if select.is_empty() {
        return Ok(MEMBERS.to_vec());
    }
    let names: Vec<&str> = select.iter().filter_map(Json::as_str).collect();
    if names.len() != select.len() || names.iter().any(|name| !MEMBERS.contains(name)) {
        return Err(Problem::exception("column does not exist", "ValueError"));
    }
    // Columns come in the schema's order, whatever the order asked for.
    Ok(MEMBERS.into_iter().filter(|member| names.contains(member)).collect())
}

/// A key of the order, and whether it goes down.
type Order = Vec<(&'static str, bool)>;

fn order(keys: &[String]) -> Result<Order, Problem> {
    keys.iter()
        .map(|key| {
            let bare = key.trim_start_matches("nulls_first:").trim_start_matches("nulls_last:");
            let (name, down) = bare.strip_prefix('-').map_or((bare, false), |name| (name, true));
            let known = MEMBERS.into_iter().find(|member| *member == name && !name.ends_with("_data"));
            known.map(|name| (name, down)).ok_or_else(|| Problem::exception(&format!("'{name}'"), "KeyError"))
        })
        .collect()
}

struct Rows<'a> {
    tables: Vec<&'a [TrueNasRecord]>,
    own: &'a [TrueNasRecord],
    filters: &'a Filters,
    order: &'a Order,
    /// First and last second that is there.
    kept: (i64, i64),
    /// An event that this release does not write down.
    hidden: Option<&'static str>,
    defects: &'a Defects<'a>,
}

impl<'a> Rows<'a> {
    /// The rows of the tables that the time filters leave, in the order they were stored.
    fn spans(&self) -> impl DoubleEndedIterator<Item = &'a TrueNasRecord> + use<'a> {
        let (from, to) = self.filters.seconds();
        let (from, to) = (from.max(self.kept.0), to.min(self.kept.1));
        let spans: Vec<&'a [TrueNasRecord]> = self
            .tables
            .iter()
            .map(|table| {
                let start = table.partition_point(|row| row.message_timestamp < from);
                let end = table.partition_point(|row| row.message_timestamp <= to);
                table.get(start..end).unwrap_or_default()
            })
            .collect();
        spans.into_iter().flatten()
    }

    fn is_selected(&self, row: &TrueNasRecord) -> bool {
        self.hidden != Some(row.event) && self.filters.select(row, self.defects.nulls(row))
    }

    fn all(&self) -> impl Iterator<Item = &'a TrueNasRecord> {
        self.spans().chain(self.own).filter(|row| self.is_selected(row))
    }

    fn page(&self, offset: usize, limit: usize) -> Vec<&'a TrueNasRecord> {
        let stored = [("message_timestamp", false), ("audit_id", false)];
        let reverse = [("message_timestamp", true), ("audit_id", true)];
        let one_sorted_table = self.tables.len() == 1 && self.own.is_empty() && !self.filters.in_memory();
        if one_sorted_table && (self.order.is_empty() || self.order.as_slice() == stored) {
            return self.spans().filter(|row| self.is_selected(row)).skip(offset).take(limit).collect();
        }
        if one_sorted_table && self.order.as_slice() == reverse {
            return self.spans().rev().filter(|row| self.is_selected(row)).skip(offset).take(limit).collect();
        }
        let mut rows: Vec<&TrueNasRecord> = self.all().collect();
        let mut order = self.order.clone();
        if self.filters.in_memory() {
            // The last key wins there.
            order.reverse();
        }
        rows.sort_by(|a, b| {
            order
                .iter()
                .map(|(name, down)| if *down { by(name, b, a) } else { by(name, a, b) })
                .find(|order| order.is_ne())
                .unwrap_or(std::cmp::Ordering::Equal)
        });
        rows.into_iter().skip(offset).take(limit).collect()
    }
}

fn by(name: &str, a: &TrueNasRecord, b: &TrueNasRecord) -> std::cmp::Ordering {
    match name {
        "audit_id" => a.audit_id.cmp(&b.audit_id),
        "message_timestamp" => a.message_timestamp.cmp(&b.message_timestamp),
        "timestamp" => a.timestamp.cmp(&b.timestamp),
        "address" => a.address.cmp(&b.address),
        "username" => a.username.cmp(&b.username),
        "session" => a.session.cmp(&b.session),
        "event" => a.event.cmp(b.event),
        "success" => a.success.cmp(&b.success),
        _ => a.service.as_str().cmp(b.service.as_str()),
    }
}

fn write_row(out: &mut String, row: &TrueNasRecord, members: &[&'static str], nulls: &[&str]) {
    let mut number = itoa::Buffer::new();
    for (index, member) in members.iter().enumerate() {
        out.push_str(if index == 0 { "{\"" } else { ", \"" });
        out.push_str(member);
        out.push_str("\": ");
        match *member {
            null if !nulls.is_empty() && nulls.contains(&null) => out.push_str("null"),
            "audit_id" => push_text(out, &row.audit_id),
            "message_timestamp" => out.push_str(number.format(row.message_timestamp)),
            "timestamp" => {
                out.push_str("{\"$date\": ");
                out.push_str(number.format(row.timestamp));
                out.push_str("000}");
            }
            "address" => push_text(out, &row.address),
            "username" => push_text(out, &row.username),
            "session" => push_text(out, &row.session),
            "service" => push_text(out, row.service.as_str()),
            "service_data" => push_ascii(out, &row.service_data),
            "event" => push_text(out, row.event),
            "event_data" => push_ascii(out, &row.event_data),
            _ => out.push_str(if row.success { "true" } else { "false" }),
        }
    }
    out.push('}');
}

/// A row as the product would send it, for tests that decode without a connection.
pub fn row_text(row: &TrueNasRecord) -> String {
    let mut out = String::new();
    write_row(&mut out, row, &MEMBERS, &[]);
    out
}
