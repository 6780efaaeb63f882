//! Where a secret is kept: the configuration names the place, never the secret.

use std::fs;

use fedaudit_core::{Error, ErrorKind, Result, Secret};
use serde::{Deserialize, Deserializer};

/// A reference to a secret: `env:NAME` or `file:PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRef {
    /// The value of an environment variable.
    Env(String),
    /// The first line of a file.
    File(String),
}

impl SecretRef {
    /// Reads the secret.
    pub fn resolve(&self) -> Result<Secret> {
        let text = match self {
            Self::Env(name) => std::env::var(name).map_err(|error| {
                // The error's own text would show a value that is no UTF-8.
                let why = match error {
                    std::env::VarError::NotPresent => "is not set",
                    std::env::VarError::NotUnicode(_) => "is no UTF-8",
                };
                Error::new(ErrorKind::Config, format!("environment variable {name} {why}"))
                    .hint(format!("set {name}, or point the configuration at a file with \"file:PATH\""))
            })?,
            Self::File(path) => fs::read_to_string(path).map_err(|error| {
                Error::new(ErrorKind::Config, format!("secret file {path}: {error}"))
                    .hint("the file holds the secret on its first line and should be readable by you alone (mode 0600)")
            })?,
        };
        let secret = text.lines().next().unwrap_or_default().trim_end_matches('\r');
        if secret.is_empty() {
            return Err(Error::new(ErrorKind::Config, format!("the secret at {self} is empty")));
        }
        Ok(Secret::new(secret))
    }
}

impl std::fmt::Display for SecretRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{path}"),
        }
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Ok(Self::Env(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.to_owned())),
            // The text itself is not repeated: somebody may have written the secret here.
            _ => Err(serde::de::Error::custom(
                "a secret is given as \"env:NAME\" or \"file:PATH\", never as the secret itself",
            )),
        }
    }
}
