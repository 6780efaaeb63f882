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
    /// Account that reads; an API key needs it, too, and only a token does without.
    #[serde(default)]
    pub username: String,
    /// API key of that account.
    pub api_key: Option<SecretRef>,
    /// Password of that account, where there is no key.
    pub password: Option<SecretRef>,
    /// A token of `auth.generate_token`, where there is neither: good for one login or a few, then a new one is needed.
    pub token: Option<SecretRef>,
    /// Whom to trust.
    #[serde(default)]
    pub tls: TlsConfig,
    /// The way through a proxy; what the environment says where none is given.
    #[serde(default)]
    pub proxy: fedaudit_transport::ProxyConfig,
    /// Read the audit databases of the other controller of an HA pair as well.
    #[serde(default)]
    pub remote_controller: bool,
}

/// The one credential of a source.
#[derive(Clone, Debug)]
pub(crate) enum Credential {
    ApiKey(SecretRef),
    Password(SecretRef),
    Token(SecretRef),
}

impl Config {
    /// The credential, if there is exactly one and it may travel to this origin.
    pub(crate) fn credential(&self, origin: &Origin) -> Result<Credential> {
        let wrong = |text: &str| Error::new(ErrorKind::Config, text);
        let mut given: Vec<Credential> = Vec::new();
        given.extend(self.api_key.clone().map(Credential::ApiKey));
        given.extend(self.password.clone().map(Credential::Password));
        given.extend(self.token.clone().map(Credential::Token));
        let credential = match (given.pop(), given.is_empty()) {
            (Some(credential), true) => credential,
            (Some(_), false) => return Err(wrong("api_key, password and token exclude each other")),
            (None, _) => {
                return Err(wrong("neither api_key nor password is given").hint(
                    "create an API key under Credentials > Users and name its place: api_key = \"env:NAS1_KEY\"",
                ));
            }
        };
        match &credential {
            // TrueNAS revokes a key for good at the first login over plain HTTP.
            Credential::ApiKey(_) if !origin.is_tls() => {
                Err(wrong("an API key is never sent without TLS: TrueNAS would revoke it at once")
                    .hint("use https in url"))
            }
            Credential::Token(_) if !origin.is_tls() => {
                Err(wrong("a token is never sent without TLS: whoever reads it is you").hint("use https in url"))
            }
            Credential::ApiKey(_) | Credential::Password(_) if self.username.is_empty() => {
                Err(wrong("username is missing")
                    .hint("TrueNAS asks for the account's name with a key as with a password"))
            }
            _ => Ok(credential),
        }
    }
}
