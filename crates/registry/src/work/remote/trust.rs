//! Whom TLS believes: a file of certificates, or what this machine believes.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore, version};
use tokio_rustls::TlsConnector;

/// Certificates of a file.
const CERTIFICATES: usize = 1_024;

/// Roots of certificates, ready for connections.
#[derive(Clone)]
pub struct TrustedRoots(TlsConnector);

impl fmt::Debug for TrustedRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TrustedRoots")
    }
}

/// Why there are none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTrust {
    /// Of the file.
    #[error("it has no certificates in PEM, or more than {CERTIFICATES}")]
    File,
    /// Of one in it.
    #[error("certificate {0} in it doesn't read")]
    Certificate(usize),
    /// Of the machine.
    #[error("this machine believes no certificates: {0}")]
    Machine(String),
    /// The library.
    #[error("TLS can't be set up: {0}")]
    Tls(String),
}

impl TrustedRoots {
    /// The certificates of a file, in PEM, and no others.
    ///
    /// # Errors
    /// There are none in it.
    pub fn of_file(text: &[u8]) -> Result<Self, BadTrust> {
        let mut roots = RootCertStore::empty();
        for (number, certificate) in CertificateDer::pem_slice_iter(text).enumerate() {
            let certificate = certificate.map_err(|_| BadTrust::File)?;
            if number == CERTIFICATES {
                return Err(BadTrust::File);
            }
            roots.add(certificate).map_err(|_| BadTrust::Certificate(number + 1))?;
        }
        if roots.is_empty() { Err(BadTrust::File) } else { Self::of(roots) }
    }

    /// What this machine believes, as its other programs do.
    ///
    /// # Errors
    /// Nothing is found.
    pub fn of_machine() -> Result<Self, BadTrust> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        // One that doesn't read is believed by nobody.
        let (added, _passed_over) = roots.add_parsable_certificates(found.certs);
        if added > 0 {
            return Self::of(roots);
        }
        let why = found.errors.first().map(ToString::to_string);
        Err(BadTrust::Machine(why.unwrap_or_else(|| "no file of them is found".to_owned())))
    }

    /// TLS 1.3 alone, as everything of Skep.
    fn of(roots: RootCertStore) -> Result<Self, BadTrust> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|error| BadTrust::Tls(error.to_string()))?;
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    pub(super) fn connector(&self) -> &TlsConnector {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_certificates_that_read() {
        let of = |text: &str| TrustedRoots::of_file(text.as_bytes()).map(|_| ());
        let pem = |body: &str| {
            format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
        };
        assert_eq!(of(""), Err(BadTrust::File));
        assert_eq!(of("hello"), Err(BadTrust::File));
        assert_eq!(of(&pem("!!")), Err(BadTrust::File));
        assert_eq!(of(&pem("AAAA")), Err(BadTrust::Certificate(1)));
        let key = rcgen::KeyPair::generate().unwrap();
        let good = rcgen::CertificateParams::new(["a".to_owned()]).unwrap();
        let good = good.self_signed(&key).unwrap().pem();
        assert_eq!(of(&good), Ok(()));
        assert_eq!(of(&good.repeat(CERTIFICATES + 1)), Err(BadTrust::File));
    }
}
