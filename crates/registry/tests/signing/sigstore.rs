//! Signatures as cosign makes them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use skep_client::Generate;
use skep_client::machine::OsDice;
use skep_registry::rules::signing::bundle;
use skep_registry::rules::signing::cosign_key::CosignKey;
use skep_registry::rules::signing::key::SigningKey;
use skep_registry::rules::signing::oci::digest_of;
use skep_registry::rules::signing::payload::{Payload, PayloadKind};

use super::{Folder, done, ran};

/// A key as `secret create --generate cosign` draws it.
fn drawn() -> (CosignKey, String) {
    let drawn = Generate::Cosign.draw(&mut OsDice).expect("a key");
    let public = drawn.public.expect("a public half").to_string();
    match SigningKey::read(drawn.value.expose()).expect("a key") {
        SigningKey::Cosign(key) => (key, public),
        SigningKey::OpenPgp(_) => panic!("another kind"),
    }
}

#[test]
fn openssl_verifies_the_payload() {
    let (folder, (key, public)) = (Folder::new(), drawn());
    assert_eq!(key.public().text(), public, "the public half that stands beside it");
    let payload = Payload::new(PayloadKind::Cosign, "r.example/app:1", &digest_of(b"image"));
    let payload = payload.expect("a payload").bytes();
    let said = folder.file("payload", &payload);
    let signature = folder.file("signature", key.sign(&payload));
    let changed = folder.file("changed", [&payload[..], b" "].concat());
    let (key, other) = (folder.file("key", &public), folder.file("other", drawn().1));
    let verify = |key: &PathBuf, file: &PathBuf| {
        let mut openssl = Command::new("openssl");
        openssl.args(["dgst", "-sha256", "-verify"]).arg(key);
        openssl.arg("-signature").arg(&signature).arg(file);
        openssl
    };
    let output = done(&mut verify(&key, &said));
    assert_eq!(String::from_utf8_lossy(&output), "Verified OK\n");
    assert!(!ran(&mut verify(&other, &said)).status.success(), "another key");
    assert!(!ran(&mut verify(&key, &changed)).status.success(), "another payload");
}

#[test]
fn sigstores_library_verifies_the_bundle() {
    let (folder, (key, public)) = (Folder::new(), drawn());
    let digest = digest_of(b"image");
    let digits = digest.replacen("sha256:", "", 1);
    let annotations = BTreeMap::from([("account".to_owned(), "ci".to_owned())]);
    let bytes = bundle::sign(&key, &digest, &annotations);
    assert_eq!(bundle::verify(&bytes, &key.public(), &digest), Ok(annotations));
    let said = folder.file("bundle.json", &bytes);
    let text = String::from_utf8(bytes).expect("text");
    let at = text.find("\"payload\":\"").expect("a payload") + 30;
    let (before, after) = text.split_at(at);
    let other = if after.starts_with('A') { "B" } else { "A" };
    let changed = folder.file("changed.json", format!("{before}{other}{}", after.split_at(1).1));
    let (right, wrong) = (folder.file("key", public), folder.file("other", drawn().1));
    // `scripts/lib.sh` puts it there.
    let modules = std::env::current_exe().expect("a path");
    let modules = modules.ancestors().find(|path| path.join("sigstore/node_modules").is_dir());
    let modules = modules.expect("sigstore's library is installed: see prepare in scripts/lib.sh");
    let verify = |key: &PathBuf, file: &PathBuf, digits: &str| {
        let mut node = Command::new("node");
        node.env("NODE_PATH", modules.join("sigstore/node_modules"));
        node.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/signing/judge/verify.js"));
        node.arg(key).arg(file).arg(digits);
        node
    };
    done(&mut verify(&right, &said, &digits));
    for (key, file, digits, why) in [
        (&wrong, &said, digits.as_str(), "signature verification failed"),
        (&right, &changed, &digits, "signature verification failed"),
        (&right, &said, &"0".repeat(64), "another digest"),
    ] {
        let output = ran(&mut verify(key, file, digits));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(why), "{said}");
    }
}
