//! `fedaudit schema`: the tables from their one definition.

use std::fmt::Write as _;

use fedaudit_core::columns::Table;
use fedaudit_core::rows::{EVENTS, SESSIONS};
use fedaudit_core::{Error, ErrorKind, Result};
use fedaudit_store::columns::{AMENDMENTS, COVERAGE, IDENTITIES, REJECTED};

use crate::cli::SchemaArgs;
use crate::exit::Exit;
use crate::terminal::print;

/// Tables of a store.
const STORED: &[&Table] = &[&COVERAGE, &AMENDMENTS, &REJECTED, &IDENTITIES];

/// Tables that describe the sources themselves.
const DESCRIPTIVE: &[(&str, &str)] = &[
    ("sources", "one row per configured source"),
    ("streams", "one row per stream of a source: what it can filter by, how far back it reaches"),
    ("blind_spots", "what each stream can never show, as a condition on the rows that will be missing"),
];

pub(crate) fn run(arguments: &SchemaArgs) -> Result<Exit> {
    let text = match arguments.table.as_deref() {
        None => {
            let mut text = String::new();
            for table in [&EVENTS, &SESSIONS] {
                text += &describe(table, arguments.markdown);
                text.push('\n');
            }
            for table in STORED {
                let _ = writeln!(text, "{}: {}, where there is a store", table.name, stored(table.name));
            }
            for (name, meaning) in DESCRIPTIVE {
                let _ = writeln!(text, "{name}: {meaning}");
            }
            text
        }
        Some("events") => describe(&EVENTS, arguments.markdown),
        Some("sessions") => describe(&SESSIONS, arguments.markdown),
        Some(name) if STORED.iter().any(|table| table.name == name) => {
            STORED.iter().filter(|table| table.name == name).map(|table| describe(table, arguments.markdown)).collect()
        }
        Some(name) => match DESCRIPTIVE.iter().find(|(known, _)| *known == name) {
            Some((name, meaning)) => format!("{name}: {meaning}; 'DESCRIBE {name}' as a query lists its columns\n"),
            None => {
                return Err(Error::new(ErrorKind::Config, format!("there is no table '{name}'"))
                    .hint("tables: events, sessions, coverage, amendments, rejected, identities, sources, streams, blind_spots"));
            }
        },
    };
    print(text.lines())?;
    Ok(Exit::Complete)
}

fn stored(name: &str) -> &'static str {
    match name {
        "coverage" => "every window that was collected, and what came of it",
        "amendments" => "rows that came late to the store or were edited at their source since",
        "rejected" => "records that could not be decoded, with their bytes",
        _ => "which system answered under which name",
    }
}

fn describe(table: &Table, markdown: bool) -> String {
    let mut text = String::new();
    if markdown {
        let _ =
            writeln!(text, "## `{}`\n\n| column | type | null | meaning | OCSF |\n|---|---|---|---|---|", table.name);
        for column in table.columns {
            let null = if column.nullable { "yes" } else { "no" };
            let (name, kind, meaning, ocsf) = (column.name, column.kind.words(), column.meaning, column.ocsf);
            let _ = writeln!(text, "| `{name}` | {kind} | {null} | {meaning} | `{ocsf}` |");
        }
        return text;
    }
    let _ = writeln!(text, "{} ({} columns)", table.name, table.columns.len());
    for column in table.columns {
        let null = if column.nullable { "" } else { " not null" };
        let kind = format!("{}{null}", column.kind.words());
        let _ = writeln!(text, "  {:<20} {:<32} {}", column.name, kind, column.meaning);
    }
    text
}
