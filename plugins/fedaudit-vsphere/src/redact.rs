//! Passwords that the product itself puts into its records: found in a record that can be decoded, and in one that cannot.

use serde_json::value::RawValue;

use crate::record::Members;

/// What stands in place of a secret.
const MASK: &str = "\"***\"";
/// The element, or the member, that holds one.
const NAME: &str = "password";

/// The passwords in a record, in the order in which they stand there, wherever and however often that is.
pub(crate) fn secrets_of<'a>(raw: &str, members: &Members<'a>) -> Vec<&'a str> {
    let mut secrets = Vec::new();
    // Hardly any record has one. An escape may hide the word.
    if raw.contains(NAME) || raw.contains("\\u") {
        search(members, &mut secrets);
    }
    secrets
}

fn search<'a>(members: &Members<'a>, secrets: &mut Vec<&'a str>) {
    for (name, value) in members.iter().filter(|(_, value)| *value != "null") {
        if name == NAME {
            secrets.push(value);
        } else {
            search_value(value, secrets);
        }
    }
}

fn search_value<'a>(value: &'a str, secrets: &mut Vec<&'a str>) {
    if value.starts_with('{') {
        if let Ok(members) = Members::parse(value) {
            search(&members, secrets);
        }
    } else if value.starts_with('[') {
        let items: Vec<&RawValue> = serde_json::from_str(value).unwrap_or_default();
        for item in items {
            search_value(item.get(), secrets);
        }
    }
}

/// The record with these of its values replaced.
pub(crate) fn redact(raw: &str, secrets: &[&str]) -> String {
    let (mut shown, mut done) = (String::with_capacity(raw.len()), 0);
    for secret in secrets {
        let at = secret.as_ptr() as usize - raw.as_ptr() as usize;
        shown.push_str(&raw[done..at]);
        shown.push_str(MASK);
        done = at + secret.len();
    }
    shown.push_str(&raw[done..]);
    shown
}

/// The text of a record that is no event, in either form.
pub(crate) fn without_passwords(raw: &str) -> String {
    match Members::parse(raw) {
        Ok(members) => redact(raw, &secrets_of(raw, &members)),
        Err(_) => undecoded(raw),
    }
}

/// The text of a record that cannot be decoded, in either form, without what follows the word.
fn undecoded(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find(NAME) {
        let (before, word) = rest.split_at(at + NAME.len());
        out.push_str(before);
        rest = word;
        // As an element's name or a member's, not as a word of some text.
        let name = &out[..out.len() - NAME.len()];
        let end = match rest.as_bytes().first() {
            Some(b'>' | b' ' | b'\t' | b'\r' | b'\n' | b'/') if opens(name) => {
                // Up to its end tag: there may be character data in it.
                let tag = rest.find('>').map_or(rest.len(), |end| end + 1);
                out.push_str(&rest[..tag]);
                rest = &rest[tag..];
                if out.ends_with("/>") { 0 } else { rest.find("</").unwrap_or(rest.len()) }
            }
            Some(b'"') if name.ends_with('"') => {
                out.push_str("\":\"");
                json_value_end(rest).unwrap_or(rest.len())
            }
            _ => continue,
        };
        if end > 0 {
            out.push_str("***");
        }
        if out.ends_with("\":\"***") {
            out.push('"');
        }
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

/// Whether a tag begins at the end of this text, with a prefix or without.
fn opens(text: &str) -> bool {
    let prefix = text.rsplit('<').next().unwrap_or_default();
    prefix.len() < text.len() && (prefix.is_empty() || (prefix.ends_with(':') && !prefix.contains(['/', ' ', '>'])))
}

/// Where the value ends whose name ends here: `": "…"`; nowhere if it is no text that ends.
fn json_value_end(rest: &str) -> Option<usize> {
    let value = rest[1..].trim_start().strip_prefix(':')?.trim_start();
    let start = rest.len() - value.len();
    let mut escaped = false;
    value
        .strip_prefix('"')?
        .bytes()
        .position(|byte| {
            let end = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            end
        })
        .map(|end| start + end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_password_of_a_record() {
        let raw =
            r#"{"spec":[{"id":"a","password":"x"},{"password":["y"]}],"p\u0061ssword":"z","a":{"password":null}}"#;
        let secrets = secrets_of(raw, &Members::parse(raw).unwrap());
        assert_eq!(secrets, ["\"x\"", "[\"y\"]", "\"z\""]);
        let shown =
            r#"{"spec":[{"id":"a","password":"***"},{"password":"***"}],"p\u0061ssword":"***","a":{"password":null}}"#;
        assert_eq!(redact(raw, &secrets), shown);
    }

    #[test]
    fn in_both_forms_and_only_the_value() {
        for (raw, shown) in [
            (r#"{"spec":{"password":"a\"b","id":1}"#, r#"{"spec":{"password":"***","id":1}"#),
            (r#"{"password": "x"#, r#"{"password":"***""#),
            ("<spec><password>a&lt;b</password><id>1</id>", "<spec><password>***</password><id>1</id>"),
            ("<password>cut", "<password>***"),
            ("<a:password b='c' >x<![CDATA[y]]></a:password><id/>", "<a:password b='c' >***</a:password><id/>"),
            ("<password/><id>1</id>", "<password/><id>1</id>"),
            ("{\"m\":\"wrong password for ana\"}", "{\"m\":\"wrong password for ana\"}"),
            ("<m>password</m>", "<m>password</m>"),
            ("no word", "no word"),
        ] {
            assert_eq!(undecoded(raw), shown);
        }
    }
}
