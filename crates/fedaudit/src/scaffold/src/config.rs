//! What users write in their `[[source]]` besides name and type.

use fedaudit_transport::{ProxyConfig, SecretRef, TlsConfig};
use serde::Deserialize;

/// Settings of one source. Unknown keys are errors; the token is a reference, never the token itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub(crate) url: String,
    #[serde(default)]
    pub(crate) tls: TlsConfig,
    #[serde(default)]
    pub(crate) proxy: ProxyConfig,
    pub(crate) token: SecretRef,
}
