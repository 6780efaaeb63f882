//! The same question to one source, to four, and to a plain table that holds all their rows: always the same answer. The
//! plain table is DataFusion's own, so that whatever push-down, partitions and early stops do wrong shows as a difference.

use std::sync::Arc;

use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use fedaudit_engine::{Engine, register_functions};
use fedaudit_testkit::Settings;
use fedaudit_testkit::random::Random;

use crate::world::{Lab, TO, ask, differences, lines};

/// Fewer events than elsewhere: it is the questions that count here.
fn few(seed: u64) -> Settings {
    Settings { events: 1500, people: 12, ..Settings::new(seed, TO) }
}

/// Answers in one order, or in any order.
const QUESTIONS: &[&str] = &[
    "SELECT count(*) FROM events",
    "SELECT count(*), count(user_name), count(DISTINCT user_name), min(time), max(time) FROM events",
    "SELECT event_key, raw_sha256, raw, unmapped FROM events WHERE outcome = 'failure'",
    "SELECT event_key, time, source, stream, action, outcome, user_name, src_ip, session_key, unmapped, raw, raw_sha256 FROM events WHERE action IN ('auth.login', 'auth.logout') AND user_name = 'ana'",
    "SELECT event_key FROM events WHERE user_name = 'ana' OR src_ip IS NULL",
    "SELECT event_key FROM events WHERE user_name IN ('ana', 'ben', 'root') AND NOT (outcome = 'success')",
    "SELECT event_key, user_name FROM events WHERE user_name LIKE 'a%' AND action NOT LIKE 'auth.%'",
    "SELECT event_key, user_original FROM events WHERE user_original ILIKE '%CORP%' OR user_original LIKE '%\\_%'",
    "SELECT event_key FROM events WHERE user_name IS NULL",
    "SELECT event_key FROM events WHERE user_name IS NOT NULL AND user_name <> 'ana'",
    "SELECT event_key FROM events WHERE (outcome = 'failure') IS NOT TRUE AND is_mfa IS UNKNOWN",
    "SELECT product, stream, action, outcome, count(*) FROM events GROUP BY product, stream, action, outcome",
    "SELECT source, date_trunc('day', time), count(*) FROM events GROUP BY 1, 2 HAVING count(*) > 3",
    "SELECT event_key FROM events WHERE time >= timestamp '2026-11-15T00:00:00Z' AND time < timestamp '2026-11-17T12:00:00.000001Z'",
    "SELECT event_key FROM events WHERE time BETWEEN timestamp '2026-11-12T08:00:00Z' AND timestamp '2026-11-12T18:00:00Z'",
    "SELECT event_key FROM events WHERE date_trunc('day', time) = timestamp '2026-11-12T00:00:00Z'",
    "SELECT event_key, src_ip FROM events WHERE ip_in(src_ip, '192.0.2.0/24') OR ip_in(src_ip, '2001:db8::/32')",
    "SELECT event_key, json_get_str(raw, 'event') AS e FROM events WHERE json_contains(raw, 'event') AND product = 'truenas'",
    "SELECT json_get_str(raw, 'username') AS u, count(*) FROM events WHERE product = 'truenas' GROUP BY 1",
    "SELECT event_key FROM events WHERE unmapped IS NOT NULL AND json_length(unmapped) > 1",
    "SELECT event_key FROM events WHERE product = 'vsphere' AND action = 'auth.login'",
    "SELECT event_key FROM events WHERE source IN ('lms', 'sps-1') AND user_name = 'ana'",
    "SELECT event_key FROM events WHERE product <> 'truenas' AND stream <> 'vim.events'",
    "SELECT DISTINCT user_name, product FROM events",
    "SELECT user_name FROM events WHERE product = 'canvas' UNION SELECT user_name FROM sessions WHERE product = 'sps'",
    "SELECT user_name FROM events WHERE product = 'sps' UNION ALL SELECT user_name FROM events WHERE product = 'canvas'",
    "SELECT user_name FROM events WHERE product = 'canvas' EXCEPT SELECT user_name FROM events WHERE product = 'truenas'",
    "SELECT s.session_key, count(*) FROM sessions s JOIN events e ON e.session_key = s.session_key GROUP BY s.session_key",
    "SELECT s.session_key, e.event_key FROM sessions s LEFT JOIN events e ON e.event_key = s.login_event_key WHERE s.state = 'closed'",
    "SELECT user_name FROM events WHERE action = 'auth.login' AND user_name IN (SELECT user_name FROM sessions WHERE state = 'active')",
    "SELECT event_key FROM events e WHERE EXISTS (SELECT 1 FROM sessions s WHERE s.session_key = e.session_key AND s.product = 'sps')",
    "SELECT product, state, count(*), sum(duration_s) FROM sessions GROUP BY product, state",
    // Without what says when the live lists were looked at.
    "SELECT session_key, source, stream, session_id, user_name, start_time, end_time, state, end_reason, derived, confidence, event_count, login_event_key FROM sessions WHERE end_time IS NULL",
    "SELECT session_key FROM sessions WHERE user_name = 'ana' AND state <> 'closed'",
    "SELECT session_key, quality_flags FROM sessions WHERE derived AND product IN ('truenas', 'canvas')",
    "SELECT * FROM (SELECT event_key, row_number() OVER (PARTITION BY user_name ORDER BY time, event_key) AS n FROM events) WHERE n = 1",
    "SELECT a.event_key FROM events a JOIN events b ON a.session_key = b.session_key AND b.action = 'auth.logout' WHERE a.action = 'auth.login'",
    "WITH f AS (SELECT * FROM events WHERE outcome = 'failure') SELECT user_name, count(*) FROM f GROUP BY user_name",
    "SELECT event_key FROM events WHERE false",
    "SELECT 1",
    "SELECT count(*) FROM events WHERE user_name = ''",
    "SELECT event_key FROM events WHERE action = 'AUTH.LOGIN' OR user_name = 'ANA'",
];

/// Answers whose order counts. The key decides among equal times.
const ORDERED: &[&str] = &[
    "SELECT event_key, time FROM events ORDER BY time DESC, event_key LIMIT 25",
    "SELECT event_key, time FROM events ORDER BY time, event_key LIMIT 25",
    "SELECT event_key, time FROM events ORDER BY time DESC, event_key LIMIT 25 OFFSET 60",
    "SELECT event_key FROM events WHERE user_name = 'ana' ORDER BY time DESC, event_key LIMIT 7",
    "SELECT time FROM events ORDER BY time DESC LIMIT 40",
    "SELECT time, lower(action) FROM events WHERE outcome = 'failure' ORDER BY time DESC, 2, event_key LIMIT 5",
    "SELECT event_key FROM events ORDER BY time DESC, event_key LIMIT 100000",
    "SELECT event_key FROM events ORDER BY user_name NULLS FIRST, time DESC, event_key LIMIT 30",
    "SELECT user_name, max(time) FROM events GROUP BY user_name ORDER BY 2 DESC, 1 LIMIT 5",
    "SELECT session_key, start_time FROM sessions ORDER BY start_time DESC NULLS LAST, session_key LIMIT 12",
    "SELECT t FROM (SELECT time AS t, event_key FROM events ORDER BY time DESC, event_key LIMIT 50) ORDER BY t LIMIT 3",
];

/// A plain table of everything that an engine shows.
async fn plain(engine: &Engine, lab: &Lab) -> SessionContext {
    let mut config = SessionConfig::new();
    config.options_mut().execution.time_zone = Some("UTC".to_owned());
    let mut context = SessionContext::new_with_config(config);
    register_functions(&mut context).unwrap();
    for table in ["events", "sessions"] {
        let sql = format!("SELECT * FROM {table}");
        let all = ask(engine, lab.window(), &sql).await.unwrap().whole(&sql);
        assert!(all.rows() > 50, "{table} holds {} rows", all.rows());
        let rows = MemTable::try_new(all.batches[0].schema(), vec![all.batches]).unwrap();
        context.register_table(table, Arc::new(rows)).unwrap();
    }
    context
}

async fn answer(context: &SessionContext, sql: &str) -> Vec<String> {
    let answer = context.sql(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    lines(&answer.collect().await.unwrap_or_else(|error| panic!("{sql}: {error}")))
}

/// Asks both; the reasons for which they differ.
async fn compare(engine: &Engine, lab: &Lab, plain: &SessionContext, sql: &str, ordered: bool) -> Vec<String> {
    let given = match ask(engine, lab.window(), sql).await {
        Ok(given) => given.lines(),
        // A source that this engine does not have is an error on purpose, where a plain table just has no rows of it.
        Err(error) if engine.sources().len() == 1 && error.message().starts_with("no source ") => {
            return Vec::new();
        }
        // So is a word that is in no vocabulary; a plain table has no row for it.
        Err(error) if error.message().starts_with("no row can ever satisfy") => Vec::new(),
        Err(error) => return vec![format!("{sql}: {error:?}")],
    };
    let expected = answer(plain, sql).await;
    let differ = if ordered { given != expected } else { !differences(&expected, &given).is_empty() };
    if !differ {
        return Vec::new();
    }
    let mut wrong = differences(&expected, &given);
    wrong.truncate(6);
    vec![format!("{sql}\n  {} rows, expected {}\n  {}", given.len(), expected.len(), wrong.join("\n  "))]
}

#[tokio::test(flavor = "multi_thread")]
async fn one_source_and_four_answer_as_a_plain_table_does() {
    let lab = Lab::start(few(11)).await;
    let mut wrong = Vec::new();
    let engines = [("all", lab.engine()), ("nas-1", lab.engine_of("nas-1")), ("lms", lab.engine_of("lms"))];
    for (name, engine) in engines {
        let plain = plain(&engine, &lab).await;
        for (questions, ordered) in [(QUESTIONS, false), (ORDERED, true)] {
            for sql in questions {
                let differences = compare(&engine, &lab, &plain, sql, ordered).await;
                wrong.extend(differences.into_iter().map(|text| format!("{name}: {text}")));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differences\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_without_an_order_gives_rows_that_exist() {
    let lab = Lab::start(few(12)).await;
    let engine = lab.engine();
    let plain = plain(&engine, &lab).await;
    for (condition, limit) in [("", 10), ("WHERE user_name = 'ana'", 10), ("WHERE outcome = 'failure'", 1), ("", 0)] {
        let all = answer(&plain, &format!("SELECT event_key FROM events {condition}")).await;
        let sql = format!("SELECT event_key FROM events {condition} LIMIT {limit}");
        let some = ask(&engine, lab.window(), &sql).await.unwrap();
        let given = some.lines();
        assert_eq!(given.len(), limit.min(all.len()), "{sql}");
        assert!(given.iter().all(|key| all.contains(key)), "{sql}");
        assert!(differences(&[], &given).iter().all(|line| line.starts_with("1 ")), "{sql}: a row twice");
    }
}

/// Columns of conditions and what they are compared with: values that exist, and neighbours of them that must not match.
const COLUMNS: [(&str, &[&str]); 13] = [
    (
        "user_name",
        &[
            "ana",
            "ANA",
            "Ben",
            "root",
            "administrator",
            "administrator ",
            "",
            "a%",
            "_na",
            "ana@corp.example",
            "o''x",
            "ö",
            "svc-backup",
        ],
    ),
    ("action", &["auth.login", "auth.logout", "file.open", "AUTH.LOGIN", "auth.%", "vm.power_on", "session.start", ""]),
    ("outcome", &["success", "failure", "unknown", "Failure"]),
    ("product", &["truenas", "vsphere", "sps", "canvas"]),
    ("source", &["nas-1", "vc-1", "sps-1", "lms"]),
    ("stream", &["audit.SMB", "audit.MIDDLEWARE", "vim.events", "sps.sessions", "audit.authentication"]),
    ("event_code", &["AUTHENTICATION", "CONNECT", "UserLoginSessionEvent", "login", "Login"]),
    ("src_ip", &["192.0.2.10", "2001:db8:10::101", "2001:DB8:10::101", "203.0.113.66", "%"]),
    ("protocol", &["SSH", "ssh", "RDP", "WEBSOCKET", "SMB"]),
    ("user_uid", &["1", "2", "3000", "x"]),
    ("account_id", &["1", "2", "11"]),
    ("dst_ip", &["198.51.100.5", "198.51.100.20", "2001:db8:20::7"]),
    ("policy", &["prod-ssh", "PROD-SSH", "prod-rdp"]),
];

/// Conditions from a grammar that holds what push-down could get wrong: case, wildcards, NULL, empty texts, quotes, OR.
fn condition(random: &mut Random, depth: usize) -> String {
    if depth > 0 && random.chance(0.55) {
        let (a, b) = (condition(random, depth - 1), condition(random, depth - 1));
        return match random.range(0, 5) {
            0 | 1 => format!("({a} AND {b})"),
            2 | 3 => format!("({a} OR {b})"),
            _ => format!("NOT ({a})"),
        };
    }
    let (column, values) = COLUMNS[random.index(COLUMNS.len())];
    let value = random.pick(values);
    let another = random.pick(values);
    match random.range(0, 12) {
        0..4 => format!("{column} = '{value}'"),
        4 => format!("{column} <> '{value}'"),
        5 => format!("{column} IN ('{value}', '{another}')"),
        6 => format!("{column} NOT IN ('{value}', '{another}')"),
        7 => format!("{column} LIKE '{value}%'"),
        8 => format!("{column} ILIKE '%{value}'"),
        9 => format!("{column} IS NULL"),
        10 => format!("{column} IS NOT NULL"),
        _ => format!("{column} >= '{value}'"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_random_conditions_agree() {
    let lab = Lab::start(few(13)).await;
    let engine = lab.engine();
    let plain = plain(&engine, &lab).await;
    let mut random = Random::new(20_261_122);
    let mut wrong = Vec::new();
    for _ in 0..100 {
        let sql = format!("SELECT event_key FROM events WHERE {}", condition(&mut random, 3));
        wrong.extend(compare(&engine, &lab, &plain, &sql, false).await);
    }
    // The same with an end as soon as enough rows are known.
    for round in 0..40 {
        let (condition, limit) = (condition(&mut random, 2), 1 + round * 3);
        let sql = format!("SELECT event_key FROM events WHERE {condition} ORDER BY time DESC, event_key LIMIT {limit}");
        wrong.extend(compare(&engine, &lab, &plain, &sql, true).await);
    }
    assert!(wrong.is_empty(), "{} differences\n{}", wrong.len(), wrong.join("\n"));
}
