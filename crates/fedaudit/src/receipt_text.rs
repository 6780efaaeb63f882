//! The receipt in a few lines for people, on stderr.

use std::collections::BTreeMap;

use fedaudit_core::{Receipt, StreamReceipt};

/// Says what the answer rests on.
#[expect(clippy::print_stderr, reason = "the receipt is for people here")]
pub(crate) fn tell(receipt: &Receipt) {
    for line in lines(receipt) {
        eprintln!("{line}");
    }
}

fn lines(receipt: &Receipt) -> Vec<String> {
    let whole = receipt.streams.iter().filter(|stream| stream.status.is_whole()).count();
    let verdict = if receipt.complete { "complete" } else { "NOT COMPLETE" };
    let mut lines = vec![format!(
        "receipt: {verdict}: {whole} of {} streams of {} sources in full, {} rows, {:.1} s",
        receipt.streams.len(),
        receipt.sources.len(),
        receipt.rows,
        receipt.elapsed_ms as f64 / 1000.0
    )];
    if receipt.streams.is_empty() && !receipt.not_asked.is_empty() {
        lines.push("  nothing was asked: the conditions exclude every stream of every source".to_owned());
    }
    for stream in &receipt.streams {
        if !stream.status.is_whole() {
            lines.push(format!("  {}/{}: {}{}", stream.source, stream.stream, stream.status.as_str(), cause(stream)));
            if let Some(hint) = stream.error.as_ref().and_then(|error| error.hint.as_ref()) {
                lines.push(format!("    hint: {hint}"));
            }
        }
    }
    // A remark on several streams of a source is said once.
    let mut remarks: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for stream in &receipt.streams {
        for note in &stream.notes {
            remarks.entry((&stream.source, note)).or_default().push(&stream.stream);
        }
    }
    lines
        .extend(remarks.iter().map(|((source, note), streams)| format!("  {source} ({}): {note}", streams.join(", "))));
    for source in &receipt.sources {
        if let Some(error) = &source.close_error {
            lines.push(format!("  {}: could not log out: {}", source.source, error.error_text));
        }
    }
    let blind: usize = receipt.streams.iter().map(|stream| stream.blind_spots.len()).sum();
    if blind > 0 {
        lines.push(format!("  {blind} blind spots of these streams: SELECT * FROM blind_spots"));
    }
    if let Some(range) = &receipt.default_range {
        lines.push(format!("  range: {range}"));
    }
    if let Some(after) = receipt.streams.iter().filter_map(|stream| stream.provisional_after).min() {
        lines.push(format!("  provisional after {after}: rows newer than that may still appear at the products"));
    }
    lines
}

fn cause(stream: &StreamReceipt) -> String {
    if let Some(error) = &stream.error {
        let place = format!("{}/{}: ", stream.source, stream.stream);
        let text = error.error_text.strip_prefix(&place).unwrap_or(&error.error_text);
        return format!(" ({}): {text}", error.error_kind);
    }
    if stream.rejected > 0 {
        let first = stream.rejected_samples.first().map_or("", |rejected| rejected.reason.as_str());
        return format!(": {} records could not be decoded, the first: {first}", stream.rejected);
    }
    match (stream.status, stream.retention_floor) {
        (fedaudit_core::Status::Expired, Some(floor)) => format!(": the product keeps nothing before {floor}"),
        (fedaudit_core::Status::Blind, _) => format!(": {}", stream.blind_spots.join("; ")),
        _ => String::new(),
    }
}
