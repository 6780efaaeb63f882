//! The keys of a `[[source]]` table with `type = "canvas"`.

use fedaudit_core::{Error, ErrorKind, Result};
use fedaudit_transport::{Origin, SecretRef, TlsConfig};
use serde::Deserialize;

use crate::stream::Stream;

/// Where Canvas is, who we are there, and which root accounts are read.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Origin of the installation, `https://canvas.example`.
    pub url: String,
    /// Whom to trust.
    #[serde(default)]
    pub tls: TlsConfig,
    /// The way through a proxy; what the environment says where none is given.
    #[serde(default)]
    pub proxy: fedaudit_transport::ProxyConfig,
    /// A personal access token.
    pub token: Option<SecretRef>,
    /// An OAuth refresh grant, in place of a token.
    pub oauth: Option<OAuth>,
    /// Root accounts: `self`, an id, `sis_account_id:…`, or `all` for every root account that the token administers.
    #[serde(default = "own_account")]
    pub accounts: Vec<String>,
    /// Which audit logs are read. The others take further rights, and the one of grade changes a request for each course.
    #[serde(default = "authentication")]
    pub streams: Vec<Stream>,
    /// Take path and query of a link that names another origin, and ask the configured one: for a Canvas behind a proxy
    /// that does not know its own address.
    #[serde(default)]
    pub rewrite_links: bool,
}

/// The refresh grant of a developer key.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OAuth {
    /// Id of the developer key.
    pub client_id: String,
    /// Its secret.
    pub client_secret: SecretRef,
    /// The long-lived token that buys access tokens.
    pub refresh_token: SecretRef,
}

fn own_account() -> Vec<String> {
    vec!["self".to_owned()]
}

fn authentication() -> Vec<Stream> {
    vec![Stream::Authentication]
}

impl Config {
    /// Checks what the types cannot say, and returns the origin.
    pub(crate) fn origin(&self) -> Result<Origin> {
        let wrong = |text: &str| Error::new(ErrorKind::Config, text);
        let origin = Origin::parse(&self.url)?;
        if !origin.is_tls() && !matches!(origin.host(), "localhost" | "127.0.0.1" | "::1") {
            return Err(wrong("a Canvas token does not travel over plain http").hint("write https:// in url"));
        }
        match (&self.token, &self.oauth) {
            (Some(_), Some(_)) => return Err(wrong("token and oauth exclude each other")),
            (None, None) => {
                return Err(wrong("no credentials").hint(
                    "give token = \"env:NAME\" (an access token), or oauth = { client_id, client_secret, refresh_token }",
                ));
            }
            _ => {}
        }
        if self.accounts.is_empty() || self.accounts.iter().any(|account| account.trim().is_empty()) {
            return Err(wrong("accounts names no account").hint("leave it out for accounts = [\"self\"]"));
        }
        if self.streams.is_empty() {
            return Err(wrong("streams names no stream").hint("leave it out for streams = [\"audit.authentication\"]"));
        }
        Ok(origin)
    }
}
