//! Libraries as plugins: found, refused, misbehaving. Whatever one does, the others answer and the receipt says what is missing.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use fedaudit_plugin::subject::built;
use serde_json::Value;

use crate::{Demo, err, json, out, run};

/// Everything that the suite's own bad plugin can be told to do, and what the receipt then says.
const IN_ITS_OWN_PROCESS: &[(&str, &str)] = &[
    ("panics in fetch", "the plugin panicked: on purpose"),
    ("aborts", "the plugin's process was ended by signal 6 (SIGABRT)"),
    ("crashes", "the plugin's process was ended by signal 11 (SIGSEGV)"),
    ("exits", "the plugin's process ended with status 3"),
    ("loops", "deadline"),
    ("hangs", "deadline"),
    ("takes 10 GB", "the plugin's process was ended by signal 6 (SIGABRT)"),
    ("hands over a corrupt batch", "plugin's rows"),
    ("hands over NULL", "plugin's rows"),
    ("leaves a column out", "is missing"),
    ("hangs in build", "did not finish making a source"),
    ("panics in build", "the plugin panicked: on purpose"),
];

/// What is survived without a process of its own.
const IN_THIS_PROCESS: &[(&str, &str)] = &[
    ("panics in fetch", "the plugin panicked: on purpose"),
    ("hangs", "did not come back within the deadline"),
    ("loops", "did not come back within the deadline"),
    ("hands over a corrupt batch", "plugin's rows"),
    ("hands over NULL", "plugin's rows"),
    ("leaves a column out", "is missing"),
    ("panics in build", "the plugin panicked: on purpose"),
];

fn odd() -> PathBuf {
    built("odd").unwrap()
}

/// A source that answers with five rows beside one that does what it is told.
fn beside(folder: &Path, does: &str, plugins: &str) -> PathBuf {
    let mut config = format!("page_timeout = \"2s\"\n[plugins]\n{plugins}\n");
    for (name, does) in [("good", "its duty"), ("bad", does)] {
        let source =
            format!("[[source]]\nname = '{name}'\ntype = 'odd'\nidentity = '{name}'\ndoes = '{does}'\nrows = 5\n");
        config.write_str(&source).unwrap();
    }
    let path = folder.join("fedaudit.toml");
    fs::write(&path, config).unwrap();
    path
}

const BY_SOURCE: &str = "SELECT source, count(*) AS n FROM events GROUP BY source";

/// One question to both: the good one's rows, and why there are none of the other.
fn missing(config: &Path) -> String {
    let asked = run(&["query", "--config", config.to_str().unwrap(), "--all-time", "--format", "json", BY_SOURCE]);
    let answer = json(&asked);
    assert_eq!(answer["rows"], serde_json::json!([{"source": "good", "n": 5}]), "{}", err(&asked));
    assert_eq!(asked.status.code(), Some(3), "{}", err(&asked));
    assert_eq!(answer["receipt"]["complete"], false);
    let streams = answer["receipt"]["streams"].as_array().unwrap();
    let of = |source: &str| streams.iter().filter(|stream| stream["source"] == source).collect::<Vec<&Value>>();
    assert!(of("good").iter().all(|stream| stream["status"] == "complete"), "{streams:?}");
    let [bad] = of("bad")[..] else { panic!("{streams:?}") };
    assert_eq!(bad["status"], "failed", "{bad}");
    bad["error"]["error_text"].as_str().unwrap().to_owned()
}

#[test]
fn whatever_a_process_does_costs_its_source() {
    let library = odd();
    std::thread::scope(|scope| {
        for (does, words) in IN_ITS_OWN_PROCESS {
            let plugins = format!("libraries = ['{}']", library.display());
            scope.spawn(move || {
                let folder = tempfile::tempdir().unwrap();
                let said = missing(&beside(folder.path(), does, &plugins));
                assert!(said.contains(words), "{does}: {said}");
            });
        }
    });
}

#[test]
fn panics_hangs_and_bad_rows_cost_their_source_in_this_process() {
    let library = odd();
    std::thread::scope(|scope| {
        for (does, words) in IN_THIS_PROCESS {
            let plugins = format!("isolation = 'none'\nlibraries = ['{}']", library.display());
            scope.spawn(move || {
                let folder = tempfile::tempdir().unwrap();
                let said = missing(&beside(folder.path(), does, &plugins));
                assert!(said.contains(words), "{does}: {said}");
            });
        }
    });
}

#[test]
fn nobody_waits_for_a_fetch_that_is_not_needed() {
    let folder = tempfile::tempdir().unwrap();
    for isolation in ["none", "process"] {
        let plugins = format!("isolation = '{isolation}'\nlibraries = ['{}']", odd().display());
        for does in ["hangs and can be cancelled", "hangs"] {
            let config = beside(folder.path(), does, &plugins);
            let config = fs::read_to_string(&config).unwrap().replace("\"2s\"", "\"10m\"");
            let path = folder.path().join("patient.toml");
            fs::write(&path, config).unwrap();
            let begun = std::time::Instant::now();
            let sql = "SELECT time FROM events LIMIT 1";
            let asked = run(&["query", "--config", path.to_str().unwrap(), "--all-time", sql]);
            assert_eq!(asked.status.code(), Some(0), "{isolation} {does}: {}", err(&asked));
            assert_eq!(out(&asked).lines().count(), 1);
            assert!(begun.elapsed().as_secs() < 60, "{isolation} {does}: {:?}", begun.elapsed());
        }
    }
}

#[test]
fn a_library_answers_next_to_built_in_sources() {
    let demo = Demo::start(5, 2000);
    let config = demo.changed("more.toml", |config| {
        let library = odd();
        format!(
            "{config}\n[plugins]\nlibraries = ['{}']\n\n[[source]]\nname = 'odd-1'\ntype = 'odd'\ndoes = 'its duty'\nrows = 7\n",
            library.display()
        )
    });
    let sql = "SELECT product, count(*) > 0 AS some FROM events GROUP BY product ORDER BY product";
    let asked = run(&["query", "--config", config.to_str().unwrap(), "--all-time", "--format", "csv", sql]);
    let products: Vec<String> = out(&asked).lines().skip(1).map(str::to_owned).collect();
    assert_eq!(products, ["canvas,true", "odd,true", "sps,true", "truenas,true", "vsphere,true"], "{}", err(&asked));
}

/// A copy of the library, changed.
fn copy(folder: &Path, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> PathBuf {
    let mut bytes = fs::read(odd()).unwrap();
    change(&mut bytes);
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn what_is_refused_is_said_and_the_rest_answers() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("plugins");
    fs::create_dir(&dir).unwrap();
    copy(&dir, "a_first.so", |_| {});
    copy(&dir, "b_twin.so", |_| {});
    let open = copy(&dir, "c_open.so", |_| {});
    fs::set_permissions(&open, fs::Permissions::from_mode(0o666)).unwrap();
    // The machine in an ELF header: 183 is aarch64.
    copy(&dir, "d_foreign.so", |bytes| bytes[18..20].copy_from_slice(&[183, 0]));
    copy(&dir, "e_text.so", |bytes| *bytes = b"not a library".to_vec());
    copy(&dir, "f_canvas.txt", |_| {});
    for isolation in ["process", "none"] {
        let config = beside(folder.path(), "its duty", &format!("isolation = '{isolation}'\ndir = 'plugins'"));
        let listed = run(&["plugin", "list", "--config", config.to_str().unwrap()]);
        assert_eq!(listed.status.code(), Some(1));
        let (shown, said) = (out(&listed), err(&listed));
        for kind in ["truenas", "vsphere", "sps", "canvas", "odd"] {
            assert!(shown.lines().any(|line| line.starts_with(kind)), "{kind}: {shown}");
        }
        assert!(shown.contains("a_first.so") && !shown.contains("b_twin.so"), "{shown}");
        for words in [
            "b_twin.so: its type 'odd' is also that of",
            "c_open.so: everybody may write to it",
            "d_foreign.so: it was built for aarch64",
            "e_text.so: it is no ELF library",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
        assert!(!said.contains("f_canvas"), "{said}");
        let sql = "SELECT count(*) AS n FROM events";
        let asked = run(&["query", "--config", config.to_str().unwrap(), "--all-time", sql]);
        assert_eq!((out(&asked).trim(), asked.status.code()), (r#"{"n":10}"#, Some(0)), "{}", err(&asked));
    }
}

#[test]
fn a_list_of_digests_is_kept_to() {
    let folder = tempfile::tempdir().unwrap();
    let library = odd();
    let digest = fedaudit_core::key::sha256_hex(&fs::read(&library).unwrap());
    let digest = String::from_utf8(digest.to_vec()).unwrap().to_uppercase();
    let other = "0".repeat(64);
    for isolation in ["process", "none"] {
        for (allowed, answers) in [(format!("'{digest}'"), true), (format!("'{other}'"), false), (String::new(), false)]
        {
            let plugins =
                format!("isolation = '{isolation}'\nlibraries = ['{}']\nallow = [{allowed}]", library.display());
            let config = beside(folder.path(), "its duty", &plugins);
            let asked = run(&["query", "--config", config.to_str().unwrap(), "--all-time", BY_SOURCE]);
            assert_eq!(asked.status.code(), Some(if answers { 0 } else { 1 }), "{}", err(&asked));
            assert_eq!(err(&asked).contains("is not among the allowed ones"), !answers, "{}", err(&asked));
        }
    }
}

/// Without an identity, and two of them: what cannot be made is not one source.
#[test]
fn settings_that_a_library_refuses_cost_their_source() {
    let folder = tempfile::tempdir().unwrap();
    for isolation in ["process", "none"] {
        let plugins = format!("isolation = '{isolation}'\nlibraries = ['{}']", odd().display());
        let config = beside(folder.path(), "its duty", &plugins);
        let more = "[[source]]\nname = 'b1'\ntype = 'odd'\ndos = 'x'\n[[source]]\nname = 'b2'\ntype = 'odd'\ndoes = 'panics in build'\n";
        fs::write(&config, fs::read_to_string(&config).unwrap() + more).unwrap();
        let asked = run(&["query", "--config", config.to_str().unwrap(), "--all-time", "--format", "json", BY_SOURCE]);
        let answer = json(&asked);
        assert_eq!((answer["rows"].as_array().unwrap().len(), asked.status.code()), (2, Some(3)), "{}", err(&asked));
        let said = err(&asked);
        assert!(said.contains("b1/events: failed (config)") && said.contains("unknown field `dos`"), "{said}");
        assert!(said.contains("b2/events: failed (internal)") && said.contains("panicked: on purpose"), "{said}");
    }
}

#[test]
fn what_is_wrong_in_the_configuration_is_told_before_anything_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let library = format!("libraries = ['{}']", odd().display());
    let config = beside(folder.path(), "its duty", &library);
    for (from, to, words) in [
        ("type = 'odd'", "type = 'even'", "type 'even' is unknown"),
        ("[plugins]", "[plugins]\nlibrary = 'x'", "unknown key 'library'"),
        ("[plugins]", "[plugins]\ndir = 'nowhere'", "plugins.dir: "),
        ("identity = 'good'", "identity = 'good'\nisolation = 'sandbox'", "isolation: "),
    ] {
        let path = folder.path().join("wrong.toml");
        fs::write(&path, fs::read_to_string(&config).unwrap().replacen(from, to, 1)).unwrap();
        let asked = run(&["query", "--config", path.to_str().unwrap(), "--all-time", "SELECT 1 FROM events"]);
        assert_eq!(asked.status.code(), Some(2), "{to}: {}", err(&asked));
        assert!(err(&asked).contains(words), "{to}: {}", err(&asked));
    }
}

/// The plugin in C, compiled as its README says.
fn plugin_in_c(folder: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let library = folder.join("event-file.so");
    let mut cc = std::process::Command::new("cc");
    cc.args(["-std=c11", "-Wall", "-Wextra", "-O2", "-shared", "-fPIC", "-I"]);
    cc.arg(root.join("crates/fedaudit-plugin/include")).arg(root.join("examples/plugin-c/plugin.c"));
    assert!(cc.arg("-o").arg(&library).status().unwrap().success(), "{cc:?}");
    library
}

#[test]
fn a_plugin_in_c_is_checked_and_joins_with_built_in_sources() {
    let demo = Demo::start(9, 2000);
    let library = plugin_in_c(demo.folder.path());
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/plugin-c/fixtures");
    for isolation in ["process", "none"] {
        let (library, fixtures) = (library.to_str().unwrap(), fixtures.to_str().unwrap());
        let checked = run(&["plugin", "check", library, "--fixtures", fixtures, "--isolation", isolation]);
        assert_eq!(checked.status.code(), Some(0), "{}{}", out(&checked), err(&checked));
        assert!(out(&checked).contains("31 passed, 0 failed"), "{}", out(&checked));
        assert!(out(&checked).contains("U72  skipped  the product is not asked over HTTP"), "{}", out(&checked));
    }
    // Somebody who logged in over the gateway at the door as well.
    let who = json(&demo.query(
        "SELECT user_name FROM sessions WHERE product = 'sps' AND user_name IS NOT NULL LIMIT 1",
        &["--all-time", "--format", "json"],
    ));
    let who = who["rows"][0]["user_name"].as_str().unwrap().to_owned();
    let door = demo.path("door.jsonl");
    fs::write(
        &door,
        format!(
            r#"{{"id": "1", "time": "2026-01-05T08:00:00Z", "what": "login", "result": "ok", "user": "{who}"}}{}"#,
            "\n"
        ),
    )
    .unwrap();
    let config = demo.changed("door.toml", |config| {
        let (library, door) = (library.display(), door.display());
        format!("{config}\n[plugins]\nlibraries = ['{library}']\n\n[[source]]\nname = 'door'\ntype = 'event-file'\nfile = '{door}'\n")
    });
    let sql = "SELECT DISTINCT door.user_name, door.action, gateway.product FROM events door \
               JOIN sessions gateway ON gateway.user_name = door.user_name AND gateway.product = 'sps' \
               WHERE door.source = 'door'";
    let asked = run(&["query", "--config", config.to_str().unwrap(), "--all-time", "--format", "json", sql]);
    let wanted = serde_json::json!([{"user_name": who, "action": "auth.login", "product": "sps"}]);
    assert_eq!(json(&asked)["rows"], wanted, "{}", err(&asked));
}

#[test]
fn an_interrupt_ends_what_waits_for_a_library() {
    let folder = tempfile::tempdir().unwrap();
    let config =
        beside(folder.path(), "hangs in build", &format!("isolation = 'none'\nlibraries = ['{}']", odd().display()));
    let mut asking = crate::command(&["query", "--config", config.to_str().unwrap(), "--all-time", BY_SOURCE]);
    let mut asking = asking.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_secs(1));
    let begun = std::time::Instant::now();
    let number = rustix::process::Pid::from_raw(asking.id() as i32).unwrap();
    rustix::process::kill_process(number, rustix::process::Signal::TERM).unwrap();
    assert_eq!(asking.wait().unwrap().code(), Some(1));
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
}
