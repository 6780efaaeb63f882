//! Grows a whole organisation from a seed: people, their accounts and machines, two weeks of work in four products, and
//! the truth of it.
//!
//! Each product's module lets people act and writes, for each act, both the product's record and the truth. Parts draw
//! from forked streams of random numbers, so that a change in one product does not move the others.

mod api;
mod calendar;
mod files;
mod gateway;
mod host;
mod learning;
mod methods;
mod people;
mod vcenter;
mod vcenter_acts;

pub use people::{ADMINISTRATOR, CANVAS_ROOT_ACCOUNT, REALM};

use crate::random::Random;
use crate::records::{TrueNas, TrueNasRecord, World};
use crate::truth::{Instant, TrueEvent, TrueSession, Truth};
use calendar::Calendar;
use people::Staff;

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3600 * SECOND;
const DAY: i64 = 24 * HOUR;

/// What kind of world to grow.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The same settings give the same world.
    pub seed: u64,
    /// End of the history (exclusive), UTC microseconds; cut to a whole second.
    pub to: i64,
    /// Length of the history.
    pub days: u32,
    /// Rough total number of records in all products.
    pub events: usize,
    /// Number of people.
    pub people: usize,
    /// Share of login attempts that fail.
    pub failure_rate: f64,
    /// The one product that all records are of, by its word in the tables; none for all products.
    pub only: Option<String>,
}

impl Settings {
    /// The demo's organisation: 40 people, 14 days, about 20 000 records.
    pub fn new(seed: u64, to: i64) -> Self {
        Self { seed, to, days: 14, events: 20_000, people: 40, failure_rate: 0.06, only: None }
    }
}

/// The products, as the tables and the demo's configuration name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Product {
    TrueNas,
    Vsphere,
    Sps,
    Canvas,
}

impl Product {
    fn word(self) -> &'static str {
        match self {
            Self::TrueNas => "truenas",
            Self::Vsphere => "vsphere",
            Self::Sps => "sps",
            Self::Canvas => "canvas",
        }
    }

    fn source(self) -> &'static str {
        match self {
            Self::TrueNas => "nas-1",
            Self::Vsphere => "vc-1",
            Self::Sps => "sps-1",
            Self::Canvas => "lms",
        }
    }
}

/// How an act ended, as far as its record tells.
#[derive(Debug, Clone, Copy, Default)]
enum Outcome {
    #[default]
    Success,
    Failure,
    Unknown,
}

/// What one act was, in the words of the tables; optional parts are what the product's record lets anyone know.
#[derive(Debug, Clone, Copy, Default)]
struct Act<'a> {
    action: &'static str,
    outcome: Outcome,
    user: Option<&'a str>,
    ip: Option<&'a str>,
    session: Option<&'a str>,
}

impl<'a> Act<'a> {
    fn new(action: &'static str, user: &'a str) -> Self {
        Self { action, user: Some(user), ..Self::default() }
    }

    fn from(mut self, ip: &'a str) -> Self {
        self.ip = Some(ip);
        self
    }

    fn within(mut self, session: &'a str) -> Self {
        self.session = Some(session);
        self
    }

    fn failed(mut self, failed: bool) -> Self {
        self.outcome = if failed { Outcome::Failure } else { Outcome::Success };
        self
    }

    fn unknown(mut self) -> Self {
        self.outcome = Outcome::Unknown;
        self
    }
}

/// What grows: the calendar, the people, and the truth so far.
#[derive(Debug)]
struct Growth {
    calendar: Calendar,
    staff: Vec<Staff>,
    failure_rate: f64,
    events: Vec<TrueEvent>,
    sessions: Vec<TrueSession>,
}

impl Growth {
    /// Writes down an act that the product records.
    fn saw(&mut self, product: Product, time: i64, act: Act<'_>) {
        self.note(product, time, act, true);
    }

    /// Writes down an act that the product keeps no record of.
    fn missed(&mut self, product: Product, time: i64, act: Act<'_>) {
        self.note(product, time, act, false);
    }

    fn note(&mut self, product: Product, time: i64, act: Act<'_>, observable: bool) {
        self.events.push(TrueEvent {
            product: product.word(),
            source: product.source(),
            time: Instant(time),
            action: act.action,
            outcome: match act.outcome {
                Outcome::Success => "success",
                Outcome::Failure => "failure",
                Outcome::Unknown => "unknown",
            },
            user_name: act.user.map(str::to_owned),
            src_ip: act.ip.map(str::to_owned),
            session_id: act.session.map(str::to_owned),
            observable,
        });
    }

    /// Writes down a session: `end` is what the records tell, `really` what happened.
    fn session(
        &mut self,
        product: Product,
        (session_id, user): (Option<&str>, &str),
        start: i64,
        (state, end): (&'static str, Option<i64>),
        really: Option<i64>,
    ) {
        self.sessions.push(TrueSession {
            product: product.word(),
            source: product.source(),
            session_id: session_id.map(str::to_owned),
            user_name: Some(user.to_owned()),
            start_time: Some(Instant(start)),
            end_time: end.map(Instant),
            state,
            true_end_time: really.filter(|end| *end < self.calendar.to).map(Instant),
            observable: true,
        });
    }

    /// State of a session without a sign of its end, in a product that lists no live sessions.
    fn open_state(&self, start: i64) -> &'static str {
        if self.calendar.to - start >= DAY { "presumed_closed" } else { "unknown" }
    }

    /// Someone of the staff, the first ones more often than the last.
    fn anyone(&self, random: &mut Random) -> Staff {
        self.staff[random.skewed(self.staff.len())].clone()
    }

    /// Someone who administers systems.
    fn administrator(&self, random: &mut Random) -> Staff {
        let admins = people::admins(self.staff.len());
        self.staff[random.skewed(admins)].clone()
    }
}

impl World {
    /// Grows the world of these settings.
    pub fn generate(settings: &Settings) -> Self {
        let to = settings.to.div_euclid(SECOND) * SECOND;
        let from = to - i64::from(settings.days.max(1)) * DAY;
        let mut random = Random::new(settings.seed);
        let staff = people::hire(&mut random.fork(1), settings.people.max(4));
        let people = staff.iter().map(Staff::person).collect();
        let mut growth = Growth {
            calendar: Calendar { from, to },
            staff,
            failure_rate: settings.failure_rate,
            events: Vec::with_capacity(settings.events + settings.events / 8),
            sessions: Vec::new(),
        };
        let share = |product: &str, percent: usize, of_product: usize| match settings.only.as_deref() {
            None => settings.events * percent / 100,
            Some(only) if only == product => settings.events * percent / of_product,
            Some(_) => 0,
        };

        let (middleware, sessions) = api::grow(&mut growth, &mut random.fork(2), share("truenas", 18, 47));
        let smb = files::grow(&mut growth, &mut random.fork(3), share("truenas", 22, 47));
        let sudo = host::grow_sudo(&mut growth, &mut random.fork(4), share("truenas", 3, 47));
        let system = host::grow_system(&mut growth, &mut random.fork(5), share("truenas", 4, 47));
        let vsphere = vcenter::grow(&mut growth, &mut random.fork(6), share("vsphere", 28, 28));
        let sps = gateway::grow(&mut growth, &mut random.fork(7), share("sps", 5, 5));
        let canvas = learning::grow(&mut growth, &mut random.fork(8), share("canvas", 20, 20));

        let mut users: Vec<String> = growth.staff.iter().map(|staff| staff.name.clone()).collect();
        users.extend(["root", "svc-backup"].map(str::to_owned));
        let truenas = TrueNas {
            host: people::NAS_HOST.to_owned(),
            middleware: in_log_order(middleware),
            smb: in_log_order(smb),
            sudo: in_log_order(sudo),
            system: in_log_order(system),
            sessions,
            users,
            audited_shares: files::AUDITED_SHARES.to_vec(),
            retention_days: settings.days.max(30),
        };
        let Growth { mut events, mut sessions, .. } = growth;
        // Stable: acts of one instant stay in the order in which they were done.
        events.sort_by_key(|event| event.time);
        sessions.sort_by_key(|session| session.start_time);
        let truth = Truth { seed: settings.seed, from: Instant(from), to: Instant(to), people, events, sessions };
        Self { seed: settings.seed, from, to, truenas, vsphere, sps, canvas, truth }
    }
}

fn in_log_order(mut records: Vec<TrueNasRecord>) -> Vec<TrueNasRecord> {
    records.sort_unstable_by(|a, b| (a.message_timestamp, &a.audit_id).cmp(&(b.message_timestamp, &b.audit_id)));
    records
}

/// The wait between an event and its record in TrueNAS's store: mostly none, at most two seconds.
fn log_delay(random: &mut Random) -> i64 {
    match random.range(0, 20) {
        0..14 => 0,
        14..19 => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests;
