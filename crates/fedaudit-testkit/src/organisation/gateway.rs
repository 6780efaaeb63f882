//! Privileged sessions through the gateway: each is one document, from which two acts follow.

use super::people::{Client, Staff, guess, stranger};
use super::{Act, Growth, Product, SECOND};
use crate::random::Random;
use crate::records::{Sps, SpsSession};

const GATEWAY: Product = Product::Sps;
const MILLI: i64 = 1000;
const NODE: &str = "5ca1ab1e-0000-4000-8000-00000000a001";

const SERVERS: [(&str, &str); 6] = [
    ("198.51.100.5", "db5.corp.example"),
    ("198.51.100.6", "db6.corp.example"),
    ("198.51.100.20", "web20.corp.example"),
    ("198.51.100.21", "web21.corp.example"),
    ("2001:db8:20::7", "files7.corp.example"),
    ("198.51.100.40", "dc1.corp.example"),
];

/// How a session goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    Done,
    Terminated,
    Active,
    WrongPassword,
    Denied,
}

/// Grows about `budget` documents.
pub(super) fn grow(growth: &mut Growth, random: &mut Random, budget: usize) -> Sps {
    let mut sessions = Vec::with_capacity(budget + 8);
    for recent in [180, 40, 12, 3] {
        let start = growth.calendar.to - recent * 60 * SECOND + random.range(0, 60_000) * MILLI;
        let staff = growth.administrator(random);
        document(growth, random, &mut sessions, &staff, start, Some(Course::Active));
    }
    while sessions.len() < budget {
        let start = growth.calendar.moment(random) / MILLI * MILLI;
        let staff = growth.administrator(random);
        document(growth, random, &mut sessions, &staff, start, None);
    }
    sessions.sort_unstable_by(|a, b| (a.start, &a.key).cmp(&(b.start, &b.key)));
    for (number, session) in sessions.iter_mut().enumerate() {
        session.content_reference_id = number as i64 + 1;
        session.sid = format!("svc/{}/{}:{}", session.sid, session.connection_policy, number + 1);
    }
    Sps { hostname: "sps-1.corp.example".to_owned(), node_id: NODE.to_owned(), sessions }
}

fn course(random: &mut Random, failure_rate: f64) -> Course {
    if random.chance(failure_rate) {
        return if random.chance(0.7) { Course::WrongPassword } else { Course::Denied };
    }
    if random.chance(0.04) { Course::Terminated } else { Course::Done }
}

fn document(
    growth: &mut Growth,
    random: &mut Random,
    sessions: &mut Vec<SpsSession>,
    staff: &Staff,
    start: i64,
    wanted: Option<Course>,
) {
    let course = wanted.unwrap_or_else(|| course(random, growth.failure_rate));
    let length = random.range(20_000, 2 * 3_600_000) * MILLI;
    let latest = growth.calendar.to - SECOND;
    let over = start + length < latest;
    let refused = matches!(course, Course::WrongPassword | Course::Denied);
    let course = if over || refused { course } else { Course::Active };
    let end = match course {
        // A denied connection never became one: its document has no end either.
        Course::Active | Course::Denied => None,
        Course::Done | Course::Terminated => Some(start + length),
        Course::WrongPassword => Some(start + random.range(900, 3000) * MILLI).filter(|end| *end < latest),
    };
    let client = if refused && random.chance(0.4) {
        Client { ip: stranger(random).to_owned(), agent: "", host: "unknown-host".to_owned() }
    } else {
        staff.client(random).clone()
    };
    let (server_ip, server_name) = random.pick(&SERVERS);
    let protocol = if random.chance(0.7) { "SSH" } else { "RDP" };
    let port = if protocol == "SSH" { 22 } else { 3389 };
    let account = if protocol == "SSH" { "root" } else { "Administrator" };
    // One connection in seven has no gateway login: all that is known is the account on the server.
    let through_gateway = refused || !random.chance(0.14);
    let tried = if refused && client.agent.is_empty() && random.chance(0.5) { guess(random) } else { &staff.name };
    let user = if through_gateway { tried } else { account };
    let (verdict, recording_verdict) = match course {
        Course::Done | Course::Active => ("ACCEPT", random.pick(&["ACCEPT", "Accepted"])),
        Course::Terminated => ("TERMINATED", "ACCEPT_TERMINATED"),
        Course::WrongPassword => ("AUTH_FAIL", "GW_AUTH_FAIL"),
        Course::Denied => ("DENY", "DENY"),
    };
    let key = random.token(20);
    sessions.push(SpsSession {
        start,
        end,
        creation: start + random.range(5, 400) * MILLI,
        revision: if end.is_some() { random.range(3, 12) } else { random.range(1, 4) },
        active: course == Course::Active,
        hidden: random.chance(0.01),
        phantom: random.chance(0.005),
        origin: "RECORDING",
        protocol,
        verdict,
        recording_verdict,
        node_id: NODE.to_owned(),
        client_ip: client.ip.clone(),
        client_port: random.range(32_768, 61_000) as u16,
        client_name: if random.chance(0.5) { client.ip.clone() } else { format!("{}.corp.example", client.host) },
        server_ip: (!refused).then(|| server_ip.to_owned()),
        server_port: port,
        server_name: server_name.to_owned(),
        target_ip: server_ip.to_owned(),
        target_port: port,
        server_local_ip: if server_ip.contains(':') { "2001:db8:20::1" } else { "198.51.100.1" }.to_owned(),
        server_local_port: random.range(32_768, 61_000) as u16,
        user_id: user.to_owned(),
        user_name: user.to_owned(),
        gateway_username: through_gateway.then(|| user.to_owned()),
        server_username: account.to_owned(),
        auth_method: random.pick(&["password", "publickey", "keyboard-interactive"]),
        connection_policy: if protocol == "SSH" { "prod-ssh" } else { "prod-rdp" },
        connection_policy_id: if protocol == "SSH" { "1204160985e7ab01" } else { "1204160985e7ab02" }.to_owned(),
        channel_policy: if protocol == "SSH" { "shell-only" } else { "all-rdp" },
        content_reference_id: 0,
        has_accepted_channel: !refused,
        sid: random.token(22),
        risk: random.chance(0.6).then(|| random.range(0, 101) as i32),
        has_trail: !refused,
        key: key.clone(),
    });

    let act = |action| Act::new(action, user).from(&client.ip).within(&key);
    growth.saw(GATEWAY, start, act("auth.login").failed(refused));
    if let Some(end) = end.filter(|_| !refused) {
        growth.saw(GATEWAY, end, act("auth.logout"));
    }
    let state = match course {
        Course::Active => "active",
        Course::Done | Course::Terminated => "closed",
        Course::WrongPassword | Course::Denied => "rejected",
    };
    growth.session(GATEWAY, (Some(&key), user), start, (state, end), end);
}
