//! `docs/conformance/vsphere.md` names a test for each statement; this is the one that sees that it is there.

use std::collections::BTreeSet;
use std::path::Path;

/// Every test of the plugin, with the stem of its file.
fn tests(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests(&path, found);
            continue;
        }
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        for after in text.split("test]\n").chain(text.split("test(flavor = \"multi_thread\")]\n")).skip(1) {
            let line = after.lines().next().unwrap_or_default().trim();
            let name =
                line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ").and_then(|name| name.split('(').next());
            found.extend(name.map(str::to_owned));
        }
    }
}

#[test]
fn every_statement_has_a_case_that_exists() {
    let plugin = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut known = BTreeSet::new();
    tests(&plugin.join("src"), &mut known);
    tests(&plugin.join("tests"), &mut known);
    let list = std::fs::read_to_string(plugin.join("../../docs/conformance/vsphere.md")).unwrap();
    let statements: Vec<&str> = list.lines().filter(|line| line.starts_with("| V")).collect();
    for (at, line) in statements.iter().enumerate() {
        assert!(line.starts_with(&format!("| V{} |", at + 1)), "numbers are without gaps: {line}");
        let cases = line.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let named: Vec<&str> = cases.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty() || cases.starts_with("— "), "no case and no reason: {line}");
        for name in named {
            let test = name.rsplit("::").next().unwrap();
            assert!(known.contains(test), "there is no test '{test}': {line}");
        }
    }
    assert!(statements.len() > 130);
}
