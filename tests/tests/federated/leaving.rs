//! Every way out of a question gives back what it held: logins end and collectors are destroyed, also where nobody reads the
//! answer to its end. And no way lets a secret out.

use fedaudit_engine::Question;
use fedaudit_testkit::LogEntry;

use crate::world::{Lab, ask, small};

fn count(requests: &[LogEntry], product: &str, method: &str, target: &str) -> usize {
    let hits = requests.iter().filter(|request| {
        request.product == product
            && request.method == method
            && request.target.starts_with(target)
            && request.status == 200
    });
    hits.count()
}

/// As many logouts as logins, and of those no more than one.
fn assert_logged_out(requests: &[LogEntry], what: &str) {
    for (product, taken, returned) in [
        ("truenas", ("RPC", "auth.login_ex "), ("RPC", "auth.logout ")),
        ("vsphere", ("RPC", "Login "), ("RPC", "Logout ")),
        ("sps", ("GET", "/api/authentication"), ("DELETE", "/api/authentication")),
    ] {
        let held = count(requests, product, taken.0, taken.1);
        assert_eq!(held, count(requests, product, returned.0, returned.1), "{what}: {product}: {requests:#?}");
        assert!(held <= 1, "{what}: {held} logins to {product}");
    }
}

/// The same, and every product was asked.
fn assert_left(requests: &[LogEntry], what: &str) {
    assert_logged_out(requests, what);
    for product in ["truenas", "vsphere", "sps", "canvas"] {
        assert!(requests.iter().any(|request| request.product == product), "{what}: {product} was not asked");
    }
    let collectors = |method| count(requests, "vsphere", "RPC", method);
    let (made, ended) = (collectors("CreateCollectorForEvents "), collectors("DestroyCollector "));
    assert!(made > 0 && made == ended, "{what}: {made} collectors, {ended} destroyed");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_out_logs_out() {
    let lab = Lab::start(small(61)).await;
    let engine = lab.engine();
    for sql in [
        "SELECT * FROM events",
        "SELECT count(*) FROM events e JOIN events f ON e.session_key = f.session_key",
        "SELECT * FROM events ORDER BY time DESC LIMIT 1",
    ] {
        ask(&engine, lab.window(), sql).await.unwrap().whole(sql);
        assert_left(&lab.requests(), sql);
    }

    let sql = "SELECT cast(action AS INT) FROM events";
    let error = ask(&engine, lab.window(), sql).await.unwrap_err();
    assert!(error.message().contains("auth"), "{error:?}");
    assert_logged_out(&lab.requests(), sql);

    // Somebody reads a little and has enough.
    let question = Question { sql: "SELECT * FROM events".to_owned(), window: lab.window(), ..Question::default() };
    let mut answer = engine.ask(question).await.unwrap();
    assert!(answer.next().await.unwrap().unwrap().num_rows() > 0);
    let receipt = answer.finish().await;
    assert!(!receipt.complete, "an answer that was not taken whole is not complete");
    assert_logged_out(&lab.requests(), "half an answer");

    // The next question logs in again.
    ask(&engine, lab.window(), "SELECT count(*) FROM sessions").await.unwrap().whole("after all that");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_stay_where_they_are() {
    let mut lab = Lab::start(small(62)).await;
    let folder = lab.folder.path().to_owned();
    let mut secrets: Vec<String> = ["nas-1.key", "vc-1.password", "sps-1.password", "lms.token"]
        .iter()
        .map(|file| std::fs::read_to_string(folder.join(file)).unwrap().trim().to_owned())
        .collect();
    let good = lab.engine();
    for (name, key, file) in [
        ("nas-1", "api_key", "wrong.key"),
        ("vc-1", "password", "wrong.password"),
        ("sps-1", "password", "wrong.other"),
        ("lms", "token", "wrong.token"),
    ] {
        let secret = format!("1-wrong-{name}-hush-hush-hush-hush");
        let path = lab.file(file, &secret);
        lab.table(name).insert(key.to_owned(), format!("file:{}", path.display()).into());
        secrets.push(secret);
    }
    let bad = lab.engine();
    let mut said = String::new();
    for (engine, complete) in [(&good, true), (&bad, false)] {
        let taken = ask(engine, lab.window(), "SELECT * FROM events").await.unwrap();
        assert_eq!(taken.receipt.complete, complete, "{:#?}", taken.receipt.streams);
        said += &format!(
            "{:?}\n{}\n{:?}\n",
            engine.sources(),
            serde_json::to_string(&taken.receipt).unwrap(),
            taken.lines()
        );
        for source in engine.sources() {
            said += &format!("{:?}\n", engine.check(&source.name).await);
        }
    }
    // What the products were asked, without the bodies of logins, holds none either.
    said += &format!("{:?}", lab.requests());
    assert!(secrets.iter().all(|secret| secret.len() > 20));
    for (index, secret) in secrets.iter().enumerate() {
        assert!(!said.contains(secret.as_str()), "secret number {index} shows");
    }
}
