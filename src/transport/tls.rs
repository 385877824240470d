//! TLS configurations over certificates that can be swapped while connections live.
//!
//! TLS 1.3 only, X25519MLKEM768 first, no tickets and no resumption: a resumed
//! session would not verify again. No server name goes over the wire.

use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ServerConfig, SignatureScheme, version::TLS13};

use super::Cuts;
use super::verify::Verifier;
use crate::base::{Clock, Fingerprint, SecretBytes};
use crate::ca::{CaError, PrivateKey, key_digest, read_leaf};

/// The protocol spoken inside: HTTP/2, as gRPC needs.
const ALPN: &[u8] = b"h2";

/// A chain and its key, swappable: the next handshake uses what stands then.
#[derive(Clone)]
pub struct Credentials(Arc<RwLock<Arc<CertifiedKey>>>);

impl Credentials {
    /// From leaf, issuing CA, root (DER) and the key (PKCS#8 DER).
    ///
    /// # Errors
    /// [`CaError`] where the key is not the leaf's.
    pub fn new(chain: &[Vec<u8>], key: &SecretBytes) -> Result<Self, CaError> {
        Ok(Self(Arc::new(RwLock::new(certified(chain, key)?))))
    }

    /// Puts others in their place.
    ///
    /// # Errors
    /// [`CaError`] where the key is not the leaf's; nothing changes then.
    pub fn swap(&self, chain: &[Vec<u8>], key: &SecretBytes) -> Result<(), CaError> {
        let next = certified(chain, key)?;
        *self.0.write() = next;
        Ok(())
    }

    fn current(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.read())
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

fn certified(chain: &[Vec<u8>], key: &SecretBytes) -> Result<Arc<CertifiedKey>, CaError> {
    let [leaf, _, _] = chain else {
        return Err(CaError::Malformed("chain of three certificates"));
    };
    let leaf = read_leaf(leaf)?;
    let private = PrivateKey::from_pkcs8(SecretBytes::copy_of(key.expose()))?;
    if leaf.key != key_digest(&private.public()) {
        return Err(CaError::Malformed("key of this certificate"));
    }
    let signing = aws_lc_rs::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(private.expose()))
        .map_err(|_| CaError::Malformed("private key"))?;
    let chain = chain.iter().cloned().map(CertificateDer::from).collect();
    Ok(Arc::new(CertifiedKey::new(chain, signing)))
}

impl ResolvesServerCert for Credentials {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        hello.signature_schemes().contains(&SignatureScheme::ED25519).then(|| self.current())
    }
}

impl ResolvesClientCert for Credentials {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        schemes.contains(&SignatureScheme::ED25519).then(|| self.current())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// What a server needs: TLS 1.3 only, no tickets, client certificates optional
/// (none: `Caller::Anonymous`), chains must end in the root with `fingerprint`.
#[derive(Clone)]
pub struct ServerTls {
    pub(super) config: Result<Arc<ServerConfig>, rustls::Error>,
    pub(super) verifier: Arc<Verifier>,
    pub(super) cuts: Cuts,
}

impl ServerTls {
    /// Cuts off peers of the server that is given this.
    #[must_use]
    pub fn cuts(&self) -> Cuts {
        self.cuts.clone()
    }
    /// Builds the configuration.
    #[must_use]
    pub fn new(credentials: &Credentials, fingerprint: Fingerprint, clock: Arc<dyn Clock>) -> Self {
        let provider = provider();
        let verifier = Arc::new(Verifier::new(&provider, fingerprint, clock));
        let config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&TLS13])
            .map(|builder| {
                let builder = builder.with_client_cert_verifier(Arc::<Verifier>::clone(&verifier));
                let mut config = builder.with_cert_resolver(Arc::new(credentials.clone()));
                config.alpn_protocols = vec![ALPN.to_vec()];
                config.send_tls13_tickets = 0;
                config.session_storage = Arc::new(NoServerSessionStorage {});
                config.max_early_data_size = 0;
                Arc::new(config)
            });
        Self { config, verifier, cuts: Cuts::default() }
    }
}

/// What a client needs: the server's chain must end in the root with
/// `fingerprint` and name a manager.
#[derive(Clone)]
pub struct ClientTls {
    pub(super) config: Result<Arc<ClientConfig>, rustls::Error>,
    pub(super) verifier: Arc<Verifier>,
}

impl ClientTls {
    /// With a client certificate.
    #[must_use]
    pub fn new(credentials: &Credentials, fingerprint: Fingerprint, clock: Arc<dyn Clock>) -> Self {
        Self::build(Some(credentials), fingerprint, clock)
    }

    /// Without one: for `join`.
    #[must_use]
    pub fn anonymous(fingerprint: Fingerprint, clock: Arc<dyn Clock>) -> Self {
        Self::build(None, fingerprint, clock)
    }

    fn build(
        credentials: Option<&Credentials>,
        fingerprint: Fingerprint,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let provider = provider();
        let verifier = Arc::new(Verifier::new(&provider, fingerprint, clock));
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&TLS13])
            .map(|builder| {
                // `dangerous` is rustls's word for a verifier of one's own.
                let builder = builder
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::<Verifier>::clone(&verifier));
                let mut config = match credentials {
                    Some(own) => builder.with_client_cert_resolver(Arc::new(own.clone())),
                    None => builder.with_no_client_auth(),
                };
                config.alpn_protocols = vec![ALPN.to_vec()];
                config.resumption = Resumption::disabled();
                config.enable_sni = false;
                config.enable_early_data = false;
                Arc::new(config)
            });
        Self { config, verifier }
    }
}

/// aws-lc-rs with what both ends of this product speak, and no more.
fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519],
        ..aws_lc_rs::default_provider()
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientTls")
    }
}
