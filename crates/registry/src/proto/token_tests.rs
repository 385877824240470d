use data_encoding::BASE64URL_NOPAD;
use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;
use time::OffsetDateTime;

use super::*;

fn pair(from: i64, until: i64) -> (String, String) {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.not_before = OffsetDateTime::from_unix_timestamp(from).unwrap();
    params.not_after = OffsetDateTime::from_unix_timestamp(until).unwrap();
    (key.serialize_pem(), params.self_signed(&key).unwrap().pem())
}

fn claims(granted: &[Scope], issued_s: u64) -> Claims<'_> {
    Claims {
        issuer: "i",
        subject: "alice",
        service: "r",
        issued_s,
        life_s: 300,
        jti: "00",
        credential: Some("a.b"),
        granted,
    }
}

fn part(token: &str, number: usize) -> Value {
    let part = token.split('.').nth(number).unwrap();
    serde_json::from_slice(&BASE64URL_NOPAD.decode(part.as_bytes()).unwrap()).unwrap()
}

#[test]
fn a_token_says_what_was_granted() {
    let (key, chain) = pair(1_000, 10_000);
    let signer = Signer::read(key.as_bytes(), chain.as_bytes()).unwrap();
    let granted = ["repository:a/b:pull,push", "repository(plugin):c:pull", "registry:catalog:*"]
        .map(|text| Scope::parse(text).unwrap());
    let signed = signer.sign(&claims(&granted, 2_000)).unwrap();
    let (header, body) = (part(&signed.token, 0), part(&signed.token, 1));
    assert_eq!(header["alg"], "ES256");
    assert_eq!(header["x5c"].as_array().unwrap().len(), 1);
    let kid = header["kid"].as_str().unwrap();
    assert!(kid.len() == 59 && kid.split(':').count() == 12, "{kid}");
    assert_eq!((&body["iat"], &body["exp"]), (&2_000.into(), &2_300.into()));
    assert_eq!((&body["aud"], &body["sub"]), (&"r".into(), &"alice".into()));
    assert_eq!(
        body["access"].to_string(),
        r#"[{"actions":["pull","push"],"name":"a/b","type":"repository"},{"actions":["pull"],"class":"plugin","name":"c","type":"repository"},{"actions":["*"],"name":"catalog","type":"registry"}]"#
    );
    assert_eq!(body["cred"], "a.b");
}

#[test]
fn tokens_end_before_the_leaf() {
    let (key, chain) = pair(1_000, 10_000);
    let signer = Signer::read(key.as_bytes(), chain.as_bytes()).unwrap();
    let life = |issued| signer.sign(&claims(&[], issued)).map(|signed| signed.life_s);
    assert_eq!(life(9_000), Ok(300));
    assert_eq!(life(9_800), Ok(199));
    assert_eq!(life(9_999), Err(BadSigner::Time));
    assert_eq!(life(999), Err(BadSigner::Time));
}

#[test]
fn key_and_chain_belong_together() {
    let (key, chain) = pair(1_000, 10_000);
    let (other, _) = pair(1_000, 10_000);
    let read = |key: &str, chain: &str| Signer::read(key.as_bytes(), chain.as_bytes()).err();
    assert_eq!(read(&key, &chain), None);
    assert_eq!(read(&other, &chain), Some(BadSigner::Pair));
    assert_eq!(read("", &chain), Some(BadSigner::Key));
    assert_eq!(read(&key, ""), Some(BadSigner::Chain));
    assert_eq!(read(&key, &chain.repeat(5)), Some(BadSigner::Chain));
    assert_eq!(read(&key, &chain.replace("MII", "AAA")), Some(BadSigner::Chain));
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap().serialize_pem();
    assert_eq!(read(&p384, &chain), Some(BadSigner::Key));
}
