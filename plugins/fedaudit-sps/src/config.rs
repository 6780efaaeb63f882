//! The `[[source]]` table of an SPS appliance.

use std::time::Duration;

use fedaudit_core::{Error, ErrorKind, Result};
use fedaudit_transport::{Origin, SecretRef, TlsConfig};
use serde::Deserialize;

/// Configuration of one appliance (or of the search master of a cluster).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Address of the web interface: `https://sps-1.example`.
    pub url: String,
    /// Whom to trust.
    #[serde(default)]
    pub tls: TlsConfig,
    /// The way through a proxy; what the environment says where none is given.
    #[serde(default)]
    pub proxy: fedaudit_transport::ProxyConfig,
    /// Account that searches; a dedicated local user with a password alone.
    pub username: String,
    /// Where its password is kept.
    pub password: SecretRef,
    /// Login method of the appliance, such as `local`; the appliance's default where none is given.
    pub login_method: Option<String>,
    /// How many hours before a window sessions may have begun that still concern it.
    #[serde(default = "default_look_back_hours")]
    pub look_back_hours: u32,
    /// How accounts are written here, `{}` standing for the bare name: `["{}", "CORP\\{}"]`. Given, a filter on
    /// `user_name` asks for these forms alone; not given, for the bare name and everything that carries a realm.
    #[serde(default)]
    pub user_forms: Vec<String>,
    /// Read a node whose sessions are searchable on the search master only.
    #[serde(default)]
    pub allow_search_minion: bool,
    /// Read through search snapshots where the firmware has them.
    #[serde(default = "yes")]
    pub snapshots: bool,
}

fn default_look_back_hours() -> u32 {
    24
}

fn yes() -> bool {
    true
}

impl Config {
    /// Checks what can be checked without asking the appliance.
    pub(crate) fn origin(&self) -> Result<Origin> {
        let wrong = |text: &str| Err(Error::new(ErrorKind::Config, text.to_owned()));
        let origin = Origin::parse(&self.url)?;
        if !origin.is_tls() {
            return wrong("the password of an SPS account does not travel over plain http")
                .map_err(|error| error.hint("use https://"));
        }
        if self.username.is_empty() || self.username.contains(':') {
            return wrong("username is empty or has a colon, which a Basic login cannot carry");
        }
        if self.user_forms.iter().any(|form| form.matches("{}").count() != 1) {
            return wrong("each of user_forms has {} once, where the bare name stands");
        }
        Ok(origin)
    }

    pub(crate) fn look_back(&self) -> Duration {
        Duration::from_hours(u64::from(self.look_back_hours))
    }
}
