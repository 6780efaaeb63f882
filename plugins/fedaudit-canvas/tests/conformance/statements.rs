//! Every statement of `docs/conformance/canvas.md` has a number of its own and names tests that exist.

use std::fs;
use std::path::Path;

#[test]
fn every_statement_has_its_case() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let sources: String = [
        "plugins/fedaudit-canvas/tests/conformance",
        "plugins/fedaudit-canvas/src",
        "crates/fedaudit-testkit/src/canvas",
    ]
    .iter()
    .flat_map(|folder| fs::read_dir(root.join(folder)).unwrap())
    .map(|entry| entry.unwrap().path())
    .filter(|path| path.is_file())
    .map(|path| fs::read_to_string(path).unwrap())
    .collect();
    let list = fs::read_to_string(root.join("docs/conformance/canvas.md")).unwrap();
    let rows: Vec<Vec<&str>> = list
        .lines()
        .filter(|line| line.starts_with("| C"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    assert!(rows.len() > 100, "{} statements", rows.len());
    for (index, row) in rows.iter().enumerate() {
        let [number, _statement, case] = row.as_slice() else { panic!("not three columns: {row:?}") };
        assert_eq!(*number, format!("C{}", index + 1));
        if *case == "the same" || case.starts_with("— ") {
            continue;
        }
        let named: Vec<&str> = case.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "{number} has no case");
        for name in named {
            assert!(sources.contains(&format!("fn {name}(")), "{number} names {name}, which is no test");
        }
    }
}
