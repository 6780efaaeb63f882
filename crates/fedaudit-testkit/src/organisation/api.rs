//! Work through the storage appliance's API: logins, calls and logouts, each a `MIDDLEWARE` row, and the live list.

use super::calendar::QUIET;
use super::methods::{METHODS, Method, ROBOT_METHODS};
use super::people::{Client, Staff, guess, stranger};
use super::{Act, Growth, Product, SECOND, log_delay};
use crate::random::Random;
use crate::records::{TrueNasRecord, TrueNasService, TrueNasSession};

const NAS: Product = Product::TrueNas;

/// A kind of login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Credential {
    Password,
    TwoFactor,
    ApiKey,
    Token,
}

impl Credential {
    fn word(self) -> &'static str {
        match self {
            Self::Password => "LOGIN_PASSWORD",
            Self::TwoFactor => "LOGIN_TWOFACTOR",
            Self::ApiKey => "API_KEY",
            Self::Token => "TOKEN",
        }
    }

    fn data(self, user: &str, login_id: &str, parent_id: &str, at: i64) -> String {
        let millis = at * 1000;
        match self {
            Self::Password | Self::TwoFactor => {
                format!(r#"{{"username":"{user}","login_id":"{login_id}","login_at":{{"$date":{millis}}}}}"#)
            }
            Self::ApiKey => format!(
                r#"{{"username":"{user}","login_id":"{login_id}","login_at":{{"$date":{millis}}},"api_key":{{"id":7,"name":"robot"}}}}"#
            ),
            Self::Token => format!(
                r#"{{"parent":{{"credentials":"LOGIN_TWOFACTOR","credentials_data":{{"username":"{user}","login_id":"{parent_id}","login_at":{{"$date":{}}}}}}},"login_id":"{login_id}","username":"{user}"}}"#,
                millis - 45_000
            ),
        }
    }
}

/// A connection: what each of its rows repeats.
struct Connection {
    id: String,
    user: String,
    /// As in `address`.
    address: String,
    /// Client address as the tables show it; none for the local socket.
    ip: Option<String>,
    service_data: String,
    /// Credential kind and data, as in an authentication row.
    credentials: String,
}

impl Connection {
    fn act(&self, action: &'static str) -> Act<'_> {
        Act { action, user: Some(&self.user), ip: self.ip.as_deref(), session: Some(&self.id), ..Act::default() }
    }

    fn row(
        &self,
        random: &mut Random,
        at: i64,
        event: &'static str,
        event_data: String,
        success: bool,
    ) -> TrueNasRecord {
        TrueNasRecord {
            audit_id: random.uuid(),
            message_timestamp: at + log_delay(random),
            timestamp: at,
            address: self.address.clone(),
            username: self.user.clone(),
            session: self.id.clone(),
            service: TrueNasService::Middleware,
            service_data: self.service_data.clone().into(),
            event,
            event_data: event_data.into(),
            success,
        }
    }
}

fn service_data(origin: &str, protocol: &str, credentials: &str) -> String {
    format!(
        r#"{{"vers":{{"major":0,"minor":1}},"origin":"{origin}","protocol":"{protocol}","credentials":{credentials}}}"#
    )
}

/// Grows about `budget` rows, and the live list.
pub(super) fn grow(
    growth: &mut Growth,
    random: &mut Random,
    budget: usize,
) -> (Vec<TrueNasRecord>, Vec<TrueNasSession>) {
    let mut rows = Vec::with_capacity(budget + 64);
    let mut live = Vec::new();
    maintenance(growth, random, &mut rows);
    local_socket(growth, random, &mut rows, &mut live);
    // Some are at work when the history ends, whatever the hour.
    for recent in [50, 25, 7] {
        let start = growth.calendar.to / SECOND - recent * 60 - random.range(0, 60);
        work(growth, random, &mut rows, &mut live, start, Some(Ending::StillOpen));
    }
    while rows.len() < budget {
        match random.range(0, 100) {
            0..2 if growth.failure_rate > 0.0 => siege(growth, random, &mut rows),
            2..5 => upload(growth, random, &mut rows),
            _ => {
                let start = growth.calendar.second(random);
                work(growth, random, &mut rows, &mut live, start, None);
            }
        }
    }
    live.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    (rows, live)
}

/// The history opens with a reboot for maintenance, before anyone logs in.
fn maintenance(growth: &mut Growth, random: &mut Random, rows: &mut Vec<TrueNasRecord>) {
    let at = growth.calendar.from / SECOND + 90;
    let root = socket(random, at);
    rows.push(root.row(random, at, "REBOOT", r#"{"reason":"monthly maintenance"}"#.to_owned(), true));
    growth.saw(NAS, at * SECOND, root.act("system.reboot"));
}

/// Root on the local socket. Such a connection is in the live list, but its login and logout are not audited.
fn socket(random: &mut Random, at: i64) -> Connection {
    let pid = random.range(900, 30_000);
    let data = format!(r#"{{"username":"root","login_id":"{}","login_at":{{"$date":{}}}}}"#, random.uuid(), at * 1000);
    let credentials = format!(r#"{{"credentials":"UNIX_SOCKET","credentials_data":{data}}}"#);
    Connection {
        id: random.uuid(),
        user: "root".to_owned(),
        address: "127.0.0.1".to_owned(),
        ip: None,
        service_data: service_data(&format!("pid:{pid}"), "WEBSOCKET", &credentials),
        credentials: data,
    }
}

fn local_socket(
    growth: &mut Growth,
    random: &mut Random,
    rows: &mut Vec<TrueNasRecord>,
    live: &mut Vec<TrueNasSession>,
) {
    let start = (growth.calendar.from + QUIET) / SECOND + 100;
    let root = socket(random, start);
    growth.session(NAS, (Some(&root.id), "root"), start * SECOND, ("active", None), None);
    for _ in 0..6 {
        let at = random.range(start, growth.calendar.to / SECOND - 3);
        call(growth, random, rows, &root, at, &ROBOT_METHODS);
    }
    live.push(TrueNasSession {
        id: root.id,
        internal: true,
        origin: "UNIX socket (pid=1180 uid=0 gid=0)".to_owned(),
        credentials: "UNIX_SOCKET",
        credentials_data: root.credentials.into(),
        created_at: start,
        secure_transport: true,
    });
}

/// How a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Logout,
    /// The connection was lost without a trace.
    Lost,
    StillOpen,
}

/// One session from login to its end, failed attempts before it included.
fn work(
    growth: &mut Growth,
    random: &mut Random,
    rows: &mut Vec<TrueNasRecord>,
    live: &mut Vec<TrueNasSession>,
    start: i64,
    ending: Option<Ending>,
) {
    let robot = random.chance(0.25);
    let staff = growth.administrator(random);
    let client = staff.client(random).clone();
    let credential = match (robot, staff.two_factor) {
        (true, _) => Credential::ApiKey,
        (false, true) if random.chance(0.2) => Credential::Token,
        (false, true) => Credential::TwoFactor,
        (false, false) => Credential::Password,
    };
    let user = match (robot, random.chance(0.08)) {
        (true, _) => "svc-backup".to_owned(),
        (false, true) => "root".to_owned(),
        (false, false) => staff.name.clone(),
    };
    let data = credential.data(&user, &random.uuid(), &random.uuid(), start);
    let credentials = format!(r#"{{"credentials":"{}","credentials_data":{data}}}"#, credential.word());
    let connection = Connection {
        id: random.uuid(),
        user,
        address: client.ip.clone(),
        ip: Some(client.ip.clone()),
        service_data: service_data(&client.ip, "WEBSOCKET", &credentials),
        credentials,
    };
    let mut attempt = start;
    for _ in 0..3 {
        if !random.chance(growth.failure_rate) {
            break;
        }
        attempt -= random.range(4, 20);
        refused(growth, random, rows, &connection.user, &client.ip, &connection.id, attempt);
    }
    let event_data = format!(r#"{{"credentials":{},"error":null}}"#, connection.credentials);
    rows.push(connection.row(random, start, "AUTHENTICATION", event_data, true));
    growth.saw(NAS, start * SECOND, connection.act("auth.login"));

    let length = if robot { random.range(20, 600) } else { random.range(120, 4 * 3600) };
    let latest = growth.calendar.to / SECOND - 3;
    let chosen = ending.unwrap_or_else(|| if random.chance(0.12) { Ending::Lost } else { Ending::Logout });
    let ending = if start + length > latest { Ending::StillOpen } else { chosen };
    let end = match ending {
        Ending::StillOpen => latest,
        Ending::Logout | Ending::Lost => start + length,
    };
    let methods: &[Method] = if robot { &ROBOT_METHODS } else { &METHODS };
    for _ in 0..random.range(1, 11) {
        let at = random.range(start, end);
        call(growth, random, rows, &connection, at, methods);
    }
    let login = (Some(connection.id.as_str()), connection.user.as_str());
    match ending {
        Ending::Logout => {
            let event_data = format!(r#"{{"credentials":{}}}"#, connection.credentials);
            rows.push(connection.row(random, end, "LOGOUT", event_data, true));
            growth.saw(NAS, end * SECOND, connection.act("auth.logout"));
            let end = end * SECOND;
            growth.session(NAS, login, start * SECOND, ("closed", Some(end)), Some(end));
        }
        Ending::Lost => growth.session(NAS, login, start * SECOND, ("closed", None), Some(end * SECOND)),
        Ending::StillOpen => {
            growth.session(NAS, login, start * SECOND, ("active", None), None);
            live.push(listed(random, &connection, &client, credential, &data, start));
        }
    }
}

fn listed(
    random: &mut Random,
    connection: &Connection,
    client: &Client,
    credential: Credential,
    data: &str,
    start: i64,
) -> TrueNasSession {
    TrueNasSession {
        id: connection.id.clone(),
        internal: false,
        origin: client.with_port(random.range(32_768, 61_000)),
        credentials: credential.word(),
        credentials_data: data.into(),
        created_at: start,
        secure_transport: true,
    }
}

/// One audited call; a few are refused for lack of a role, a few fail.
fn call(
    growth: &mut Growth,
    random: &mut Random,
    rows: &mut Vec<TrueNasRecord>,
    connection: &Connection,
    at: i64,
    methods: &[Method],
) {
    let (method, params, description, action) = random.pick(methods);
    let number = random.range(1, 90).to_string();
    let (params, description) = (params.replace('#', &number), description.replace('#', &number));
    let authorized = !random.chance(0.02);
    let success = authorized && !random.chance(0.02);
    let event_data = format!(
        r#"{{"method":"{method}","params":{params},"description":"{description}","authenticated":true,"authorized":{authorized}}}"#
    );
    rows.push(connection.row(random, at, "METHOD_CALL", event_data, success));
    growth.saw(NAS, at * SECOND, connection.act(action).failed(!success));
}

/// A refused login. The row's own user is a marker; the name that was tried is inside. The forms of the error text are as
/// mixed as in the product, and a token that was tried stands there in clear.
fn refused(
    growth: &mut Growth,
    random: &mut Random,
    rows: &mut Vec<TrueNasRecord>,
    user: &str,
    ip: &str,
    connection: &str,
    at: i64,
) {
    let (kind, data, error, known) = match random.range(0, 20) {
        0 => ("TOKEN", format!(r#"{{"token":"{}"}}"#, random.token(64)), "Invalid token".to_owned(), None),
        1 | 2 => (
            "API_KEY",
            format!(r#"{{"username":"{user}","api_key":"<INVALID>"}}"#),
            "Bad username or password".to_owned(),
            Some(user),
        ),
        3..6 => (
            "LOGIN_TWOFACTOR",
            format!(r#"{{"username":"{user}"}}"#),
            "One-time token validation failed.".to_owned(),
            Some(user),
        ),
        6..8 => (
            "LOGIN_PASSWORD",
            format!(r#"{{"username":"{user}"}}"#),
            format!("{user}: user does not exist"),
            Some(user),
        ),
        _ => (
            "LOGIN_PASSWORD",
            format!(r#"{{"username":"{user}"}}"#),
            "[PAM_AUTH_ERR]: pam_authenticate() failed".to_owned(),
            Some(user),
        ),
    };
    let event_data =
        format!(r#"{{"credentials":{{"credentials":"{kind}","credentials_data":{data}}},"error":"{error}"}}"#);
    rows.push(TrueNasRecord {
        audit_id: random.uuid(),
        message_timestamp: at + log_delay(random),
        timestamp: at,
        address: ip.to_owned(),
        username: ".UNAUTHENTICATED".to_owned(),
        session: connection.to_owned(),
        service: TrueNasService::Middleware,
        service_data: service_data(ip, "WEBSOCKET", "null").into(),
        event: "AUTHENTICATION",
        event_data: event_data.into(),
        success: false,
    });
    let act = Act { action: "auth.login", user: known, ip: Some(ip), session: Some(connection), ..Act::default() };
    growth.saw(NAS, at * SECOND, act.failed(true));
}

/// A stranger tries names, a connection each.
fn siege(growth: &mut Growth, random: &mut Random, rows: &mut Vec<TrueNasRecord>) {
    let ip = stranger(random);
    let latest = growth.calendar.to / SECOND - 3;
    let mut at = growth.calendar.second(random);
    for _ in 0..random.range(4, 16) {
        if at > latest {
            return;
        }
        let name = if random.chance(0.5) { guess(random).to_owned() } else { growth.anyone(random).name };
        let connection = random.uuid();
        refused(growth, random, rows, &name, ip, &connection, at);
        at += random.range(0, 15);
    }
}

/// An upload through the HTTP endpoint: it has an id of its own, which no list of sessions ever shows.
fn upload(growth: &mut Growth, random: &mut Random, rows: &mut Vec<TrueNasRecord>) {
    let staff: Staff = growth.administrator(random);
    let at = growth.calendar.second(random);
    let client = staff.client(random);
    let data = Credential::ApiKey.data(&staff.name, &random.uuid(), "", at);
    let credentials = format!(r#"{{"credentials":"API_KEY","credentials_data":{data}}}"#);
    let connection = Connection {
        id: random.uuid(),
        user: staff.name.clone(),
        address: client.ip.clone(),
        ip: Some(client.ip.clone()),
        service_data: service_data(&client.ip, "REST", &credentials),
        credentials,
    };
    call(growth, random, rows, &connection, at, &METHODS);
}
