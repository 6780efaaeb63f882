//! The virtualisation manager: its sessions, and the life of its event log. What is done within a session is in
//! [`super::vcenter_acts`].

use super::calendar::QUIET;
use super::people::{ADMINISTRATOR, Client, Staff, guess, stranger};
use super::vcenter_acts::{act, failover, object};
use super::{Act, Growth, Product, SECOND};
use crate::random::Random;
use crate::records::{VimValue, Vsphere, VsphereEvent, VsphereSession};

const VCENTER: Product = Product::Vsphere;

/// Members of an event in schema order.
pub(super) type Members = Vec<(&'static str, VimValue)>;

pub(super) fn text(text: impl Into<String>) -> VimValue {
    VimValue::Text(text.into())
}

/// The log while it grows. Keys follow the order of time, so until all is known an event carries its position instead.
#[derive(Debug, Default)]
pub(super) struct Log(Vec<VsphereEvent>);

impl Log {
    /// Adds an event of its own chain; gives its position.
    pub(super) fn add(&mut self, created: i64, class: &'static str, user: &str, members: Members) -> i32 {
        let position = self.0.len() as i32;
        self.add_to(position, created, class, user, members)
    }

    /// Adds an event to the chain that began at `chain`.
    pub(super) fn add_to(
        &mut self,
        chain: i32,
        created: i64,
        class: &'static str,
        user: &str,
        members: Members,
    ) -> i32 {
        let key = self.0.len() as i32;
        self.0.push(VsphereEvent { class, key, chain_id: chain, created, user_name: user.to_owned(), members });
        key
    }

    /// Sorts by time and gives each event its final key.
    fn finish(mut self) -> Vec<VsphereEvent> {
        const FIRST_KEY: i32 = 20_001;
        self.0.sort_by_key(|event| event.created);
        let mut keys = vec![0; self.0.len()];
        for (place, event) in self.0.iter().enumerate() {
            keys[event.key as usize] = FIRST_KEY + place as i32;
        }
        for event in &mut self.0 {
            event.key = keys[event.key as usize];
            event.chain_id = keys[event.chain_id as usize];
        }
        self.0
    }
}

/// Who acts in a session, as the product writes them and as the tables do.
pub(super) struct Actor {
    pub(super) written: String,
    pub(super) name: String,
}

/// Grows about `budget` events, and the live list.
pub(super) fn grow(growth: &mut Growth, random: &mut Random, budget: usize) -> Vsphere {
    let mut log = Log::default();
    let mut live = Vec::new();
    boot(growth, random, &mut log, &mut live);
    for recent in [90, 33, 11, 4] {
        let start = growth.calendar.to - recent * 60 * SECOND + random.range(0, 60 * SECOND);
        work(growth, random, &mut log, &mut live, start, true);
    }
    while log.0.len() < budget {
        match random.range(0, 100) {
            0..2 if growth.failure_rate > 0.0 => siege(growth, random, &mut log),
            2..8 => failover(growth, random, &mut log),
            _ => {
                let start = growth.calendar.moment(random);
                work(growth, random, &mut log, &mut live, start, false);
            }
        }
    }
    live.sort_by(|a, b| (a.login_time, &a.key).cmp(&(b.login_time, &b.key)));
    Vsphere { instance_uuid: Random::new(random.bits()).uuid(), version: "8.0.3", events: log.finish(), sessions: live }
}

/// The history opens with a start of the server; then its own extension logs in and stays.
fn boot(growth: &mut Growth, random: &mut Random, log: &mut Log, live: &mut Vec<VsphereSession>) {
    let started = growth.calendar.from + 75 * SECOND + random.range(0, SECOND);
    log.add(started, "ServerStartedSessionEvent", "", vec![("fullFormattedMessage", text("vCenter started"))]);
    growth.saw(VCENTER, started, Act { action: "service.start", ..Act::default() });

    let start = growth.calendar.from + QUIET / 2 + random.range(0, SECOND);
    let id = random.uuid();
    let actor = Actor { written: format!("VSPHERE.LOCAL\\vpxd-extension-{id}"), name: format!("vpxd-extension-{id}") };
    let client = Client { ip: "127.0.0.1".to_owned(), agent: "vpxd-extension/8.0.3", host: String::new() };
    let session = session_id(random);
    login(growth, log, &actor, &client, &session, start);
    growth.session(VCENTER, (Some(&session), &actor.name), start, ("active", None), None);
    live.push(listed(growth, random, &actor, &client, session, start, "vpxd extension"));
}

fn session_id(random: &mut Random) -> String {
    let uuid = random.uuid();
    format!("52{}", &uuid[2..])
}

/// IPv6 in a long form, as some of the product's components write it.
fn written_ip(ip: &str) -> String {
    match ip.parse::<std::net::Ipv6Addr>() {
        Ok(ip) => ip.segments().iter().map(|segment| format!("{segment:X}")).collect::<Vec<_>>().join(":"),
        Err(_) => ip.to_owned(),
    }
}

fn login(growth: &mut Growth, log: &mut Log, actor: &Actor, client: &Client, session: &str, at: i64) {
    let ip = written_ip(&client.ip);
    let message = format!("User {}@{ip} logged in as {}", actor.written, client.agent);
    let members = vec![
        ("fullFormattedMessage", text(message)),
        ("ipAddress", text(ip)),
        ("userAgent", text(client.agent)),
        ("locale", text("en")),
        ("sessionId", text(session)),
    ];
    log.add(at, "UserLoginSessionEvent", &actor.written, members);
    growth.saw(VCENTER, at, Act::new("auth.login", &actor.name).from(&client.ip).within(session));
}

fn listed(
    growth: &Growth,
    random: &mut Random,
    actor: &Actor,
    client: &Client,
    key: String,
    login_time: i64,
    full_name: &str,
) -> VsphereSession {
    VsphereSession {
        key,
        user_name: actor.written.clone(),
        full_name: full_name.to_owned(),
        login_time,
        last_active_time: random.range(login_time, growth.calendar.to),
        ip_address: written_ip(&client.ip),
        user_agent: client.agent.to_owned(),
        call_count: random.range(1, 4000),
        extension_session: actor.name.starts_with("vpxd-extension"),
        locale: "en".to_owned(),
    }
}

/// One session, from failed attempts before it to its end.
fn work(
    growth: &mut Growth,
    random: &mut Random,
    log: &mut Log,
    live: &mut Vec<VsphereSession>,
    start: i64,
    stays: bool,
) {
    let staff = growth.administrator(random);
    let client = staff.client(random).clone();
    let actor = if random.chance(0.08) {
        Actor { written: ADMINISTRATOR.to_owned(), name: "administrator".to_owned() }
    } else {
        Actor { written: staff.vsphere_name(), name: staff.name.clone() }
    };
    let federated = actor.name == staff.name && random.chance(0.4);
    if random.chance(growth.failure_rate) {
        let before = random.range(4, 30) * SECOND;
        refused(growth, random, log, &actor, &client, start - before);
    }
    if federated {
        sign_on(
            growth,
            log,
            &staff,
            &client,
            start - random.range(20_000, 900_000),
            ("LoginSuccess", "auth.login", false),
        );
    }
    let session = session_id(random);
    login(growth, log, &actor, &client, &session, start);

    let length = random.range(60 * SECOND, 3 * 3600 * SECOND);
    let latest = growth.calendar.to - SECOND;
    let open = stays || start + length >= latest;
    let end = if open { latest } else { start + length };
    for _ in 0..random.range(0, 7) {
        let at = random.range(start + 1, end);
        act(growth, random, log, &actor, at);
    }
    let known = (Some(session.as_str()), actor.name.as_str());
    if open {
        growth.session(VCENTER, known, start, ("active", None), None);
        let full_name = staff.display_name();
        live.push(listed(growth, random, &actor, &client, session, start, &full_name));
    } else if random.chance(0.12) {
        // Idle for too long: it leaves the live list without an event.
        growth.session(VCENTER, known, start, ("closed", None), Some(end));
    } else {
        if random.chance(0.05) {
            terminated(growth, random, log, &session, &actor, end);
        }
        logout(growth, random, log, &actor, &client, (&session, start, end));
        if federated {
            let at = end + random.range(1, 300_000);
            sign_on(growth, log, &staff, &client, at, ("Logout", "auth.logout", false));
        }
        growth.session(VCENTER, known, start, ("closed", Some(end)), Some(end));
    }
}

fn logout(
    growth: &mut Growth,
    random: &mut Random,
    log: &mut Log,
    actor: &Actor,
    client: &Client,
    (session, start, end): (&str, i64, i64),
) {
    let ip = written_ip(&client.ip);
    let calls = random.range(0, 900);
    let message = format!("User {}@{ip} logged out (login time: -, number of API invocations: {calls})", actor.written);
    let members = vec![
        ("fullFormattedMessage", text(message)),
        ("ipAddress", text(ip)),
        ("userAgent", text(client.agent)),
        ("callCount", VimValue::Int(calls)),
        ("sessionId", text(session)),
        ("loginTime", VimValue::Time(start)),
    ];
    log.add(end, "UserLogoutSessionEvent", &actor.written, members);
    growth.saw(VCENTER, end, Act::new("auth.logout", &actor.name).from(&client.ip).within(session));
}

/// Another administrator ends the session; its logout follows in the same instant.
fn terminated(growth: &mut Growth, random: &mut Random, log: &mut Log, session: &str, actor: &Actor, at: i64) {
    let operator = growth.administrator(random);
    let members = vec![
        ("fullFormattedMessage", text(format!("A session for user '{}' has stopped", actor.written))),
        ("sessionId", text(session)),
        ("terminatedUsername", text(actor.written.as_str())),
    ];
    log.add(at, "SessionTerminatedEvent", &operator.vsphere_name(), members);
    growth.saw(VCENTER, at, Act::new("session.terminate", &operator.name).within(session));
}

/// A wrong password, or an account without any right.
fn refused(growth: &mut Growth, random: &mut Random, log: &mut Log, actor: &Actor, client: &Client, at: i64) {
    let ip = written_ip(&client.ip);
    let (class, message) = if random.chance(0.8) {
        ("BadUsernameSessionEvent", format!("Cannot login {}@{ip}", actor.written))
    } else {
        ("NoAccessUserEvent", format!("Cannot login user {}@{ip}: no permission", actor.written))
    };
    log.add(at, class, &actor.written, vec![("fullFormattedMessage", text(message)), ("ipAddress", text(ip))]);
    growth.saw(VCENTER, at, Act::new("auth.login", &actor.name).from(&client.ip).failed(true));
}

/// What the single sign-on writes beside the server itself. These records belong to no session, and the address is only
/// in the text and in an argument whose name differs by version.
fn sign_on(
    growth: &mut Growth,
    log: &mut Log,
    staff: &Staff,
    client: &Client,
    at: i64,
    (what, action, failed): (&'static str, &'static str, bool),
) {
    let upn = staff.upn();
    let severity = if failed { "warning" } else { "info" };
    let message = match what {
        "LoginFailure" => format!("Failed login {upn} from {} in SSO", client.ip),
        "Logout" => format!("Logout {upn} from {} in SSO", client.ip),
        _ => format!("Successful login {upn} from {} in SSO", client.ip),
    };
    let argument = |key: &str, value: VimValue| {
        object("KeyAnyValue", vec![("key", text(key)), ("value", VimValue::Any(Box::new(value)))])
    };
    let arguments = vec![
        argument("userName", text(upn.as_str())),
        argument("userIp", text(client.ip.as_str())),
        argument("attempt", VimValue::Int(1)),
    ];
    let members = vec![
        ("fullFormattedMessage", text(message.as_str())),
        ("eventTypeId", text(format!("com.vmware.sso.{what}"))),
        ("severity", text(severity)),
        ("message", text(message)),
        ("arguments", VimValue::List(arguments)),
    ];
    log.add(at, "EventEx", &upn, members);
    growth.saw(VCENTER, at, Act::new(action, &staff.name).failed(failed));
}

/// A stranger tries names.
fn siege(growth: &mut Growth, random: &mut Random, log: &mut Log) {
    let client = Client { ip: stranger(random).to_owned(), agent: "", host: String::new() };
    let latest = growth.calendar.to - SECOND;
    let mut at = growth.calendar.moment(random);
    for _ in 0..random.range(4, 16) {
        if at >= latest {
            return;
        }
        let staff = growth.anyone(random);
        match random.range(0, 3) {
            0 => {
                let name = guess(random).to_owned();
                let actor = Actor { written: format!("VSPHERE.LOCAL\\{name}"), name };
                refused(growth, random, log, &actor, &client, at);
            }
            1 => sign_on(growth, log, &staff, &client, at, ("LoginFailure", "auth.login", true)),
            _ => {
                let actor = Actor { written: staff.vsphere_name(), name: staff.name.clone() };
                refused(growth, random, log, &actor, &client, at);
            }
        }
        at += random.range(200_000, 9 * SECOND);
    }
}
