//! The server's own certificate, which may be another one for each connection.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, version};

pub(super) const KEY: &str = "tls.key";
pub(super) const CHAIN: &str = "tls.crt";
/// Certificates of a chain.
const CERTIFICATES: usize = 8;

/// Why a key and a chain are not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadPair {
    #[error("no private key in PEM")]
    Key,
    #[error("no chain of 1 to {CERTIFICATES} certificates in PEM")]
    Chain,
    #[error("not the certificate of tls.key")]
    Pair,
}

impl BadPair {
    pub(super) fn file(self) -> &'static str {
        match self {
            Self::Key => KEY,
            Self::Chain | Self::Pair => CHAIN,
        }
    }
}

/// A key and its chain.
pub(super) fn certified(key: &[u8], chain: &[u8]) -> Result<CertifiedKey, BadPair> {
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| BadPair::Key)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
    let chain = chain.ok().filter(|chain| (1..=CERTIFICATES).contains(&chain.len()));
    let chain = chain.ok_or(BadPair::Chain)?;
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|_| BadPair::Pair)
}

/// The certificate that is shown now.
#[derive(Default)]
pub(super) struct Shown(Mutex<Option<Arc<CertifiedKey>>>);

impl Shown {
    /// Whether there is one to show.
    pub(super) fn is_there(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Shows another one from now on.
    pub(super) fn set(&self, pair: Arc<CertifiedKey>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(pair);
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// TLS 1.3, which every engine of the last years speaks; HTTP/1.1.
pub(super) fn config(shown: Arc<Shown>) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let versions = [&version::TLS13];
    let builder =
        ServerConfig::builder_with_provider(provider).with_protocol_versions(&versions)?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(shown);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
