//! Whom to trust: the system's roots, a CA file, one pinned certificate, or (loudly) anybody.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fedaudit_core::key::sha256_hex;
use fedaudit_core::{Error, ErrorKind, Result};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde::Deserialize;

use crate::Origin;

/// `tls = { … }` of a source: whom it trusts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Keys")]
pub enum TlsConfig {
    /// The system's roots.
    #[default]
    System,
    /// The certificate authorities of this PEM file, and no others. It is read when the first connection is made.
    CaFile(PathBuf),
    /// The one certificate (DER) with this SHA-256, 64 lower-case hex digits. Name and chain are not looked at then.
    Pinned(String),
    /// Anybody. For a laboratory.
    Insecure,
}

/// The keys as they are written; at most one says something.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    ca_file: Option<PathBuf>,
    pin_sha256: Option<String>,
    #[serde(default)]
    insecure: bool,
}

impl TryFrom<Keys> for TlsConfig {
    type Error = String;

    fn try_from(keys: Keys) -> Result<Self, String> {
        match (keys.ca_file, keys.pin_sha256, keys.insecure) {
            (None, None, false) => Ok(Self::System),
            (Some(path), None, false) => Ok(Self::CaFile(path)),
            (None, Some(pin), false) => {
                let pin: String = pin.chars().filter(|c| *c != ':').map(|c| c.to_ascii_lowercase()).collect();
                if pin.len() != 64 || !pin.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    let command = "openssl x509 -in server.pem -noout -fingerprint -sha256";
                    return Err(format!("pin_sha256 is not 64 hex digits as `{command}` prints them"));
                }
                Ok(Self::Pinned(pin))
            }
            (None, None, true) => Ok(Self::Insecure),
            _ => Err("ca_file, pin_sha256 and insecure exclude each other".into()),
        }
    }
}

impl TlsConfig {
    /// The rustls configuration for a source; reads the CA file.
    pub(crate) fn client_config(&self, origin: &Origin, protocols: &[&[u8]]) -> Result<Arc<ClientConfig>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::new(ErrorKind::Internal, format!("TLS set-up: {error}")))?;
        let one = |pin| builder.clone().dangerous().with_custom_certificate_verifier(Pinned::new(pin, &provider));
        let mut config = match self {
            Self::Pinned(pin) => one(Some(pin.clone())).with_no_client_auth(),
            Self::Insecure => {
                tracing::warn!(%origin, "TLS verification is OFF for this source: anybody can answer in its name");
                one(None).with_no_client_auth()
            }
            Self::CaFile(path) => builder.with_root_certificates(authorities(path)?).with_no_client_auth(),
            // Looking for the system's roots takes a while, and a connection in clear needs none.
            Self::System if !origin.is_tls() => {
                builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth()
            }
            Self::System => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                builder.with_root_certificates(roots).with_no_client_auth()
            }
        };
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(Arc::new(config))
    }
}

/// The certificates of a CA file.
fn authorities(path: &Path) -> Result<RootCertStore> {
    let wrong = |text: String| Error::new(ErrorKind::Config, text).at(format!("ca_file {}", path.display()));
    let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_reader_iter(BufReader::new(file)) {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() { Err(wrong("there is no certificate in it".into())) } else { Ok(roots) }
}

/// Accepts one certificate, or every one; the handshake itself is still verified.
#[derive(Debug)]
struct Pinned {
    pin: Option<String>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Pinned {
    fn new(pin: Option<String>, provider: &CryptoProvider) -> Arc<Self> {
        Arc::new(Self { pin, algorithms: provider.signature_verification_algorithms })
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let seen = sha256_hex(certificate);
        match &self.pin {
            Some(pin) if pin.as_bytes() != seen => Err(rustls::Error::General(format!(
                "the certificate is not the pinned one; its SHA-256 is {}",
                String::from_utf8_lossy(&seen)
            ))),
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
