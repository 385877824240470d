//! Whom a password is sent to: a server whose certificate is believed.

use std::io::Write as _;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

use crate::fake::{Fake, answer};
use crate::{PASSWORD, lists, registry};

/// A CA and a server's configuration for this name.
fn believed(name: &str) -> (String, Arc<ServerConfig>) {
    let (ca_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = ca.self_signed(&ca_key).unwrap().pem();
    let leaf = CertificateParams::new([name.to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &Issuer::from_params(&ca, &ca_key)).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    (root, Arc::new(config))
}

fn secure(config: Arc<ServerConfig>, realm: &'static str) -> Fake {
    let answers = move |request: &crate::fake::Request, host: &str| {
        let challenge = format!("www-authenticate: Bearer realm=\"{realm}{host}/auth\"\r\n");
        match request.path.as_str() {
            "/v2/" => answer(401, &challenge, "{}"),
            "/auth" => answer(200, "", r#"{"token":"t"}"#),
            _ => lists(request, host),
        }
    };
    Fake::start_over(answers, move |stream| {
        StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream)
    })
}

#[test]
fn a_certificate_is_believed_by_its_ca_and_name() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        path.display().to_string()
    };
    let (root, config) = believed("127.0.0.1");
    let (other_root, other) = believed("other.example");
    let (ca, foreign) = (file("ca.crt", &root), file("other.crt", &other_root));
    let fake = secure(config, "https://");
    let host = fake.host();
    let ask = |host: &str, more: &[&str]| {
        registry(&[&["token", "-u", "alice", host], more].concat(), PASSWORD.as_bytes())
    };
    let told = ask(&host, &["--ca", &ca]);
    assert_eq!((told.status, told.out.as_str(), told.err.as_str()), (0, "t\n", ""));
    let before = fake.asked().len();
    // Another CA, none of this machine's, no TLS, another name: no password is sent.
    let named = secure(other, "https://");
    for (host, more) in [
        (&host, &["--ca", foreign.as_str()][..]),
        (&host, &[]),
        (&host, &["--plain-http"]),
        (&named.host(), &["--ca", &foreign]),
    ] {
        let told = ask(host, more);
        assert_eq!((told.status, told.out.as_str()), (3, ""), "{more:?}: {}", told.err);
        assert!(told.err.contains("\nhint: "), "{}", told.err);
    }
    assert_eq!((fake.asked().len(), named.asked().len()), (before, 0));
}

#[test]
fn a_registry_with_tls_sends_nobody_to_a_token_server_without() {
    let (root, config) = believed("127.0.0.1");
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("ca.crt");
    std::fs::File::create(&path).unwrap().write_all(root.as_bytes()).unwrap();
    let fake = secure(config, "http://");
    let ca = path.display().to_string();
    let words = ["token", "-u", "alice", &fake.host(), "--ca", &ca];
    let told = registry(&words, PASSWORD.as_bytes());
    assert_eq!(told.status, 1, "{}", told.err);
    assert!(told.err.contains("without TLS"), "{}", told.err);
    assert_eq!(fake.asked(), ["/v2/"]);
}
