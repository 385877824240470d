//! A cluster's certificates, for tests.

#![allow(
    missing_docs,
    missing_debug_implementations,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::missing_errors_doc,
    reason = "helpers of tests say by their names what they make, and fail by panicking"
)]

use super::{CertificateRole, Issuer, PrivateKey, Root, Subject};
use skep_core::base::{ClusterId, Fingerprint, NodeId, OperatorId, SecretBytes, Stamp};

/// A time in 2027.
pub const NOW: Stamp = Stamp(1_800_000_000_000);
/// How long leaves live where a test does not say.
pub const LEAF_MS: u64 = 24 * 60 * 60 * 1000;

/// A root and an issuing CA.
pub struct Authority {
    pub cluster: ClusterId,
    pub root: Root,
    pub issuing: Vec<u8>,
    pub issuer: Issuer,
}

/// A chain and its key.
pub struct Holder {
    pub chain: Vec<Vec<u8>>,
    pub key: PrivateKey,
}

pub fn manager(id: u8) -> CertificateRole {
    CertificateRole::Manager(NodeId::from_bytes([id; 16]))
}

pub fn worker(id: u8) -> CertificateRole {
    CertificateRole::Worker(NodeId::from_bytes([id; 16]))
}

pub fn operator(id: u8) -> CertificateRole {
    CertificateRole::Operator(OperatorId::from_bytes([id; 16]))
}

impl Authority {
    pub fn new(cluster: u8) -> Self {
        let cluster = ClusterId::from_bytes([cluster; 16]);
        let root = Root::generate(cluster, &"prod".parse().expect("a name"), NOW);
        let root = root.expect("a root");
        let key = PrivateKey::generate().expect("a key");
        let issuing = root.sign_issuing(&key.public(), cluster, NOW).expect("an issuing CA");
        let issuer = Issuer::new(issuing.clone(), key).expect("an issuer");
        Self { cluster, root, issuing, issuer }
    }

    /// The same cluster's with the issuing CA that comes after this one.
    #[must_use]
    pub fn rotated(&self) -> Self {
        let key = PrivateKey::from_pkcs8(SecretBytes::copy_of(self.root.key.expose()));
        let root = Root::new(self.root.certificate.clone(), key.expect("a key")).expect("a root");
        let key = PrivateKey::generate().expect("a key");
        let after = self.issuer.begins();
        let issuing = root.sign_issuing_after(&key.public(), self.cluster, NOW, after);
        let issuing = issuing.expect("an issuing CA");
        let issuer = Issuer::new(issuing.clone(), key).expect("an issuer");
        Self { cluster: self.cluster, root, issuing, issuer }
    }

    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of_root(&self.root.certificate)
    }

    pub fn subject(&self, role: CertificateRole) -> Subject {
        Subject { cluster: self.cluster, role, name: "some-name".parse().expect("a name") }
    }

    /// A chain for `role` from about `starts`, for [`LEAF_MS`].
    pub fn holder_from(&self, role: CertificateRole, starts: Stamp) -> Holder {
        let key = PrivateKey::generate().expect("a key");
        let ends = starts.plus_ms(LEAF_MS);
        let leaf = self.issuer.sign_leaf(&key.public(), &self.subject(role), starts, ends);
        let chain =
            vec![leaf.expect("a leaf"), self.issuing.clone(), self.root.certificate.clone()];
        Holder { chain, key }
    }

    pub fn holder(&self, role: CertificateRole) -> Holder {
        self.holder_from(role, NOW)
    }
}

impl Holder {
    pub fn secret(&self) -> SecretBytes {
        SecretBytes::copy_of(self.key.expose())
    }
}
