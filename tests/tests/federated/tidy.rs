//! Rules about the tree itself: they hold because a test says so.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every file of the tree, without what is built and what version control keeps.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !matches!(name.as_str(), "target" | ".git" | "__pycache__" | "node_modules" | ".venv") {
                files(&path, found);
            }
        } else {
            found.push(path);
        }
    }
}

fn tree() -> Vec<PathBuf> {
    let mut found = Vec::new();
    files(&root(), &mut found);
    assert!(found.len() > 100, "{} files are not the tree", found.len());
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

#[test]
fn every_source_file_says_what_it_is() {
    let wrong: Vec<String> = tree()
        .iter()
        .filter(|path| path.extension().is_some_and(|ending| ending == "rs"))
        .filter(|path| {
            let text = fs::read_to_string(path).unwrap();
            // The front page of a plugin is its README.
            !text.starts_with("//!") && !text.starts_with("#![doc = include_str!")
        })
        .map(|path| shown(path))
        .collect();
    assert!(wrong.is_empty(), "no //! at the beginning of {wrong:#?}");
}

#[test]
fn the_code_map_names_every_crate() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let map = readme.split("## Code map").nth(1).and_then(|rest| rest.split("```").nth(1)).unwrap();
    let named: BTreeSet<String> = map
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|path| path.starts_with("crates/") || path.starts_with("plugins/"))
        .map(str::to_owned)
        .collect();
    let mut there = BTreeSet::new();
    for folder in ["crates", "plugins"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            there.insert(format!("{folder}/{}", entry.unwrap().file_name().to_string_lossy()));
        }
    }
    assert_eq!(named, there);
}

#[test]
fn no_file_is_large() {
    let large: Vec<String> =
        tree().iter().filter(|path| fs::metadata(path).unwrap().len() > 1 << 20).map(|path| shown(path)).collect();
    assert!(large.is_empty(), "larger than 1 MiB: {large:#?}");
}

#[test]
fn no_path_of_one_machine() {
    // Put together here, so that this file does not name them itself.
    let words = ["work/", "home/", "root/", "Users/", "tmp/bash"].map(|word| format!("/{word}"));
    let mut wrong = Vec::new();
    for path in tree() {
        // The machines of the generated organisation have folders of their own, and so have its records that fuzzing keeps.
        let organisation = root().join("crates/fedaudit-testkit/src/organisation");
        if path.starts_with(organisation) || path.components().any(|part| part.as_os_str() == "__fuzz__") {
            continue;
        }
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for (number, line) in text.lines().enumerate() {
            let hit = words.iter().any(|word| {
                line.match_indices(word.as_str()).any(|(at, _)| {
                    // Part of a longer path or address is something else: `/mnt/tank/home/ana`.
                    at == 0 || matches!(line.as_bytes()[at - 1], b' ' | b'"' | b'\'' | b'=' | b'`' | b'(')
                })
            });
            if hit {
                wrong.push(format!(
                    "{}:{}: {}",
                    shown(&path),
                    number + 1,
                    line.trim().chars().take(120).collect::<String>()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_contract_and_the_plugins_know_no_sql_engine() {
    let mut manifests = vec![
        root().join("crates/fedaudit-core"),
        root().join("crates/fedaudit-transport"),
        root().join("crates/fedaudit-testkit"),
    ];
    manifests.extend(fs::read_dir(root().join("plugins")).unwrap().map(|entry| entry.unwrap().path()));
    for folder in manifests {
        let text = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        assert!(!text.contains("datafusion") && !text.contains("fedaudit-engine"), "{}", shown(&folder));
    }
    let engine = fs::read_to_string(root().join("crates/fedaudit-engine/Cargo.toml")).unwrap();
    let testkit = fs::read_to_string(root().join("crates/fedaudit-testkit/Cargo.toml")).unwrap();
    for product in ["truenas", "vsphere", "sps", "canvas"] {
        assert!(!engine.contains(&format!("fedaudit-{product}")));
        assert!(!testkit.contains(&format!("fedaudit-{product}")));
    }
    // The stand-ins know nothing of the judged; the suite knows the contract that it holds sources to, and no more.
    assert!(!testkit.split("[dev-dependencies]").next().unwrap().contains("fedaudit-transport"));
    let suite = root().join("crates/fedaudit-testkit/src/conformance");
    for path in tree().iter().filter(|path| path.starts_with(root().join("crates/fedaudit-testkit/src"))) {
        let knows = fs::read_to_string(path).unwrap().contains("fedaudit_core");
        assert!(!knows || path.starts_with(&suite), "{}", shown(path));
    }
}

/// The words in backticks of a table's cell.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[test]
fn every_statement_that_binds_an_adapter_has_a_case_that_exists() {
    let mut functions = BTreeSet::new();
    for path in tree().iter().filter(|path| path.extension().is_some_and(|ending| ending == "rs")) {
        let text = fs::read_to_string(path).unwrap();
        functions.extend(text.split("fn ").skip(1).map(|rest| {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            rest[..end].to_owned()
        }));
    }
    let index = fs::read_to_string(root().join("docs/conformance.md")).unwrap();
    let mut numbers = BTreeSet::new();
    let mut wrong = Vec::new();
    for list in fs::read_dir(root().join("docs/conformance")).unwrap() {
        let list = list.unwrap().path();
        let name = list.file_name().unwrap().to_string_lossy().into_owned();
        assert!(index.contains(&format!("(conformance/{name})")), "docs/conformance.md does not lead to {name}");
        let text = fs::read_to_string(&list).unwrap();
        let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "));
        let before = numbers.len();
        for (number, rest) in rows {
            if !number.chars().skip(1).all(|c| c.is_ascii_digit()) || number.len() < 2 {
                continue;
            }
            let case = rest.rsplit(" | ").next().unwrap();
            let named: Vec<&str> = quoted(case).collect();
            let exists = |word: &&str| functions.contains(word.rsplit("::").next().unwrap());
            if !numbers.insert(number.to_owned()) {
                wrong.push(format!("{number} is there twice"));
            } else if !(case.starts_with("— ") || !named.is_empty() && named.iter().all(exists)) {
                wrong.push(format!("{number}: no such case: {case}"));
            }
        }
        assert!(numbers.len() > before + 40, "{name} was not understood");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_documents_that_others_point_to_are_there() {
    for path in [
        "docs/architecture.md",
        "docs/sessions.md",
        "docs/keys.md",
        "docs/benchmarks.md",
        "docs/conformance.md",
        "docs/receipt.schema.json",
        "CHANGELOG.md",
        "LICENSE",
        "deny.toml",
    ] {
        assert!(root().join(path).is_file(), "{path} is missing");
    }
    for plugin in fs::read_dir(root().join("plugins")).unwrap() {
        let plugin = plugin.unwrap().path();
        assert!(
            plugin.join("README.md").is_file() && plugin.join("tests/conformance.rs").is_file(),
            "{}",
            shown(&plugin)
        );
    }
}
