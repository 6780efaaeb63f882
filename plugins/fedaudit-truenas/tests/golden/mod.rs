//! Representative records, field for field: every kind of event, the forms that lie, and the secrets that must go.

mod kinds;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array as _, RecordBatch};
use arrow_schema::DataType;
use fedaudit_core::Time;
use fedaudit_truenas::{Decoded, Reading, Service, decode_page};

/// Columns that say the same of every record here, or are looked at by tests of their own.
const LEFT_OUT: [&str; 11] = [
    "event_key",
    "session_key",
    "raw",
    "raw_sha256",
    "unmapped",
    "class_uid",
    "activity_id",
    "severity_id",
    "time_quality",
    "logged_time",
    "time_original",
];

fn decode(service: Service, records: &[&str]) -> Decoded {
    let answer = format!(r#"{{"jsonrpc": "2.0", "result": [{}], "id": 7}}"#, records.join(", "));
    let reading = Reading { now: Time::from_micros(1_795_400_000_000_000), own_key: Some("4"), ..Reading::default() };
    decode_page(answer.as_bytes(), service, "nas", &reading).unwrap()
}

/// The columns of a row that are not NULL.
fn cells(rows: &RecordBatch, row: usize) -> Vec<String> {
    let schema = rows.schema();
    let mut cells = Vec::new();
    for (field, array) in schema.fields().iter().zip(rows.columns()) {
        if array.is_null(row) || LEFT_OUT.contains(&field.name().as_str()) {
            continue;
        }
        let value = match field.data_type() {
            DataType::Utf8 => array.as_string::<i32>().value(row).to_owned(),
            DataType::Int32 => array.as_primitive::<Int32Type>().value(row).to_string(),
            DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
            DataType::Boolean => array.as_boolean().value(row).to_string(),
            DataType::Timestamp(..) => {
                Time::from_micros(array.as_primitive::<TimestampMicrosecondType>().value(row)).to_string()
            }
            _ => array.as_list::<i32>().value(row).as_string::<i32>().iter().flatten().collect::<Vec<_>>().join(","),
        };
        cells.push(format!("{}={value}", field.name()));
    }
    cells
}

fn text(rows: &RecordBatch, column: &str) -> String {
    rows.column_by_name(column).unwrap().as_string::<i32>().value(0).to_owned()
}

/// An audit record; `rest` are the members after `service`.
fn record(username: &str, address: &str, session: &str, service: &str, rest: &str) -> String {
    format!(
        r#"{{"audit_id": "a1", "message_timestamp": 1795317602, "timestamp": {{"$date": 1795317601000}}, "address": "{address}", "username": "{username}", "session": "{session}", "service": "{service}", {rest}}}"#
    )
}

#[track_caller]
fn expect(service: Service, record: &str, expected: &str) -> RecordBatch {
    let decoded = decode(service, &[record]);
    assert_eq!(decoded.rejected, []);
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(cells(&decoded.rows, 0), expected);
    decoded.rows
}

#[test]
fn a_failed_login_names_the_account_that_was_tried() {
    let record = record(
        ".UNAUTHENTICATED",
        "192.0.2.10",
        "5b1c",
        "MIDDLEWARE",
        r#""service_data": {"vers": {"major": 0, "minor": 1}, "origin": "192.0.2.10", "protocol": "WEBSOCKET", "credentials": null},
        "event": "AUTHENTICATION", "event_data": {"credentials": {"credentials": "LOGIN_PASSWORD", "credentials_data": {"username": "bob"}},
        "error": "[PAM_AUTH_ERR]: pam_authenticate() failed"}, "success": false"#,
    );
    let rows = expect(
        Service::Middleware,
        &record,
        "time=2026-11-22T03:20:01Z
        event_code=AUTHENTICATION
        action=auth.login
        outcome=failure
        outcome_reason=[PAM_AUTH_ERR]: pam_authenticate() failed
        user_name=bob
        user_original=bob
        user_type=unknown
        src_ip=192.0.2.10
        src_kind=ip
        src_original=192.0.2.10
        service=MIDDLEWARE
        protocol=WEBSOCKET
        auth_method=password
        is_mfa=false
        is_remote=true
        session_id=5b1c
        record_id=a1",
    );
    assert_eq!(text(&rows, "raw"), record);
    assert_eq!(text(&rows, "time_quality"), "seconds");
    assert_eq!(text(&rows, "time_original"), "1795317601000");
}

#[test]
fn a_presented_key_is_taken_out_and_nothing_else() {
    let record = record(
        ".UNAUTHENTICATED",
        "192.0.2.10",
        "5b1c",
        "MIDDLEWARE",
        r#""service_data": null, "event": "AUTHENTICATION", "event_data":  {"credentials": {"credentials": "API_KEY",
        "credentials_data": {"username": "bob", "api_key": "9-secretsecret"}}, "error": "Api key is expired"}, "success": false"#,
    );
    let decoded = decode(Service::Middleware, &[&record]);
    assert_eq!(text(&decoded.rows, "raw"), record.replace("9-secretsecret", "***"));
    assert!(!text(&decoded.rows, "unmapped").contains("secretsecret"));
    assert!(cells(&decoded.rows, 0).contains(&"quality_flags=redacted".to_owned()));
}

#[test]
fn an_api_call_of_ours_over_the_local_socket() {
    let record = record(
        "auditor",
        "127.0.0.1",
        "s-1",
        "MIDDLEWARE",
        r#""service_data": {"vers": {}, "origin": "pid:4711", "protocol": "WEBSOCKET", "credentials": {"credentials": "API_KEY",
        "credentials_data": {"username": "auditor", "login_id": "l", "api_key": {"id": 4, "name": "siem"}}}}, "event": "METHOD_CALL",
        "event_data": {"method": "user.create", "params": [{"username": "eve", "password": "********"}], "description": "Create user eve",
        "authenticated": true, "authorized": false}, "success": true"#,
    );
    expect(
        Service::Middleware,
        &record,
        "time=2026-11-22T03:20:01Z
        event_code=METHOD_CALL
        action=account.create
        outcome=failure
        outcome_reason=not_authorized
        message=Create user eve
        user_name=auditor
        user_original=auditor
        user_type=unknown
        account_id=4
        target_user=eve
        src_kind=unix_socket
        src_original=pid:4711
        service=MIDDLEWARE
        protocol=WEBSOCKET
        auth_method=api_key
        is_mfa=false
        is_remote=true
        operation=user.create
        target_type=user
        target_name=eve
        session_id=s-1
        record_id=a1
        quality_flags=own_reader",
    );
}

#[test]
fn an_smb_login_of_a_domain_account() {
    let record = record(
        "",
        "",
        "",
        "SMB",
        r#""service_data": {"vers": {}, "service": null, "session_id": null, "tcon_id": null}, "event": "AUTHENTICATION", "event_data": {"logonType": 3,
        "localAddress": "ipv4:10.0.0.1:445", "remoteAddress": "ipv6:2001:db8::1:48394", "serviceDescription": "SMB2", "clientDomain": "CORP",
        "clientAccount": "Ana", "workstation": "\\\\WS10", "becameAccount": "ana", "becameSid": "S-1-5-21-1", "passwordType": "NTLMv2",
        "result": {"type": "NTSTATUS", "value_raw": 0, "value_parsed": "SUCCESS"}, "vers": {}}, "success": true"#,
    );
    expect(
        Service::Smb,
        &record,
        r"time=2026-11-22T03:20:01Z
        event_code=AUTHENTICATION
        action=auth.login
        outcome=success
        outcome_code=SUCCESS
        user_name=ana
        user_domain=corp
        user_uid=S-1-5-21-1
        user_original=CORP\Ana
        user_type=unknown
        target_user=ana
        src_ip=2001:db8::1
        src_port=48394
        src_host=ws10
        src_kind=ip
        src_original=ipv6:2001:db8::1:48394
        dst_ip=10.0.0.1
        dst_port=445
        service=SMB
        protocol=SMB2
        auth_method=ntlmv2
        is_remote=true
        record_id=a1",
    );
}

#[test]
fn smb_files() {
    let service_data = r#""service_data": {"vers": {}, "service": "tank", "session_id": "123", "tcon_id": "456"}"#;
    let tail = |event: &str, action: &str, rest: &str| {
        format!(
            "time=2026-11-22T03:20:01Z\nevent_code={event}\naction={action}\noutcome=success\noutcome_code=SUCCESS\nuser_name=ana\nuser_original=ana\nuser_type=unknown\n\
            src_ip=192.0.2.1\nsrc_kind=ip\nsrc_original=192.0.2.1\nservice=SMB\nprotocol=SMB\nis_remote=true\n{rest}\nsession_id=123\nrecord_id=a1"
        )
    };
    let result = r#""result": {"value_parsed": "SUCCESS"}, "vers": {}}, "success": true"#;
    for (event, data, action, rest) in [
        (
            "CREATE",
            r#""parameters": {"CreateDisposition": "OVERWRITE_IF"}, "file_type": "REGULAR", "file": {"type": "REGULAR", "path": "a/b.txt", "handle": {"value": "57:901:0"}},"#,
            "file.overwrite",
            "target_type=file\ntarget_name=a/b.txt\ntarget_uid=57:901:0",
        ),
        (
            "READ",
            r#""file": {"handle": {"type": "DEV_INO", "value": "57:901:0"}},"#,
            "file.read",
            "target_type=file\ntarget_uid=57:901:0",
        ),
        (
            "RENAME",
            r#""src_file": {"path": "a \"b\""}, "dst_file": {"path": "c"},"#,
            "file.rename",
            "target_type=file\ntarget_name=a \"b\"\nresources=[{\"type\":\"file\",\"name\":\"a \\\"b\\\"\"},{\"type\":\"file\",\"name\":\"c\"}]",
        ),
        ("UNLINK", r#""file": {"path": "x"},"#, "file.delete", "target_type=file\ntarget_name=x"),
        ("SET_QUOTA", r#""qt": {"type": "USER"},"#, "config.update", "target_type=quota"),
        ("FSCTL", r#""function": {"raw": "0x1"},"#, "other", "target_type=file"),
    ] {
        let record = record(
            "ana",
            "192.0.2.1",
            "123",
            "SMB",
            &format!("{service_data}, \"event\": \"{event}\", \"event_data\": {{{data}{result}"),
        );
        expect(Service::Smb, &record, &tail(event, action, rest));
    }
}

#[test]
fn sudo_keeps_names_of_variables_only() {
    let record = record(
        "ana",
        "NAS-1",
        "4711",
        "SUDO",
        r#""service_data": {"vers": {}}, "event": "REJECT", "event_data": {"sudo": {"reject": {"command": "/usr/bin/cat", "runargv": "cat,/etc/shadow",
        "runuser": "root", "submituser": "ana", "submitenv": ["LANG=C", "PW=hunter2"], "reason": "not allowed"}}}, "success": false"#,
    );
    let rows = expect(
        Service::Sudo,
        &record,
        "time=2026-11-22T03:20:01Z
        event_code=REJECT
        action=exec.run
        outcome=failure
        outcome_reason=not allowed
        user_name=ana
        user_original=ana
        user_type=unknown
        target_user=root
        src_host=nas-1
        src_kind=host
        src_original=NAS-1
        service=SUDO
        is_remote=true
        operation=/usr/bin/cat /etc/shadow
        record_id=a1
        quality_flags=redacted",
    );
    assert_eq!(text(&rows, "raw"), record.replace(r#"["LANG=C", "PW=hunter2"]"#, r#"["LANG=***","PW=***"]"#));
    assert!(text(&rows, "unmapped").contains(r#""pid":"4711""#));
}

#[test]
fn the_systems_own_trail() {
    let login = record(
        "ana",
        "127.0.0.1",
        "",
        "SYSTEM",
        r#""service_data": null, "event": "LOGIN", "event_data": {"auid": "1001", "ses": "12", "tty": "(none)", "proctitle": "sshd: ana",
        "syscall": {"AUID": "ana", "UID": "root"}}, "success": true"#,
    );
    expect(
        Service::System,
        &login,
        "time=2026-11-22T03:20:01Z
        event_code=LOGIN
        action=auth.login
        outcome=success
        user_name=ana
        user_uid=uid:1001
        user_original=ana
        user_type=unknown
        src_ip=127.0.0.1
        src_kind=loopback
        src_original=127.0.0.1
        service=SYSTEM
        is_remote=false
        operation=sshd: ana
        correlation_id=12
        record_id=a1",
    );
    // Two hours ahead: local time. The time of storing is right.
    let local = login.replace("1795317601000", "1795324801000");
    let rows = decode(Service::System, &[&local]).rows;
    assert_eq!(text(&rows, "time_quality"), "logged");

    let tty = record(
        "root",
        "127.0.0.1",
        "",
        "SYSTEM",
        r#""service_data": null, "event": "TTY_RECORD", "event_data": {"tty_record": {"uid": 0, "ses": 3, "data": "70617373", "username": "root"}}, "success": true"#,
    );
    let rows = decode(Service::System, &[&tty]).rows;
    assert_eq!(text(&rows, "raw"), tty.replace("70617373", "*** (8 characters)"));
}

#[test]
fn what_cannot_be_decoded_costs_one_record() {
    let good = record(
        "ana",
        "192.0.2.1",
        "",
        "SMB",
        r#""event": "NEW_KIND", "event_data": "corrupt", "success": null, "added_later": [1]"#,
    );
    let decoded = decode(Service::Smb, &["17", &good, r#"{"audit_id": "a2"}"#]);
    assert_eq!((decoded.records, decoded.rows.num_rows(), decoded.rejected.len()), (3, 1, 2));
    assert_eq!(decoded.rejected[0].raw, "17");
    let cells = cells(&decoded.rows, 0);
    for cell in ["action=other", "outcome=unknown", "quality_flags=bad_json", "user_name=ana"] {
        assert!(cells.contains(&cell.to_owned()), "{cell} in {cells:#?}");
    }
    assert_eq!(text(&decoded.rows, "unmapped"), r#"{"event_data":"corrupt","added_later":[1]}"#);
}

#[test]
fn the_samples_form_of_the_documents_is_read() {
    // The published schema has an ISO time, an integer id and null data.
    let record = r#"{"audit_id": 5, "message_timestamp": 1795317602, "timestamp": "2026-11-22T03:20:01+00:00", "address": "192.0.2.1",
        "username": "bob", "session": 3, "service": "SMB", "service_data": null, "event": "DISCONNECT", "event_data": null, "success": true}"#;
    let decoded = decode(Service::Smb, &[record]);
    let cells = cells(&decoded.rows, 0);
    for cell in ["time=2026-11-22T03:20:01Z", "record_id=5", "action=share.disconnect", "target_type=share"] {
        assert!(cells.contains(&cell.to_owned()), "{cell} in {cells:#?}");
    }
}

#[test]
fn no_bytes_make_it_panic() {
    for answer in ["", "{}", "[]", r#"{"result": 5}"#, r#"{"result": [{}]}"#, "{\"result\": [\"\\ud800\"]}"] {
        let _ = decode_page(answer.as_bytes(), Service::Smb, "nas", &Reading::default());
    }
    let _ = decode_page(&[0xff, 0xfe], Service::Smb, "nas", &Reading::default());
}
