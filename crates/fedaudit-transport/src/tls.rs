//! Whom to trust: the system's roots, a CA file, one pinned certificate, or (loudly) anybody.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
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

/// `tls = { … }` of a source. Empty means: the system's roots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file with the certificate authorities to trust, and no others.
    pub ca_file: Option<PathBuf>,
    /// SHA-256 of the server's certificate (DER), hex, with or without colons. Name and chain are not looked at then.
    pub pin_sha256: Option<String>,
    /// Trust anybody. For a laboratory.
    #[serde(default)]
    pub insecure: bool,
}

impl TlsConfig {
    /// The rustls configuration for a source; reads the CA file.
    pub(crate) fn client_config(&self, origin: &Origin, protocols: &[&[u8]]) -> Result<Arc<ClientConfig>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::new(ErrorKind::Internal, format!("TLS set-up: {error}")))?;
        let mut config = match self.trust(origin)? {
            Trust::Roots(roots) => builder.with_root_certificates(roots).with_no_client_auth(),
            Trust::Pin(pin) => builder
                .dangerous()
                .with_custom_certificate_verifier(Pinned::new(Some(pin), &provider))
                .with_no_client_auth(),
            Trust::Anybody => {
                builder.dangerous().with_custom_certificate_verifier(Pinned::new(None, &provider)).with_no_client_auth()
            }
        };
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(Arc::new(config))
    }

    fn trust(&self, origin: &Origin) -> Result<Trust> {
        let wrong = |text: String| Error::new(ErrorKind::Config, text).at("tls");
        match (&self.ca_file, &self.pin_sha256, self.insecure) {
            (Some(_), Some(_), _) | (Some(_), _, true) | (_, Some(_), true) => {
                Err(wrong("ca_file, pin_sha256 and insecure exclude each other".into()))
            }
            (Some(path), None, false) => {
                let name = path.display();
                let file = File::open(path).map_err(|error| wrong(format!("ca_file {name}: {error}")))?;
                let mut roots = RootCertStore::empty();
                for certificate in CertificateDer::pem_reader_iter(BufReader::new(file)) {
                    let certificate = certificate.map_err(|error| wrong(format!("ca_file {name}: {error}")))?;
                    roots.add(certificate).map_err(|error| wrong(format!("ca_file {name}: {error}")))?;
                }
                if roots.is_empty() {
                    return Err(wrong(format!("ca_file {name} holds no certificate")));
                }
                Ok(Trust::Roots(roots))
            }
            (None, Some(pin), false) => {
                let pin: String = pin.chars().filter(|c| *c != ':').map(|c| c.to_ascii_lowercase()).collect();
                if pin.len() != 64 || !pin.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return Err(wrong("pin_sha256 is not 64 hex digits".into())
                        .hint("openssl x509 -in server.pem -noout -fingerprint -sha256 prints it"));
                }
                Ok(Trust::Pin(pin))
            }
            (None, None, true) => {
                tracing::warn!(%origin, "TLS verification is OFF for this source: anybody can answer in its name");
                Ok(Trust::Anybody)
            }
            (None, None, false) if !origin.is_tls() => Ok(Trust::Roots(RootCertStore::empty())),
            (None, None, false) => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                Ok(Trust::Roots(roots))
            }
        }
    }
}

enum Trust {
    Roots(RootCertStore),
    Pin(String),
    Anybody,
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
