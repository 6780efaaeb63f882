//! The stand-in against its own description: one call at a time, without a network.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::{Options, StandIn};
use crate::{Settings, World};

const REGIMES: [&str; 3] = ["v25.10.0", "v25.10.1", "v26.0.0"];

fn stand_in(version: &str) -> (Arc<World>, StandIn) {
    let world = Arc::new(World::generate(&Settings { events: 1500, ..Settings::new(7, 1_795_300_000_000_000) }));
    let options =
        Options { versions: vec![version.to_owned()], password: Some("not-a-secret".to_owned()), ..Options::default() };
    (Arc::clone(&world), StandIn::new(world, options))
}

/// The answer to one call on a connection that is logged in.
async fn call(stand_in: &StandIn, method: &str, params: Json) -> Json {
    let login = json!([{"mechanism": "PASSWORD_PLAIN", "username": "auditor", "password": "not-a-secret"}]);
    let on = |method: &'static str, params: Json| {
        let appliance = Arc::clone(&stand_in.0);
        async move { appliance.call("s-1", "192.0.2.1:1", "1", method, &params).await }
    };
    on("auth.login_ex", login).await;
    let text = Arc::clone(&stand_in.0).call("s-1", "192.0.2.1:1", "1", method, &params).await;
    serde_json::from_str(&text).unwrap()
}

async fn query(stand_in: &StandIn, filters: Json, options: Json) -> Json {
    call(stand_in, "audit.query", json!([{"services": ["SMB"], "query-filters": filters, "query-options": options}]))
        .await
}

#[tokio::test]
async fn parameters_by_regime() {
    for version in REGIMES {
        let (_, stand_in) = stand_in(version);
        let of_a = version == "v25.10.0";
        let several = json!([{"services": ["SMB", "SUDO"], "query-options": {"limit": 3}}]);
        let answer = call(&stand_in, "audit.query", several).await;
        assert_eq!(answer.get("result").is_some(), of_a, "{version}: several services");
        let answer = query(&stand_in, json!([]), json!({})).await;
        assert_eq!(answer.get("result").is_some(), of_a, "{version}: no limit");
        let answer = query(&stand_in, json!([]), json!({"limit": 10_001})).await;
        assert_eq!(answer.get("result").is_some(), of_a, "{version}: a large limit");
        let answer = query(&stand_in, json!([]), json!({"limit": 1, "prefix": "x"})).await;
        assert_eq!(answer["error"]["code"], -32602, "{version}: an unknown key");
        let answer = query(&stand_in, json!([["audit_id", "=", "none"]]), json!({"get": true})).await;
        assert_eq!(answer["error"]["data"]["trace"]["class"], "MatchNotFound", "{version}");
        let answer = query(&stand_in, json!([]), json!({"count": true, "offset": 5})).await;
        assert_eq!(answer["result"] == 0, !of_a, "{version}: count with an offset");
    }
}

#[tokio::test]
async fn filters_by_regime() {
    let ids = |answer: &Json| answer["result"].as_array().map_or(0, Vec::len);
    for version in REGIMES {
        let (world, stand_in) = stand_in(version);
        let options = json!({"limit": 10_000});
        let either = json!([["OR", [["event", "=", "RENAME"], ["event", "=", "UNLINK"]]]]);
        let expected = world.truenas.smb.iter().filter(|row| matches!(row.event, "RENAME" | "UNLINK")).count();
        assert!(expected > 0);
        let found = ids(&query(&stand_in, either, options.clone()).await);
        assert_eq!(found, if version == "v25.10.1" { 0 } else { expected }, "{version}: OR");

        let answer = query(&stand_in, json!([["event", "rin", "NAM"]]), options.clone()).await;
        assert_eq!(answer.get("result").is_some(), version == "v26.0.0", "{version}: rin");
        let at_event = json!([["timestamp.$date", ">", "2000-01-01T00:00:00"]]);
        let answer = query(&stand_in, at_event, options.clone()).await;
        assert_eq!(answer.get("result").is_some(), version == "v25.10.0", "{version}: the time of the event");
        let like = json!([["event", "^", "ren_me"]]);
        assert!(ids(&query(&stand_in, like, options.clone()).await) > 0, "{version}: LIKE");
        let dates = json!([["message_timestamp", ">=", {"$date": 0}]]);
        assert_eq!(ids(&query(&stand_in, dates, options.clone()).await), 0, "{version}: a date as a bound");
    }
    // Two keys in memory: the last one wins.
    let (_, stand_in) = stand_in("v25.10.0");
    let in_memory = json!([["OR", [["event", "=", "READ"], ["event", "=", "CLOSE"]]]]);
    let order = json!({"limit": 10_000, "order_by": ["message_timestamp", "event"]});
    let answer = query(&stand_in, in_memory, order).await;
    let events: Vec<&str> =
        answer["result"].as_array().unwrap().iter().filter_map(|row| row["event"].as_str()).collect();
    assert!(events.contains(&"READ") && events.is_sorted());
}

#[tokio::test]
async fn limits_and_errors_are_the_products() {
    let (_, stand_in) = stand_in("v25.10.1");
    let answer = call(&stand_in, "no.such", json!([])).await;
    assert_eq!((&answer["error"]["code"], answer["error"].get("data")), (&json!(-32601), None));
    let answer = call(&stand_in, "core.subscribe", json!(["auth.sessions"])).await;
    assert_eq!(answer["error"]["data"]["error"], 13);
    let text = Arc::clone(&stand_in.0).call("s-2", "192.0.2.1:1", "1", "audit.query", &json!([])).await;
    assert!(text.contains("ENOTAUTHENTICATED"));
    let options = Options { anonymous_calls: Some(20), ..Options::default() };
    let strict = StandIn::new(Arc::clone(&stand_in.0.world), options);
    let mut refused = 0;
    for _ in 0..21 {
        let text = Arc::clone(&strict.0).call("s-3", "192.0.2.1:1", "1", "auth.mechanism_choices", &json!([])).await;
        refused += usize::from(text.contains("EBUSY"));
    }
    assert_eq!(refused, 1);
}
