//! Takes known secrets out of a record's text and leaves every other byte as it was received.

use std::borrow::Cow;

/// What stands for a secret.
pub(crate) const MASK: &str = "\"***\"";

/// A piece of the record's text that is replaced. The place is the address of its first byte: values borrow from the same
/// buffer as the record, so that one list serves the record and every part of it.
#[derive(Debug)]
pub(crate) struct Cut {
    address: usize,
    length: usize,
    with: Cow<'static, str>,
}

impl Cut {
    /// Replaces a JSON value that borrows from the record.
    pub(crate) fn new(value: &str, with: impl Into<Cow<'static, str>>) -> Self {
        Self { address: value.as_ptr().addr(), length: value.len(), with: with.into() }
    }

    /// Where it lies, for putting cuts in order.
    pub(crate) fn address(&self) -> usize {
        self.address
    }
}

/// Appends the text with the cuts made that lie inside it.
pub(crate) fn splice(text: &str, cuts: &[Cut], out: &mut String) {
    let base = text.as_ptr().addr();
    let mut done = 0;
    for cut in cuts {
        let Some(start) = cut.address.checked_sub(base) else { continue };
        let end = start + cut.length;
        if start < done || end > text.len() {
            continue;
        }
        out.push_str(&text[done..start]);
        out.push_str(&cut.with);
        done = end;
    }
    out.push_str(&text[done..]);
}

/// Environment variables with their values taken out: a list of `NAME=value`, an object, or one comma-joined text.
pub(crate) fn environment(json: &str) -> String {
    if let Ok(list) = serde_json::from_str::<Vec<Cow<'_, str>>>(json) {
        let names: Vec<String> = list.iter().filter_map(|entry| masked(entry)).collect();
        return serde_json::to_string(&names).unwrap_or_else(|_| MASK.to_owned());
    }
    if let Ok(object) = serde_json::from_str::<std::collections::BTreeMap<Cow<'_, str>, serde::de::IgnoredAny>>(json) {
        let names: std::collections::BTreeMap<&str, &str> = object.keys().map(|name| (&**name, "***")).collect();
        return serde_json::to_string(&names).unwrap_or_else(|_| MASK.to_owned());
    }
    if let Ok(text) = serde_json::from_str::<Cow<'_, str>>(json) {
        // A value may hold commas: what follows one without looking like a variable belongs to the value before.
        let names: Vec<String> = text.split(',').filter_map(masked).collect();
        return serde_json::to_string(&names.join(",")).unwrap_or_else(|_| MASK.to_owned());
    }
    MASK.to_owned()
}

fn masked(entry: &str) -> Option<String> {
    let (name, _) = entry.split_once('=')?;
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_name.then(|| format!("{name}=***"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_byte_stays() {
        let text = r#"{"a": "secret",  "b":"öffentlich", "c":"x"}"#;
        let at = text.find("\"secret\"").unwrap();
        let cuts = [Cut::new(&text[at..at + 8], MASK)];
        let mut out = String::new();
        splice(text, &cuts, &mut out);
        assert_eq!(out, r#"{"a": "***",  "b":"öffentlich", "c":"x"}"#);
        out.clear();
        splice(&text[at + 9..], &cuts, &mut out);
        assert_eq!(out, &text[at + 9..]);
    }

    #[test]
    fn environments_keep_names_only() {
        assert_eq!(environment(r#"["PATH=/bin","TOKEN=a=b"]"#), r#"["PATH=***","TOKEN=***"]"#);
        assert_eq!(environment(r#""PATH=/bin,LS=a,b c,TOKEN=x""#), r#""PATH=***,LS=***,TOKEN=***""#);
        assert_eq!(environment(r#"{"TOKEN":"x"}"#), r#"{"TOKEN":"***"}"#);
        assert_eq!(environment("17"), MASK);
    }
}
