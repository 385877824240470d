//! `skep registry verify`: an image with signatures, with others, and with garbage in their place.

use std::collections::BTreeMap;
use std::path::PathBuf;

use skep_client::Generate;
use skep_client::machine::{OsDice, SystemClock};
use skep_core::base::Clock as _;
use skep_registry::rules::image::Digest;
use skep_registry::rules::manifest::OCI_MANIFEST;
use skep_registry::rules::signing::cosign::{self, Signed};
use skep_registry::rules::signing::cosign_key::CosignKey;
use skep_registry::rules::signing::key::SigningKey;
use skep_registry::rules::signing::openpgp::artifact::{self, NewMessage};
use skep_registry::rules::signing::openpgp::{OpenPgpKey, Ring};
use skep_registry::rules::signing::payload::{Payload, PayloadKind};
use skep_registry::rules::signing::policy::Written;
use tempfile::TempDir;

use super::fake::{CLOSED, Fake, answer};
use super::{Told, registry};

const IMAGE: &str = "{\"schemaVersion\":2,\"layers\":[]}";

fn now_s() -> u64 {
    SystemClock.now().0 / 1_000
}

fn cosign_key() -> CosignKey {
    let drawn = Generate::Cosign.draw(&mut OsDice).unwrap();
    match SigningKey::read(drawn.value.expose()).unwrap() {
        SigningKey::Cosign(key) => key,
        SigningKey::OpenPgp(_) => panic!("another kind"),
    }
}

/// What a registry has, by path: manifests and blobs.
type Content = BTreeMap<String, Vec<u8>>;

/// Makes it for an image that was signed as one of this host.
type Made<'m> = &'m dyn Fn(&str) -> Content;

/// A registry with this content, whose images are the same everywhere.
fn serving(content: Content) -> Fake {
    let by_digest = format!("/manifests/{}", Digest::of(IMAGE.as_bytes()));
    Fake::start(move |request, _| {
        let path = request.path.as_str();
        let found = match path {
            "/v2/" => Some(b"{}".to_vec()),
            _ if path.ends_with("/manifests/1") || path.ends_with(&by_digest) => {
                Some(IMAGE.as_bytes().to_vec())
            }
            path => content.get(path).cloned(),
        };
        let Some(body) = found else { return answer(404, CLOSED, "{}") };
        let head = format!(
            "HTTP/1.1 200 X\r\ncontent-length: {}\r\ncontent-type: {OCI_MANIFEST}\r\n\r\n",
            body.len()
        );
        [head.into_bytes(), body].concat()
    })
}

/// The policy of a registry at this host, in a file.
fn policy(folder: &TempDir, host: &str, pgp: &OpenPgpKey, cosign: &CosignKey) -> String {
    let ring = Ring::read(pgp.public_text().as_bytes()).unwrap();
    let keys = [cosign.public()];
    let written = Written { host, openpgp: &ring.certificates, cosign: &keys, sigstore: true };
    file(folder, "policy.json", written.policy().unwrap().as_bytes())
}

#[expect(clippy::disallowed_methods, reason = "files of a test are lost with it")]
fn file(folder: &TempDir, name: &str, bytes: &[u8]) -> String {
    let path: PathBuf = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path.display().to_string()
}

/// Both forms of signatures of the image as `REFERENCE`, below the paths of a registry.
fn signed(pgp: &OpenPgpKey, cosign: &CosignKey, reference: &str, digest: &Digest) -> Content {
    let said = |kind| Payload::new(kind, reference, &digest.to_string()).unwrap();
    let payload = said(PayloadKind::Cosign).bytes();
    let signature = cosign.sign(&payload);
    let message = pgp.sign(&said(PayloadKind::OpenPgp).made("t", now_s()).bytes(), now_s());
    let new = NewMessage {
        message: message.unwrap(),
        fingerprint: pgp.fingerprint().to_owned(),
        reference: reference.to_owned(),
    };
    let mut content = Content::new();
    for (ending, merged) in [
        (cosign::ENDING, cosign::merge(None, &[Signed { payload, signature }]).unwrap()),
        (artifact::ENDING, artifact::merge(None, &[new]).unwrap()),
    ] {
        let tag = Digest::of(IMAGE.as_bytes()).tag(ending);
        content.insert(format!("/v2/team/app/manifests/{tag}"), merged.manifest);
        for blob in merged.blobs {
            content.insert(format!("/v2/team/app/blobs/{}", blob.digest), blob.bytes);
        }
    }
    content
}

fn verify(host: &str, image: &str, policy: &str, more: &[&str]) -> Told {
    let image = format!("{host}/{image}");
    let words = ["verify", &image, "--policy", policy, "--plain-http"];
    registry(&[&words[..], more].concat(), b"")
}

#[test]
fn an_image_is_as_demanded_or_it_is_said_why_not() {
    let (folder, digest) = (TempDir::new().unwrap(), Digest::of(IMAGE.as_bytes()));
    let (pgp, cosign) = (OpenPgpKey::draw("t", now_s() - 9, &mut OsDice).unwrap(), cosign_key());
    // Where it listens is part of what is signed: the reference is one that all agree on.
    let reference = |host: &str| format!("{host}/team/app:1");
    let good = {
        let (pgp, cosign) = (&pgp, &cosign);
        move |host: &str| signed(pgp, cosign, &reference(host), &digest)
    };
    let told = |content: Made<'_>, image: &str, more: &[&str]| {
        // The host is known once somebody listens there.
        let place = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let signed_as = format!("localhost:{}", place.port());
        let registry = serving(content(&signed_as));
        let host = registry.host();
        let policy_of = policy(&folder, &host, &pgp, &cosign);
        // What was signed is another name of this host: the policy says so.
        let text = std::fs::read_to_string(&policy_of).unwrap();
        let identity = format!(
            "\"signedIdentity\": {{\"type\": \"remapIdentity\", \"prefix\": \"{host}\", \
             \"signedPrefix\": \"{signed_as}\"}}, \"type\": \"s"
        );
        let text = text.replace("\"type\": \"s", &identity);
        let policy_of = file(&folder, "policy.json", text.as_bytes());
        verify(&host, image, &policy_of, more)
    };
    let fine = told(&good, "team/app:1", &[]);
    assert_eq!(fine.status, 0, "{}", fine.err);
    assert!(fine.out.contains(&digest.to_string()), "{}", fine.out);
    let by_both = told(&good, &format!("team/app:1@{digest}"), &[]);
    assert_eq!(by_both.status, 0, "{}", by_both.err);
    let by_digest = told(&good, &format!("team/app@{digest}"), &[]);
    assert_eq!(by_digest.status, 0, "{}", by_digest.err);

    let none = |_: &str| Content::new();
    let (other_pgp, other) =
        (OpenPgpKey::draw("o", now_s() - 9, &mut OsDice).unwrap(), cosign_key());
    let strangers = |host: &str| signed(&other_pgp, &other, &reference(host), &digest);
    let other_image = |host: &str| signed(&pgp, &cosign, &reference(host), &Digest::of(b"x"));
    let other_tag = |host: &str| signed(&pgp, &cosign, &format!("{host}/team/app:2"), &digest);
    let garbage = |host: &str| {
        let content = signed(&pgp, &cosign, &reference(host), &digest).into_iter();
        content.map(|(path, _)| (path, b"garbage".to_vec())).collect()
    };
    let cases: [(Made<'_>, i32, &str); 5] = [
        (&none, 1, "it has no signature of OpenPGP"),
        (&strangers, 1, "by none of the keys"),
        (&other_image, 1, "about another digest"),
        (&other_tag, 1, "the signature is about localhost:"),
        (&garbage, 1, "it has no signature of OpenPGP"),
    ];
    for (content, status, why) in cases {
        let told = told(content, "team/app:1", &[]);
        assert_eq!(told.status, status, "{why}: {}", told.err);
        assert!(told.err.contains(why) && told.out.is_empty(), "{}", told.err);
    }
    let wrong = told(&good, &format!("team/app:1@{}", Digest::of(b"x")), &[]);
    assert!(wrong.status == 1 && wrong.err.contains("the tag is at sha256:"), "{}", wrong.err);
    let absent = told(&good, "team/app:9", &[]);
    assert!(absent.status == 1 && absent.err.contains("is not there"), "{}", absent.err);

    // Served beside the registry, one below the other.
    let message = pgp.sign(b"x", now_s()).unwrap();
    let path = format!("/sigstore/team/app@sha256={}/signature-1", digest.hex());
    let lookaside = serving(Content::from([(path, message)]));
    let url = format!("http://{}/sigstore", lookaside.host());
    let served = told(&good, "team/app:1", &["--lookaside", &url]);
    assert_eq!(served.status, 1, "{}", served.err);
    assert!(served.err.contains("none of simple signing"), "{}", served.err);
    assert_eq!(lookaside.asked().len(), 2, "{:?}", lookaside.asked());
}

#[test]
fn bad_words_and_bad_policies_are_refused() {
    let folder = TempDir::new().unwrap();
    let reject = file(&folder, "reject.json", b"{\"default\":[{\"type\":\"reject\"}]}");
    let bad = file(&folder, "bad.json", b"{\"default\":[{\"type\":\"reject\",\"x\":1}]}");
    let path =
        b"{\"default\":[{\"type\":\"signedBy\",\"keyType\":\"GPGKeys\",\"keyPath\":\"/no\"}]}";
    let missing = file(&folder, "missing.json", path);
    for (image, policy, why) in [
        ("team/app:1", reject.as_str(), "names no registry"),
        ("r.example/team/app", &reject, "names neither a tag nor a digest"),
        ("r.example/Team:1", &reject, "names no image"),
        ("r.example/a:1", &bad, "default: the key `x` is not known"),
        ("r.example/a:1", "/nowhere", "/nowhere: it does not exist"),
        ("r.example/a:1", &missing, "/no: it does not exist"),
    ] {
        let told = registry(&["verify", image, "--policy", policy], b"");
        assert_eq!(told.status, 2, "{image} {policy}: {}", told.err);
        assert!(told.err.contains(why), "{}", told.err);
    }
    let there = serving(Content::new());
    let told = verify(&there.host(), "team/app:1", &reject, &[]);
    assert!(told.status == 1 && told.err.contains("the policy rejects it"), "{}", told.err);
}
