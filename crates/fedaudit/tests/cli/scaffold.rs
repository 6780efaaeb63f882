//! `fedaudit plugin new`: what it writes builds, passes, is checked and answers; and what the page for authors shows is in it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::{command, err, out};

/// Commands of the page that are run here, each by the step that says so.
const COMMANDS: &[&str] = &[
    "fedaudit plugin new demo-src --path ../fedaudit",
    "cd demo-src",
    "cargo test",
    "cargo build --release",
    "fedaudit plugin check target/release/libdemo_src.so",
    "cargo run --example stand_in &",
    "fedaudit query --config stand-in.toml --from -1d \"SELECT time, user_name, action, outcome FROM events ORDER BY time\"",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Ended when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn cargo(folder: &Path, arguments: &[&str]) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.current_dir(folder).args(arguments).env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS");
    cargo
}

fn succeeds(mut command: Command) -> String {
    let output = command.output().unwrap();
    let (shown, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{shown}\n{said}");
    format!("{shown}{said}")
}

fn fedaudit(folder: &Path, arguments: &[&str]) -> String {
    let mut fedaudit = command(arguments);
    fedaudit.current_dir(folder);
    succeeds(fedaudit)
}

/// The crate, written anew; what cargo built of it earlier stays.
fn written() -> PathBuf {
    let above = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugin-new");
    let (folder, kept) = (above.join("demo-src"), above.join("target"));
    fs::create_dir_all(&above).unwrap();
    if folder.exists() {
        let _ = fs::rename(folder.join("target"), &kept);
        fs::remove_dir_all(&folder).unwrap();
    }
    fedaudit(&above, &["plugin", "new", "demo-src", "--path", root().to_str().unwrap()]);
    let _ = fs::rename(&kept, folder.join("target"));
    folder
}

/// The release profile of the page differs from this in nothing that is shown here, and takes minutes.
#[test]
fn a_new_plugin_passes_is_checked_and_answers() {
    let folder = written();
    let tested = succeeds(cargo(&folder, &["test"]));
    assert_eq!(tested.matches("conformance: demo-src").count(), 2, "{tested}");
    succeeds(cargo(&folder, &["build"]));

    let library = "target/debug/libdemo_src.so";
    for isolation in ["process", "none"] {
        let checked = fedaudit(&folder, &["plugin", "check", library, "--isolation", isolation]);
        assert!(checked.contains("type 'demo-src', version 0.1.0+map1, streams log"), "{checked}");
        assert!(checked.contains(" 0 failed"), "{checked}");
        assert!(checked.contains("U14  skipped  needs a stand-in"), "{checked}");
        let passed = checked.lines().filter(|line| line.contains(" ok       ")).count();
        assert!(passed > 40, "{passed} cases: {checked}");
    }

    let mut stand_in = cargo(&folder, &["run", "--example", "stand_in"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(stand_in.stdout.take().unwrap()).lines();
    let _stand_in = Running(stand_in);
    assert!(lines.next().unwrap().unwrap().contains("answers"));
    let config = folder.join("stand-in.toml");
    let text = fs::read_to_string(&config).unwrap().replace("release", "debug");
    fs::write(&config, &text).unwrap();
    let sql = COMMANDS.last().unwrap().split('"').nth(1).unwrap();
    let asked = fedaudit(&folder, &["query", "--config", "stand-in.toml", "--from", "-1d", sql]);
    assert!(asked.contains(r#""user_name":"zoë","action":"auth.logout","outcome":"success""#), "{asked}");
    assert!(asked.contains("receipt: complete"), "{asked}");

    // Next to the sources that are built in.
    let demo = crate::Demo::start(3, 1000);
    let both = folder.join("both.toml");
    fs::write(&both, format!("{}\n{text}", demo.config())).unwrap();
    let sql = "SELECT product, count(*) > 0 FROM events GROUP BY product ORDER BY product";
    let asked = fedaudit(&folder, &["query", "--config", "both.toml", "--all-time", "--format", "csv", sql]);
    for product in ["canvas", "demo-src", "sps", "truenas", "vsphere"] {
        assert!(asked.contains(&format!("{product},true")), "{asked}");
    }

    // A real product, as far as anybody can tell.
    let checked = fedaudit(&folder, &["plugin", "check", library, "--config", "stand-in.toml"]);
    assert!(checked.contains("demo-src-1: U11") && checked.contains(" 0 failed"), "{checked}");
}

#[test]
fn a_place_that_is_wrong_is_said_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let root = root();
    let refused = |arguments: &[&str], words: &str| {
        let output = command(&[&["plugin", "new"], arguments].concat()).current_dir(folder.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", out(&output));
        assert!(err(&output).contains(words), "{words}: {}", err(&output));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    };
    refused(&["demo-src"], "--path");
    refused(&["demo-src", "--path", "."], "--path names a checkout of fedaudit");
    refused(&["Demo", "--path", root.to_str().unwrap()], "'Demo' is no name");
    refused(&["canvas", "--path", root.to_str().unwrap()], "'canvas' is taken");
    let git = ["plugin", "new", "demo-src", "--git", "https://git.example/fedaudit.git", "--rev", "v1"];
    fedaudit(folder.path(), &git);
    let manifest = fs::read_to_string(folder.path().join("demo-src/Cargo.toml")).unwrap();
    let wanted = r#"fedaudit-core = { git = "https://git.example/fedaudit.git", rev = "v1" }"#;
    assert!(manifest.contains(wanted) && !manifest.contains("{fedaudit"), "{manifest}");
    let again = command(&git).current_dir(folder.path()).output().unwrap();
    assert!(err(&again).contains("demo-src: is there already"), "{}", err(&again));
}

/// Every block of the page stands in a file that the test above compiles or plays, or is a command that it runs.
#[test]
fn the_page_for_authors_shows_what_is_tested() {
    let page = fs::read_to_string(root().join("docs/writing-a-plugin.md")).unwrap();
    let scaffold = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/scaffold");
    let mut files = Vec::new();
    texts(&scaffold, &mut files);
    let mut blocks = 0;
    for part in page.split("```").skip(1).step_by(2) {
        let (language, text) = part.split_once('\n').unwrap();
        match language {
            "sh" => {
                for line in text.lines() {
                    assert!(COMMANDS.contains(&line), "nothing runs: {line}");
                }
            }
            "rust" | "toml" => assert!(files.iter().any(|file| file.contains(text)), "in no file:\n{text}"),
            other => panic!("a block of {other}:\n{text}"),
        }
        blocks += 1;
    }
    assert!(blocks > 8);
}

fn texts(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { texts(&path, found) } else { found.extend(fs::read_to_string(&path)) }
    }
}
