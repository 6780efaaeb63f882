//! What the program does where nobody listens, where somebody leaves, and where an attacker wrote the text.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::{Demo, command, err, json, out, query};

#[test]
fn nobody_has_to_listen() {
    let demo = Demo::start(41, 500);
    let config = demo.path("c.toml");
    let config = config.to_str().unwrap();
    let cases: &[(&[&str], i32)] = &[
        (&["-vv", "query", "--config", config, "--from", "-30d", "SELECT count(*) FROM events"], 0),
        (&["query", "--config", config, "SELECT nothing"], 2),
        (&["query", "--from"], 2),
        (&["sources", "check", "--config", config], 0),
        (&["schema", "nothing"], 2),
        (&["demo", "--events", "500"], 0),
    ];
    for (arguments, code) in cases {
        let full = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let ended = command(arguments).stdout(Stdio::null()).stderr(full()).output().unwrap();
        assert_eq!(ended.status.code(), Some(*code), "{arguments:?} with a full stderr");
        let mut child = command(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stderr.take());
        assert_eq!(child.wait().unwrap().code(), Some(*code), "{arguments:?} with a closed stderr");
    }
    for arguments in [&["sources", "list", "--config", config][..], &["schema"], &["completions", "bash"]] {
        let mut child = command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let ended = child.wait_with_output().unwrap();
        assert_eq!((ended.status.code(), err(&ended).as_str()), (Some(0), ""), "{arguments:?}");
    }
}

/// A reader that goes away is no failure, but what failed until then is one.
#[test]
fn a_reader_that_leaves_hears_what_failed() {
    let demo = Demo::start(42, 3000);
    fs::write(demo.path("wrong"), "not-the-one").unwrap();
    let broken = demo.changed("broken.toml", |text| {
        let path = text.split("\"file:").nth(1).unwrap().split('"').next().unwrap();
        text.replace(&format!("file:{path}"), "file:wrong")
    });
    for (config, code, verdict) in [(demo.path("c.toml"), 0, "receipt: "), (broken, 3, "nas-1 (")] {
        let arguments = ["query", "--config", config.to_str().unwrap(), "--from", "-30d", "SELECT * FROM events"];
        let mut child = command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // One line, as `head -1` reads it. The source that is refused is known by then or a little later.
        let mut line = String::new();
        let mut reader = BufReader::with_capacity(64, child.stdout.take().unwrap());
        reader.read_line(&mut line).unwrap();
        assert!(line.starts_with('{'));
        std::thread::sleep(std::time::Duration::from_secs(2));
        drop(reader);
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(code), "{}", err(&ended));
        assert!(err(&ended).contains(verdict) && !err(&ended).contains("NOT COMPLETE"), "{}", err(&ended));
    }
}

#[cfg(unix)]
#[test]
fn a_demo_that_is_ended_leaves_no_keys_behind() {
    for signal in ["-TERM", "-INT", "-HUP"] {
        let mut demo = Demo::start(43, 500);
        let secret = demo.config().split("\"file:").nth(1).unwrap().split('"').next().unwrap().to_owned();
        let folder = Path::new(&secret).parent().unwrap().to_owned();
        assert!(folder.exists());
        Command::new("kill").args([signal, &demo.child.id().to_string()]).status().unwrap();
        assert_eq!(demo.child.wait().unwrap().code(), Some(0), "{signal}");
        assert!(!folder.exists(), "{signal}");
    }
}

#[cfg(unix)]
#[test]
fn somebody_who_types_a_question_may_leave() {
    let demo = Demo::start(46, 500);
    let config = demo.path("c.toml");
    let mut child = command(&["query", "--config", config.to_str().unwrap(), "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let typing = child.stdin.take();
    std::thread::sleep(std::time::Duration::from_millis(500));
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), None);
    drop(typing);
}

#[test]
fn what_attackers_wrote_is_shown_and_not_obeyed() {
    let demo = Demo::start(44, 500);
    let sql = "SELECT concat('ad', chr(27), '[2Jmin', chr(10), chr(8238), 'x') AS user_name, 7 AS n, NULL AS nothing";
    let table = out(&demo.query(sql, &["--format", "table"]));
    assert!(table.contains("ad\\u{1b}[2Jmin\\n\\u{202e}x"), "{table}");
    assert!(table.chars().all(|c| c == '\n' || !c.is_control()) && !table.contains('\u{202e}'), "{table:?}");
    assert!(table.contains("| 7 |"), "{table}");
    // The other forms hold what was received.
    let rows = json(&demo.query(sql, &["--format", "json"]));
    assert_eq!(rows["rows"][0]["user_name"], "ad\u{1b}[2Jmin\n\u{202e}x");
    let wrong = demo.query("SELECT \"\u{1b}[2J\"", &[]);
    assert!(wrong.status.code() == Some(2) && !err(&wrong).contains('\u{1b}'), "{:?}", err(&wrong));
}

#[test]
fn one_failure_is_said_once() {
    let demo = Demo::start(45, 500);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = format!("https://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let config = demo.changed("down.toml", |text| {
        let url = text.split("url = \"").nth(1).unwrap().split('"').next().unwrap();
        text.replace(url, &closed)
    });
    let answer = query(&config, "SELECT count(*) FROM events", &["--from", "-30d"]);
    let told = err(&answer);
    assert_eq!(answer.status.code(), Some(3), "{told}");
    assert_eq!(told.lines().filter(|line| line.contains("failed (unavailable)")).count(), 1, "{told}");
    assert!(told.contains("nas-1 (audit.") && told.matches("hint: ").count() == 1, "{told}");
}
