//! The `[[source]]` table of a vCenter or ESXi host.

use fedaudit_core::{Error, ErrorKind, Result};
use fedaudit_transport::{Origin, SecretRef, TlsConfig};
use serde::Deserialize;

/// Configuration of one source.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Address, as `https://vc-1.example`.
    pub url: String,
    /// Whom to trust.
    #[serde(default)]
    pub tls: TlsConfig,
    /// The way through a proxy; what the environment says where none is given.
    #[serde(default)]
    pub proxy: fedaudit_transport::ProxyConfig,
    /// Account, as `reader@vsphere.local`.
    pub username: String,
    /// Its password.
    pub password: SecretRef,
    /// Which of the server's two interfaces to use.
    #[serde(default)]
    pub protocol: Protocol,
    /// How this server writes the accounts that a query names: `["CORP\\{}", "{}@corp.example"]`. With it, and only with it, conditions
    /// on `user_name` are pushed to the server, if that turns out to compare without regard to case. List every form.
    #[serde(default)]
    pub user_forms: Vec<String>,
}

/// The server's interfaces to the same data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// VI JSON where the server offers it, else SOAP.
    #[default]
    Auto,
    /// Every vCenter and ESXi host has it.
    Soap,
    /// vCenter 8.0 U1 and later.
    Json,
}

impl Config {
    /// The address, after a look at everything that can be wrong without asking the server.
    pub(crate) fn validate(&self) -> Result<Origin> {
        let wrong = |text: &str| Err(Error::new(ErrorKind::Config, text));
        if self.username.trim().is_empty() {
            return wrong("username is empty");
        }
        if self.user_forms.iter().any(|form| form.matches("{}").count() != 1) {
            return wrong("each of user_forms holds {} exactly once, where the bare name goes");
        }
        let origin = Origin::parse(&self.url)?;
        if !origin.is_tls() {
            return Err(Error::new(ErrorKind::Config, "a password never travels over plain http")
                .hint("write the url with https://"));
        }
        Ok(origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(more: &str) -> Result<Config, serde_json::Error> {
        serde_json::from_str(&format!(r#"{{"url":"https://vc-1.example","username":"r","password":"env:P"{more}}}"#))
    }

    #[test]
    fn only_known_keys() {
        assert_eq!(parse("").unwrap().protocol, Protocol::Auto);
        assert_eq!(
            parse(r#","protocol":"soap","user_forms":["CORP\\{}"]"#).unwrap().validate().unwrap().as_str(),
            "https://vc-1.example"
        );
        assert!(parse(r#","protokol":"soap""#).is_err());
        assert!(parse(r#","user_forms":["CORP"]"#).unwrap().validate().is_err());
        assert!(Config { url: "http://vc-1.example".into(), ..parse("").unwrap() }.validate().is_err());
    }
}
