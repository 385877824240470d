//! TLS configurations over certificates that can be swapped while connections live.
//!
//! TLS 1.3 only, X25519MLKEM768 first, no tickets and no resumption: a resumed
//! session would not verify again. The server name that goes over the wire is a hello tag,
//! or there is none; it plays no part in whom either side trusts.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ServerConfig, SignatureScheme, version::TLS13};

use super::cuts::Cuts;
use super::exchange::{Groups, groups};
use super::hello::{Greeting, Recognition};
use super::peer::{ANY_MANAGER, Expect};
use super::verify::{Expecting, Verifier};
use crate::ca::{CaError, Identity, IssuerFloor, PrivateKey, key_digest, read_leaf};
use skep_core::base::{Clock, Dice, Fingerprint, SecretBytes};
use skep_core::seal::HelloKey;

/// The protocol spoken inside: HTTP/2, as gRPC needs.
const ALPN: &[u8] = b"h2";

/// A chain and its key, swappable: the next handshake uses what stands then.
#[derive(Clone)]
pub struct Credentials(Arc<Inner>);

struct Inner {
    shown: RwLock<Arc<CertifiedKey>>,
    /// How often others were put in their place.
    swapped: AtomicU64,
}

impl Credentials {
    /// From leaf, issuing CA, root (DER) and the key (PKCS#8 DER).
    ///
    /// # Errors
    /// [`CaError`] where the key is not the leaf's.
    pub fn new(chain: &[Vec<u8>], key: &SecretBytes) -> Result<Self, CaError> {
        let shown = RwLock::new(certified(chain, key)?);
        Ok(Self(Arc::new(Inner { shown, swapped: AtomicU64::new(0) })))
    }

    /// Puts others in their place.
    ///
    /// # Errors
    /// [`CaError`] where the key is not the leaf's; nothing changes then.
    pub fn swap(&self, chain: &[Vec<u8>], key: &SecretBytes) -> Result<(), CaError> {
        let next = certified(chain, key)?;
        *self.0.shown.write() = next;
        self.0.swapped.fetch_add(1, Ordering::Release);
        Ok(())
    }

    fn current(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.shown.read())
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

/// Shows nothing.
#[derive(Debug)]
struct NoCertificate;

impl ResolvesClientCert for NoCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// What a server needs: TLS 1.3 only, no tickets, client certificates optional
/// (none: `Caller::Anonymous`), chains must end in the root with `fingerprint`.
#[derive(Clone)]
pub struct ServerTls {
    pub(super) config: Result<Arc<ServerConfig>, rustls::Error>,
    pub(super) verifier: Arc<Verifier>,
    pub(super) cuts: Cuts,
    pub(super) recognition: Option<Recognition>,
}

impl ServerTls {
    /// Cuts off peers of the server that is given this.
    #[must_use]
    pub fn cuts(&self) -> Cuts {
        self.cuts.clone()
    }
    /// The same for a listener that tells members from strangers by their hello.
    #[must_use]
    pub fn recognising(self, recognition: Recognition) -> Self {
        Self { recognition: Some(recognition), ..self }
    }
    /// Builds the configuration.
    #[must_use]
    pub fn new(credentials: &Credentials, fingerprint: Fingerprint, clock: Arc<dyn Clock>) -> Self {
        Self::with(groups(), credentials, fingerprint, clock)
    }

    /// The same with other groups.
    pub(super) fn with(
        groups: Groups,
        credentials: &Credentials,
        fingerprint: Fingerprint,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let provider = provider(groups);
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
        Self { config, verifier, cuts: Cuts::default(), recognition: None }
    }
}

/// What a client needs: the server's chain must end in the root with
/// `fingerprint` and name a manager.
#[derive(Clone)]
pub struct ClientTls {
    config: Result<Arc<ClientConfig>, rustls::Error>,
    pub(super) verifier: Arc<Verifier>,
    greeting: Option<Greeting>,
    credentials: Option<Credentials>,
    /// Whether a manager whose certificate is out of its time is asked what time it is there.
    pub(super) asks_time: bool,
}

impl ClientTls {
    /// With a client certificate.
    #[must_use]
    pub fn new(credentials: &Credentials, fingerprint: Fingerprint, clock: Arc<dyn Clock>) -> Self {
        Self::build(groups(), Some(credentials), fingerprint, clock)
    }

    /// How often the certificate that is shown was swapped: a connection that was made before
    /// shows the one before.
    #[must_use]
    pub fn swapped(&self) -> u64 {
        self.credentials.as_ref().map_or(0, |own| own.0.swapped.load(Ordering::Acquire))
    }

    /// Which servers are refused for their issuing CA: raised, it holds for all of its clones
    /// and from the next handshake on.
    #[must_use]
    pub fn floor(&self) -> &IssuerFloor {
        self.verifier.floor()
    }

    /// With all that an identity file holds.
    ///
    /// # Errors
    /// [`CaError`] where its parts don't belong together.
    pub fn of(
        identity: &Identity,
        clock: Arc<dyn Clock>,
        dice: fn() -> Box<dyn Dice>,
    ) -> Result<Self, CaError> {
        Self::renewable(identity, clock, dice).map(|(tls, _own)| tls)
    }

    /// The same, and what is swapped where the certificate is renewed.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn renewable(
        identity: &Identity,
        clock: Arc<dyn Clock>,
        dice: fn() -> Box<dyn Dice>,
    ) -> Result<(Self, Credentials), CaError> {
        let leaf = identity.chain.first().ok_or(CaError::Malformed("chain of three"))?;
        let role = read_leaf(leaf)?.subject.role;
        // Copies of their own: the identity's stay with the identity.
        let key = SecretBytes::copy_of(identity.key.expose());
        let hello = HelloKey::parse(&identity.hello.to_bytes())
            .map_err(|_| CaError::Malformed("hello key"))?;
        let own = Credentials::new(&identity.chain, &key)?;
        let tls = Self::new(&own, identity.fingerprint, clock);
        tls.floor().raise(identity.oldest_issuer);
        Ok((tls.greeting(Greeting::new(hello, role, dice)), own))
    }

    /// Without one: for `join`.
    #[must_use]
    pub fn anonymous(fingerprint: Fingerprint, clock: Arc<dyn Clock>) -> Self {
        Self::build(groups(), None, fingerprint, clock)
    }

    /// The same for a member, whose connections managers tell from strangers'.
    #[must_use]
    pub fn greeting(self, greeting: Greeting) -> Self {
        Self { greeting: Some(greeting), ..self }
    }

    /// The same for messages of Raft: they are tried often, and never ask for the time.
    #[must_use]
    pub fn of_raft(&self) -> Self {
        let greeting = self.greeting.as_ref().map(Greeting::of_raft);
        Self { greeting, asks_time: false, ..self.clone() }
    }

    /// For one connection: whom it must reach is in the configuration, and what it says
    /// first is the name, which is sent where it is a hello.
    pub(super) fn connection(
        &self,
        expect: Expect,
    ) -> Result<(Arc<ClientConfig>, ServerName<'static>), rustls::Error> {
        let mut config = ClientConfig::clone(&*self.config.clone()?);
        let expecting = Expecting::new(Arc::clone(&self.verifier), expect.name());
        config.dangerous().set_certificate_verifier(Arc::new(expecting));
        let hello = self.greeting.as_ref();
        let hello = hello.and_then(|greeting| greeting.name(expect, self.verifier.now()));
        config.enable_sni = hello.is_some();
        let name = hello.unwrap_or_else(|| ANY_MANAGER.to_owned());
        let name = ServerName::try_from(name)
            .map_err(|_| rustls::Error::General("a hello that is no name".to_owned()))?;
        Ok((Arc::new(config), name))
    }

    /// The same for a connection over which nothing is asked but the time: it shows no
    /// certificate, and that of the manager need not be of this time.
    pub(super) fn connection_for_time(
        &self,
        expect: Expect,
    ) -> Result<(Arc<ClientConfig>, ServerName<'static>), rustls::Error> {
        let mut config = ClientConfig::clone(&*self.config.clone()?);
        let expecting = Expecting::new(Arc::clone(&self.verifier), expect.name()).of_any_time();
        config.dangerous().set_certificate_verifier(Arc::new(expecting));
        config.client_auth_cert_resolver = Arc::new(NoCertificate);
        config.enable_sni = false;
        let name = ServerName::try_from(ANY_MANAGER.to_owned());
        let name = name.map_err(|_| rustls::Error::General("a name that is none".to_owned()))?;
        Ok((Arc::new(config), name))
    }

    pub(super) fn build(
        groups: Groups,
        credentials: Option<&Credentials>,
        fingerprint: Fingerprint,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let provider = provider(groups);
        let verifier = Arc::new(Verifier::new(&provider, fingerprint, clock));
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&TLS13])
            .map(|builder| {
                // `dangerous` is rustls's word for a verifier of one's own.
                let any = Expecting::new(Arc::clone(&verifier), ANY_MANAGER.to_owned());
                let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(any));
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
        let credentials = credentials.cloned();
        Self { config, verifier, greeting: None, credentials, asks_time: true }
    }
}

/// aws-lc-rs with what both ends of this product speak, and no more.
fn provider(groups: Groups) -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: groups.to_vec(),
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
