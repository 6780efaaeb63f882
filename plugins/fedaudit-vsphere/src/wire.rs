//! One call to the server, over SOAP or VI JSON, with the same answer from both: values in VI JSON form, or a fault.

use std::collections::BTreeMap;

use fedaudit_core::{Context, Error, ErrorKind, Result, Secret, Time};
use fedaudit_transport::{HttpClient, HttpRequest, HttpResponse, error_for};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::fault::{Failure, Fault};
use crate::filter::element;
use crate::record::{Records, Xml};
use crate::transcode::{Declared, elements, quote, readable, to_json, xsi_prefixes};

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
    /// A secret among the arguments, which no error may repeat.
    hidden: Option<Secret>,
}

impl<'c> Call<'c> {
    pub(crate) fn new(target: &'c Ref, method: &'c str) -> Self {
        Self { target, method, xml: String::new(), json: String::new(), hidden: None }
    }

    /// Adds a text argument; arguments come in schema order.
    pub(crate) fn text(mut self, name: &str, value: &str) -> Self {
        element(&mut self.xml, name, value);
        self.member(name);
        quote(&mut self.json, value);
        self
    }

    /// Adds an array of one text.
    pub(crate) fn list_of_text(mut self, name: &str, value: &str) -> Self {
        element(&mut self.xml, name, value);
        self.member(name);
        self.json.push('[');
        quote(&mut self.json, value);
        self.json.push(']');
        self
    }

    /// Adds an array of one reference.
    pub(crate) fn list_of_ref(mut self, name: &str, value: &Ref) -> Self {
        reference(&mut self.xml, name, value);
        self.member(name);
        self.json.push_str("[{\"_typeName\":\"ManagedObjectReference\",\"type\":");
        quote(&mut self.json, &value.kind);
        self.json.push_str(",\"value\":");
        quote(&mut self.json, &value.value);
        self.json.push_str("}]");
        self
    }

    /// Adds a text argument that is a secret.
    pub(crate) fn secret(self, name: &str, value: Secret) -> Self {
        let call = self.text(name, value.reveal());
        Self { hidden: Some(value), ..call }
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

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    status: u16,
    headers: http::HeaderMap,
    server_time: Option<Time>,
    /// The body, with what its grammar forbids replaced.
    document: String,
    /// The elements that hold the values; none over VI JSON.
    element: Option<&'static str>,
}

impl Answer {
    pub(crate) fn new(response: HttpResponse, soap: bool) -> Self {
        let server_time = response.server_time();
        let HttpResponse { status, headers, body } = response;
        Self { status, headers, server_time, document: readable(body.into()), element: soap.then_some("returnval") }
    }

    /// An answer whose values are these elements, over SOAP.
    pub(crate) fn of_elements(self, element: &'static str) -> Self {
        Self { element: self.element.map(|_| element), ..self }
    }

    /// The text of the answer.
    pub(crate) fn document(&self) -> &str {
        &self.document
    }

    /// Its headers.
    pub(crate) fn headers(&self) -> &http::HeaderMap {
        &self.headers
    }

    /// The server's clock.
    pub(crate) fn server_time(&self) -> Option<Time> {
        self.server_time
    }

    /// Whether there is no value at all. Far cheaper than to look at the values.
    pub(crate) fn is_empty(&self) -> bool {
        match self.element {
            Some(element) => elements(&self.document, element).next().is_none(),
            None => matches!(self.document.trim(), "" | "null" | "[]"),
        }
    }

    /// Every value of the answer, each on its own: a bad one is rejected, not the answer.
    pub(crate) fn values(&self, declared: Declared) -> Result<Records<'_>> {
        match self.element {
            Some(element) => Ok(Records::new(elements(&self.document, element), Some(self.xml(declared)))),
            None => Ok(Records::new(json_values(&self.document)?.into_iter().map(RawValue::get), None)),
        }
    }

    /// The first value alone, of an array: far cheaper than all of them.
    pub(crate) fn first(&self, declared: Declared) -> Records<'_> {
        match self.element {
            Some(element) => Records::new(elements(&self.document, element).next(), Some(self.xml(declared))),
            None => Records::new(first_of_array(&self.document).map(RawValue::get), None),
        }
    }

    fn xml(&self, declared: Declared) -> Xml<'_> {
        Xml { declared, prefixes: xsi_prefixes(&self.document) }
    }

    /// The one value of the answer.
    pub(crate) fn value(&self) -> Result<Option<String>> {
        let values = self.values(Declared::Other)?.map(|value| match value {
            Ok(record) => Ok(record.json.to_owned()),
            Err(bad) => Err(Error::new(ErrorKind::Malformed, bad.reason)),
        });
        values.into_iter().next().transpose()
    }
}

/// An array's elements, one value, or nothing: `null`, `[]`, and an empty body are the same.
fn json_values(body: &str) -> Result<Vec<&RawValue>> {
    let values = match body.trim_start().as_bytes().first() {
        None => Ok(Vec::new()),
        Some(b'[') => serde_json::from_str(body),
        Some(_) => serde_json::from_str::<Option<&RawValue>>(body).map(|one| one.into_iter().collect()),
    };
    values.map_err(|error| Error::new(ErrorKind::Malformed, format!("the answer is not VI JSON: {error}")))
}

fn first_of_array(body: &str) -> Option<&RawValue> {
    let inside = body.trim_start().strip_prefix('[')?;
    serde_json::Deserializer::from_str(inside).into_iter().next()?.ok()
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
        let hidden = call.hidden.clone();
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
        let request = hidden.into_iter().fold(request, HttpRequest::hiding);
        self.send(cx, request, &format!("{}Response", call.method)).await
    }

    /// Reads a property over VI JSON.
    pub(crate) async fn get(
        &self,
        cx: &Context,
        token: Option<&Secret>,
        of: &Ref,
        property: &str,
    ) -> Result<Answer, Failure> {
        // A fault is a 500, which asking again does not change: with a login, what passes is waited out with the whole page.
        let request = HttpRequest::get(self.path(of, property)).idempotent(token.is_none());
        self.send(cx, with_token(request, token), "").await
    }

    fn path(&self, target: &Ref, last: &str) -> String {
        let release = match &self.dialect {
            Dialect::Json { release } => release,
            Dialect::Soap { version } => version,
        };
        format!("/sdk/vim25/{release}/{}/{}/{last}", percent(&target.kind), percent(&target.value))
    }

    async fn send(&self, cx: &Context, request: HttpRequest, response_element: &str) -> Result<Answer, Failure> {
        let response = self.http.send(cx, request).await?;
        let soap = matches!(self.dialect, Dialect::Soap { .. });
        match response.status {
            200 | 204 if is_data(&response, soap) => understood(Answer::new(response, soap), response_element),
            200 | 204 => Err(Failure::Error(not_vsphere(&response))),
            500 => {
                let otherwise = error_for(&response);
                Err(fault_of(&Answer::new(response, soap)).map_or(Failure::Error(otherwise), Failure::Fault))
            }
            _ => Err(Failure::Error(error_for(&response))),
        }
    }
}

/// An answer with a status of success holds the method's own element, whole; or a fault all the same.
pub(crate) fn understood(answer: Answer, response_element: &str) -> Result<Answer, Failure> {
    if let Some(fault) = fault_of(&answer) {
        return Err(Failure::Fault(fault));
    }
    let own = || elements(&answer.document, response_element).next().is_some();
    if answer.element.is_some() && !(own() && answer.document.trim_end().ends_with("Envelope>")) {
        return Err(Failure::Error(cut_off(&answer.document)));
    }
    Ok(answer)
}

/// The fault in an answer, if it is one.
pub(crate) fn fault_of(answer: &Answer) -> Option<Fault> {
    let document = answer.document.as_str();
    if answer.element.is_some() {
        // A fault is all there is, at the beginning: a page of events need not be looked through.
        let head = &document[..document.floor_char_boundary(2000)];
        let fault = answer.status == 500 || head.contains("<faultcode>");
        return fault.then(|| soap_fault(document)).flatten();
    }
    // A fault is an object, and a page an array. Its text may be missing.
    let fault = document.trim_start().starts_with('{').then(|| Fault::from_json(document)).flatten();
    fault.filter(|fault| answer.status == 500 || document.contains("\"faultstring\"") || fault.is_known())
}

/// Reading it as far as it goes would turn missing rows into a short page.
fn cut_off(document: &str) -> Error {
    let line = document.split_whitespace().collect::<Vec<_>>().join(" ");
    let line: String = line.chars().take(200).collect();
    Error::new(ErrorKind::Unavailable, format!("the answer is cut off, or not the method's own: {line}"))
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

/// Class from the type of the detail, else from its element's name; text from `faultstring`.
fn soap_fault(document: &str) -> Option<Fault> {
    let text = elements(document, "faultstring").next().and_then(|xml| to_json(xml, Declared::Other).ok());
    let text = text.and_then(|json| serde_json::from_str::<String>(&json).ok());
    let detail = elements(document, "detail").next().and_then(|xml| to_json(xml, Declared::Other).ok());
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
    reference(&mut this, "_this", target);
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<soapenv:Envelope xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"><soapenv:Body>\
         <{method} xmlns=\"urn:vim25\">{this}{xml}</{method}></soapenv:Body></soapenv:Envelope>"
    )
}

/// Writes an element that refers to an object.
fn reference(xml: &mut String, name: &str, to: &Ref) {
    let (kind, value) = (quick_xml::escape::escape(&*to.kind), quick_xml::escape::escape(&*to.value));
    xml.extend(["<", name, " type=\"", &kind, "\">", &value, "</", name, ">"]);
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

    fn answer(status: u16, soap: bool, body: &'static str) -> Answer {
        let response =
            HttpResponse { status, headers: http::HeaderMap::new(), body: Bytes::from_static(body.as_bytes()) };
        Answer::new(response, soap)
    }

    #[test]
    fn faults_of_three_shapes() {
        let class = |body| soap_fault(body).map(|fault| (fault.class, fault.text));
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
        assert_eq!(
            class("<Fault><faultcode>x</faultcode><faultstring>only words</faultstring></Fault>"),
            Some(("RuntimeFault".into(), "only words".into()))
        );
        assert_eq!(class("<html>busy</html>"), None);
    }

    #[test]
    fn a_fault_is_a_fault_under_any_status() {
        let soap = "<e:Envelope><e:Body><e:Fault><faultcode>c</faultcode><faultstring/><detail><NotAuthenticatedFault/></detail></e:Fault></e:Body></e:Envelope>";
        let json = r#"{"privilegeId":"","_typeName":"NotAuthenticated","faultstring":""}"#;
        for status in [200, 500] {
            for answer in [answer(status, true, soap), answer(status, false, json)] {
                let failure = understood(answer, "ReadNextEventsResponse").unwrap_err();
                assert!(failure.is_session_lost());
            }
        }
        // A fault without a text is known by its class.
        let silent = r#"{"_typeName":"NotAuthenticated","privilegeId":"System.View"}"#;
        assert!(understood(answer(200, false, silent), "").unwrap_err().is_session_lost());
        let session = r#"{"_typeName":"UserSession","key":"52"}"#;
        assert!(understood(answer(200, false, session), "").is_ok());
        // An event may speak of faults.
        let event = r#"[{"_typeName":"EventEx","fault":{"faultstring":"x"}}]"#;
        assert!(understood(answer(200, false, event), "").is_ok());
    }

    #[test]
    fn an_answer_that_is_not_the_methods_own_is_an_error() {
        let whole =
            |body| understood(answer(200, true, body), "ReadNextEventsResponse").map(|answer| answer.is_empty());
        assert!(whole("<e:Envelope><e:Body><ReadNextEventsResponse/></e:Body></e:Envelope>\n").unwrap());
        assert!(!whole("<Envelope><ReadNextEventsResponse><returnval/></ReadNextEventsResponse></Envelope>").unwrap());
        for not in [
            "<Envelope><Body/></Envelope>",
            "<Envelope><ReadNextEventsResponse><returnval><key>1</key></returnval><returnval><ke",
            "<Envelope><LoginResponse/></Envelope>",
        ] {
            let Err(Failure::Error(error)) = whole(not) else { panic!("{not}") };
            assert_eq!(error.kind(), ErrorKind::Unavailable);
        }
    }

    #[test]
    fn arguments_in_both_forms() {
        let target = Ref { kind: "K".into(), value: "session[a]<b".into() };
        let call = Call::new(&target, "M").text("a", "<").number("n", 5);
        assert!(envelope(&call).contains("<_this type=\"K\">session[a]&lt;b</_this><a>&lt;</a><n>5</n></M>"));
        assert_eq!(call.json, r#"{"a":"<","n":5"#);
        let call = Call::new(&target, "M").list_of_ref("e", &target).list_of_text("p", "x");
        assert!(envelope(&call).contains("</_this><e type=\"K\">session[a]&lt;b</e><p>x</p></M>"));
        assert_eq!(
            call.json,
            r#"{"e":[{"_typeName":"ManagedObjectReference","type":"K","value":"session[a]<b"}],"p":["x"]"#
        );
        assert_eq!(percent(&target.value), "session%5Ba%5D%3Cb");
    }

    #[test]
    fn nothing_comes_in_many_forms() {
        for body in ["", " ", "null", "[]"] {
            assert_eq!(json_values(body).unwrap().len(), 0);
            assert!(answer(200, false, body).is_empty());
        }
        assert_eq!(json_values("[1,2]").unwrap().len(), 2);
        assert_eq!(json_values("{\"a\":1}").unwrap().len(), 1);
        assert!(json_values("[1,").is_err());
        assert_eq!(first_of_array(" [ {\"a\":1} , 2").map(RawValue::get), Some("{\"a\":1}"));
        assert!(["", "[]", "[", "{}", "null"].into_iter().all(|body| first_of_array(body).is_none()));
    }
}
