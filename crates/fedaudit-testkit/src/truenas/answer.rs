//! The texts of JSON-RPC answers, as the product writes them: Python's spacing, ASCII only, the id last.

use std::fmt::Write as _;

/// An error answer in the making.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) code: i64,
    message: &'static str,
    data: Option<String>,
}

impl Problem {
    /// An error of the protocol, without data.
    pub(super) fn protocol(code: i64, message: &'static str) -> Self {
        Self { code, message, data: None }
    }

    /// Parameters that the product's models refuse.
    pub(super) fn invalid(attribute: &str, message: &str) -> Self {
        let extra = format!("[[{}, {}, 22]]", text(attribute), text(message));
        let reason = format!("[EINVAL] {attribute}: {message}\n");
        Self {
            code: -32602,
            message: "Invalid params",
            data: Some(data(22, "EINVAL", &reason, "ValidationErrors", &extra)),
        }
    }

    /// A failed call with the product's error number.
    pub(super) fn call(number: i64, name: &str, reason: &str) -> Self {
        let reason = format!("[{name}] {reason}");
        Self::raised(number, name, &reason, "CallError")
    }

    /// A failed call by a plain exception.
    pub(super) fn exception(reason: &str, class: &str) -> Self {
        Self::raised(22, "EINVAL", reason, class)
    }

    fn raised(number: i64, name: &str, reason: &str, class: &str) -> Self {
        Self { code: -32001, message: "Method call error", data: Some(data(number, name, reason, class, "null")) }
    }

    /// The whole answer.
    pub(super) fn answer(&self, id: &str) -> String {
        let mut out = format!(
            "{{\"jsonrpc\": \"2.0\", \"error\": {{\"code\": {}, \"message\": {}",
            self.code,
            text(self.message)
        );
        if let Some(data) = &self.data {
            out.push_str(", \"data\": ");
            out.push_str(data);
        }
        let _ = write!(out, "}}, \"id\": {id}}}");
        out
    }
}

fn data(number: i64, name: &str, reason: &str, class: &str, extra: &str) -> String {
    format!(
        "{{\"error\": {number}, \"errname\": \"{name}\", \"reason\": {}, \"trace\": {{\"class\": \"{class}\", \"formatted\": \"Traceback\", \"repr\": {}}}, \"extra\": {extra}}}",
        text(reason),
        text(&format!("{class}()"))
    )
}

/// Opens an answer with a result; what follows is the result and [`close`].
pub(super) fn open(out: &mut String) {
    out.push_str("{\"jsonrpc\": \"2.0\", \"result\": ");
}

/// Ends an answer.
pub(super) fn close(out: &mut String, id: &str) {
    let _ = write!(out, ", \"id\": {id}}}");
}

/// A text as JSON.
pub(super) fn text(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 2);
    push_text(&mut out, value);
    out
}

/// Appends a text as JSON.
pub(super) fn push_text(out: &mut String, value: &str) {
    let plain = value.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\');
    if plain {
        out.push('"');
        out.push_str(value);
        out.push('"');
    } else {
        push_ascii(out, &serde_json::to_string(value).unwrap_or_default());
    }
}

/// Appends JSON text with everything beyond ASCII as `\u` escapes.
pub(super) fn push_ascii(out: &mut String, json: &str) {
    if json.is_ascii() {
        out.push_str(json);
        return;
    }
    let mut units = [0; 2];
    for c in json.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
}
