//! What an answer may repeat of its request. A product, or a proxy in front of it, that answers an error with the request it
//! got would put the login into our errors, logs and receipts; so secrets are cut out before anybody quotes such an answer.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use fedaudit_core::Secret;
use http::HeaderValue;

use crate::HttpResponse;

const MASK: &str = "***";

/// The answer without these secrets. Data stays byte for byte what was received: what cannot be data is changed alone.
pub(crate) fn without_echo(mut response: HttpResponse, secrets: &[Secret]) -> HttpResponse {
    if secrets.is_empty() || is_data(&response) {
        return response;
    }
    let forms = forms(secrets);
    let text = String::from_utf8_lossy(&response.body);
    if let Some(text) = cut(&text, &forms) {
        response.body = text.into();
    }
    for value in response.headers.values_mut() {
        if let Some(text) = cut(&String::from_utf8_lossy(value.as_bytes()), &forms) {
            *value = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(MASK));
        }
    }
    response
}

fn is_data(response: &HttpResponse) -> bool {
    let xml = response.header("content-type").is_some_and(|kind| kind.contains("xml") && !kind.contains("html"));
    (200..300).contains(&response.status) && (xml || response.is_json())
}

/// The text without these forms, if it had one.
pub(crate) fn cut(text: &str, forms: &[Secret]) -> Option<String> {
    let found = forms.iter().filter(|form| text.contains(form.reveal()));
    found.fold(None, |cut: Option<String>, form| Some(cut.as_deref().unwrap_or(text).replace(form.reveal(), MASK)))
}

/// Every spelling in which a secret comes back, the longest first: no form may leave a rest of another.
pub(crate) fn forms(secrets: &[Secret]) -> Vec<Secret> {
    let mut forms: Vec<Secret> = secrets.iter().flat_map(parts).flat_map(|part| spellings(part.reveal())).collect();
    forms.retain(|form| !form.reveal().is_empty());
    forms.sort_by_key(|form| std::cmp::Reverse(form.reveal().len()));
    forms
}

/// A header's value, and what in it is the secret: the token behind a scheme, the password inside a Basic login, the value
/// of a cookie.
fn parts(secret: &Secret) -> Vec<Secret> {
    let whole = secret.reveal();
    let mut parts = vec![secret.clone()];
    if let Some((scheme, token)) = whole.split_once(' ') {
        parts.push(Secret::new(token));
        if let (true, Ok(login)) = (scheme.eq_ignore_ascii_case("basic"), STANDARD.decode(token)) {
            let login = Secret::new(String::from_utf8_lossy(&login));
            parts.extend(login.reveal().split_once(':').map(|(_, password)| Secret::new(password)));
            parts.push(login);
        }
    }
    let values = whole.split(';').filter_map(|pair| pair.split_once('='));
    parts.extend(values.map(|(_, value)| Secret::new(value.trim().trim_matches('"'))));
    parts
}

/// As it is, and as JSON of several encoders, XML, a URL, a form and base64 write it.
fn spellings(text: &str) -> [Secret; 11] {
    let json = text.replace('\\', "\\\\").replace('"', "\\\"");
    let xml = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let form: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
    // Padding is left out: it is not always sent, and without the rest it tells nothing.
    let base64 = |code: &base64::engine::GeneralPurpose| code.encode(text).trim_end_matches('=').to_owned();
    [
        Secret::new(text),
        Secret::new(ascii(&json)),
        Secret::new(ascii(&json).replace('/', "\\/")),
        Secret::new(json.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e")),
        Secret::new(json),
        Secret::new(xml.replace('"', "&quot;").replace('\'', "&apos;")),
        Secret::new(xml),
        Secret::new(form.replace('+', "%20")),
        Secret::new(form),
        Secret::new(base64(&STANDARD)),
        Secret::new(base64(&URL_SAFE)),
    ]
}

/// JSON as encoders write it that trust nothing but ASCII.
fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() {
            text.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text
}
