//! Passwords that the product itself puts into its records: found in a record that can be decoded, and in one that cannot.

use crate::record::Members;

/// What stands in place of a secret.
const MASK: &str = "\"***\"";

/// The password inside the specification of an account, whatever the class of the event.
pub(crate) fn secret_of<'a>(members: &Members<'a>) -> Option<&'a str> {
    members.object("spec")?.get("password")
}

/// The record with one of its values replaced.
pub(crate) fn redact(raw: &str, secret: &str) -> String {
    let at = secret.as_ptr() as usize - raw.as_ptr() as usize;
    format!("{}{MASK}{}", &raw[..at], &raw[at + secret.len()..])
}

/// The text of a record that cannot be decoded, in either form, without what follows the word.
pub(crate) fn without_password(raw: &str) -> String {
    if !raw.contains("password") {
        return raw.to_owned();
    }
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find("password") {
        let (before, word) = rest.split_at(at + "password".len());
        out.push_str(before);
        rest = word;
        // As an element's name or a member's, not as a word of some text.
        let value = match (before.as_bytes()[at.saturating_sub(1)], rest.as_bytes().first()) {
            (b'<', Some(b'>')) => rest.find('<'),
            (b'"', Some(b'"')) => json_value_end(rest),
            _ => Some(0),
        };
        let value = value.unwrap_or(rest.len());
        if value > 0 {
            out.push_str(if rest.starts_with('>') { ">***" } else { "\":\"***\"" });
        }
        rest = &rest[value..];
    }
    out.push_str(rest);
    out
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
    fn in_both_forms_and_only_the_value() {
        for (raw, shown) in [
            (r#"{"spec":{"password":"a\"b","id":1}"#, r#"{"spec":{"password":"***","id":1}"#),
            (r#"{"password": "x"#, r#"{"password":"***""#),
            ("<spec><password>a&lt;b</password><id>1</id>", "<spec><password>***</password><id>1</id>"),
            ("<password>cut", "<password>***"),
            ("{\"m\":\"wrong password for ana\"}", "{\"m\":\"wrong password for ana\"}"),
            ("<m>password</m>", "<m>password</m>"),
            ("no word", "no word"),
        ] {
            assert_eq!(without_password(raw), shown);
        }
    }
}
