//! Records as texts, and what their rows say.

use std::collections::BTreeSet;

use fedaudit_core::{Action, EventBuilder, SessionBuilder, Time};

use super::{Normalizer, has_column, position};
use crate::catalogue::codes_of;
use crate::record::Members;

const NORMALIZER: Normalizer<'static> = Normalizer {
    own_session: "52own",
    own_user: "VSPHERE.LOCAL\\reader",
    product_version: Some("8.0.3"),
    now: Time::from_micros(1_770_200_000_000_000),
};

/// The cells of the one row of a batch, those that are not NULL, as `column=value`.
fn cells(batch: &arrow_array::RecordBatch) -> BTreeSet<String> {
    use arrow_array::Array;
    use arrow_array::cast::AsArray;
    use arrow_array::types::{Int64Type, TimestampMicrosecondType};
    use arrow_schema::DataType as T;
    assert_eq!(batch.num_rows(), 1);
    let schema = batch.schema();
    let cell = |(field, column): (&std::sync::Arc<arrow_schema::Field>, &arrow_array::ArrayRef)| {
        if column.is_null(0) {
            return None;
        }
        let value = match column.data_type() {
            T::Utf8 => column.as_string::<i32>().value(0).to_owned(),
            T::Int64 => column.as_primitive::<Int64Type>().value(0).to_string(),
            T::Boolean => column.as_boolean().value(0).to_string(),
            T::Timestamp(..) => {
                Time::from_micros(column.as_primitive::<TimestampMicrosecondType>().value(0)).to_string()
            }
            T::List(_) => {
                let list = column.as_list::<i32>().value(0);
                list.as_string::<i32>().iter().flatten().collect::<Vec<_>>().join(",")
            }
            _ => return None,
        };
        Some(format!("{}={value}", field.name()))
    };
    schema.fields().iter().zip(batch.columns()).filter_map(cell).collect()
}

/// The row of an event, or why there is none.
fn row(json: &str) -> Result<BTreeSet<String>, String> {
    let members = Members::parse(json)?;
    let at = position(&members)?;
    let mut rows = EventBuilder::new("https://vc-1.example");
    NORMALIZER.event(json, &members, at, &mut rows).map_err(|bad| bad.reason)?;
    Ok(cells(&rows.finish().unwrap()))
}

fn event(more: &str) -> BTreeSet<String> {
    row(&format!(
        r#"{{"_typeName":"UserLogoutSessionEvent","key":1,"chainId":1,"createdTime":"2026-02-03T10:15:30Z"{more}}}"#
    ))
    .unwrap()
}

fn has(row: &BTreeSet<String>, cells: &[&str]) {
    for cell in cells {
        assert!(row.contains(*cell), "{cell} is not in {row:#?}");
    }
}

fn lacks(row: &BTreeSet<String>, columns: &[&str]) {
    for column in columns {
        let prefix = format!("{column}=");
        assert!(!row.iter().any(|cell| cell.starts_with(&prefix)), "{column} is in {row:#?}");
    }
}

#[test]
fn times() {
    for (written, meant, quality) in [
        ("2026-02-03T10:15:30Z", "2026-02-03T10:15:30Z", "exact"),
        ("2026-02-03T10:15:30.073Z", "2026-02-03T10:15:30.073Z", "exact"),
        ("2026-02-03T10:15:30.250001Z", "2026-02-03T10:15:30.250001Z", "exact"),
        ("2026-02-03T10:15:30.123456789Z", "2026-02-03T10:15:30.123456Z", "exact"),
        ("2026-02-03T12:15:30.5+02:00", "2026-02-03T10:15:30.5Z", "exact"),
        ("2026-02-03T00:45:30-09:30", "2026-02-03T10:15:30Z", "exact"),
        ("2026-02-03T10:15:30", "2026-02-03T10:15:30Z", "assumed_zone"),
    ] {
        let row = row(&format!(r#"{{"_typeName":"X","key":1,"createdTime":"{written}"}}"#)).unwrap();
        let cells = [format!("time={meant}"), format!("time_original={written}"), format!("time_quality={quality}")];
        has(&row, &cells.each_ref().map(String::as_str));
    }
}

#[test]
fn names() {
    for (written, name, domain, kind) in [
        ("VSPHERE.LOCAL\\\\Administrator", Some("administrator"), Some("vsphere.local"), "unknown"),
        ("EXAMPLE.COM\\\\alice", Some("alice"), Some("example.com"), "unknown"),
        ("alice@example.com", Some("alice"), Some("example.com"), "unknown"),
        ("Alice@EXAMPLE.COM", Some("alice"), Some("example.com"), "unknown"),
        ("root", Some("root"), None, "unknown"),
        ("dcui", Some("dcui"), None, "system"),
        ("vpxuser", Some("vpxuser"), None, "service"),
        ("machine-4c1", Some("machine-4c1"), None, "service"),
        ("vsphere-webclient-4c1", Some("vsphere-webclient-4c1"), None, "service"),
        ("SSL thumbprint", Some("SSL thumbprint"), None, "service"),
        ("Shared Secret", Some("Shared Secret"), None, "service"),
        ("n/a", None, None, "unknown"),
        ("", None, None, "system"),
    ] {
        let row = event(&format!(r#","userName":"{written}""#));
        has(&row, &[&format!("user_type={kind}")]);
        for (column, expected) in [("user_name", name), ("user_domain", domain)] {
            match expected {
                Some(value) => has(&row, &[&format!("{column}={value}")]),
                None => lacks(&row, &[column]),
            }
        }
        if written.is_empty() {
            lacks(&row, &["user_original"]);
        } else {
            has(&row, &[&format!("user_original={}", written.replace("\\\\", "\\"))]);
        }
    }
}

#[test]
fn addresses() {
    for (written, ip, kind) in [
        ("192.0.2.7", Some("192.0.2.7"), "ip"),
        ("2001:DB8:0:0:0:0:0:7", Some("2001:db8::7"), "ip"),
        ("[2001:db8::7]:443", Some("2001:db8::7"), "ip"),
        ("fe80::1%vmk0", Some("fe80::1"), "ip"),
        ("127.0.0.1", Some("127.0.0.1"), "loopback"),
        ("198.51.100.9, 10.0.0.1", Some("198.51.100.9"), "proxy"),
        ("' OR 1=1 --", None, "unparsed"),
        ("", None, "none"),
    ] {
        let row = event(&format!(r#","ipAddress":"{written}""#));
        has(&row, &[&format!("src_kind={kind}")]);
        match ip {
            Some(ip) => has(&row, &[&format!("src_ip={ip}")]),
            None => lacks(&row, &["src_ip"]),
        }
        if !written.is_empty() {
            has(&row, &[&format!("src_original={written}")]);
        }
    }
}

#[test]
fn a_logout_of_an_old_server() {
    // None of the members that the class has of its own.
    let bare = event(r#","userName":"CORP\\Ana""#);
    lacks(&bare, &["session_id", "src_ip", "user_agent", "unmapped"]);
    // Without an id, user, address and begin name the session: the login's and the logout's key are one.
    let login = r#"{"_typeName":"UserLoginSessionEvent","key":1,"createdTime":"2026-02-03T09:00:00.5Z","userName":"CORP\\Ana","ipAddress":"192.0.2.7"}"#;
    let login = row(login).unwrap();
    let logout = event(
        r#","userName":"CORP\\Ana","ipAddress":"192.0.2.7","callCount":5000000000,"loginTime":"2026-02-03T09:00:00.5Z""#,
    );
    has(&logout, &[r#"unmapped={"callCount":5000000000,"loginTime":"2026-02-03T09:00:00.5Z"}"#]);
    let key = |row: &BTreeSet<String>| row.iter().find(|cell| cell.starts_with("session_key=")).cloned();
    assert!(key(&login).is_some() && key(&login) == key(&logout) && key(&login) != key(&bare));
    // Failures and single sign-on belong to no session.
    let failed =
        r#"{"_typeName":"BadUsernameSessionEvent","key":1,"createdTime":"2026-02-03T09:00:00Z","userName":"a"}"#;
    lacks(&row(failed).unwrap(), &["session_key"]);
}

#[test]
fn what_is_no_event_is_rejected() {
    for (json, reason) in [
        (r#"{"_typeName":"X","createdTime":"2026-02-03T10:15:30Z"}"#, "key"),
        (r#"{"_typeName":"X","key":"five","createdTime":"2026-02-03T10:15:30Z"}"#, "key"),
        (r#"{"_typeName":"X","key":1}"#, "createdTime"),
        (r#"{"_typeName":"X","key":1,"createdTime":"yesterday"}"#, "yesterday"),
        (r#"{"key":1,"createdTime":"2026-02-03T10:15:30Z"}"#, "_typeName"),
        // As some routers publish events: names of another language's structures.
        (r#"{"Key":1,"ChainId":1,"CreatedTime":"2026-02-03T10:15:30Z","UserName":"a"}"#, "key"),
        ("[]", "an object"),
    ] {
        let error = row(json).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn no_member_is_lost() {
    // Every class of the catalogue, every class that nobody knows: with members of every form that nobody knows either.
    let odd = r#","a":1,"b":"x","c":[{"_typeName":"D","e":null}],"f":{"_typeName":"string","_value":"y"},"g":true"#;
    let classes = Action::ALL.iter().flat_map(|action| codes_of(*action)).chain(["SomethingNewEvent"]);
    for class in classes {
        let json = format!(r#"{{"_typeName":"{class}","key":1,"createdTime":"2026-02-03T10:15:30Z"{odd}}}"#);
        let row = row(&json).unwrap();
        has(&row, &[&format!("unmapped={{{}}}", &odd[1..]), &format!("raw={json}")]);
    }
    // What counts as having a column has one.
    let entities = ["datacenter", "computeResource", "host", "vm", "ds", "net", "dvs"];
    let texts = [
        "userName",
        "fullFormattedMessage",
        "ipAddress",
        "userAgent",
        "sessionId",
        "eventTypeId",
        "terminatedUsername",
    ];
    for name in entities.iter().chain(&texts) {
        assert!(has_column(name));
        let entity = format!(
            r#"{{"name":"told-{name}","{0}":{{"type":"T","value":"v"}}}}"#,
            if *name == "ds" {
                "datastore"
            } else if *name == "net" {
                "network"
            } else {
                name
            }
        );
        let value = match *name {
            "datacenter" | "computeResource" | "host" | "vm" | "ds" | "net" | "dvs" => entity,
            _ => format!("\"told-{name}\""),
        };
        let row = event(&format!(r#","{name}":{value}"#));
        let told = format!("told-{name}");
        let columns = row.iter().filter(|cell| cell.contains(&told) && !cell.starts_with("raw="));
        assert!(columns.count() > 0, "{name} is in no column: {row:#?}");
    }
}

#[test]
fn a_session_of_an_old_host() {
    let session = |json: &str| {
        let mut rows = SessionBuilder::new("https://vc-1.example");
        NORMALIZER.session(json, NORMALIZER.now, &mut rows).map_err(|bad| bad.reason)?;
        Ok::<_, String>(cells(&rows.finish().unwrap()))
    };
    let old = session(r#"{"_typeName":"UserSession","key":"52a","userName":"root","fullName":"","loginTime":"2026-02-03T09:00:00Z","lastActiveTime":"2026-02-03T10:00:00Z","locale":"en"}"#).unwrap();
    has(&old, &["session_id=52a", "user_name=root", "start_time=2026-02-03T09:00:00Z", "is_active=true"]);
    lacks(&old, &["client_ip", "user_agent", "call_count", "quality_flags"]);
    let local = session(r#"{"key":"52own","userName":"root","ipAddress":"\\\\.\\pipe\\vpxd","callCount":7}"#).unwrap();
    has(&local, &["client_original=\\\\.\\pipe\\vpxd", "call_count=7", "session_id=52own"]);
    lacks(&local, &["client_ip", "start_time"]);
    assert!(local.iter().any(|cell| cell.starts_with("quality_flags=") && cell.contains("own_reader")));
    assert!(session(r#"{"userName":"root"}"#).unwrap_err().contains("key"));
}
