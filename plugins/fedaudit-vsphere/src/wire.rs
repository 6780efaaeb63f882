//! One call to the server, over SOAP or VI JSON, with the same answer from both: values in VI JSON form, or a fault.

use std::borrow::Cow;
use std::collections::BTreeMap;

use fedaudit_core::{Context, Error, ErrorKind, Rejected, Result, Secret, Time};
use fedaudit_transport::{HttpClient, HttpRequest, HttpResponse, error_for};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::fault::{Failure, Fault};
use crate::filter::element;
use crate::transcode::{Declared, elements, quote, readable, to_json};

/// A managed object on the server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Ref {
    /// Its class.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// Its id: opaque.
    pub(crate) value: String,
}

impl Ref {
    /// The one object whose id is known beforehand.
    pub(crate) fn service_instance() -> Self {
        Self { kind: "ServiceInstance".into(), value: "ServiceInstance".into() }
    }
}

/// Which interface, in which version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Soap { version: String },
    Json { release: String },
}

/// A call: its arguments in both forms.
pub(crate) struct Call<'c> {
    pub(crate) target: &'c Ref,
    pub(crate) method: &'c str,
    pub(crate) xml: String,
    pub(crate) json: String,
}

impl<'c> Call<'c> {
    pub(crate) fn new(target: &'c Ref, method: &'c str) -> Self {
        Self { target, method, xml: String::new(), json: String::new() }
    }

    /// Adds a text argument; arguments come in schema order.
    pub(crate) fn text(mut self, name: &str, value: &str) -> Self {
        element(&mut self.xml, name, value);
        self.member(name);
        quote(&mut self.json, value);
        self
    }

    /// Adds a number.
    pub(crate) fn number(mut self, name: &str, value: usize) -> Self {
        element(&mut self.xml, name, &value.to_string());
        self.member(name);
        self.json.push_str(&value.to_string());
        self
    }

    /// Adds an argument that is written in both forms already.
    pub(crate) fn object(mut self, name: &str, xml: &str, json: &str) -> Self {
        self.xml.extend(["<", name, ">", xml, "</", name, ">"]);
        self.member(name);
        self.json.push_str(json);
        self
    }

    fn member(&mut self, name: &str) {
        self.json.push(if self.json.is_empty() { '{' } else { ',' });
        quote(&mut self.json, name);
        self.json.push(':');
    }
}

/// A successful answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: HttpResponse,
    soap: bool,
}

impl Answer {
    /// Every value of the answer, each on its own: a bad one is rejected, not the answer.
    pub(crate) fn values(&self, declared: Declared) -> Result<Vec<Result<Cow<'_, str>, Rejected>>> {
        if !self.soap {
            return Ok(json_values(&self.response.body)?.into_iter().map(|raw| Ok(raw.get().into())).collect());
        }
        let document = readable(&self.response.body);
        Ok(elements(&document, "returnval")
            .into_iter()
            .map(|xml| match to_json(xml, declared) {
                Ok(json) => Ok(json.into()),
                Err(reason) => Err(Rejected { raw: xml.to_owned(), reason }),
            })
            .collect())
    }

    /// The one value of the answer.
    pub(crate) fn value(&self) -> Result<Option<String>> {
        let first = self.values(Declared::Other)?.into_iter().next();
        first
            .map(|value| {
                value.map(Cow::into_owned).map_err(|rejected| Error::new(ErrorKind::Malformed, rejected.reason))
            })
            .transpose()
    }

    /// The server's clock.
    pub(crate) fn server_time(&self) -> Option<Time> {
        self.response.server_time()
    }
}

/// An array's elements, one value, or nothing: `null`, `[]`, and an empty body are the same.
fn json_values(body: &[u8]) -> Result<Vec<&RawValue>> {
    let malformed =
        |error: serde_json::Error| Error::new(ErrorKind::Malformed, format!("the answer is not VI JSON: {error}"));
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Vec::new());
    }
    let whole: &RawValue = serde_json::from_slice(body).map_err(malformed)?;
    match whole.get().as_bytes().first() {
        Some(b'[') => serde_json::from_str(whole.get()).map_err(malformed),
        Some(b'n') => Ok(Vec::new()),
        _ => Ok(vec![whole]),
    }
}

/// The connection to one server.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) http: HttpClient,
    pub(crate) dialect: Dialect,
}

impl Wire {
    /// Calls a method. `token` is the login's, none before it.
    pub(crate) async fn call(&self, cx: &Context, token: Option<&Secret>, call: Call<'_>) -> Result<Answer, Failure> {
        let request = match &self.dialect {
            Dialect::Soap { version } => {
                let request = HttpRequest::post("/sdk", "text/xml; charset=UTF-8", envelope(&call))
                    .header("soapaction", format!("\"urn:vim25/{version}\""));
                match token {
                    Some(token) => request.secret_header("cookie", token.clone()),
                    None => request,
                }
            }
            Dialect::Json { .. } => {
                let body = if call.json.is_empty() { String::new() } else { call.json.clone() + "}" };
                with_token(HttpRequest::post(self.path(call.target, call.method), "application/json", body), token)
            }
        };
        self.send(cx, request).await
    }

    /// Reads a property over VI JSON. Not retried by the transport, because faults are 500 there.
    pub(crate) async fn get(
        &self,
        cx: &Context,
        token: Option<&Secret>,
        of: &Ref,
        property: &str,
    ) -> Result<Answer, Failure> {
        let request = HttpRequest::get(self.path(of, property));
        self.send(cx, with_token(request, token)).await
    }

    fn path(&self, target: &Ref, last: &str) -> String {
        let release = match &self.dialect {
            Dialect::Json { release } => release,
            Dialect::Soap { version } => version,
        };
        format!("/sdk/vim25/{release}/{}/{}/{last}", percent(&target.kind), percent(&target.value))
    }

    async fn send(&self, cx: &Context, request: HttpRequest) -> Result<Answer, Failure> {
        let response = self.http.send(cx, request).await?;
        let soap = matches!(self.dialect, Dialect::Soap { .. });
        match response.status {
            200 | 204 if is_data(&response, soap) => Ok(Answer { response, soap }),
            500 => Err(match if soap { soap_fault(&response) } else { json_fault(&response) } {
                Some(fault) => Failure::Fault(fault),
                None => Failure::Error(error_for(&response)),
            }),
            200 | 204 => Err(Failure::Error(not_vsphere(&response))),
            _ => Err(Failure::Error(error_for(&response))),
        }
    }
}

fn with_token(request: HttpRequest, token: Option<&Secret>) -> HttpRequest {
    match token {
        Some(token) => request.secret_header("vmware-api-session-id", token.clone()),
        None => request,
    }
}

fn is_data(response: &HttpResponse, soap: bool) -> bool {
    if soap {
        response.header("content-type").is_some_and(|kind| kind.contains("xml")) && !response.body.is_empty()
    } else {
        response.is_json() || response.body.is_empty()
    }
}

fn not_vsphere(response: &HttpResponse) -> Error {
    Error::new(ErrorKind::Malformed, format!("the answer is not vSphere's: {}", response.text_excerpt()))
        .hint("is this the address of vCenter or of an ESXi host itself? A login page or a proxy may have answered")
}

fn json_fault(response: &HttpResponse) -> Option<Fault> {
    Fault::from_json(std::str::from_utf8(&response.body).ok()?)
}

/// Class from the type of the detail, else from its element's name; text from `faultstring`.
fn soap_fault(response: &HttpResponse) -> Option<Fault> {
    let document = readable(&response.body);
    let text = elements(&document, "faultstring").first().and_then(|xml| to_json(xml, Declared::Other).ok());
    let text = text.and_then(|json| serde_json::from_str::<String>(&json).ok());
    let detail = elements(&document, "detail").first().and_then(|xml| to_json(xml, Declared::Other).ok());
    let members: BTreeMap<String, Box<RawValue>> =
        detail.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default();
    let from_detail = members.into_iter().find(|(name, _)| name != "_typeName").map(|(name, value)| {
        Fault::from_json(value.get()).unwrap_or_else(|| Fault {
            class: name.strip_suffix("Fault").unwrap_or(&name).to_owned(),
            ..Fault::default()
        })
    });
    match (from_detail, text) {
        (None, None) => None,
        (fault, text) => Some(Fault {
            text: text.unwrap_or_default(),
            ..fault.unwrap_or_else(|| Fault { class: "RuntimeFault".into(), ..Fault::default() })
        }),
    }
}

fn envelope(call: &Call<'_>) -> String {
    let Call { target, method, xml, .. } = call;
    let mut this = String::new();
    element(&mut this, "_this", &target.value);
    let this = this.replacen("<_this>", &format!("<_this type=\"{}\">", quick_xml::escape::escape(&*target.kind)), 1);
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<soapenv:Envelope xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"><soapenv:Body>\
         <{method} xmlns=\"urn:vim25\">{this}{xml}</{method}></soapenv:Body></soapenv:Envelope>"
    )
}

/// Ids hold brackets and colons on some servers.
fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.extend([byte >> 4, byte & 15].map(|digit| char::from(b"0123456789ABCDEF"[usize::from(digit)])));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn answer(status: u16, body: &'static str) -> HttpResponse {
        HttpResponse { status, headers: http::HeaderMap::new(), body: Bytes::from_static(body.as_bytes()) }
    }

    #[test]
    fn faults_of_three_shapes() {
        let class = |body| soap_fault(&answer(500, body)).map(|fault| (fault.class, fault.text));
        assert_eq!(
            class(
                r#"<soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>a &amp; b</faultstring><detail><InvalidLoginFault xmlns="urn:vim25" xsi:type="InvalidLogin"></InvalidLoginFault></detail></soapenv:Fault>"#
            ),
            Some(("InvalidLogin".into(), "a & b".into()))
        );
        assert_eq!(
            class(
                "<Fault><faultstring/><detail><NotAuthenticatedFault><privilegeId/></NotAuthenticatedFault></detail></Fault>"
            ),
            Some(("NotAuthenticated".into(), String::new()))
        );
        assert_eq!(class("<html>busy</html>"), None);
    }

    #[test]
    fn arguments_in_both_forms() {
        let target = Ref { kind: "K".into(), value: "session[a]<b".into() };
        let call = Call::new(&target, "M").text("a", "<").number("n", 5);
        assert!(envelope(&call).contains("<_this type=\"K\">session[a]&lt;b</_this><a>&lt;</a><n>5</n></M>"));
        assert_eq!(call.json, r#"{"a":"<","n":5"#);
        assert_eq!(percent(&target.value), "session%5Ba%5D%3Cb");
    }

    #[test]
    fn nothing_comes_in_many_forms() {
        for body in ["", " ", "null", "[]"] {
            assert_eq!(json_values(body.as_bytes()).unwrap().len(), 0);
        }
        assert_eq!(json_values(b"[1,2]").unwrap().len(), 2);
        assert_eq!(json_values(b"{\"a\":1}").unwrap().len(), 1);
        assert!(json_values(b"[1,").is_err());
    }
}
