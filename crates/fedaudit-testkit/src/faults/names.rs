//! What a request is called, so that a plan can say which one it means.

use axum::http::request::Parts;

use super::Product;

/// Names of the requests that a reader of the product makes, those of pages first.
pub(super) fn menu(product: Product) -> (&'static [&'static str], &'static [&'static str]) {
    match product {
        Product::TrueNas => (
            &["audit.query", "auth.sessions"],
            &["versions", "connect", "auth.login_ex", "audit.config", "auth.logout"],
        ),
        Product::Vsphere => (
            &["ReadNextEvents", "sessionList", "RetrievePropertiesEx"],
            &["hello", "content", "Login", "QueryOptions", "CreateCollectorForEvents", "DestroyCollector", "Logout"],
        ),
        Product::Sps => (&["sessions", "sessions"], &["login", "info", "_snapshot", "logout"]),
        Product::Canvas => (&["audit", "audit"], &["account", "self"]),
    }
}

/// Whether a login is made or given back by it. A fault there can leave the login behind.
pub(super) fn is_about_logins(product: Product, name: &str) -> bool {
    match product {
        Product::Vsphere => matches!(name, "Login" | "Logout"),
        Product::Sps => matches!(name, "login" | "logout"),
        // A login of TrueNAS ends with its connection; Canvas has none.
        Product::TrueNas | Product::Canvas => false,
    }
}

/// The name of an HTTP request.
pub(super) fn of_http(product: Product, parts: &Parts, body: &[u8]) -> String {
    let path = parts.uri.path();
    let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    match product {
        Product::TrueNas => match last {
            "current" => "connect",
            other => other,
        }
        .to_owned(),
        Product::Vsphere if path == "/sdk" => soap_method(body).unwrap_or_default(),
        Product::Vsphere if path == "/api/vcenter/system" => "hello".to_owned(),
        Product::Vsphere => last.to_owned(),
        Product::Sps => match (parts.method.as_str(), last) {
            ("GET", "authentication") => "login",
            ("DELETE", "authentication") => "logout",
            (_, other) => other,
        }
        .to_owned(),
        Product::Canvas => match path {
            _ if path.contains("/audit/") => "audit",
            _ if path.contains("/users/") => "self",
            _ if path.contains("/accounts") => "account",
            _ => last,
        }
        .to_owned(),
    }
}

/// The method of a SOAP envelope: the first element of its body.
fn soap_method(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once("Body>")?;
    let rest = rest.trim_start().strip_prefix('<')?;
    Some(rest.chars().take_while(char::is_ascii_alphanumeric).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_names() {
        let name = |product, method: &str, path: &str, body: &str| {
            let request = axum::http::Request::builder().method(method).uri(path).body(()).unwrap();
            of_http(product, &request.into_parts().0, body.as_bytes())
        };
        assert_eq!(name(Product::TrueNas, "GET", "/api/versions", ""), "versions");
        assert_eq!(name(Product::TrueNas, "GET", "/api/current", ""), "connect");
        let soap = "<?xml?><s:Envelope><s:Body>\n<ReadNextEvents xmlns=\"urn:vim25\"><_this/></ReadNextEvents>";
        assert_eq!(name(Product::Vsphere, "POST", "/sdk", soap), "ReadNextEvents");
        assert_eq!(name(Product::Vsphere, "POST", "/sdk/vim25/8.0.3.0/SessionManager/s/Login", ""), "Login");
        assert_eq!(name(Product::Vsphere, "POST", "/api/vcenter/system?action=hello", ""), "hello");
        assert_eq!(name(Product::Sps, "GET", "/api/authentication", ""), "login");
        assert_eq!(name(Product::Sps, "DELETE", "/api/authentication", ""), "logout");
        assert_eq!(name(Product::Sps, "GET", "/api/audit/sessions?limit=1", ""), "sessions");
        assert_eq!(name(Product::Canvas, "GET", "/api/v1/audit/authentication/accounts/1", ""), "audit");
        assert_eq!(name(Product::Canvas, "GET", "/api/v1/users/self", ""), "self");
        assert_eq!(name(Product::Canvas, "GET", "/api/v1/accounts/self", ""), "account");
    }
}
