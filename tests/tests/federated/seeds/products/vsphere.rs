//! vSphere: an event through the stand-in, in both of the product's languages.

use std::sync::{Arc, LazyLock};

use fedaudit_core::{PageRequest, Plugin as _, Time, Window};
use fedaudit_testkit::records::{VimValue, VsphereEvent, World};
use fedaudit_testkit::vsphere::{Options, StandIn};
use fedaudit_testkit::{Authority, serve};
use fedaudit_vsphere::VSphere;
use serde_json::{Value as Json, json};

use super::{Cells, config, context, read as read_all, world};

/// An event of the log, read as `json` or `soap`. What no event can lack gets another value.
pub(in super::super) async fn read(record: &Json, protocol: &str) -> Cells {
    static EMPTY: LazyLock<World> = LazyLock::new(world);
    let mut world = EMPTY.clone();
    world.vsphere.events = vec![event(record)];
    let authority = Authority::new().unwrap();
    let options = Options::default();
    let secret = ("password", options.password.as_str());
    let server = serve(StandIn::new(Arc::new(world), options.clone()).router(), &authority).await.unwrap();
    let more = json!({"username": options.username, "protocol": protocol});
    let (config, _folder) = config(&server.origin, &authority, secret, more);
    let source = VSphere::build("seed", serde_json::from_value(config).unwrap()).unwrap();
    let mut cells = Cells::default();
    for page in read_all(&*source, PageRequest::first("vim.events", Window::ALL)).await {
        assert!(page.rejected.is_empty(), "{:?}", page.rejected);
        cells.add("events", page.rows);
    }
    source.close(&context()).await.unwrap();
    cells
}

fn event(record: &Json) -> VsphereEvent {
    const HEAD: [&str; 5] = ["_typeName", "key", "chainId", "createdTime", "userName"];
    // The schema's order, as the product keeps to it.
    const ORDER: [&str; 14] = [
        "datacenter",
        "computeResource",
        "host",
        "vm",
        "ds",
        "net",
        "dvs",
        "fullFormattedMessage",
        "changeTag",
        "ipAddress",
        "userAgent",
        "callCount",
        "sessionId",
        "loginTime",
    ];
    let members = record.as_object().unwrap();
    assert!(members.keys().all(|name| HEAD.contains(&name.as_str()) || ORDER.contains(&name.as_str())));
    let number = |name: &str| record[name].as_i64().map_or(1, |number| i32::try_from(number).unwrap());
    VsphereEvent {
        class: record["_typeName"].as_str().map_or("UserLoginSessionEvent", leaked),
        key: number("key"),
        chain_id: number("chainId"),
        created: micros(record["createdTime"].as_str().unwrap_or("2026-02-03T04:05:06Z")),
        user_name: record["userName"].as_str().unwrap_or_default().to_owned(),
        members: ORDER.into_iter().filter_map(|name| Some((name, value(name, members.get(name)?)))).collect(),
    }
}

fn value(name: &str, json: &Json) -> VimValue {
    match json {
        Json::Number(number) => VimValue::Int(number.as_i64().unwrap()),
        Json::String(text) if name.ends_with("Time") => VimValue::Time(micros(text)),
        Json::String(text) => VimValue::Text(text.clone()),
        Json::Object(members) if members.get("_typeName").and_then(Json::as_str) == Some("ManagedObjectReference") => {
            let part = |name: &str| members.get(name).and_then(Json::as_str).unwrap_or_default();
            VimValue::Ref { kind: leaked(part("type")), value: part("value").to_owned() }
        }
        Json::Object(members) => VimValue::Object {
            type_name: leaked(members["_typeName"].as_str().unwrap()),
            members: members
                .iter()
                .filter(|(name, _)| *name != "_typeName")
                .map(|(name, member)| (leaked(name), value(name, member)))
                .collect(),
        },
        other => panic!("no such value in an event: {other}"),
    }
}

fn micros(text: &str) -> i64 {
    Time::parse(text).unwrap().time.micros()
}

/// The stand-in's records hold names that live as long as the program; a test may leak a few.
fn leaked(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}
