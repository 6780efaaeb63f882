//! Work with file shares: `SMB` rows, from authentication to the last disconnect.

use super::people::{Client, Staff, guess, stranger};
use super::{Act, Growth, Product, SECOND, log_delay};
use crate::random::Random;
use crate::records::{TrueNasRecord, TrueNasService};

const NAS: Product = Product::TrueNas;

/// Shares with auditing switched on; the appliance has another without.
pub(super) const AUDITED_SHARES: [&str; 3] = ["projects", "finance", "media"];

/// File names as JSON text: names from a real share have quotes, spaces and any script in them.
const FILES: [&str; 10] = [
    "budget 2026.xlsx",
    "plans/offer \\\"final\\\".docx",
    "plans/r\u{e9}sum\u{e9}.pdf",
    "minutes/2026-11-03.md",
    "raw/clip_0007.mov",
    "raw/clip_0008.mov",
    "\u{8cc7}\u{6599}/report.pdf",
    "archive/2025/ledger.csv",
    "~$budget 2026.xlsx",
    "todo.txt",
];

const SUCCESS: &str = r#"{"type":"NTSTATUS","value_raw":0,"value_parsed":"SUCCESS"}"#;
const DENIED: &str = r#"{"type":"NTSTATUS","value_raw":3221225506,"value_parsed":"ACCESS_DENIED"}"#;
const WRONG_PASSWORD: &str = r#"{"type":"NTSTATUS","value_raw":3221225578,"value_parsed":"WRONG_PASSWORD"}"#;
const VERS: &str = r#"{"major":0,"minor":1}"#;

/// One SMB session: what each of its rows repeats.
struct Session<'a> {
    /// The server's number for it, as text.
    id: String,
    staff: &'a Staff,
    client: &'a Client,
}

impl Session<'_> {
    fn note(
        &self,
        growth: &mut Growth,
        random: &mut Random,
        tree: &Tree,
        at: i64,
        (event, event_data): (&'static str, String),
        (action, success): (&'static str, bool),
    ) -> TrueNasRecord {
        let act = Act::new(action, &self.staff.name).from(&self.client.ip).within(&self.id).failed(!success);
        growth.saw(NAS, at * SECOND, act);
        TrueNasRecord {
            audit_id: random.uuid(),
            message_timestamp: at + log_delay(random),
            timestamp: at,
            address: self.client.ip.clone(),
            username: self.staff.name.clone(),
            session: self.id.clone(),
            service: TrueNasService::Smb,
            service_data: format!(
                r#"{{"vers":{VERS},"service":"{}","session_id":"{}","tcon_id":"{}"}}"#,
                tree.share, self.id, tree.id
            )
            .into(),
            event,
            event_data: event_data.into(),
            success,
        }
    }

    /// Client and token, as in the rows of a tree connection.
    fn connection_data(&self) -> String {
        let uid = self.staff.uid();
        format!(
            r#""host":"{}","unix_token":{{"uid":{uid},"gid":{uid},"groups":[{uid},545]}},"result":{SUCCESS},"vers":{VERS}"#,
            self.client.host
        )
    }
}

/// One connection to a share.
struct Tree {
    share: &'static str,
    id: String,
    created: u32,
    read: u32,
    written: u32,
}

/// Grows about `budget` rows.
pub(super) fn grow(growth: &mut Growth, random: &mut Random, budget: usize) -> Vec<TrueNasRecord> {
    let mut rows = Vec::with_capacity(budget + 64);
    let mut taken = std::collections::HashSet::new();
    while rows.len() < budget {
        let mut id = random.range(100_000, 4_294_967_295);
        while !taken.insert(id) {
            id = random.range(100_000, 4_294_967_295);
        }
        work(growth, random, &mut rows, id.to_string());
    }
    rows
}

fn work(growth: &mut Growth, random: &mut Random, rows: &mut Vec<TrueNasRecord>, id: String) {
    let start = growth.calendar.open_end(random);
    let staff = growth.anyone(random);
    let client = staff.client(random);
    let session = Session { id, staff: &staff, client };
    if random.chance(growth.failure_rate) {
        if random.chance(0.3) {
            let (ip, name) = (stranger(random), guess(random));
            authentication(growth, random, rows, name, (ip, "kali"), staff.uid(), start - 30, false);
        }
        let address = (client.ip.as_str(), client.host.as_str());
        authentication(growth, random, rows, &staff.name, address, staff.uid(), start - 8, false);
    }
    let address = (client.ip.as_str(), client.host.as_str());
    authentication(growth, random, rows, &staff.name, address, staff.uid(), start, true);

    let latest = growth.calendar.to / SECOND - 3;
    let length = random.range(60, 3 * 3600);
    let end = (start + length).min(latest - 2).max(start + 1);
    let cut = start + length > latest - 2 || random.chance(0.08);
    let mut trees: Vec<Tree> = Vec::new();
    let first = random.index(AUDITED_SHARES.len());
    for offset in 0..=usize::from(random.chance(0.25)) {
        trees.push(Tree {
            share: AUDITED_SHARES[(first + offset) % AUDITED_SHARES.len()],
            id: random.range(1_000_000, 4_294_967_295).to_string(),
            created: 0,
            read: 0,
            written: 0,
        });
    }
    // All trees are connected before the first one goes: a session never stands without a tree in between.
    for tree in &trees {
        let data = format!("{{{}}}", session.connection_data());
        rows.push(session.note(growth, random, tree, start, ("CONNECT", data), ("share.connect", true)));
    }
    // The share `scratch` is not audited: no record tells of it.
    if random.chance(0.05) {
        let act = Act::new("share.connect", &staff.name).from(&client.ip);
        growth.missed(NAS, start * SECOND, act);
    }
    for _ in 0..random.range(1, 8) {
        let chosen = random.index(trees.len());
        let at = random.range(start + 1, end);
        visit(growth, random, rows, &session, &mut trees[chosen], at, end);
    }
    let really = (start + length) * SECOND;
    let known = (Some(session.id.as_str()), staff.name.as_str());
    if cut {
        let state = growth.open_state(start * SECOND);
        growth.session(NAS, known, start * SECOND, (state, None), Some(really));
        return;
    }
    for (order, tree) in trees.iter().enumerate() {
        let at = end + i64::from(order + 1 == trees.len());
        let data = format!(
            r#"{{{},"operations":{{"create":"{}","close":"{}","read":"{}","write":"{}"}}}}"#,
            session.connection_data(),
            tree.created,
            tree.created,
            tree.read,
            tree.written
        );
        rows.push(session.note(growth, random, tree, at, ("DISCONNECT", data), ("share.disconnect", true)));
    }
    let end = (end + 1) * SECOND;
    growth.session(NAS, known, start * SECOND, ("closed", Some(end)), Some(end));
}

/// One file opened, used and closed; or renamed, deleted, or refused.
fn visit(
    growth: &mut Growth,
    random: &mut Random,
    rows: &mut Vec<TrueNasRecord>,
    session: &Session<'_>,
    tree: &mut Tree,
    at: i64,
    end: i64,
) {
    let name = random.pick(&FILES);
    let handle = format!("{}:{}:0", 50 + random.range(0, 9), random.range(1000, 900_000));
    let handle_only = format!(r#"{{"handle":{{"type":"DEV_INO","value":"{handle}"}}}}"#);
    let path = format!(r#"{{"type":"REGULAR","path":"{name}","stream":null,"snap":null}}"#);
    let (disposition, action) = random.pick(&[
        ("OPEN", "file.open"),
        ("OPEN", "file.open"),
        ("OPEN_IF", "file.open"),
        ("CREATE", "file.create"),
        ("OVERWRITE_IF", "file.overwrite"),
    ]);
    let granted = !random.chance(0.03);
    let result = if granted { SUCCESS } else { DENIED };
    let data = format!(
        r#"{{"parameters":{{"DesiredAccess":"0x00120089","FileAttributes":"0x00000080","ShareAccess":"0x00000007","CreateOptions":"0x00000040","CreateDisposition":"{disposition}"}},"file_type":"REGULAR","file":{{"path":"{name}","stream":null,"snap":null,"handle":{{"type":"DEV_INO","value":"{handle}"}}}},"result":{result},"vers":{VERS}}}"#
    );
    rows.push(session.note(growth, random, tree, at, ("CREATE", data), (action, granted)));
    if !granted {
        return;
    }
    tree.created += 1;
    let between = |random: &mut Random| random.range(at, (at + 40).min(end));
    let (mut read, mut written) = (0, 0);
    if random.chance(0.7) {
        read = 1;
        tree.read += 1;
        let data = format!(r#"{{"file":{handle_only},"result":{SUCCESS},"vers":{VERS}}}"#);
        let when = between(random);
        rows.push(session.note(growth, random, tree, when, ("READ", data), ("file.read", true)));
    }
    if action != "file.open" || random.chance(0.2) {
        written = 1;
        tree.written += 1;
        let data = format!(r#"{{"file":{handle_only},"result":{SUCCESS},"vers":{VERS}}}"#);
        let when = between(random);
        rows.push(session.note(growth, random, tree, when, ("WRITE", data), ("file.write", true)));
    }
    let extra = match random.range(0, 40) {
        0..3 => Some((
            "RENAME",
            format!(
                r#"{{"src_file":{path},"dst_file":{{"path":"old/{name}","stream":null,"snap":null}},"result":{SUCCESS},"vers":{VERS}}}"#
            ),
            "file.rename",
        )),
        3..6 => Some(("UNLINK", format!(r#"{{"file":{path},"result":{SUCCESS},"vers":{VERS}}}"#), "file.delete")),
        6 => Some((
            "SET_ACL",
            format!(
                r#"{{"file":{handle_only},"secinfo":"0x00000004","sd":"D:(A;OICI;FA;;;BA)","result":{SUCCESS},"vers":{VERS}}}"#
            ),
            "file.set_acl",
        )),
        7 | 8 => Some((
            "SET_ATTR",
            format!(
                r#"{{"attr_type":"DOSMODE","dosmode":"0x00000020","ts":null,"file":{handle_only},"result":{SUCCESS},"vers":{VERS}}}"#
            ),
            "file.set_attr",
        )),
        _ => None,
    };
    if let Some((event, data, action)) = extra {
        let when = between(random);
        rows.push(session.note(growth, random, tree, when, (event, data), (action, true)));
    }
    let data = format!(
        r#"{{"file":{handle_only},"operations":{{"read_cnt":"{read}","read_bytes":"{}","write_cnt":"{written}","write_bytes":"{}"}},"result":{SUCCESS},"vers":{VERS}}}"#,
        read * random.range(1, 1_000_000),
        written * random.range(1, 1_000_000)
    );
    let closed = (at + 40).min(end);
    rows.push(session.note(growth, random, tree, closed, ("CLOSE", data), ("file.close", true)));
}

/// A login to the file service. It has no session id yet.
#[expect(clippy::too_many_arguments, reason = "a record's worth of facts, used thrice in one function")]
fn authentication(
    growth: &mut Growth,
    random: &mut Random,
    rows: &mut Vec<TrueNasRecord>,
    user: &str,
    (ip, host): (&str, &str),
    uid: usize,
    at: i64,
    success: bool,
) {
    let family = if ip.contains(':') { "ipv6" } else { "ipv4" };
    let port = random.range(32_768, 61_000);
    let result = if success { SUCCESS } else { WRONG_PASSWORD };
    let (became, sid) = if success {
        (format!("\"{user}\""), format!("\"S-1-5-21-3000-41-7-{}\"", 1000 + uid))
    } else {
        ("null".to_owned(), "null".to_owned())
    };
    let local = if family == "ipv6" { "ipv6:2001:db8:10::5:445" } else { "ipv4:192.0.2.5:445" };
    let data = format!(
        r#"{{"logonId":"{:x}","logonType":3,"localAddress":"{local}","remoteAddress":"{family}:{ip}:{port}","serviceDescription":"SMB2","authDescription":null,"clientDomain":"WORKGROUP","clientAccount":"{user}","workstation":"{}","becameAccount":{became},"becameDomain":{},"becameSid":{sid},"mappedAccount":"{user}","mappedDomain":"WORKGROUP","netlogonComputer":null,"netlogonTrustAccount":null,"netlogonNegotiateFlags":"0x00000000","netlogonSecureChannelType":0,"netlogonTrustAccountSid":null,"passwordType":"NTLMv2","clientPolicyAccessCheck":null,"serverPolicyAccessCheck":null,"result":{result},"vers":{VERS}}}"#,
        random.bits() >> 1,
        host.to_ascii_uppercase(),
        if success { "\"NAS-1\"" } else { "null" },
    );
    growth.saw(NAS, at * SECOND, Act::new("auth.login", user).from(ip).failed(!success));
    rows.push(TrueNasRecord {
        audit_id: random.uuid(),
        message_timestamp: at + log_delay(random),
        timestamp: at,
        address: ip.to_owned(),
        username: user.to_owned(),
        session: String::new(),
        service: TrueNasService::Smb,
        service_data: format!(r#"{{"vers":{VERS},"service":null,"session_id":null,"tcon_id":null}}"#).into(),
        event: "AUTHENTICATION",
        event_data: data.into(),
        success,
    });
}
