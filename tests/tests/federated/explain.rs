//! `EXPLAIN` says, before anything is asked, what each source would be asked and what stays with SQL.

use crate::world::{Lab, ask, small};

async fn explain(lab: &Lab, sql: &str) -> Vec<String> {
    let taken = ask(&lab.engine(), lab.window(), &format!("EXPLAIN {sql}")).await.unwrap();
    assert!(lab.requests().is_empty(), "EXPLAIN asks no product");
    taken.lines().iter().flat_map(|cell| cell.lines()).map(str::trim).map(str::to_owned).collect()
}

fn line<'l>(lines: &'l [String], stream: &str) -> &'l str {
    lines.iter().find(|line| line.starts_with(stream)).unwrap_or_else(|| panic!("{stream} in {lines:#?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_source_is_named_with_its_window_and_what_it_is_told() {
    let lab = Lab::start(small(21)).await;
    let sql = "SELECT event_key FROM events WHERE time >= timestamp '2026-11-15T00:00:00Z' AND time < timestamp '2026-11-16T00:00:00Z' \
               AND user_name IN ('ana', 'ben') AND action = 'auth.login' AND src_ip LIKE '192%7'";
    let lines = explain(&lab, sql).await;
    let window = "window=[2026-11-15T00:00:00Z, 2026-11-16T00:00:00Z)";
    let user = "user_name IN ('ana', 'ben')";
    let action = "action = 'auth.login'";
    for (stream, field, pushed, local) in [
        ("nas-1/audit.MIDDLEWARE: ", "message_timestamp", vec![user, action], vec!["src_ip"]),
        ("nas-1/audit.SMB: ", "message_timestamp", vec![user, action], vec!["src_ip"]),
        ("nas-1/audit.SYSTEM: ", "message_timestamp", vec![action], vec![user, "src_ip"]),
        ("vc-1/vim.events: ", "createdTime", vec![user, action], vec!["src_ip"]),
        ("sps-1/sps.sessions: ", "start_time", vec![user], vec![action, "src_ip"]),
        ("lms/audit.authentication: ", "created_at", vec![], vec![user, action, "src_ip"]),
    ] {
        let line = line(&lines, stream);
        assert!(line.contains(window) && line.contains(&format!("on {field}")), "{line}");
        let (pushed_part, local_part) = line.split_once("local=").unwrap();
        for predicate in pushed {
            assert!(pushed_part.contains(predicate) && !local_part.contains(predicate), "{predicate} in {line}");
        }
        for predicate in local {
            assert!(local_part.contains(predicate) && !pushed_part.contains(predicate), "{predicate} in {line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_asked_is_not_in_the_plan() {
    let lab = Lab::start(small(22)).await;
    let lines = explain(&lab, "SELECT event_key FROM events WHERE product IN ('canvas', 'vsphere')").await;
    assert!(lines.iter().any(|line| line.starts_with("vc-1/vim.events")));
    assert!(!lines.iter().any(|line| line.starts_with("nas-1/") || line.starts_with("sps-1/")), "{lines:#?}");
    let blind = explain(&lab, "SELECT event_key FROM events WHERE action = 'auth.login' AND outcome = 'failure'").await;
    assert!(line(&blind, "lms/audit.authentication").contains("can never show"), "{blind:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_name_their_look_back() {
    let lab = Lab::start(small(23)).await;
    let sql = "SELECT * FROM sessions WHERE start_time >= timestamp '2026-11-15T00:00:00Z' AND user_name = 'ana'";
    let lines = explain(&lab, sql).await;
    // Read from a day before: the login may be there.
    let middleware = line(&lines, "nas-1/audit.MIDDLEWARE");
    assert!(middleware.contains("window=[2026-11-14T00:00:00Z, "), "{middleware}");
    assert!(middleware.contains("'auth.login'") && middleware.contains("'auth.logout'"), "{middleware}");
    assert!(line(&lines, "sps-1/sessions").contains("pushed=[user_name = 'ana']"), "{lines:#?}");
    line(&lines, "nas-1/auth.sessions");
}
