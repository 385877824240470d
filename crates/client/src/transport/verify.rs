//! The verifier: the only place where a chain becomes a [`Peer`].

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    PeerIncompatible, SignatureScheme,
};

use super::clocks::OutOfTime;
use super::peer::{ANY_MANAGER, Caller, Peer};
use crate::ca::{
    CaError, CertificateRole, Issued, IssuerFloor, Leaf, issuer_begins, read_leaf, verify_issued,
};
use skep_core::base::{Clock, Fingerprint, Stamp};

/// Why a peer was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotAccepted {
    /// Its chain is not right.
    #[error("its certificate {0}")]
    Chain(CaError),
    /// The chain is right but for the time.
    #[error("its certificate is not of this time")]
    OutOfTime(OutOfTime, Stamp),
    /// A worker or operator in a manager's place.
    #[error("its certificate is not a manager's")]
    NotAManager,
    /// Its issuing CA was replaced, and whoever has its key could make such a chain.
    #[error("its certificate was made by an issuing CA that is in use no more")]
    Retired,
    /// A manager, but another one.
    #[error("it is another manager: {found}")]
    OtherManager {
        /// The id in its certificate.
        found: String,
    },
}

/// Verifies servers for clients, and clients for servers.
pub(super) struct Verifier {
    algorithms: WebPkiSupportedAlgorithms,
    fingerprint: Fingerprint,
    clock: Arc<dyn Clock>,
    floor: IssuerFloor,
}

impl Verifier {
    pub(super) fn new(
        provider: &CryptoProvider,
        fingerprint: Fingerprint,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let algorithms = provider.signature_verification_algorithms;
        Self { algorithms, fingerprint, clock, floor: IssuerFloor::default() }
    }

    /// The issuing CAs that servers may not show any more. Clients may: they must be able to
    /// ask for another certificate, and what else they may not is said call by call.
    pub(super) fn floor(&self) -> &IssuerFloor {
        &self.floor
    }

    /// What time it is for certificates.
    pub(super) fn now(&self) -> Stamp {
        self.clock.now()
    }

    /// Who sent this chain; no certificate at all is [`Caller::Anonymous`].
    pub(super) fn caller<'a>(
        &self,
        chain: impl ExactSizeIterator<Item = &'a CertificateDer<'a>>,
    ) -> Result<Caller, NotAccepted> {
        if chain.len() == 0 {
            return Ok(Caller::Anonymous);
        }
        // One more than a chain has is enough to see that it is too long.
        let chain: Vec<Vec<u8>> = chain.take(4).map(|der| der.to_vec()).collect();
        let now = self.clock.now();
        match verify_issued(&chain, self.fingerprint, now) {
            Ok(issued) => Ok(Caller::Peer(Peer::verified(issued))),
            Err(CaError::Expired) => {
                // All else is right. What has not begun is nobody's yet.
                let [leaf, issuing, _] = chain.as_slice() else {
                    return Err(NotAccepted::Chain(CaError::Expired));
                };
                let (Ok(leaf), Ok(issuer)) = (read_leaf(leaf), issuer_begins(issuing)) else {
                    return Err(NotAccepted::Chain(CaError::Expired));
                };
                if leaf.ends > now {
                    let out = OutOfTime::of(leaf.starts, leaf.ends, now);
                    return Err(NotAccepted::OutOfTime(out, now));
                }
                Ok(Caller::Expired(Peer::verified(Issued { leaf, issuer })))
            }
            Err(error) => Err(NotAccepted::Chain(error)),
        }
    }

    /// The manager that sent this chain, whatever time it is: for [`super::clocks`] alone.
    pub(super) fn manager_of_any_time<'a>(
        &self,
        chain: impl ExactSizeIterator<Item = &'a CertificateDer<'a>>,
        name: &str,
    ) -> Result<Peer, NotAccepted> {
        let chain: Vec<Vec<u8>> = chain.take(4).map(|der| der.to_vec()).collect();
        let leaf = chain.first().ok_or(CaError::Malformed("certificate"));
        let starts = leaf.and_then(|leaf| read_leaf(leaf)).map(|leaf| leaf.starts);
        let issued = starts.and_then(|now| verify_issued(&chain, self.fingerprint, now));
        self.named(Peer::verified(issued.map_err(NotAccepted::Chain)?), name)
    }

    /// The manager that sent this chain, if it is the one that `name` says.
    pub(super) fn manager<'a>(
        &self,
        chain: impl ExactSizeIterator<Item = &'a CertificateDer<'a>>,
        name: &str,
    ) -> Result<Peer, NotAccepted> {
        let peer = match self.caller(chain)? {
            Caller::Peer(peer) => peer,
            Caller::Expired(peer) => {
                let (leaf, now) = (peer.leaf(), self.clock.now());
                let out = OutOfTime::of(leaf.starts, leaf.ends, now);
                return Err(NotAccepted::OutOfTime(out, now));
            }
            Caller::Anonymous => {
                return Err(NotAccepted::Chain(CaError::Malformed("certificate")));
            }
        };
        self.named(peer, name)
    }

    /// This peer, if it is a manager, and the one that `name` says.
    fn named(&self, peer: Peer, name: &str) -> Result<Peer, NotAccepted> {
        if self.floor.refuses(peer.issuer()) {
            return Err(NotAccepted::Retired);
        }
        let Leaf { subject, .. } = peer.leaf();
        if !matches!(subject.role, CertificateRole::Manager(_)) {
            return Err(NotAccepted::NotAManager);
        }
        if name != ANY_MANAGER && name != subject.role.dns_name() {
            return Err(NotAccepted::OtherManager { found: subject.role.id_text() });
        }
        Ok(peer)
    }

    fn signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }
}

/// Verifies the server of one connection. Whom the caller expects stands here and not in the
/// name that rustls hands over: that one is what is sent, and plays no part.
#[derive(Debug)]
pub(super) struct Expecting {
    verifier: Arc<Verifier>,
    name: String,
    /// Its certificate need not be of this time.
    of_any_time: bool,
}

impl Expecting {
    pub(super) fn new(verifier: Arc<Verifier>, name: String) -> Self {
        Self { verifier, name, of_any_time: false }
    }

    /// For a connection over which nothing is asked but the time.
    pub(super) fn of_any_time(self) -> Self {
        Self { of_any_time: true, ..self }
    }
}

/// Leaf and the rest, as rustls hands them over, in one list.
fn whole<'a>(
    leaf: &'a CertificateDer<'a>,
    rest: &'a [CertificateDer<'a>],
) -> impl ExactSizeIterator<Item = &'a CertificateDer<'a>> {
    let mut all = Vec::with_capacity(1 + rest.len());
    all.push(leaf);
    all.extend(rest);
    all.into_iter()
}

fn refusal(error: NotAccepted) -> Error {
    Error::InvalidCertificate(match error {
        NotAccepted::OutOfTime(out, now) => out.refusal(now),
        other => CertificateError::Other(OtherError(Arc::new(other))),
    })
}

impl ServerCertVerifier for Expecting {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _sent: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = whole(leaf, rest);
        let found = if self.of_any_time {
            self.verifier.manager_of_any_time(chain, &self.name)
        } else {
            self.verifier.manager(chain, &self.name)
        };
        found.map_err(refusal)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.caller(whole(leaf, rest)).map_err(refusal)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({})", self.fingerprint)
    }
}
