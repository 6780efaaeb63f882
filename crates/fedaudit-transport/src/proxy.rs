//! The way to a product through an HTTP proxy: as configured, else as the usual environment variables say.

use std::fmt;
use std::net::IpAddr;

use base64::Engine as _;
use fedaudit_core::{Error, ErrorKind, Result, Secret};
use http::HeaderValue;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use url::Url;

use crate::{Origin, SecretRef, USER_AGENT};

/// Longest head of an answer that a proxy may send.
const HEAD_LIMIT: usize = 16 << 10;

/// `proxy = { … }` of a source. Empty means: what `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyConfig {
    /// Address of the proxy: `http://proxy.example:3128`.
    pub url: Option<String>,
    /// Account at the proxy.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<SecretRef>,
    /// No proxy, whatever the environment says.
    #[serde(default)]
    pub direct: bool,
}

/// The proxy that is used.
pub(crate) struct Route {
    proxy: Url,
    authorization: Option<Secret>,
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").field("proxy", &self.place()).finish_non_exhaustive()
    }
}

impl ProxyConfig {
    /// The proxy on the way to an origin, if there is one.
    pub(crate) fn route(&self, origin: &Origin) -> Result<Option<Route>> {
        self.route_in(origin, &|name| std::env::var(name).ok())
    }

    fn route_in(&self, origin: &Origin, environment: &dyn Fn(&str) -> Option<String>) -> Result<Option<Route>> {
        let wrong = |text: &str| Error::new(ErrorKind::Config, text).at("proxy");
        if let Some(address) = &self.url {
            if self.direct {
                return Err(wrong("url and direct exclude each other"));
            }
            let route = Route::parse(address).map_err(|error| error.at("proxy"))?;
            if route.authorization.is_some() {
                return Err(wrong("url holds credentials; they have keys of their own"));
            }
            let authorization = match (&self.username, &self.password) {
                (Some(name), Some(password)) => Some(basic(name, password.resolve()?.reveal())),
                (None, None) => None,
                _ => return Err(wrong("username and password belong together")),
            };
            return Ok(Some(Route { authorization, ..route }));
        }
        if self.username.is_some() || self.password.is_some() {
            return Err(wrong("credentials without url"));
        }
        if self.direct {
            return Ok(None);
        }
        let Some((name, address)) = named_by(origin, environment) else { return Ok(None) };
        Route::parse(&address).map(Some).map_err(|error| error.at(format!("environment variable {name}")))
    }
}

/// The proxy that the environment names for an origin, with the variable's name.
fn named_by(origin: &Origin, environment: &dyn Fn(&str) -> Option<String>) -> Option<(&'static str, String)> {
    let filled = |name: &str| environment(name).filter(|value| !value.trim().is_empty());
    // This machine is never on the other side of a proxy.
    let local = origin.host() == "localhost" || address(origin.host()).is_some_and(|address| address.is_loopback());
    let excluded = filled("no_proxy").or_else(|| filled("NO_PROXY"));
    if local || excluded.is_some_and(|list| list.split([',', ' ']).any(|entry| excludes(entry.trim(), origin))) {
        return None;
    }
    let names: &[&'static str] = if origin.is_tls() {
        &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
    } else if environment("REQUEST_METHOD").is_some() {
        // Inside a CGI program HTTP_PROXY is a header that a client sent.
        &["http_proxy", "all_proxy", "ALL_PROXY"]
    } else {
        &["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]
    };
    names.iter().find_map(|name| filled(name).map(|value| (*name, value)))
}

fn address(host: &str) -> Option<IpAddr> {
    host.parse().ok()
}

/// Whether an entry of `NO_PROXY` names an origin: `*`, a name with all names below it, an address, a network, each
/// perhaps with a port.
pub(crate) fn excludes(entry: &str, origin: &Origin) -> bool {
    if entry == "*" {
        return true;
    }
    if let Some((network, length)) = entry.split_once('/') {
        let (Some(network), Some(host), Ok(length)) = (address(network), address(origin.host()), length.parse()) else {
            return false;
        };
        return in_network(host, network, length);
    }
    let (name, port) = match entry.rsplit_once(':') {
        // The colons of an IPv6 address without brackets belong to it.
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => (name, port.parse::<u16>().ok()),
        _ => (entry, None),
    };
    let name = name.trim_matches(['[', ']']).trim_start_matches("*.").trim_start_matches('.').to_ascii_lowercase();
    let host = origin.host();
    let named = host == name || host.strip_suffix(name.as_str()).is_some_and(|rest| rest.ends_with('.'));
    !name.is_empty() && named && port.is_none_or(|port| port == origin.port())
}

fn in_network(host: IpAddr, network: IpAddr, length: u32) -> bool {
    let prefix = |bits: u128, width: u32| bits.checked_shr(width.saturating_sub(length)).unwrap_or(0);
    match (host, network) {
        (IpAddr::V4(host), IpAddr::V4(network)) if length <= 32 => {
            prefix(host.to_bits().into(), 32) == prefix(network.to_bits().into(), 32)
        }
        (IpAddr::V6(host), IpAddr::V6(network)) if length <= 128 => {
            prefix(host.to_bits(), 128) == prefix(network.to_bits(), 128)
        }
        _ => false,
    }
}

fn basic(name: &str, password: &str) -> Secret {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}"));
    Secret::new(format!("Basic {pair}"))
}

impl Route {
    /// Reads the address of a proxy; credentials in it are taken out and never shown.
    pub(crate) fn parse(address: &str) -> Result<Self> {
        let wrong =
            |text: &str| Error::new(ErrorKind::Config, text).hint("give an address such as http://proxy.example:3128");
        let address = address.trim();
        let whole = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
        // The text of the address is not repeated: it may hold a password.
        let mut proxy = Url::parse(&whole).map_err(|_| wrong("the address cannot be read"))?;
        if proxy.scheme() != "http" {
            return Err(wrong("only proxies that are spoken to over http are supported"));
        }
        if proxy.host_str().is_none_or(str::is_empty) {
            return Err(wrong("the address names no host"));
        }
        let decoded = |text: &str| percent_decoded(text).ok_or_else(|| wrong("the credentials cannot be read"));
        let authorization = match (proxy.username(), proxy.password()) {
            ("", None) => None,
            (name, password) => Some(basic(&decoded(name)?, &decoded(password.unwrap_or_default())?)),
        };
        if proxy.set_username("").and_then(|()| proxy.set_password(None)).is_err() {
            return Err(wrong("the address cannot be read"));
        }
        Ok(Self { proxy, authorization })
    }

    fn place(&self) -> String {
        self.proxy.origin().ascii_serialization()
    }

    fn authorization(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(self.authorization.as_ref()?.reveal()).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// As the HTTP client takes it.
    pub(crate) fn for_requests(&self) -> Result<reqwest::Proxy, reqwest::Error> {
        let proxy = reqwest::Proxy::all(self.proxy.as_str())?;
        Ok(match self.authorization() {
            Some(value) => proxy.custom_http_auth(value),
            None => proxy,
        })
    }

    /// A connection through the proxy to an origin. What is sent into it goes to the origin as it is.
    pub(crate) async fn tunnel(&self, origin: &Origin) -> Result<TcpStream> {
        let unreachable = |error: std::io::Error| {
            Error::new(ErrorKind::Unavailable, format!("cannot use the proxy {}: {error}", self.place()))
                .hint("is the proxy's address right, and may it be reached from here?")
        };
        let host = self.proxy.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let port = self.proxy.port_or_known_default().unwrap_or(80);
        let mut stream = TcpStream::connect((host, port)).await.map_err(unreachable)?;
        let bracketed =
            if origin.host().contains(':') { format!("[{}]", origin.host()) } else { origin.host().to_owned() };
        let target = format!("{bracketed}:{}", origin.port());
        let mut head = format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\nuser-agent: {USER_AGENT}\r\n");
        if let Some(authorization) = &self.authorization {
            for part in ["proxy-authorization: ", authorization.reveal(), "\r\n"] {
                head.push_str(part);
            }
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).await.map_err(unreachable)?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            // Byte by byte: whatever follows the head belongs to the origin.
            answer.push(stream.read_u8().await.map_err(unreachable)?);
            if answer.len() > HEAD_LIMIT {
                return Err(Error::new(ErrorKind::Malformed, format!("the proxy {} sends no answer", self.place())));
            }
        }
        let status = std::str::from_utf8(&answer).ok().and_then(|text| text.split(' ').nth(1)?.parse::<u16>().ok());
        match status {
            Some(200..300) => Ok(stream),
            Some(status) => Err(refused(status, &self.place())),
            None => Err(Error::new(ErrorKind::Malformed, format!("the proxy {} does not speak HTTP", self.place()))),
        }
    }
}

/// The error for a proxy that opens no way.
fn refused(status: u16, place: &str) -> Error {
    let kind = match status {
        407 => ErrorKind::Config,
        403 => ErrorKind::Denied,
        _ => ErrorKind::Unavailable,
    };
    let error = Error::new(kind, format!("the proxy {place} opens no way: HTTP {status}"));
    match status {
        407 => error.hint("it wants credentials: proxy = { url, username, password }"),
        _ => error,
    }
}

/// The text of a part of an address.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                (digit(rest.next()?)? * 16 + digit(rest.next()?)?) as u8
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(config: &ProxyConfig, origin: &str, environment: &[(&str, &str)]) -> Result<Option<String>> {
        let origin = Origin::parse(origin).unwrap();
        let lookup =
            |name: &str| environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Ok(config.route_in(&origin, &lookup)?.map(|route| route.place()))
    }

    fn by_environment(origin: &str, environment: &[(&str, &str)]) -> Option<String> {
        route(&ProxyConfig::default(), origin, environment).unwrap()
    }

    #[test]
    fn the_environment_names_a_proxy_for_each_scheme() {
        let both = [("HTTPS_PROXY", "http://secure:1"), ("HTTP_PROXY", "plain:2"), ("ALL_PROXY", "http://all:3")];
        assert_eq!(by_environment("https://nas.example", &both).as_deref(), Some("http://secure:1"));
        assert_eq!(by_environment("http://nas.example", &both).as_deref(), Some("http://plain:2"));
        assert_eq!(by_environment("https://nas.example", &both[1..]).as_deref(), Some("http://all:3"));
        assert_eq!(by_environment("https://nas.example", &[]), None);
        let small = [("https_proxy", "small:1"), ("HTTPS_PROXY", "large:2")];
        assert_eq!(by_environment("https://nas.example", &small).as_deref(), Some("http://small:1"));
        let cgi = [("HTTP_PROXY", "header:1"), ("REQUEST_METHOD", "GET")];
        assert_eq!(by_environment("http://nas.example", &cgi), None);
        for local in ["https://localhost", "https://127.0.0.1:8443", "https://[::1]"] {
            assert_eq!(by_environment(local, &both), None, "{local}");
        }
    }

    #[test]
    fn no_proxy_names_hosts_domains_addresses_and_networks() {
        let excluded = |origin: &str, list: &str| {
            by_environment(origin, &[("ALL_PROXY", "proxy:1"), ("NO_PROXY", list)]).is_none()
        };
        for (origin, list) in [
            ("https://nas.corp.example", "corp.example"),
            ("https://nas.corp.example", "other.example, .corp.example"),
            ("https://nas.corp.example", "*.Corp.Example"),
            ("https://nas.corp.example", "nas.corp.example:443"),
            ("https://nas.corp.example", "*"),
            ("https://10.1.2.3", "10.0.0.0/8"),
            ("https://10.1.2.3", "10.1.2.3"),
            ("https://[2001:db8::1]", "2001:db8::/32"),
            ("https://[2001:db8::1]:8443", "[2001:db8::1]:8443"),
            ("https://[2001:db8::1]", "2001:db8::1"),
        ] {
            assert!(excluded(origin, list), "{origin} {list}");
        }
        for (origin, list) in [
            ("https://nas.corp.example", ""),
            ("https://nas.corp.example", ","),
            ("https://notcorp.example", "corp.example"),
            ("https://nas.corp.example", "nas.corp.example:8443"),
            ("https://11.1.2.3", "10.0.0.0/8"),
            ("https://10.1.2.3", "10.0.0.0/99"),
            ("https://nas.corp.example", "10.0.0.0/8"),
        ] {
            assert!(!excluded(origin, list), "{origin} {list}");
        }
    }

    #[test]
    fn configuration_wins_and_credentials_are_references() {
        let environment = [("ALL_PROXY", "http://environment:1")];
        let config = |text: &str| toml::from_str::<ProxyConfig>(text).unwrap();
        let chosen = |text: &str| route(&config(text), "https://nas.example", &environment);
        assert_eq!(chosen("url = \"http://mine:3128\"").unwrap().as_deref(), Some("http://mine:3128"));
        assert_eq!(chosen("direct = true").unwrap(), None);
        let local = route(&config("url = \"http://mine:3128\""), "https://localhost", &[]).unwrap();
        assert_eq!(local.as_deref(), Some("http://mine:3128"));
        for wrong in [
            "url = \"http://mine:3128\"\ndirect = true",
            "url = \"socks5://mine:1080\"",
            "url = \"https://mine:3128\"",
            "url = \"http://ana:not-a-secret@mine:3128\"",
            "url = \"http://mine:3128\"\nusername = \"ana\"",
            "username = \"ana\"\npassword = \"env:NOWHERE\"",
            "url = \"\"",
        ] {
            let error = chosen(wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{wrong}");
            assert!(!format!("{error:?}").contains("not-a-secret"), "{error:?}");
        }
        assert!(toml::from_str::<ProxyConfig>("adress = \"x\"").is_err());
        let of_environment = ProxyConfig::default();
        let origin = Origin::parse("https://nas.example").unwrap();
        let found = of_environment.route_in(&origin, &|name| {
            (name == "HTTPS_PROXY").then(|| "http://ana:not-a-%73ecret@mine:3128".to_owned())
        });
        let found = found.unwrap().unwrap();
        assert_eq!(found.authorization, Some(basic("ana", "not-a-secret")));
        assert!(!format!("{found:?}").contains("secret"));
    }
}
