//! `skep registry sign --server` before signers and registries that answer with anything.

use serde_json::json;
use skep_registry::rules::image::Digest;
use skep_registry::rules::manifest::OCI_MANIFEST;

use crate::fake::{Fake, Request, answer};
use crate::sign::{TAG, image, of};
use crate::{PASSWORD, Told, registry};

const SIGN: &str = "/v1/sign";

/// A registry whose token server is beside it, as alice sees it.
fn usual(request: &Request, host: &str) -> Vec<u8> {
    let bearer = request.header("authorization");
    let challenge = realm(host, "reg.example");
    match (request.path.as_str(), bearer.as_deref()) {
        (TAG, Some("Bearer pulls")) => of(OCI_MANIFEST, &image("one")),
        ("/auth?service=reg.example&scope=repository%3Aweb%2Fapp%3Apull", Some(_)) => {
            answer(200, "", r#"{"token":"pulls"}"#)
        }
        ("/auth?service=web.sign&scope=repository%3Aweb%2Fapp%3Asign", Some(_)) => {
            answer(200, "", r#"{"token":"signs"}"#)
        }
        _ => answer(401, &challenge, "{}"),
    }
}

fn realm(host: &str, service: &str) -> String {
    format!("www-authenticate: Bearer realm=\"http://{host}/auth\",service=\"{service}\"\r\n")
}

fn digest() -> Digest {
    Digest::of(image("one").as_bytes())
}

fn signed(digest: &str) -> Vec<u8> {
    let made = |form: &str| json!({ "key": "release", "form": form, "digest": digest });
    let body = json!({ "reference": "reg.example/web/app:1", "digest": digest,
        "signatures": [made("cosign"), made("bundle")] });
    answer(200, "", &body.to_string())
}

/// What comes of it where the signer answers so, first without a token and then with one.
fn told(first: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static, then: Vec<u8>) -> Told {
    asks("1", first, then)
}

fn asks(tag: &str, first: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static, then: Vec<u8>) -> Told {
    let images = Fake::start(usual);
    let host = images.host();
    let signer = Fake::start(move |request, _| {
        match (request.path.as_str(), request.header("authorization")) {
            (SIGN, None) => first(&host),
            (SIGN, Some(bearer)) if bearer == "Bearer signs" => {
                assert!(request.body.contains(&digest().to_string()), "{}", request.body);
                then.clone()
            }
            _ => answer(404, "", ""),
        }
    });
    let (image, server) =
        (format!("{}/web/app:{tag}", images.host()), format!("http://{}", signer.host()));
    let words = ["sign", "--server", &server, &image, "--plain-http", "-u", "alice"];
    registry(&words, PASSWORD.as_bytes())
}

fn wants_a_token(host: &str) -> Vec<u8> {
    answer(401, &realm(host, "web.sign"), "{}")
}

#[test]
fn what_was_signed_is_told_line_by_line() {
    let digest = digest().to_string();
    let told = told(wants_a_token, signed(&digest));
    assert_eq!(told.status, 0, "{}", told.err);
    assert_eq!(told.out, format!("{digest}  cosign  release\n{digest}  bundle  release\n"));
    assert_eq!(told.err, format!("reg.example/web/app:1@{digest} is signed\n"));
    // Where the digest is named, the registry isn't asked for the tag: it has no such tag.
    let told = asks(&format!("2@{digest}"), wants_a_token, signed(&digest));
    assert_eq!(told.status, 0, "{}", told.err);
    let told = asks("2", wants_a_token, signed(&digest));
    assert_eq!(told.status, 1, "{}", told.err);
}

#[test]
fn a_signer_says_why_and_nothing_that_it_answers_is_believed() {
    let said = |status, text: &str| {
        let body = json!({ "errors": [{ "code": "X", "message": text }] }).to_string();
        answer(status, "", &body)
    };
    let good = signed(&digest().to_string());
    let nothing = answer(200, "", r#"{"reference":"r","digest":"d","signatures":[]}"#);
    let rows = [
        (said(400, "the annotation 'x' is none"), 2, "the annotation 'x' is none"),
        (said(401, "rotated or removed"), 1, "rotated or removed"),
        (said(403, "the token doesn't give the action sign"), 1, "the action sign"),
        (said(404, "the registry has no tag 1 there"), 1, "no tag 1"),
        (said(409, "the tag is at sha256:00 now"), 1, "is at sha256:00"),
        (said(422, "no key here signs images of web/app"), 1, "no key here"),
        (said(429, "too much"), 3, "too much"),
        (said(502, "the registry is too slow"), 3, "too slow"),
        (said(503, "sign.toml is damaged"), 3, "sign.toml is damaged"),
        (said(503, "no\u{1b}[2J"), 3, "no\\u{1b}[2J"),
        (said(307, "there"), 3, "sends elsewhere (status 307)"),
        (answer(404, "", "<html>"), 1, "doesn't know that"),
        (answer(200, "", "<html>"), 3, "doesn't read"),
        (nothing, 3, "doesn't read"),
        (signed(&Digest::of(b"other").to_string()), 3, "is not sha256:"),
        (b"HTTP/1.1 2".to_vec(), 3, "cannot reach"),
    ];
    for (number, (then, status, wanted)) in rows.into_iter().enumerate() {
        refused(number, &told(wants_a_token, then), status, wanted);
    }
    let elsewhere = |_: &str| answer(401, &realm("127.0.0.1:1", "web.sign"), "{}");
    let beside = |host: &str| {
        let realm = realm(host, "web.sign").replace("/auth", "/other");
        answer(401, &realm, "{}")
    };
    let basic = |_: &str| answer(401, "www-authenticate: Basic realm=\"x\"\r\n", "{}");
    refused(100, &told(elsewhere, good.clone()), 1, "which the registry doesn't");
    refused(101, &told(beside, good.clone()), 1, "which the registry doesn't");
    refused(102, &told(basic, good.clone()), 3, "neither a token nor");
    refused(103, &told(|_| answer(401, "", "{}"), good.clone()), 3, "doesn't say what it wants");
    refused(104, &told(|_| answer(200, "", "{}"), good.clone()), 3, "status 200");
    refused(105, &told(|_| answer(302, "", ""), good), 3, "sends elsewhere");
}

fn refused(number: usize, told: &Told, status: i32, wanted: &str) {
    assert_eq!(told.status, status, "{number}: {}", told.err);
    assert!(told.err.starts_with("error: ") && told.err.contains(wanted), "{number}: {}", told.err);
    assert!(told.err.contains("\nhint: "), "{number}: {}", told.err);
    assert_eq!((told.err.lines().count(), told.out.as_str()), (2, ""), "{number}: {}", told.err);
    assert!(!told.err.contains("horse") && !told.err.contains('\u{1b}'), "{}", told.err);
}

#[test]
fn words_that_fit_nowhere_ask_nobody() {
    let fake = Fake::start(usual);
    let (host, server) = (fake.host(), format!("http://{}", fake.host()));
    let digest_tag = format!("{host}/web/app:{}", digest().tag(".sig"));
    let (image, untagged) = (format!("{host}/web/app:1"), format!("{host}/web/app"));
    let rows: &[(&[&str], &str)] = &[
        (&["--server", &server], "NAME"),
        (&["--server", "sign.example", &image], "https://HOST"),
        (&["--server", "https://sign.example/x", &image], "https://HOST"),
        (&["--server", "https://u:p@sign.example", &image], "https://HOST"),
        (&["--server", &server, "web", "web/app:1"], "cannot be used"),
        (&["--server", &server, &image, "--serve"], "cannot be used"),
        (&["--server", &server, &image, "--secrets", "/tmp"], "cannot be used"),
        (&["--server", &server, "web/app:1"], "names no registry"),
        (&["--server", &server, &untagged], "names no tag"),
        (&["--server", &server, &digest_tag], "where signatures are kept"),
        (&["--server", &server, &image, "--annotation", "x"], "KEY=VALUE"),
        (&["--server", &server, &image, "--password-file", "x"], "--user"),
        (&["web", "web/app:1", "--plain-http"], "--server"),
        (&["web", "web/app:1", "--user", "alice"], "--server"),
        (&["Web!", "web/app:1"], "NAME"),
        (&["web", "--serve", "--annotation", "a=b"], "cannot be used"),
        (&["web"], "IMAGE"),
    ];
    for (words, wanted) in rows {
        let told = registry(&[&["sign"], *words].concat(), b"");
        assert_eq!(told.status, 2, "{words:?}: {}", told.err);
        assert!(told.err.contains(wanted), "{words:?}: {}", told.err);
        assert!(told.err.contains("hint: ") && told.out.is_empty(), "{words:?}: {}", told.err);
    }
    assert_eq!(fake.connections(), 0);
}
