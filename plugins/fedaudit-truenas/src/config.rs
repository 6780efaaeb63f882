//! What a `[[source]]` of type `truenas` says, and which combinations of it are refused.

use fedaudit_core::{Error, ErrorKind, Result};
use fedaudit_transport::{Origin, SecretRef, TlsConfig};
use serde::Deserialize;

/// The keys of a `[[source]]` of type `truenas`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Address of the appliance: `https://nas-1.example`.
    pub url: String,
    /// Account that reads; an API key needs it, too.
    pub username: String,
    /// API key of that account.
    pub api_key: Option<SecretRef>,
    /// Password of that account, where there is no key.
    pub password: Option<SecretRef>,
    /// Whom to trust.
    #[serde(default)]
    pub tls: TlsConfig,
    /// The way through a proxy; what the environment says where none is given.
    #[serde(default)]
    pub proxy: fedaudit_transport::ProxyConfig,
    /// Read the audit databases of the other controller of an HA pair.
    #[serde(default)]
    pub remote_controller: bool,
}

/// The one credential of a source.
#[derive(Clone, Debug)]
pub(crate) enum Credential {
    ApiKey(SecretRef),
    Password(SecretRef),
}

impl Config {
    /// The credential, if there is exactly one and it may travel to this origin.
    pub(crate) fn credential(&self, origin: &Origin) -> Result<Credential> {
        let wrong = |text: &str| Error::new(ErrorKind::Config, text);
        match (&self.api_key, &self.password) {
            (Some(_), Some(_)) => Err(wrong("api_key and password exclude each other")),
            (None, None) => Err(wrong("neither api_key nor password is given")
                .hint("create an API key under Credentials > Users and name its place: api_key = \"env:NAS1_KEY\"")),
            // TrueNAS revokes a key for good at the first login over plain HTTP.
            (Some(_), None) if !origin.is_tls() => {
                Err(wrong("an API key is never sent without TLS: TrueNAS would revoke it at once")
                    .hint("use https in url"))
            }
            (Some(key), None) => Ok(Credential::ApiKey(key.clone())),
            (None, Some(password)) => Ok(Credential::Password(password.clone())),
        }
    }
}
