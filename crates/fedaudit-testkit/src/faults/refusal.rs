//! How each product ends a login and says that something is not allowed, for requests that never reach it.

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{Method, Request, header};

use super::Product;
use super::front::Recorded;

/// The request that gives back the login which these parts carry; none where a product has no such thing.
pub(super) fn logout(product: Product, parts: &Parts) -> Option<Request<Body>> {
    let path = parts.uri.path();
    let request = Request::builder();
    match product {
        Product::Sps => {
            let cookie = parts.headers.get(header::COOKIE)?;
            let request = request.method(Method::DELETE).uri("/api/authentication").header(header::COOKIE, cookie);
            request.body(Body::empty()).ok()
        }
        Product::Vsphere if path == "/sdk" => {
            const LOGOUT: &str = "<soapenv:Envelope xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\"><soapenv:Body>\
                <Logout xmlns=\"urn:vim25\"><_this type=\"SessionManager\">SessionManager</_this></Logout></soapenv:Body></soapenv:Envelope>";
            let cookie = parts.headers.get(header::COOKIE)?;
            let agent = parts.headers.get(header::USER_AGENT)?;
            let request = request.method(Method::POST).uri(path).header(header::COOKIE, cookie);
            request.header(header::USER_AGENT, agent).body(LOGOUT.into()).ok()
        }
        Product::Vsphere => {
            let id = parts.headers.get("vmware-api-session-id")?;
            let agent = parts.headers.get(header::USER_AGENT)?;
            let release = path.strip_prefix("/sdk/vim25/")?.split('/').next()?;
            let uri = format!("/sdk/vim25/{release}/SessionManager/SessionManager/Logout");
            let request = request.method(Method::POST).uri(uri).header("vmware-api-session-id", id);
            request.header(header::USER_AGENT, agent).body(Body::empty()).ok()
        }
        Product::TrueNas | Product::Canvas => None,
    }
}

/// The answer to a request whose right was withdrawn.
pub(super) fn denied(product: Product, parts: &Parts) -> Recorded {
    const SOAP: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<soapenv:Envelope xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" \
        xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">\n<soapenv:Body>\n<soapenv:Fault><faultcode>ServerFaultCode</faultcode>\
        <faultstring>Permission to perform this operation was denied.</faultstring><detail><NoPermissionFault xmlns=\"urn:vim25\" xsi:type=\"NoPermission\">\
        <object type=\"Folder\">group-d1</object><privilegeId>System.View</privilegeId></NoPermissionFault></detail></soapenv:Fault>\n</soapenv:Body>\n</soapenv:Envelope>";
    const JSON: &str = r#"{"object":{"type":"Folder","value":"group-d1"},"privilegeId":"System.View","_typeName":"NoPermission","faultstring":"Permission to perform this operation was denied."}"#;
    match product {
        Product::Vsphere if parts.uri.path() == "/sdk" => Recorded::new(500, "text/xml; charset=utf-8", SOAP),
        Product::Vsphere => Recorded::new(500, "application/json", JSON),
        Product::Sps => Recorded::new(
            403,
            "application/json",
            r#"{"error":{"type":"Unauthorized","message":"You do not have the required privileges","details":{}}}"#,
        ),
        Product::TrueNas | Product::Canvas => Recorded::new(
            403,
            "application/json; charset=utf-8",
            r#"{"status":"unauthorized","errors":[{"message":"user not authorized to perform that action"}]}"#,
        ),
    }
}

/// The answer to a token that was revoked, where a product has logins that cannot be ended by a request.
pub(super) fn revoked() -> Recorded {
    const BODY: &str = r#"{"errors":[{"message":"Expired access token."}]}"#;
    Recorded::new(401, "application/json; charset=utf-8", BODY)
        .with(header::WWW_AUTHENTICATE, r#"Bearer realm="canvas-lms""#)
}

/// An error answer of the JSON-RPC interface.
pub(super) fn rpc_error(id: &str, number: i64, name: &str, reason: &str) -> String {
    format!(
        "{{\"jsonrpc\": \"2.0\", \"error\": {{\"code\": -32001, \"message\": \"Method call error\", \"data\": {{\"error\": {number}, \
         \"errname\": \"{name}\", \"reason\": \"[{name}] {reason}\", \"trace\": {{\"class\": \"CallError\", \"formatted\": \"Traceback\", \
         \"repr\": \"CallError()\"}}, \"extra\": null}}}}, \"id\": {id}}}"
    )
}
