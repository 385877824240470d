//! Keys and messages of `OpenPGP`.

use std::path::PathBuf;
use std::process::Command;

use skep_registry::rules::signing::key::{BadKey, PublicKey, SigningKey};
use skep_registry::rules::signing::oci::digest_of;
use skep_registry::rules::signing::openpgp::{OpenPgpKey, Ring};
use skep_registry::rules::signing::payload::{Payload, PayloadKind};
use skep_registry::rules::signing::policy::Written;

use super::{Folder, done, now_s, pgp_key, ran};

const REFERENCE: &str = "r.example:5000/web/app:1";

/// `GnuPG` in a folder of its own.
struct Gpg(Folder);

impl Gpg {
    fn new() -> Self {
        Self(Folder::new())
    }

    fn command(&self) -> Command {
        let mut gpg = Command::new("gpg");
        gpg.arg("--homedir").arg(self.0.path());
        gpg.args(["--batch", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", ""]);
        gpg
    }

    fn import(&self, key: &OpenPgpKey) {
        let file = self.0.file("key.asc", key.public_text());
        done(self.command().arg("--import").arg(file));
    }
}

impl Drop for Gpg {
    /// Its agent ends with it.
    fn drop(&mut self) {
        let mut end = Command::new("gpgconf");
        drop(end.arg("--homedir").arg(self.0.path()).args(["--kill", "all"]).output());
    }
}

fn payload(digest: &str) -> Vec<u8> {
    let payload = Payload::new(PayloadKind::OpenPgp, REFERENCE, digest).expect("a payload");
    payload.made("skep", now_s()).bytes()
}

#[test]
fn gnupg_takes_a_key_that_was_drawn_and_its_messages() {
    let (gpg, key) = (Gpg::new(), pgp_key("web.release"));
    gpg.import(&key);
    let list = done(gpg.command().args(["--with-colons", "--list-keys"]));
    let list = String::from_utf8_lossy(&list).into_owned();
    let part = |of: &str| list.lines().find(|line| line.starts_with(of)).expect("a line");
    let fields: Vec<&str> = part("pub:").split(':').collect();
    // Algorithm 22, no end, certifies and signs.
    assert_eq!((fields[3], fields[6], fields[11]), ("22", "", "scSC"), "{list}");
    assert_eq!(part("fpr:").split(':').nth(9), Some(key.fingerprint()));
    assert_eq!(part("uid:").split(':').nth(9), Some("web.release"));
    assert!(!list.contains("\nsub:"), "{list}");
    let payload = payload(&digest_of(b"image"));
    let message = key.sign(&payload, now_s()).expect("a message");
    let file = gpg.0.file("message", &message);
    let out = done(gpg.command().args(["--status-fd", "2", "--decrypt"]).arg(&file));
    assert_eq!(out, payload);
    let mut changed = message;
    let place = changed.windows(4).position(|four| four == b"web/").expect("the reference");
    changed[place] = b'v';
    let file = gpg.0.file("changed", changed);
    assert!(!ran(gpg.command().arg("--decrypt").arg(file)).status.success());
}

#[test]
fn keys_that_gnupg_made_sign_and_what_it_signed_is_taken() {
    let gpg = Gpg::new();
    for (name, kind, life, signs) in [
        ("curve", "ed25519", "never", true),
        ("modulus", "rsa2048", "1y", true),
        ("nist", "nistp256", "never", false),
    ] {
        done(gpg.command().args(["--quick-gen-key", name, kind, "sign", life]));
        let secret = done(gpg.command().args(["--export-secret-keys", name]));
        if !signs {
            assert_eq!(SigningKey::read(&secret).err(), Some(BadKey::Algorithm), "{name}");
            continue;
        }
        let armoured = done(gpg.command().args(["--armor", "--export-secret-keys", name]));
        let key = OpenPgpKey::read(&secret).expect(name);
        assert_eq!(OpenPgpKey::read(&armoured).expect(name).public_text(), key.public_text());
        let message = key.sign(b"said", now_s()).expect("a message");
        let file = gpg.0.file("message", &message);
        assert_eq!(done(gpg.command().arg("--decrypt").arg(file)), b"said", "{name}");
        // Compressed or not, by the key that is asked for and by no other.
        let said = gpg.0.file("said", b"what GnuPG said");
        for level in ["0", "6"] {
            let mut sign = gpg.command();
            sign.args(["--compress-level", level, "--local-user", name, "--output", "-"]);
            let message = done(sign.arg("--sign").arg(&said));
            let public = done(gpg.command().args(["--armor", "--export", name]));
            let ring = Ring::read(&public).expect("a ring");
            let verified = ring.verify(&message, now_s()).expect("verified");
            assert_eq!(verified.payload, b"what GnuPG said");
            assert_eq!(verified.fingerprint, key.fingerprint());
            let other = pgp_key("other");
            let other = Ring::read(other.public_text().as_bytes()).expect("a ring");
            assert!(other.verify(&message, now_s()).is_err());
        }
        let detached = done(gpg.command().args(["--output", "-", "--detach-sign"]).arg(&said));
        let public = Ring::read(key.public_text().as_bytes()).expect("a ring");
        assert!(public.verify(&detached, now_s()).is_err(), "a message without a text");
        let late = now_s() + 2 * 365 * 24 * 3_600;
        assert_eq!(key.sign(b"said", late).is_ok(), life == "never", "{name}");
        // And a key that has ended vouches for nothing any more.
        assert!(public.verify(&message, now_s()).is_ok(), "{name}");
        assert_eq!(public.verify(&message, late).is_ok(), life == "never", "{name}");
    }
    let both = done(gpg.command().arg("--export"));
    assert_eq!(Ring::read(&both).expect("a ring").certificates.len(), 2, "and none of NIST's");
    // A passphrase is one that nobody could type.
    let mut sealed = Command::new("gpg");
    sealed.arg("--homedir").arg(gpg.0.path());
    sealed.args(["--batch", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", "secret"]);
    done(sealed.args(["--quick-gen-key", "sealed", "ed25519", "sign", "never"]));
    let mut export = Command::new("gpg");
    export.arg("--homedir").arg(gpg.0.path());
    export.args(["--batch", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", "secret"]);
    let sealed = done(export.args(["--export-secret-keys", "sealed"]));
    assert_eq!(SigningKey::read(&sealed).err(), Some(BadKey::Passphrase));
    // Whoever took a key back gets no signature of it.
    let revocations = gpg.0.path().join("openpgp-revocs.d");
    let curve = done(gpg.command().args(["--export", "curve"]));
    let curve = Ring::read(&curve).expect("a ring").certificates[0].fingerprint().to_owned();
    let text = std::fs::read_to_string(revocations.join(format!("{curve}.rev"))).expect("a file");
    let revocation = gpg.0.file("rev", text.replace(":-----BEGIN", "-----BEGIN"));
    done(gpg.command().arg("--import").arg(revocation));
    let revoked = done(gpg.command().args(["--armor", "--export", "curve"]));
    let revoked = String::from_utf8(revoked).expect("text");
    assert_eq!(PublicKey::read(&revoked).err(), Some(BadKey::Revoked));
}

/// A manifest, as skopeo reads its digest.
fn manifest(folder: &Folder) -> (PathBuf, String) {
    let text = "{\"schemaVersion\":2,\"mediaType\":\
                \"application/vnd.docker.distribution.manifest.v2+json\"}";
    (folder.file("manifest.json", text), digest_of(text.as_bytes()))
}

#[test]
fn skopeo_takes_the_message_for_its_reference_alone() {
    let (gpg, key) = (Gpg::new(), pgp_key("web.release"));
    gpg.import(&key);
    let (manifest, digest) = manifest(&gpg.0);
    let sign = |digest: &str| key.sign(&payload(digest), now_s()).expect("a message");
    let (good, other) =
        (gpg.0.file("good", sign(&digest)), gpg.0.file("other", sign(&digest_of(b"x"))));
    let verify = |reference: &str, fingerprint: &str, file: &PathBuf| {
        let mut skopeo = Command::new("skopeo");
        skopeo.env("GNUPGHOME", gpg.0.path()).arg("standalone-verify").arg(&manifest);
        skopeo.args([reference, fingerprint]).arg(file);
        skopeo
    };
    done(&mut verify(REFERENCE, key.fingerprint(), &good));
    let stranger = pgp_key("stranger");
    for (reference, fingerprint, file) in [
        ("r.example:5000/web/app:2", key.fingerprint(), &good),
        (REFERENCE, stranger.fingerprint(), &good),
        (REFERENCE, key.fingerprint(), &other),
    ] {
        let output = ran(&mut verify(reference, fingerprint, file));
        assert!(!output.status.success(), "{reference} {fingerprint}");
    }
}

#[test]
fn skopeo_takes_a_policy_that_was_written() {
    let gpg = Gpg::new();
    let keys = [pgp_key("one"), pgp_key("two")];
    let text: String = keys.iter().map(OpenPgpKey::public_text).collect();
    let ring = Ring::read(text.as_bytes()).expect("a ring");
    let written = Written {
        host: "r.example:5000",
        openpgp: &ring.certificates,
        cosign: &[],
        sigstore: false,
    };
    let policy = written.policy().expect("a policy");
    let (_, digest) = manifest(&gpg.0);
    // Skopeo reads folders as images too: then a policy says what they are called.
    let identity = format!("{{\"type\":\"exactReference\",\"dockerReference\":\"{REFERENCE}\"}}");
    let in_folders =
        policy.replace("\"docker\": {", "\"dir\": {").replace("\"r.example:5000\"", "\"\"");
    let in_folders = in_folders.replace(
        "\"type\": \"signedBy\"",
        &format!("\"signedIdentity\": {identity}, \"type\": \"signedBy\""),
    );
    assert!(in_folders.contains("exactReference"), "{in_folders}");
    let policies = [gpg.0.file("policy", &policy), gpg.0.file("in-folders", in_folders)];
    let copy = |policy: &PathBuf| {
        let mut skopeo = Command::new("skopeo");
        skopeo.arg("--policy").arg(policy).arg("copy").arg("--remove-signatures");
        let from = gpg.0.path().join("image");
        skopeo.arg(format!("dir:{}", from.display()));
        skopeo.arg(format!("dir:{}", gpg.0.path().join("copy").display()));
        let output = ran(&mut skopeo);
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    std::fs::create_dir(gpg.0.path().join("image")).expect("a folder");
    let config = b"{}";
    let digits = |digest: &str| digest.replacen("sha256:", "", 1);
    gpg.0.file(&format!("image/{}", digits(&digest_of(config))), config);
    gpg.0.file("image/version", "Directory Transport Version: 1.1\n");
    let text = format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\
         \"config\":{{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\
         \"digest\":\"{}\",\"size\":2}},\"layers\":[]}}",
        digest_of(config)
    );
    gpg.0.file("image/manifest.json", &text);
    assert_ne!(digest, digest_of(text.as_bytes()));
    let sign = |key: &OpenPgpKey, digest: &str| {
        let message = key.sign(&payload(digest), now_s()).expect("a message");
        gpg.0.file("image/signature-1", message);
    };
    let [outside, within] = &policies;
    let (allowed, why) = copy(outside);
    assert!(!allowed && why.contains("rejected by policy"), "{why}");
    let (allowed, why) = copy(within);
    assert!(!allowed && why.contains("no signature exists"), "{why}");
    for key in &keys {
        sign(key, &digest_of(text.as_bytes()));
        let (allowed, why) = copy(within);
        assert!(allowed, "{why}");
    }
    sign(&keys[0], &digest);
    let (allowed, why) = copy(within);
    assert!(!allowed && why.contains("does not match"), "{why}");
    sign(&pgp_key("three"), &digest_of(text.as_bytes()));
    let (allowed, _) = copy(within);
    assert!(!allowed, "a key that is not among them");
}
