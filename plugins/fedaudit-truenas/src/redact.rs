//! Takes known secrets out of a record's text and leaves every other byte as it was received.
//!
//! Secrets are looked for by the names of members, wherever they stand: a record of a shape that nobody expected must not
//! get around it. What cannot be searched is taken out whole.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::streams::Service;

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

/// Levels that are searched.
const DEPTH: usize = 100;

/// Finds every known secret in a JSON text of a service's record.
pub(crate) fn find(service: Service, json: &str, cuts: &mut Vec<Cut>) {
    // Records of file sharing hold none: even what cannot be searched is kept.
    if service != Service::Smb {
        search(service, json, DEPTH, cuts);
    }
}

fn search(service: Service, json: &str, depth: usize, cuts: &mut Vec<Cut>) {
    let whole = || Cut::new(json, MASK);
    match json.as_bytes().first() {
        Some(b'{' | b'[') if depth == 0 => cuts.push(whole()),
        Some(b'{') => match serde_json::from_str::<Members<'_>>(json) {
            Ok(members) => {
                for (name, value) in members.0 {
                    match secret(service, &name, value.get()) {
                        Some(cut) => cuts.push(cut),
                        None => search(service, value.get(), depth - 1, cuts),
                    }
                }
            }
            Err(_) => cuts.push(whole()),
        },
        Some(b'[') => match serde_json::from_str::<Vec<&RawValue>>(json) {
            Ok(items) => items.iter().for_each(|item| search(service, item.get(), depth - 1, cuts)),
            Err(_) => cuts.push(whole()),
        },
        // A text that holds a broken record.
        Some(b'"') if may_hold(service, json) => cuts.push(whole()),
        _ => {}
    }
}

/// The cut for a member that is a secret.
fn secret(service: Service, name: &str, value: &str) -> Option<Cut> {
    let is_text = value.starts_with('"') && !matches!(value, "\"\"" | "\"<INVALID>\"" | "\"********\"");
    match (service, name) {
        (Service::Middleware, "token" | "api_key" | "password" | "otp_token" | "rfc_str") if is_text => {
            Some(Cut::new(value, MASK))
        }
        (Service::Sudo, "runenv" | "submitenv") if value != "null" => Some(Cut::new(value, environment(value))),
        (Service::System, "data" | "raw_lines") if value != "null" => {
            let length = serde_json::from_str::<Cow<'_, str>>(value).map_or(value.len(), |text| text.chars().count());
            Some(Cut::new(value, format!("\"*** ({length} characters)\"")))
        }
        _ => None,
    }
}

/// Whether a text looks like a piece of a record with a secret in it.
fn may_hold(service: Service, text: &str) -> bool {
    let holds = |words: &[&str]| words.iter().any(|word| text.contains(word));
    match service {
        Service::Middleware => holds(&["token\\\"", "api_key\\\"", "password\\\""]),
        Service::Sudo => holds(&["runenv", "submitenv"]),
        Service::System => holds(&["data\\\"", "raw_lines"]),
        Service::Smb => false,
    }
}

/// The members of an object as they stand there, repeated names included.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// Environment variables with their values taken out: a list of `NAME=value`, an object, or one comma-joined text.
pub(crate) fn environment(json: &str) -> String {
    if let Ok(list) = serde_json::from_str::<Vec<Cow<'_, str>>>(json) {
        let names: Vec<String> = list.iter().filter_map(|entry| masked(entry)).collect();
        return serde_json::to_string(&names).unwrap_or_else(|_| MASK.to_owned());
    }
    if let Ok(object) = serde_json::from_str::<Members<'_>>(json) {
        let names: BTreeMap<&str, &str> = object.0.iter().map(|(name, _)| (&**name, "***")).collect();
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

    fn cut(service: Service, json: &str) -> String {
        let (mut cuts, mut out) = (Vec::new(), String::new());
        find(service, json, &mut cuts);
        cuts.sort_by_key(Cut::address);
        splice(json, &cuts, &mut out);
        out
    }

    #[test]
    fn presented_secrets_are_cut_in_any_shape() {
        for json in [
            r#"{"credentials": {"credentials": "TOKEN", "credentials_data": {"token": "s3cret"}}}"#,
            r#"{"credentials": [{"api_key": "s3cret"}, {"api_key": {"id": 7, "token": "s3cret"}}]}"#,
            r#"{"token": "x", "token": "s3cret"}"#,
            r#"{"tok\u0065n": "s3cret"}"#,
            r#""{\"token\": \"s3cret\", broken""#,
            r#"{"a": {"\ud800": 1, "token": "s3cret"}}"#,
        ] {
            let cut = cut(Service::Middleware, json);
            assert!(!cut.contains("s3cret") && cut.contains("***"), "{json} became {cut}");
        }
        let deep = format!("{}{{\"token\":\"s3cret\"}}{}", "[".repeat(110), "]".repeat(110));
        assert!(!cut(Service::Middleware, &deep).contains("s3cret"));
        for json in [r#"{"api_key": {"id": 7, "name": "siem"}, "token": null}"#, r#"{"api_key": "<INVALID>"}"#, "17"] {
            assert_eq!(cut(Service::Middleware, json), json);
        }
    }

    #[test]
    fn keystrokes_are_cut_in_any_shape() {
        for json in [
            r#"{"tty_record": {"data": "73336372"}, "raw_lines": ["type=TTY data=73336372"]}"#,
            r#"{"tty_record": [{"data": 73336372}]}"#,
            r#""{\"data\": \"73336372\"""#,
        ] {
            assert!(!cut(Service::System, json).contains("73336372"), "{json}");
        }
        assert_eq!(cut(Service::System, r#"{"data": "abc"}"#), r#"{"data": "*** (3 characters)"}"#);
    }

    #[test]
    fn environments_keep_names_only() {
        assert_eq!(environment(r#"["PATH=/bin","TOKEN=a=b"]"#), r#"["PATH=***","TOKEN=***"]"#);
        assert_eq!(environment(r#""PATH=/bin,LS=a,b c,TOKEN=x""#), r#""PATH=***,LS=***,TOKEN=***""#);
        assert_eq!(environment(r#"{"TOKEN":"x"}"#), r#"{"TOKEN":"***"}"#);
        assert_eq!(environment("17"), MASK);
    }
}
