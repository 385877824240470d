//! A policy against right keys and wrong ones, other tags, other digests, and garbage.

use std::slice::from_ref;

use super::*;
use crate::rules::counting::Counting;
use crate::rules::signing::cosign_key::tests::key as cosign_key;
use crate::rules::signing::oci::digest_of;
use crate::rules::signing::openpgp::OpenPgpKey;
use crate::rules::signing::policy::written::Written;

const AT_S: u64 = 1_800_000_000;
const HOST: &str = "r.example:5000";

fn pgp(seed: u8) -> OpenPgpKey {
    OpenPgpKey::draw("web.release", AT_S, &mut Counting(seed)).expect("a key")
}

fn payload(kind: PayloadKind, tag: &str, digest: &str) -> Vec<u8> {
    Payload::new(kind, &format!("{HOST}/app:{tag}"), digest).expect("a payload").bytes()
}

/// What is decided about `app` at a tag, by a policy with both kinds of keys.
fn decided(openpgp: &[Vec<u8>], cosign: &[Signed], tag: &str) -> Result<(), String> {
    let ring = Ring::read(pgp(1).public_text().as_bytes()).expect("a ring");
    let keys = [cosign_key(1).public()];
    let written =
        Written { host: HOST, openpgp: &ring.certificates, cosign: &keys, sigstore: true };
    let policy = Policy::read(written.policy().expect("a policy").as_bytes()).expect("a policy");
    let image = Reference::read(&format!("{HOST}/app:{tag}")).expect("a reference");
    let (digest, files) = (digest_of(b"image"), BTreeMap::new());
    let evidence = Evidence {
        image: &image,
        digest: &digest,
        openpgp,
        cosign,
        files: &files,
        now_s: AT_S + 60,
    };
    policy.decide(&evidence).map_err(|denied| denied.to_string())
}

#[test]
fn an_image_has_what_is_demanded_or_it_is_said_why_not() {
    let digest = digest_of(b"image");
    let message = |seed: u8, tag: &str, digest: &str| {
        pgp(seed).sign(&payload(PayloadKind::OpenPgp, tag, digest), AT_S).expect("a message")
    };
    let signed = |seed: u8, tag: &str, digest: &str| {
        let payload = payload(PayloadKind::Cosign, tag, digest);
        let signature = cosign_key(seed).sign(&payload);
        Signed { payload, signature }
    };
    let (good, other) = (message(1, "1", &digest), digest_of(b"other"));
    let beside = signed(1, "1", &digest);
    let garbage = Signed { payload: vec![0; 9], signature: vec![1; 9] };
    assert_eq!(decided(from_ref(&good), from_ref(&beside), "1"), Ok(()));
    let among = [vec![1, 2, 3], message(2, "1", &digest), good.clone()];
    assert_eq!(decided(&among, &[garbage.clone(), beside.clone()], "1"), Ok(()));
    for (openpgp, cosign, tag, why) in [
        (vec![], vec![], "1", "it has no signature of OpenPGP, and the policy demands one"),
        (vec![good.clone()], vec![], "1", "it has no signature of sigstore"),
        (vec![message(2, "1", &digest)], vec![], "1", "by none of the keys"),
        (vec![message(1, "1", &other)], vec![], "1", "about another digest, sha256:"),
        (vec![good.clone()], vec![], "2", "the signature is about r.example:5000/app:1"),
        (vec![good.clone()], vec![signed(2, "1", &digest)], "1", "by none of the keys"),
        (vec![good.clone()], vec![signed(1, "2", &digest)], "1", "about r.example:5000/app:2"),
        (vec![good.clone()], vec![garbage; 10_000], "1", "by none of the keys"),
        (vec![vec![0xcb; 100]; 10], vec![], "1", "no signed message of OpenPGP"),
    ] {
        let denied = decided(&openpgp, &cosign, tag).expect_err(why);
        assert!(denied.contains(why), "{denied}");
    }
    // A message that carries the payload of the other kind says nothing here.
    let crossed = pgp(1).sign(&payload(PayloadKind::Cosign, "1", &digest), AT_S);
    let denied = decided(&[crossed.expect("a message")], &[], "1").expect_err("another kind");
    assert_eq!(denied, "the payload is that of another kind of signature");
}

#[test]
fn keys_in_files_are_needed() {
    let text = "{\"default\":[{\"type\":\"signedBy\",\"keyType\":\"GPGKeys\",\"keyPath\":\"/k\"}]}";
    let policy = Policy::read(text.as_bytes()).expect("a policy");
    let image = Reference::read("r.example/app:1").expect("a reference");
    let digest = digest_of(b"image");
    let decide = |files: &BTreeMap<String, Vec<u8>>| {
        let (openpgp, cosign) = (&[][..], &[][..]);
        let evidence =
            Evidence { image: &image, digest: &digest, openpgp, cosign, files, now_s: AT_S };
        policy.decide(&evidence).map_err(|denied| denied.to_string())
    };
    assert_eq!(decide(&BTreeMap::new()), Err("the key /k is not there".to_owned()));
    let damaged = BTreeMap::from([("/k".to_owned(), b"x".to_vec())]);
    assert!(decide(&damaged).is_err_and(|why| why.starts_with("a key of the policy: ")));
    let sound = BTreeMap::from([("/k".to_owned(), pgp(1).public_text().into())]);
    assert!(decide(&sound).is_err_and(|why| why.starts_with("it has no signature")));
}
