//! `fedaudit plugin new`: a crate that builds and passes as it stands. Its files stand beside this one as they are written,
//! for a plugin named `demo-src`.

use std::path::Path;

use fedaudit_core::{Error, ErrorKind, Result};

use crate::cli::NewArgs;
use crate::files::file_error;
use crate::terminal::{print, say};

/// Every file, by its place in the crate.
const FILES: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("scaffold/Cargo.toml.in")),
    ("rustfmt.toml", include_str!("../../../rustfmt.toml")),
    (".gitignore", include_str!("scaffold/gitignore.in")),
    ("README.md", include_str!("scaffold/README.md")),
    ("src/lib.rs", include_str!("scaffold/src/lib.rs")),
    ("src/config.rs", include_str!("scaffold/src/config.rs")),
    ("src/api.rs", include_str!("scaffold/src/api.rs")),
    ("src/normalize.rs", include_str!("scaffold/src/normalize.rs")),
    ("stand_in/mod.rs", include_str!("scaffold/stand_in/mod.rs")),
    ("examples/stand_in.rs", include_str!("scaffold/examples/stand_in.rs")),
    ("tests/conformance.rs", include_str!("scaffold/tests/conformance.rs")),
    ("fixtures/check.toml", include_str!("scaffold/fixtures/check.toml")),
];

/// Names that the files use for the plugin: of the crate and the type, of the library, and of the Rust type.
const NAMES: [&str; 3] = ["demo-src", "demo_src", "DemoSrc"];

/// Words that are no name of a crate, or that the written files use for something else.
const TAKEN: &[&str] = &[
    // Rust's own.
    "abstract",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "struct",
    "super",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "union",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
    // Crates and modules.
    "alloc",
    "api",
    "async-trait",
    "conformance",
    "core",
    "fedaudit",
    "normalize",
    "proc-macro",
    "serde",
    "serde-json",
    "stand-in",
    "std",
    "test",
    "tokio",
    // Types.
    "action",
    "address-kind",
    "audit-source",
    "bound",
    "box",
    "config",
    "context",
    "cursor",
    "discreet",
    "end-reason",
    "error",
    "error-kind",
    "event-builder",
    "event-row",
    "listing",
    "me",
    "next",
    "observed",
    "ok",
    "option",
    "order",
    "outcome",
    "page",
    "page-request",
    "plugin",
    "record",
    "rejected",
    "result",
    "source",
    "source-health",
    "source-info",
    "spoken",
    "stream-info",
    "stream-kind",
    "string",
    "subject",
    "suite",
    "time",
    "vec",
    "window",
];

/// Crates of ours that a plugin depends on.
const CRATES: &[&str] = &["fedaudit-core", "fedaudit-plugin", "fedaudit-transport", "fedaudit-testkit"];

/// Writes the crate into a new folder of its name.
pub(crate) fn write(arguments: &NewArgs) -> Result<()> {
    let name = named(&arguments.name)?;
    let folder = Path::new(name);
    let dependencies = dependencies(arguments)?;
    if folder.exists() {
        return Err(Error::new(ErrorKind::Config, "is there already").at(folder.display()));
    }
    let names = [name.to_owned(), name.replace('-', "_"), pascal(name)];
    for (place, text) in FILES {
        let mut text = (*text).to_owned();
        for (ours, yours) in NAMES.iter().zip(&names) {
            text = text.replace(ours, yours);
        }
        for (placeholder, dependency) in &dependencies {
            text = text.replace(placeholder, dependency);
        }
        let path = folder.join(place);
        let parent = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent).map_err(|error| file_error(parent, &error))?;
        std::fs::write(&path, text).map_err(|error| file_error(&path, &error))?;
    }
    if let Some(checkout) = &arguments.path {
        // The versions that fedaudit itself was tested with; cargo leaves out what is not needed.
        let lock = checkout.join("Cargo.lock");
        if lock.is_file() {
            let to = folder.join("Cargo.lock");
            std::fs::copy(&lock, &to).map_err(|error| file_error(&to, &error))?;
        }
    }
    print([format!("{name}/ is written; next:").as_str()])?;
    say(&format!("  cd {name} && cargo test && cargo build --release"));
    say(&format!("  fedaudit plugin check target/release/lib{}.so", names[1]));
    Ok(())
}

/// A name that cargo, Rust and the configuration all take.
fn named(name: &str) -> Result<&str> {
    let fits = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-')
        && !name.ends_with('-')
        && !name.contains("--");
    let wrong = |text: String| Err(Error::new(ErrorKind::Config, text));
    if !fits {
        return wrong(format!("'{name}' is no name: lower case letters, digits and single hyphens, a letter first"));
    }
    if crate::plugins::built_in().any(|plugin| plugin.kind == name) || CRATES.contains(&name) || TAKEN.contains(&name) {
        return wrong(format!("'{name}' is taken"));
    }
    Ok(name)
}

fn pascal(name: &str) -> String {
    name.split('-').map(|word| word[..1].to_ascii_uppercase() + &word[1..]).collect()
}

/// Where cargo finds each of our crates, by its placeholder.
fn dependencies(arguments: &NewArgs) -> Result<Vec<(String, String)>> {
    // A string of JSON is one of TOML.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut places = Vec::new();
    for of in CRATES {
        let place = match (&arguments.path, &arguments.git) {
            (Some(checkout), _) => {
                let place = checkout.join("crates").join(of);
                let place = place.canonicalize().ok().filter(|place| place.join("Cargo.toml").is_file());
                let place = place.ok_or_else(|| {
                    Error::new(ErrorKind::Config, format!("there is no crates/{of} in it"))
                        .at(checkout.display())
                        .hint("--path names a checkout of fedaudit")
                })?;
                format!("path = {}", quoted(&place.to_string_lossy()))
            }
            (None, git) => {
                let git = format!("git = {}", quoted(git.as_deref().unwrap_or_default()));
                arguments.rev.as_ref().map_or(git.clone(), |rev| format!("{git}, rev = {}", quoted(rev)))
            }
        };
        places.push((format!("{{{of}}}"), place));
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_crates() {
        for name in ["demo", "my-nas-2"] {
            assert_eq!(named(name).unwrap(), name);
        }
        for name in [
            "",
            "Demo",
            "-demo",
            "demo-",
            "a--b",
            "a_b",
            "2fa",
            "ä",
            "canvas",
            "fedaudit-core",
            "self",
            "serde",
            "page",
        ] {
            assert!(named(name).is_err(), "{name}");
        }
        assert_eq!(pascal("my-nas-2"), "MyNas2");
    }

    /// Whoever writes a source begins with little.
    #[test]
    fn a_source_begins_with_at_most_200_lines() {
        let own = FILES.iter().filter(|(place, _)| place.starts_with("src/"));
        let is_code = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("//");
        let lines = |text: &str| text.lines().filter(is_code).count();
        let all: usize = own.map(|(_, text)| lines(text)).sum();
        assert!(all <= 200, "{all} lines");
    }
}
