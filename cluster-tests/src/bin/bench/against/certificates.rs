//! A CA for etcd, with one certificate for its members and one for its clients.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// Where members find theirs, and what clients speak.
pub(super) struct Certificates {
    pub(super) ca: PathBuf,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) client: Arc<ClientConfig>,
}

impl Certificates {
    /// Makes all of them.
    pub(super) fn make(folder: &Path) -> Self {
        let mut root = CertificateParams::new(Vec::new()).expect("no names");
        root.distinguished_name.push(DnType::CommonName, "etcd's CA");
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(root, KeyPair::generate().expect("a key"));
        let issuer = issuer.expect("a CA");
        let leaf = |purposes: &[ExtendedKeyUsagePurpose]| {
            let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
            let mut leaf = CertificateParams::new(names).expect("names");
            leaf.extended_key_usages = purposes.to_vec();
            let key = KeyPair::generate().expect("a key");
            (leaf.signed_by(&key, &issuer).expect("a certificate"), key)
        };
        // Members are clients of each other, too.
        let (certificate, key) =
            leaf(&[ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]);
        let [ca, at, key_at] = ["ca.crt", "member.crt", "member.key"].map(|name| folder.join(name));
        let texts = [issuer.pem(), certificate.pem(), key.serialize_pem()];
        for (path, text) in [&ca, &at, &key_at].into_iter().zip(texts) {
            fs::write(path, text).expect("a file");
        }
        let (own, key) = leaf(&[ExtendedKeyUsagePurpose::ClientAuth]);
        let client = client_of(issuer.der(), own.der(), &key);
        Self { ca, certificate: at, key: key_at, client }
    }
}

fn client_of(
    ca: &CertificateDer<'static>,
    own: &CertificateDer<'static>,
    key: &KeyPair,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone()).expect("a root");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = ClientConfig::builder().with_root_certificates(roots);
    let mut config = config.with_client_auth_cert(vec![own.clone()], key).expect("a client");
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}
