//! Work on the storage appliance's own operating system: `SUDO` rows and the `SYSTEM` audit trail.

use super::people::{NAS_HOST, Staff, stranger};
use super::{Act, Growth, Product, SECOND, log_delay};
use crate::random::Random;
use crate::records::{TrueNasRecord, TrueNasService};

const NAS: Product = Product::TrueNas;

const COMMANDS: [(&str, &str); 6] = [
    ("/usr/bin/systemctl", r#"["systemctl","restart","smbd"]"#),
    ("/usr/sbin/zpool", r#"["zpool","status","-v"]"#),
    ("/usr/bin/cat", r#"["cat","/var/log/auth.log"]"#),
    ("/usr/bin/vi", r#"["vi","/etc/hosts"]"#),
    ("/usr/bin/apt", r#"["apt","list"]"#),
    ("/usr/bin/passwd", r#"["passwd","svc-backup"]"#),
];

/// Grows about `budget` rows of `sudo`.
pub(super) fn grow_sudo(growth: &mut Growth, random: &mut Random, budget: usize) -> Vec<TrueNasRecord> {
    let mut rows = Vec::with_capacity(budget);
    while rows.len() < budget {
        let staff = growth.administrator(random);
        let at = growth.calendar.second(random);
        rows.push(sudo(growth, random, &staff, at));
    }
    rows
}

/// One command. The row's address is the name of the host it was submitted on, its session a process id; an environment
/// can carry secrets, and this one does.
fn sudo(growth: &mut Growth, random: &mut Random, staff: &Staff, at: i64) -> TrueNasRecord {
    let (command, argv) = random.pick(&COMMANDS);
    let accepted = !random.chance(0.12);
    let user = &staff.name;
    let audit_id = random.uuid();
    let time = format!(
        r#"{{"seconds":"{at}","nanoseconds":"{}","iso8601":"{}","localtime":"-"}}"#,
        random.range(0, 1_000_000_000),
        crate::truth::Instant(at * SECOND)
    );
    let common = format!(
        r#""uuid":"{audit_id}","server_time":{time},"submit_time":{time},"command":"{command}","runargv":{argv},"runcwd":"/home/{user}","runuid":"0","runuser":"root","submituser":"{user}","submithost":"{NAS_HOST}","submitcwd":"/home/{user}","submitenv":["LANG=C.UTF-8","BACKUP_PASSWORD=hunter2-{}"],"lines":"24","columns":"80","ttyname":"/dev/pts/{}""#,
        random.range(100, 999),
        random.range(0, 6)
    );
    let event_data = if accepted {
        format!(r#"{{"sudo":{{"accept":{{{common},"runenv":["HOME=/root"],"source":"/etc/sudoers:46:24"}}}}}}"#)
    } else {
        format!(r#"{{"sudo":{{"reject":{{{common},"reason":"command not allowed"}}}}}}"#)
    };
    growth.saw(NAS, at * SECOND, Act::new("exec.run", user).failed(!accepted));
    TrueNasRecord {
        audit_id,
        message_timestamp: at + log_delay(random),
        timestamp: at,
        address: NAS_HOST.to_owned(),
        username: user.clone(),
        session: random.range(2000, 4_000_000).to_string(),
        service: TrueNasService::Sudo,
        service_data: r#"{"vers":{"major":0,"minor":1}}"#.into(),
        event: if accepted { "ACCEPT" } else { "REJECT" },
        event_data: event_data.into(),
        success: accepted,
    }
}

/// Grows about `budget` rows of the system's audit trail.
pub(super) fn grow_system(growth: &mut Growth, random: &mut Random, budget: usize) -> Vec<TrueNasRecord> {
    let mut rows = Vec::with_capacity(budget + 8);
    let mut session = 100;
    while rows.len() < budget {
        match random.range(0, 10) {
            0..6 => {
                session += 1;
                shell(growth, random, &mut rows, session);
            }
            6 if growth.failure_rate > 0.0 => bad_password(growth, random, &mut rows),
            _ => daemon(growth, random, &mut rows),
        }
    }
    rows
}

/// One row; the trail has no session ids, and no address but its own unless the record names one.
fn row(
    random: &mut Random,
    at: i64,
    (user, address): (&str, &str),
    event: &'static str,
    event_data: String,
    success: bool,
) -> TrueNasRecord {
    TrueNasRecord {
        audit_id: random.uuid(),
        message_timestamp: at + log_delay(random),
        timestamp: at,
        address: address.to_owned(),
        username: user.to_owned(),
        session: String::new(),
        service: TrueNasService::System,
        service_data: "null".into(),
        event,
        event_data: event_data.into(),
        success,
    }
}

const LOOPBACK: &str = "127.0.0.1";

fn syscall(staff: &Staff, number: i64, ses: i64, uid_name: &str, uid: usize) -> String {
    format!(
        r#"{{"arch":"c000003e","syscall":{number},"success":"yes","exit":0,"ppid":2211,"pid":{},"auid":{},"uid":{uid},"gid":{uid},"euid":{uid},"tty":"pts0","ses":{ses},"comm":"sh","exe":"/usr/bin/sh","SYSCALL":"execve","AUID":"{}","UID":"{uid_name}","GID":"{uid_name}"}}"#,
        3000 + ses,
        staff.uid(),
        staff.name
    )
}

fn keyed(proctitle: &str, syscall: &str, path: &str, number: i64) -> String {
    format!(
        r#"{{"proctitle":"{proctitle}","syscall":{syscall},"cwd":"/root","paths":[{{"name":"{path}","inode":{},"dev":"00:1b","mode":"0100644","ouid":0,"ogid":0,"rdev":"00:00"}}],"audit_msg_id_str":"1795317601.{:03}:{number}","raw_lines":null}}"#,
        4000 + number,
        number % 1000
    )
}

/// A login over SSH and what was done in it. Its end leaves no record.
fn shell(growth: &mut Growth, random: &mut Random, rows: &mut Vec<TrueNasRecord>, ses: i64) {
    let staff = growth.administrator(random);
    let start = growth.calendar.open_end(random);
    let latest = growth.calendar.to / SECOND - 3;
    let user = staff.name.as_str();
    let act = |action| Act::new(action, user).from(LOOPBACK);
    let number = random.range(10_000, 900_000);
    let data = format!(
        r#"{{"old-auid":"4294967295","auid":"{}","tty":"(none)","old-ses":"4294967295","ses":"{ses}","syscall":{},"proctitle":"sshd: {user} [priv]"}}"#,
        staff.uid(),
        syscall(&staff, 1, ses, "root", 0)
    );
    rows.push(row(random, start, (user, LOOPBACK), "LOGIN", data, true));
    growth.saw(NAS, start * SECOND, act("auth.login"));
    let state = growth.open_state(start * SECOND);
    let length = random.range(300, 6 * 3600);
    growth.session(NAS, (None, user), start * SECOND, (state, None), Some((start + length) * SECOND));
    for _ in 0..random.range(0, 4) {
        let at = random.range(start + 1, (start + length).min(latest));
        let (event, action, data) = match random.range(0, 6) {
            0 | 1 => (
                "ESCALATION",
                "auth.switch",
                keyed("su -", &syscall(&staff, 59, ses, "root", 0), "/usr/bin/su", number),
            ),
            2 | 3 => (
                "PRIVILEGED",
                "exec.run",
                keyed("zfs list", &syscall(&staff, 59, ses, user, staff.uid()), "/usr/sbin/zfs", number),
            ),
            4 => (
                "IDENTITY",
                "config.update",
                keyed("usermod -aG wheel temp", &syscall(&staff, 82, ses, "root", 0), "/etc/group", number),
            ),
            _ => (
                "EXPORT",
                "other",
                keyed("tar cf /mnt/usb/x.tar", &syscall(&staff, 257, ses, "root", 0), "/mnt/usb/x.tar", number),
            ),
        };
        rows.push(row(random, at, (user, LOOPBACK), event, data, true));
        growth.saw(NAS, at * SECOND, act(action));
    }
}

/// A wrong password over SSH. This row does name the client.
fn bad_password(growth: &mut Growth, random: &mut Random, rows: &mut Vec<TrueNasRecord>) {
    let staff = growth.anyone(random);
    let at = growth.calendar.second(random);
    let ip = stranger(random);
    let data = format!(
        r#"{{"auth_action":"USER_AUTH","pid":{},"function":"PAM:authentication","acct":"{}","exe":"/usr/sbin/sshd","hostname":"{ip}","addr":"{ip}","terminal":"ssh"}}"#,
        random.range(2000, 90_000),
        staff.name
    );
    rows.push(row(random, at, (&staff.name, ip), "CREDENTIAL", data, false));
    growth.saw(NAS, at * SECOND, Act::new("auth.login", &staff.name).from(ip).failed(true));
}

/// A service started or stopped by the system itself.
fn daemon(growth: &mut Growth, random: &mut Random, rows: &mut Vec<TrueNasRecord>) {
    let at = growth.calendar.second(random);
    let (word, action) = random.pick(&[("SERVICE_START", "service.start"), ("SERVICE_STOP", "service.stop")]);
    let unit = random.pick(&["smbd", "nfs-server", "ssh", "cron"]);
    let data = format!(
        r#"{{"service_action":"{word}","unit":"{unit}","comm":"systemd","exe":"/usr/lib/systemd/systemd","subj":"unconfined"}}"#
    );
    rows.push(row(random, at, ("root", LOOPBACK), "SERVICE", data, true));
    growth.saw(NAS, at * SECOND, Act::new(action, "root").from(LOOPBACK));
}
