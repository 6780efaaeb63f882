//! Every kind of record that the product writes, with what makes it different from the others.

use std::fmt::Write as _;

use arrow_array::cast::AsArray as _;
use fedaudit_core::Time;
use fedaudit_truenas::{Reading, Service, decode_sessions};

use super::{cells, decode, record, text};

/// Decodes one record and looks for these cells; a name alone must have no cell.
#[track_caller]
fn has(service: Service, record: &str, expected: &[&str]) {
    let decoded = decode(service, &[record]);
    assert_eq!(decoded.rejected, [], "{record}");
    let cells = cells(&decoded.rows, 0);
    for cell in expected {
        if cell.contains('=') {
            assert!(cells.contains(&(*cell).to_owned()), "{cell} in {cells:#?}");
        } else {
            assert!(!cells.iter().any(|found| found.starts_with(&format!("{cell}="))), "no {cell} in {cells:#?}");
        }
    }
}

fn api(event: &str, data: &str) -> String {
    let service = r#""service_data": {"vers": {"major": 0, "minor": 1}, "origin": "2001:db8::7", "protocol": "WEBSOCKET", "credentials":
        {"credentials": "LOGIN_TWOFACTOR", "credentials_data": {"username": "ana", "login_id": "l-7"}}}"#;
    let rest = format!(r#"{service}, "event": "{event}", "event_data": {data}, "success": true"#);
    record("ana", "2001:db8::7", "s-1", "MIDDLEWARE", &rest)
}

#[test]
fn every_kind_of_api_event() {
    let credentials = r#"{"credentials": {"credentials": "LOGIN_TWOFACTOR", "credentials_data": {"username": "ana"}}"#;
    for (event, data, expected) in [
        (
            "AUTHENTICATION",
            format!("{credentials}, \"error\": null}}"),
            &["action=auth.login", "auth_method=password+otp", "is_mfa=true", "session_id=s-1", "outcome_reason"][..],
        ),
        ("LOGOUT", format!("{credentials}}}"), &["action=auth.logout", "auth_method=password+otp", "src_ip=2001:db8::7"]),
        (
            "METHOD_CALL",
            r#"{"method": "pool.dataset.delete", "params": ["tank/old"], "description": "Delete tank/old", "authenticated": true, "authorized": true}"#.to_owned(),
            &[
                "action=object.delete",
                "operation=pool.dataset.delete",
                "target_type=pool.dataset",
                "target_uid=tank/old",
                "message=Delete tank/old",
            ],
        ),
        (
            "METHOD_CALL",
            r#"{"method": "user.update", "params": [3, {}], "authenticated": false, "authorized": false}"#.to_owned(),
            &["action=account.update", "outcome=failure", "outcome_reason=not_authenticated"],
        ),
        ("REBOOT", r#"{"reason": "update"}"#.to_owned(), &["action=system.reboot", "outcome_reason=update"]),
        ("SHUTDOWN", r#"{"reason": "power"}"#.to_owned(), &["action=system.stop", "outcome_reason=power"]),
        (
            "WEBSHELL_AUTHENTICATION",
            r#"{"shell_type": "VM", "target": {"id": 3}, "username": "ana", "error": null}"#.to_owned(),
            &["action=auth.login", "target_type=vm", r#"resources=[{"id": 3}]"#, "outcome_reason"],
        ),
        (
            "WEBSHELL_LOGOUT",
            r#"{"shell_type": "HOST", "target": null, "username": null}"#.to_owned(),
            &["action=auth.logout", "target_type=host", "user_name=ana", "resources"],
        ),
        ("TO_BE_INVENTED", r#"{"a": 1}"#.to_owned(), &["action=other", "user_name=ana"]),
    ] {
        has(Service::Middleware, &api(event, &data), expected);
    }
    // Uploads and the old REST interface have an id of their own; the id of the login links them.
    for protocol in ["REST", "LEGACY_REST"] {
        let upload = api("METHOD_CALL", r#"{"method": "filesystem.put", "params": []}"#);
        let upload = upload.replace("WEBSOCKET", protocol);
        has(Service::Middleware, &upload, &[&format!("protocol={protocol}"), "session_id=s-1"]);
        let decoded = decode(Service::Middleware, &[&upload]);
        assert!(text(&decoded.rows, "unmapped").contains(r#""login_id": "l-7""#));
    }
}

#[test]
fn markers_are_no_names() {
    for (username, expected) in [
        (".UNAUTHENTICATED", &["user_name", "user_type=unknown"][..]),
        (".TRUENAS_NODE", &["user_name", "user_type=node"]),
        (".UNKNOWN", &["user_name", "user_type=unknown"]),
        (".API_KEY:backup", &["user_name=backup", "user_type=service"]),
        ("", &["user_name"]),
    ] {
        let rest = r#""service_data": null, "event": "METHOD_CALL", "event_data": {"method": "core.ping", "params": []}, "success": true"#;
        has(Service::Middleware, &record(username, "", "s-1", "MIDDLEWARE", rest), expected);
    }
}

#[test]
fn a_call_without_its_data_is_not_called_a_config_call() {
    for data in ["null", "{}", r#"{"method": null}"#] {
        has(
            Service::Middleware,
            &api("METHOD_CALL", data),
            &["action=other", "quality_flags=no_method", "user_name=ana"],
        );
    }
}

#[test]
fn every_smb_event_has_its_place() {
    let handle = r#""file": {"handle": {"type": "DEV_INO", "value": "57:901:0"}}"#;
    let of_handle = |more: &str| format!("{{{handle}{more}}}");
    let connection = r#"{"host": "192.0.2.1", "unix_token": {"uid": 1001, "gid": 1001, "groups": [545]}"#;
    for (event, data, expected) in [
        ("CONNECT", format!("{connection}}}"), &["action=share.connect", "target_name=tank", "user_uid=uid:1001", "src_host"][..]),
        (
            "DISCONNECT",
            format!(r#"{connection}, "operations": {{"create": "1"}}}}"#),
            &["action=share.disconnect", "target_type=share", "target_name=tank"],
        ),
        (
            "CREATE",
            r#"{"parameters": {"CreateDisposition": "CREATE"}, "file_type": "DIRECTORY", "file": {"path": "d", "handle": {"value": "57:1:0"}}}"#.to_owned(),
            &["action=file.create", "target_type=directory", "target_name=d", "target_uid=57:1:0"],
        ),
        ("CLOSE", of_handle(r#", "operations": {"read_cnt": "3"}"#), &["action=file.close", "target_uid=57:901:0", "target_name"]),
        ("READ", of_handle(""), &["action=file.read", "target_uid=57:901:0"]),
        ("WRITE", of_handle(""), &["action=file.write"]),
        ("OFFLOAD_READ", of_handle(""), &["action=file.read"]),
        ("OFFLOAD_WRITE", of_handle(""), &["action=file.write"]),
        ("SET_ATTR", of_handle(r#", "attr_type": "DOSMODE", "dosmode": "0x20", "ts": null"#), &["action=file.set_attr"]),
        ("SET_ACL", of_handle(r#", "secinfo": "0x4", "sd": "D:(A;;FA;;;BA)""#), &["action=file.set_acl"]),
        ("FSCTL", of_handle(r#", "function": {"raw": "0x94264", "parsed": "FSCTL_OFFLOAD_READ"}"#), &["action=other"]),
        (
            "RENAME",
            r#"{"src_file": {"type": "REGULAR", "path": "a"}, "dst_file": {"path": "b"}}"#.to_owned(),
            &["action=file.rename", "target_name=a"],
        ),
        ("UNLINK", r#"{"file": {"type": "REGULAR", "path": "a", "stream": null}}"#.to_owned(), &["action=file.delete", "target_name=a"]),
        ("SET_QUOTA", r#"{"qt": {"type": "USER", "bsize": "512"}}"#.to_owned(), &["action=config.update", "target_type=quota"]),
    ] {
        let rest = format!(
            r#""service_data": {{"vers": {{}}, "service": "tank", "session_id": "123", "tcon_id": "456"}}, "event": "{event}",
            "event_data": {{{}, "result": {{"type": "NTSTATUS", "value_raw": 3221225506, "value_parsed": "ACCESS_DENIED"}}, "vers": {{}}}}, "success": false"#,
            data.strip_prefix('{').unwrap().strip_suffix('}').unwrap()
        );
        let record = record("ana", "192.0.2.1", "123", "SMB", &rest);
        has(Service::Smb, &record, expected);
        has(Service::Smb, &record, &["session_id=123", "outcome=failure", "outcome_code=ACCESS_DENIED", "protocol=SMB"]);
        // Nothing is dropped.
        let decoded = decode(Service::Smb, &[&record]);
        assert_eq!(text(&decoded.rows, "raw"), record);
        assert!(text(&decoded.rows, "unmapped").contains(r#""tcon_id": "456""#));
    }
}

fn smb(id: &str, second: i64, event: &str, tree: &str, data: &str) -> String {
    format!(
        r#"{{"audit_id": "{id}", "message_timestamp": {second}, "timestamp": {{"$date": {second}000}}, "address": "192.0.2.1", "username": "ana",
        "session": "123", "service": "SMB", "service_data": {{"session_id": "123", "tcon_id": "{tree}"}}, "event": "{event}",
        "event_data": {data}, "success": true}}"#
    )
}

/// What each row names, and whether the name is from another record.
fn names(records: &[String]) -> Vec<String> {
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    let rows = decode(Service::Smb, &records).rows;
    let of_row = |row: usize| {
        let cells = cells(&rows, row);
        let name = cells.iter().find_map(|cell| cell.strip_prefix("target_name=")).unwrap_or("-");
        let found = cells.iter().any(|cell| cell.contains("path_from_create"));
        format!("{name}{}", if found { " (joined)" } else { "" })
    };
    (0..rows.num_rows()).map(of_row).collect()
}

const OPEN: &str =
    r#"{"parameters": {"CreateDisposition": "OPEN"}, "file": {"path": "PATH", "handle": {"value": "57:901:0"}}}"#;
const USE: &str = r#"{"file": {"handle": {"value": "57:901:0"}}}"#;

#[test]
fn paths_come_from_the_create() {
    let records = [
        smb("1", 100, "CREATE", "7", &OPEN.replace("PATH", "a/b \\\"c\\\".txt")),
        smb("2", 101, "READ", "7", USE),
        smb("3", 102, "CLOSE", "7", USE),
        // Another tree, another handle, and one that was opened out of sight.
        smb("4", 103, "READ", "8", USE),
        smb("5", 103, "READ", "7", &USE.replace("901", "902")),
        smb("6", 99, "READ", "7", USE),
        // A record with a path of its own keeps it.
        smb("7", 104, "UNLINK", "7", r#"{"file": {"path": "x", "handle": {"value": "57:901:0"}}}"#),
        // A day later nobody vouches for it.
        smb("8", 100 + 86_401, "READ", "7", USE),
    ];
    let path = "a/b \"c\".txt";
    let joined = format!("{path} (joined)");
    assert_eq!(names(&records), [path, &joined, &joined, "-", "-", "-", "x", "-"]);
}

#[test]
fn the_latest_create_before_the_row_counts() {
    let failed = smb("4", 103, "CREATE", "7", &OPEN.replace("PATH", "refused"))
        .replace("\"success\": true", "\"success\": false");
    let records = [
        smb("1", 100, "CREATE", "7", &OPEN.replace("PATH", "first")),
        // Of one second, and stored in any order.
        smb("2", 102, "READ", "7", USE),
        smb("3", 102, "CREATE", "7", &OPEN.replace("PATH", "second")),
        failed,
        smb("5", 101, "READ", "7", USE),
        smb("6", 104, "READ", "7", USE),
    ];
    assert_eq!(names(&records), ["first", "second (joined)", "second", "refused", "first (joined)", "second (joined)"]);
}

#[test]
fn every_kind_of_system_event() {
    let syscall = r#""syscall": {"SYSCALL": "execve", "AUID": "ana", "UID": "root", "auid": 1001, "ses": 12}"#;
    let keyed = format!(r#"{{"proctitle": "su -", {syscall}, "cwd": "/root", "paths": [], "raw_lines": null}}"#);
    for (event, data, expected) in [
        ("GENERIC", keyed.as_str(), &["action=other", "user_name=ana", "operation=su -"][..]),
        (
            "ESCALATION",
            &keyed,
            &["action=auth.switch", "user_name=ana", "user_uid=uid:1001", "target_user=root", "correlation_id=12"],
        ),
        ("PRIVILEGED", &keyed, &["action=exec.run"]),
        ("EXPORT", &keyed, &["action=other"]),
        ("IDENTITY", &keyed, &["action=config.update"]),
        ("TIME-CHANGE", &keyed, &["action=config.update"]),
        ("MODULE-LOAD", &keyed, &["action=object.update"]),
        (
            "GENERIC",
            r#"{"proctitle": null, "syscall": null, "raw_lines": ["type=X"]}"#,
            &["action=other", "user_name=root"],
        ),
        (
            "LOGIN",
            r#"{"old-auid": "4294967295", "auid": "1001", "tty": "(none)", "old-ses": "4294967295", "ses": "12", "syscall": 1, "proctitle": "sshd"}"#,
            &["action=auth.login", "user_uid=uid:1001", "correlation_id=12", "operation=sshd"],
        ),
        (
            "CREDENTIAL",
            r#"{"auth_action": "USER_AUTH", "pid": 1, "function": "PAM:authentication", "acct": "ben", "exe": "/usr/sbin/sshd", "hostname": "?", "addr": "192.0.2.9", "terminal": "ssh"}"#,
            &["action=auth.login", "user_name=ben", "src_ip=192.0.2.9"],
        ),
        ("CREDENTIAL", r#"{"auth_action": "CRED_DISP", "acct": "ben"}"#, &["action=other", "user_name=ben"]),
        (
            "SERVICE",
            r#"{"service_action": "SERVICE_START", "unit": "smbd", "comm": "systemd"}"#,
            &["action=service.start", "target_name=smbd"],
        ),
        ("SERVICE", r#"{"service_action": "SERVICE_STOP", "unit": "smbd"}"#, &["action=service.stop"]),
        (
            "TTY_RECORD",
            r#"{"tty_record": {"pid": 9, "uid": 1001, "ses": 3, "data": "6c73", "username": "ana"}}"#,
            &["action=exec.run", "user_name=ana", "user_uid=uid:1001", "correlation_id=3", "quality_flags=redacted"],
        ),
    ] {
        let rest = format!(r#""service_data": null, "event": "{event}", "event_data": {data}, "success": true"#);
        has(Service::System, &record("root", "127.0.0.1", "", "SYSTEM", &rest), expected);
    }
}

#[test]
fn wrapped_values_are_kept_as_received() {
    let wrapped = r#"{"groups": {"$set": [3, 1]}, "at": {"$time": "10:20:30.5"}, "day": {"$type": "date", "$value": "2026-01-02"}, "nic": {"$ipv4_interface": "192.0.2.1/24"}}"#;
    let data =
        format!(r#"{{"method": "user.update", "params": [3, {wrapped}], "authenticated": true, "authorized": true}}"#);
    let call = api("METHOD_CALL", &data);
    has(
        Service::Middleware,
        &call,
        &["action=account.update", "operation=user.update", "target_uid=3", "outcome=success"],
    );
    let decoded = decode(Service::Middleware, &[&call]);
    assert!(text(&decoded.rows, "raw").contains(wrapped));
}

#[test]
fn odd_members_cost_nothing_else() {
    for odd in ["null", "17", r#""text""#, "[1]", "true", "1.5"] {
        let service =
            format!(r#""service_data": {{"origin": "192.0.2.1", "protocol": "WEBSOCKET", "credentials": {odd}}}"#);
        let rest = format!(
            r#"{service}, "event": "AUTHENTICATION", "event_data": {{"credentials": {{"credentials": "TOKEN", "credentials_data": {odd}}}, "error": "no"}}, "success": false"#
        );
        let login = record(".UNAUTHENTICATED", "192.0.2.1", "s", "MIDDLEWARE", &rest);
        has(Service::Middleware, &login, &["auth_method=token", "outcome_reason=no", "protocol=WEBSOCKET"]);
        let smb = smb(
            "1",
            100,
            "CREATE",
            "7",
            &format!(r#"{{"parameters": {odd}, "file": {{"path": "p", "handle": {odd}}}, "result": {odd}}}"#),
        );
        has(Service::Smb, &smb, &["action=file.open", "target_name=p", "session_id=123"]);
        let rest = format!(
            r#""service_data": null, "event": "PRIVILEGED", "event_data": {{"syscall": {odd}, "proctitle": "ls", "tty_record": {odd}}}, "success": true"#
        );
        has(Service::System, &record("ana", "", "", "SYSTEM", &rest), &["operation=ls", "user_name=ana"]);
        let rest = format!(
            r#""service_data": {{}}, "event": "ACCEPT", "event_data": {{"sudo": {{"reject": {odd}, "accept": {{"command": "/bin/ls"}}}}}}, "success": true"#
        );
        has(Service::Sudo, &record("ana", "nas", "1", "SUDO", &rest), &["operation=/bin/ls", "user_name=ana"]);
    }
}

#[test]
fn presented_secrets_are_cut_from_rows_and_rejected_records() {
    let rest = |data: &str, event: &str| {
        format!(r#""service_data": null, "event": {event}, "event_data": {data}, "success": false"#)
    };
    for data in [
        r#"{"credentials": {"credentials": "TOKEN", "credentials_data": {"token": "s3cret"}}, "error": "Bad token"}"#,
        r#"{"credentials": {"credentials": "API_KEY", "credentials_data": {"api_key": "9-s3cret"}}}"#,
        r#"{"credentials": {"credentials": "NEW", "credentials_data": {"nested": [{"token": "s3cret"}]}}}"#,
        r#"{"credentials": [{"credentials_data": {"token": "s3cret"}}]}"#,
        r#""{\"credentials\": {\"token\": \"s3cret\"""#,
    ] {
        for event in [r#""AUTHENTICATION""#, r#""LOGIN_OF_A_NEW_KIND""#, "null"] {
            let record = record(".UNAUTHENTICATED", "192.0.2.1", "s", "MIDDLEWARE", &rest(data, event));
            let decoded = decode(Service::Middleware, &[&record]);
            let mut shown = String::new();
            for row in 0..decoded.rows.num_rows() {
                let _ = write!(shown, "{} {:?}", text(&decoded.rows, "raw"), cells(&decoded.rows, row));
                shown.push_str(&text(&decoded.rows, "unmapped"));
            }
            for rejected in &decoded.rejected {
                shown.push_str(&rejected.raw);
            }
            assert!(shown.contains("***") && !shown.contains("s3cret"), "{event} {data}: {shown}");
        }
    }
}

#[test]
fn rows_without_an_id_are_told_apart() {
    let same = record("ana", "192.0.2.1", "s", "SMB", r#""event": "READ", "event_data": {}, "success": true"#)
        .replace(r#""audit_id": "a1""#, r#""audit_id": null"#);
    let other = same.replace("READ", "WRITE");
    let keys = |records: &[&str]| -> Vec<String> {
        let rows = decode(Service::Smb, records).rows;
        rows.column_by_name("event_key").unwrap().as_string::<i32>().iter().flatten().map(str::to_owned).collect()
    };
    let found = keys(&[&same, &same, &other]);
    assert!(found[0] != found[1] && found[1] != found[2] && found[0] != found[2]);
    // Reading again gives the same keys.
    assert_eq!(keys(&[&other, &same, &same])[1..], found[..2]);
}

fn listed(rest: &str) -> arrow_array::RecordBatch {
    let answer = format!(r#"{{"jsonrpc": "2.0", "result": [{{"id": "s-1", {rest}}}], "id": 7}}"#);
    let reading = Reading { now: Time::from_micros(1_795_400_000_000_000), ..Reading::default() };
    let decoded = decode_sessions(answer.as_bytes(), "nas", &reading).unwrap();
    assert_eq!(decoded.rejected, [], "{rest}");
    decoded.rows
}

#[test]
fn sessions_of_every_kind_and_release() {
    let by = |kind: &str, data: &str| {
        format!(r#""origin": "192.0.2.7:51234", "credentials": "{kind}", "credentials_data": {data}"#)
    };
    let user = r#"{"username": "ana", "login_id": "l-1", "login_at": {"$date": 1795317601000}}"#;
    for (rest, expected) in [
        (by("LOGIN_PASSWORD", user), &["auth_method=password", "is_mfa=false", "alt_session_id=l-1", "client_port=51234"][..]),
        (by("LOGIN_TWOFACTOR", user), &["auth_method=password+otp", "is_mfa=true", "is_remote=true"]),
        (by("LOGIN_ONETIME_PASSWORD", user), &["auth_method=one_time_password", "is_mfa=false"]),
        (by("API_KEY", r#"{"api_key": {"id": 1, "name": "siem"}}"#), &["auth_method=api_key", "account_id=1", "user_name", "alt_session_id"]),
        (
            by("TOKEN", r#"{"parent": {"credentials": "API_KEY", "credentials_data": {"username": "ana", "api_key": {"id": 3, "name": "x"}}}, "login_id": "l-2", "username": null}"#),
            &["auth_method=token", "auth_root_method=api_key", "account_id=3", "user_name=ana", "alt_session_id=l-2"],
        ),
        (by("TRUENAS_NODE", "{}"), &["auth_method=node", "user_type=node", "user_name", "is_mfa"]),
        (by("TRUE_NAS_NODE", "{}"), &["auth_method=node", "user_type=node"]),
        (by("ROOT_TCP_SOCKET", "{}"), &["auth_method=root_tcp_socket", "is_mfa", "is_remote=true"]),
        (
            by("API_KEY", r#"{"username": "ana", "login_id": "<ERROR: see /var/log/middlewared.log>"}"#),
            &["alt_session_id", "quality_flags=login_id_unknown"],
        ),
        (
            r#""origin": "[2001:db8::7]:51234", "credentials": "API_KEY", "credentials_data": {}"#.to_owned(),
            &["client_ip=2001:db8::7", "client_port=51234"],
        ),
        (
            r#""origin": "2001:db8::7:51234", "credentials": "API_KEY", "credentials_data": {}"#.to_owned(),
            &["client_ip=2001:db8::7", "client_port=51234"],
        ),
        (
            r#""origin": "UNIX socket (pid=12 uid=0 gid=0)", "internal": true, "credentials": "UNIX_SOCKET", "credentials_data": {"username": "root"}"#.to_owned(),
            &["client_kind=unix_socket", "is_internal=true", "is_remote=false", "auth_method=local_socket", "client_ip"],
        ),
        (r#""origin": "None", "credentials": "API_KEY", "credentials_data": null"#.to_owned(), &["client_kind=none", "client_ip"]),
        (r#""credentials": "API_KEY""#.to_owned(), &["secure_transport", "is_internal", "start_time", "state=active"]),
        (r#""credentials": "API_KEY", "created_at": {"$date": 1795317601000}, "secure_transport": true"#.to_owned(), &["start_time=2026-11-22T03:20:01Z", "secure_transport=true"]),
        (format!("{}, \"created_at\": null", by("LOGIN_PASSWORD", user)), &["start_time=2026-11-22T03:20:01Z"]),
    ] {
        let cells = cells(&listed(&rest), 0);
        for cell in expected {
            let found = if cell.contains('=') {
                cells.contains(&(*cell).to_owned())
            } else {
                !cells.iter().any(|found| found.starts_with(&format!("{cell}=")))
            };
            assert!(found, "{cell} of {rest} in {cells:#?}");
        }
    }
}

#[test]
fn a_start_that_jitters_changes_no_key() {
    let key = |second: i64| {
        let rows = listed(&format!(r#""credentials": "API_KEY", "created_at": {{"$date": {second}000}}"#));
        text(&rows, "session_key")
    };
    assert_eq!(key(1_795_317_601), key(1_795_317_602));
}
