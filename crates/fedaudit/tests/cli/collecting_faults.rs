//! Collecting where there is no room, no right to write, or somebody else at work: an error that says what to do, and a next
//! run that makes the store whole.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::{Demo, FEDAUDIT, err, json, out, query, run};

/// A demo, a configuration with a store, and the window in which something happened.
struct Scene {
    demo: Demo,
    config: PathBuf,
    window: [String; 4],
}

impl Scene {
    fn start(seed: u64) -> Self {
        let demo = Demo::start(seed, 600);
        let store = demo.path("store");
        let config = demo.changed("collect.toml", |text| format!("store = \"{}\"\n{text}", store.display()));
        let truth: Value = serde_json::from_str(&fs::read_to_string(demo.path("t.json")).unwrap()).unwrap();
        let bound = |name: &str| truth[name].as_str().unwrap().to_owned();
        let window = ["--from".to_owned(), bound("from"), "--to".to_owned(), bound("to")];
        Self { demo, config, window }
    }

    fn store(&self) -> PathBuf {
        self.demo.path("store")
    }

    fn arguments(&self) -> Vec<String> {
        let file = self.config.to_str().unwrap().to_owned();
        [&["collect".to_owned(), "--config".to_owned(), file, "--json".to_owned()], &self.window[..]].concat()
    }

    fn collect(&self) -> Output {
        run(&self.arguments().iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Collects as a child of a shell's script, in which the program and its arguments are `"$@"`.
    fn collect_in(&self, script: &str) -> Output {
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh", FEDAUDIT]).args(self.arguments());
        command.env_remove("FEDAUDIT_LOG").env_remove("FEDAUDIT_STORE").output().unwrap()
    }

    /// What the products hold is what the ledger says was stored.
    fn is_whole(&self) {
        let window: Vec<&str> = self.window.iter().map(String::as_str).collect();
        let sql = "SELECT stream, count(*) AS n FROM events GROUP BY stream";
        let asked = json(&query(&self.config, sql, &[&["--format", "json"][..], &window].concat()));
        let coverage = run(&[&["coverage", "--config", self.config.to_str().unwrap()][..], &window].concat());
        for stream in json(&coverage)["streams"].as_array().unwrap() {
            assert!(stream["live_list"] == true || stream["gaps"] == serde_json::json!([]), "{stream}");
        }
        // A run that looks at everything again finds nothing new, and all that a question finds.
        let mut again = self.arguments();
        again.push("--again".to_owned());
        let again = run(&again.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(again.status.code(), Some(0), "{}", err(&again));
        let report = json(&again);
        for row in asked["rows"].as_array().unwrap() {
            let of = |stream: &&Value| stream["stream"] == row["stream"];
            let known: u64 = report["streams"].as_array().unwrap().iter().filter(of).map(counts("duplicate")).sum();
            assert_eq!(Some(known), row["n"].as_u64(), "{row}");
        }
        for stream in report["streams"].as_array().unwrap() {
            let live = stream["stream"].as_str().unwrap().contains("sessions");
            assert!(live || counts("new")(stream) == 0, "{stream}");
        }
    }
}

fn counts(name: &'static str) -> impl Fn(&Value) -> u64 {
    move |stream| stream["counts"][name].as_u64().unwrap()
}

/// No file may become longer than some bytes: as real as a full disk, and anybody may set it.
#[test]
fn a_file_that_may_not_grow_ends_in_an_error_and_loses_nothing() {
    let scene = Scene::start(51);
    // What the shell counts in may be half a kilobyte or a whole one.
    for blocks in [0, 8] {
        let full = scene.collect_in(&format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\""));
        assert_eq!(full.status.code(), Some(1), "{blocks}: {}\n{}", out(&full), err(&full));
        let said = err(&full);
        assert!(said.contains("File too large") && said.contains("hint: there is no room left"), "{blocks}: {said}");
        assert!(said.contains(scene.store().to_str().unwrap()), "it names the place: {said}");
    }
    let whole = scene.collect();
    assert_eq!(whole.status.code(), Some(0), "{}", err(&whole));
    scene.is_whole();
}

/// A disk of its own that is too small, where this machine lets one be mounted; the limit above works everywhere.
#[test]
fn a_full_disk_ends_in_an_error_and_loses_nothing() {
    let scene = Scene::start(52);
    let store = scene.store();
    fs::create_dir(&store).unwrap();
    let private = if rustix::process::geteuid().is_root() { "unshare -m" } else { "unshare -Urm" };
    let tried = Command::new("sh")
        .args(["-c", &format!("{private} mount -t tmpfs -o size=64k tmpfs {}", store.display())])
        .output()
        .unwrap();
    if !tried.status.success() {
        println!("no file system of our own here ({}): the limit on files is the test", err(&tried).trim());
        return;
    }
    let mut sizes_failed = 0;
    for size in ["100k", "400k"] {
        // The second run finds room; what it made is copied to where it can be looked at.
        let script = format!(
            "exec {private} sh -c 'mount -t tmpfs -o size={size} tmpfs {store} && {{ \"$@\" > /dev/null; echo first $?; \
             mount -o remount,size=64m {store}; \"$@\" > /dev/null; echo second $?; cp -a {store} {store}.{size}; }}' sh \"$@\"",
            store = store.display()
        );
        let ended = scene.collect_in(&script);
        let (codes, said) = (out(&ended), err(&ended));
        sizes_failed += u32::from(codes.contains("first 1"));
        if codes.contains("first 1") {
            assert!(said.contains("No space left") && said.contains("hint: there is no room left"), "{size}: {said}");
        }
        assert!(codes.contains("second 0"), "{size}: {codes}\n{said}");
        fs::remove_dir(&store).unwrap();
        fs::rename(format!("{}.{size}", store.display()), &store).unwrap();
        scene.is_whole();
        fs::remove_dir_all(&store).unwrap();
        fs::create_dir(&store).unwrap();
    }
    assert!(sizes_failed >= 2, "the disks were not small enough");
}

/// Runs without the power that lets root write everywhere.
const MERE_OWNER: &str = "if [ \"$(id -u)\" = 0 ]; then \
    exec setpriv --bounding-set=-dac_override --inh-caps=-dac_override \"$@\"; else exec \"$@\"; fi";

#[test]
fn a_folder_that_may_only_be_read_is_read_and_not_written() {
    let scene = Scene::start(53);
    let store = scene.store();
    // Before there is anything: the folder above may not be written to.
    fs::create_dir(&store).unwrap();
    set_writable(&store, false);
    let refused = |what: &str| {
        let refused = scene.collect_in(MERE_OWNER);
        assert_eq!(refused.status.code(), Some(1), "{what}: {}", err(&refused));
        let said = err(&refused);
        assert!(
            said.contains("ermission denied") && said.contains("hint: collecting needs the right to write"),
            "{said}"
        );
        assert!(said.contains(store.to_str().unwrap()), "it names the place: {said}");
    };
    refused("an empty folder");
    set_writable(&store, true);
    assert_eq!(scene.collect().status.code(), Some(0));
    set_writable(&store, false);
    refused("a store");
    let file = scene.config.to_str().unwrap();
    let coverage =
        Command::new("sh").args(["-c", MERE_OWNER, "sh", FEDAUDIT, "coverage", "--config", file]).output().unwrap();
    assert_eq!(coverage.status.code(), Some(0), "it can still be asked: {}", err(&coverage));
    // The folder itself lets the lock be written, one table does not.
    set_writable(&store, true);
    set_writable(&store.join("coverage"), false);
    refused("one table");
    set_writable(&store, true);
    scene.is_whole();
}

fn set_writable(folder: &Path, writable: bool) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
        if entry.file_type().unwrap().is_dir() {
            set_writable(&entry.path(), writable);
        } else {
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(if writable { 0o644 } else { 0o444 }))
                .unwrap();
        }
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(if writable { 0o755 } else { 0o555 })).unwrap();
}
