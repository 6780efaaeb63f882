//! The one scheme, host and port that a source talks to. A token goes there and nowhere else.

use std::fmt;

use fedaudit_core::{Error, ErrorKind, Result};
use url::Url;

/// Scheme, host and port of a source.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    text: String,
    base: Url,
}

impl Origin {
    /// Reads a configured address. A path beyond `/`, a query or credentials in the address are errors.
    pub fn parse(address: &str) -> Result<Self> {
        let wrong = |why: &str| {
            Error::new(ErrorKind::Config, format!("url '{}' {why}", without_secrets(address)))
                .hint("give the origin only, as in https://nas-1.example or https://nas-1.example:8443")
        };
        let base = Url::parse(address).map_err(|error| wrong(&format!("cannot be read: {error}")))?;
        let base = match base.scheme() {
            "https" | "http" => base,
            "wss" => replace_scheme(address, "wss", "https").ok_or_else(|| wrong("cannot be read"))?,
            "ws" => replace_scheme(address, "ws", "http").ok_or_else(|| wrong("cannot be read"))?,
            _ => return Err(wrong("is neither https nor http")),
        };
        if base.host_str().is_none() {
            return Err(wrong("names no host"));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(wrong("holds credentials; they have keys of their own"));
        }
        if base.path() != "/" || base.query().is_some() || base.fragment().is_some() {
            return Err(wrong("has a path or a query"));
        }
        Ok(Self { text: base.origin().ascii_serialization(), base })
    }

    /// `https://host`, with the port where it is not the scheme's own.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        self.base.scheme() == "https"
    }

    /// Host name or address, without brackets.
    pub fn host(&self) -> &str {
        self.base.host_str().unwrap_or_default().trim_matches(['[', ']'])
    }

    /// Port, the scheme's own where none is given.
    pub fn port(&self) -> u16 {
        self.base.port_or_known_default().unwrap_or(443)
    }

    /// Path and query of a link that a product sent. A link to another origin is refused: following it would hand the
    /// login to somebody else.
    pub fn resolve(&self, link: &str) -> Result<String> {
        self.resolve_from("/", link)
    }

    /// The same for a link in the answer to a request for this path and query.
    pub fn resolve_from(&self, path_and_query: &str, link: &str) -> Result<String> {
        let target = self.base.join(path_and_query).and_then(|page| page.join(link)).map_err(|error| {
            Error::new(ErrorKind::Malformed, format!("the product sent a link that cannot be read: {error}"))
        })?;
        if target.origin() != self.base.origin() {
            return Err(Error::new(
                ErrorKind::Malformed,
                format!(
                    "the product sent a link to {}, which is not its own origin",
                    target.origin().ascii_serialization()
                ),
            )
            .at(self)
            .hint("if a proxy rewrites host names, configure the name that the product itself uses in its links"));
        }
        Ok(match target.query() {
            Some(query) => format!("{}?{query}", target.path()),
            None => target.path().to_owned(),
        })
    }
}

fn replace_scheme(address: &str, from: &str, to: &str) -> Option<Url> {
    Url::parse(&format!("{to}{}", &address[from.len()..])).ok()
}

/// Somebody may have written a login in front of the host, or a token behind a question mark.
fn without_secrets(address: &str) -> String {
    let shown = without_credentials(address);
    match shown.find(['?', '#']) {
        Some(at) => format!("{}***", &shown[..=at]),
        None => shown,
    }
}

fn without_credentials(address: &str) -> String {
    match (address.find("://"), address.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => format!("{}***{}", &address[..scheme + 3], &address[at..]),
        _ => address.to_owned(),
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_origins() {
        assert_eq!(Origin::parse("https://NAS-1.example/").unwrap().as_str(), "https://nas-1.example");
        assert_eq!(Origin::parse("wss://nas-1.example:8443").unwrap().as_str(), "https://nas-1.example:8443");
        assert_eq!(Origin::parse("https://[2001:db8::1]").unwrap().host(), "2001:db8::1");
        for wrong in [
            "nas-1",
            "ftp://nas-1",
            "https://nas-1/api",
            "https://me:word@nas-1",
            "https://nas-1?key=word",
            "https://nas-1/#word",
            "",
        ] {
            let error = Origin::parse(wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(!error.to_string().contains("word"), "{error}");
        }
    }

    #[test]
    fn links_stay_at_home() {
        let origin = Origin::parse("https://lms.example").unwrap();
        assert_eq!(origin.resolve("https://lms.example/api/v1?page=2").unwrap(), "/api/v1?page=2");
        assert_eq!(origin.resolve("/api?x=1").unwrap(), "/api?x=1");
        assert_eq!(origin.resolve_from("/api/v1/log?page=1", "?page=2").unwrap(), "/api/v1/log?page=2");
        assert_eq!(origin.resolve_from("/api/v1/log", "../v2/log").unwrap(), "/api/v2/log");
        for foreign in [
            "https://evil.example/api",
            "http://lms.example/api",
            "https://lms.example:444/api",
            "//evil/api",
            "https://lms.example@evil.example/api",
            "https://lms.example.evil.example/",
            "\\\\evil.example/api",
            "javascript:x",
        ] {
            assert_eq!(origin.resolve(foreign).unwrap_err().kind(), ErrorKind::Malformed, "{foreign}");
        }
    }
}
