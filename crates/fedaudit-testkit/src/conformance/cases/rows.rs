//! What stands in a row: words, keys, digests, raw records, and NULL for what is not known.

use std::collections::BTreeSet;

use fedaudit_core::columns::{Filled, Kind};
use fedaudit_core::key::sha256_hex;
use fedaudit_core::{
    Action, AddressKind, AuditSource, Confidence, Context, Direction, EndCause, Outcome as Ended, PageRequest,
    SessionState, StreamKind, TimeQuality, UserType,
};

use super::paging::{all, in_pages};
use crate::conformance::bench::Bench;
use crate::conformance::compare::compare;
use crate::conformance::product::{Condition, Truth};
use crate::conformance::reading::{Cell, Reading, table};
use crate::conformance::soundness::is_sound;
use crate::conformance::{Kit, Outcome, Trouble, ensure};

/// Every stream of a healthy product that holds rows.
async fn readings<'b>(bench: &'b Bench<'_>, source: &dyn AuditSource) -> Outcome<Vec<(&'b Truth, Reading)>> {
    let mut readings = Vec::new();
    for truth in bench.filled()? {
        readings.push((truth, bench.read(source, &all(truth)).await?));
    }
    source.close(&bench.cx).await?;
    Ok(readings)
}

fn words(column: &str, kind: StreamKind) -> Option<Vec<&'static str>> {
    macro_rules! of {
        ($word:ident) => {
            $word::ALL.iter().map(|word| word.as_str()).collect()
        };
    }
    Some(match (column, kind) {
        ("action", _) => of!(Action),
        ("outcome", _) => of!(Ended),
        ("time_quality", _) => of!(TimeQuality),
        ("user_type", _) => of!(UserType),
        ("src_kind" | "client_kind", _) => of!(AddressKind),
        ("state", StreamKind::Sessions) => of!(SessionState),
        ("end_reason", StreamKind::Sessions) => of!(EndCause),
        ("confidence", StreamKind::Sessions) => of!(Confidence),
        _ => return None,
    })
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

pub(super) async fn required_columns_are_filled(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::Healthy).await?;
    let source = bench.source()?;
    for (truth, reading) in readings(&bench, &*source).await? {
        for column in table(reading.kind).columns.iter().filter(|column| column.filled != Filled::Engine) {
            let cells = reading.column(column.name);
            let at = |row: usize| format!("{} row {row}, {}", truth.stream, column.name);
            for (row, cell) in cells.iter().enumerate() {
                ensure!(column.nullable || cell.is_some(), "{}: NULL", at(row));
                let (Some(Cell::Text(text)), Some(known)) = (cell, words(column.name, reading.kind)) else { continue };
                ensure!(known.contains(&text.as_str()), "{}: '{text}' is no word", at(row));
            }
            let form = match column.name {
                "event_key" | "session_key" => 32,
                "raw_sha256" => 64,
                _ => continue,
            };
            let odd = cells.iter().flatten().find(|cell| !is_hex(&cell.text(), form));
            ensure!(odd.is_none(), "{}: {} is {odd:?}", truth.stream, column.name);
        }
        let code = if reading.kind == StreamKind::Events { "event_code" } else { "state" };
        let empty =
            reading.texts(code).into_iter().filter(|text| text.as_deref().unwrap_or_default().is_empty()).count();
        ensure!(empty == 0, "{}: {empty} rows without {code}", truth.stream);
    }
    Ok(())
}

pub(super) async fn unknown_is_null(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::Healthy).await?;
    let source = bench.source()?;
    for (truth, reading) in readings(&bench, &*source).await? {
        for column in table(reading.kind).columns.iter().filter(|column| column.filled != Filled::Engine) {
            for cell in reading.column(column.name).into_iter().flatten() {
                let made_up = match (&cell, column.kind) {
                    (Cell::Text(text), _) => {
                        let text = text.trim();
                        text.is_empty()
                            || (text == "-" && !matches!(column.name, "message" | "operation"))
                            || (column.nullable && matches!(text, "null" | "None" | "undefined"))
                    }
                    (Cell::Int(micros), Kind::Time) => *micros <= 0,
                    (Cell::Int(port), Kind::Int32) if column.name.ends_with("_port") => *port == 0,
                    _ => false,
                };
                ensure!(!made_up, "{}: {} holds {cell:?} where nothing is known", truth.stream, column.name);
            }
        }
    }
    Ok(())
}

pub(super) async fn raw_is_what_was_sent(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::Healthy).await?;
    let source = bench.source()?;
    let mut compared = 0;
    for (truth, reading) in readings(&bench, &*source).await? {
        let facts = reading.facts(&truth.id);
        let keys = reading.keys();
        let (raws, digests) = (reading.texts("raw"), reading.texts("raw_sha256"));
        let flags = reading.texts("quality_flags");
        let redacted = |row: usize| flags[row].as_deref().unwrap_or_default().contains("redacted");
        // Where the subject tells the records of one stream, nothing can be said of the others.
        let travels = bench.product.truths.iter().flat_map(|truth| &truth.facts).all(|fact| fact.raw.is_none());
        for (row, key) in keys.iter().enumerate() {
            let raw = raws[row].clone().unwrap_or_default();
            let digest = sha256_hex(raw.as_bytes());
            let digest = String::from_utf8_lossy(&digest);
            ensure!(digests[row].as_deref() == Some(&*digest), "{}: raw_sha256 is not that of raw", truth.stream);
            let id = facts.get(key).map(|fact| fact.id.as_str());
            let told =
                truth.facts.iter().find(|fact| Some(fact.id.as_str()) == id).and_then(|fact| fact.raw.as_deref());
            if redacted(row) || (told.is_none() && !(travels && bench.is_served)) {
                continue;
            }
            compared += 1;
            match told {
                Some(told) => ensure!(told == raw, "{}: raw is {raw}, the product sent {told}", truth.stream),
                None => ensure!(bench.front.sent(&raw), "{}: the product never sent {raw}", truth.stream),
            }
        }
    }
    if compared == 0 && !bench.is_served {
        return Err(Trouble::Skip("nobody tells the records as the product holds them".to_owned()));
    }
    ensure!(compared > 0, "no record could be compared: the case shows nothing");
    Ok(())
}

pub(super) async fn derived_columns_are_valid(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::Healthy).await?;
    let source = bench.source()?;
    for (truth, reading) in readings(&bench, &*source).await? {
        for column in table(reading.kind).columns.iter().filter(|column| column.filled != Filled::Engine) {
            for cell in reading.column(column.name).into_iter().flatten() {
                let text = cell.text();
                let fine = is_sound(column, &cell);
                ensure!(fine, "{}: {} holds {text}", truth.stream, column.name);
            }
        }
    }
    Ok(())
}

pub(super) async fn keys_are_stable(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::Healthy).await?;
    for truth in bench.filled()? {
        let read = async |cx: &Context, request: PageRequest| -> Outcome<BTreeSet<String>> {
            let source = bench.source()?;
            let keys = bench.read_with(&*source, cx, &request).await?.key_set();
            source.close(cx).await?;
            Ok(keys)
        };
        let keys = read(&bench.cx, all(truth)).await?;
        let count = truth.facts.len();
        ensure!(keys.len() == count, "{}: {} keys for {count} rows", truth.stream, keys.len());
        let backwards = PageRequest { direction: Direction::NewestFirst, ..in_pages(truth, 3) };
        ensure!(read(&bench.cx, backwards).await? == keys, "{}: other keys in another reading", truth.stream);
        let renamed = Context { source: "another-name".into(), ..bench.cx.clone() };
        ensure!(read(&renamed, all(truth)).await? == keys, "{}: keys follow the source's name", truth.stream);
        let other = Context { source_key: "https://another.example".into(), ..bench.cx.clone() };
        let others = read(&other, all(truth)).await?;
        ensure!(others.is_disjoint(&keys), "{}: keys do not follow the source's identity", truth.stream);
        ensure!(others.len() == keys.len(), "{}: keys collide under another identity", truth.stream);
    }
    Ok(())
}

pub(super) async fn a_bad_record_is_rejected(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::BadRecord).await?;
    let mut told = 0;
    for truth in &bench.product.truths {
        for size in [None, Some(1), Some(4)] {
            let source = bench.source()?;
            let reading = bench.read(&*source, &PageRequest { page_size: size, ..all(truth) }).await?;
            source.close(&bench.cx).await?;
            compare(truth, &reading)?;
            for record in &reading.rejected {
                ensure!(!record.raw.is_empty(), "{}: rejected without its bytes", truth.stream);
                ensure!(!record.reason.is_empty(), "{}: rejected without a reason", truth.stream);
            }
            // What is left of a record may come as a row, as long as it is said that the rest is missing.
            told += reading.rejected.len() + reading.notes().count();
        }
    }
    if told == 0 {
        return Err(Trouble::Broken("the bad record is nowhere: dropped without a word".to_owned()));
    }
    Ok(())
}
