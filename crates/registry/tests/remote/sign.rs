//! A signer before registries that lie, break off, send elsewhere or are full of garbage: a
//! table, each with what is said.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;

use serde_json::{Value, json};
use skep_client::Generate;
use skep_client::machine::{OsDice, SystemClock};
use skep_registry::proto::sign::{SignAsked, SignRefused};
use skep_registry::rules::image::Digest;
use skep_registry::rules::manifest::{OCI_INDEX, OCI_MANIFEST};
use skep_registry::work::{Record, SignDesk};
use tempfile::TempDir;

use super::fake::{CLOSED, Fake, Request, answer};

/// What the registry has at the tag.
pub(super) const TAG: &str = "/v2/web/app/manifests/1";
pub(super) const UPLOADS: &str = "/v2/web/app/blobs/uploads/";

pub(super) fn image(content: &str) -> String {
    let part = |of: &str| json!({ "mediaType": "x", "size": 1, "digest": digest(of) });
    json!({ "schemaVersion": 2, "config": part("c"), "layers": [part(content)] }).to_string()
}

fn index(children: &[String]) -> String {
    let part = |of: &String| json!({ "mediaType": OCI_MANIFEST, "size": 1, "digest": digest(of) });
    let manifests: Vec<Value> = children.iter().map(part).collect();
    json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests }).to_string()
}

fn digest(of: &str) -> String {
    Digest::of(of.as_bytes()).to_string()
}

pub(super) fn of(media_type: &str, body: &str) -> Vec<u8> {
    answer(200, &format!("content-type: {media_type}\r\n"), body)
}

/// Answers to what nobody of the table thinks of: an open registry that has nothing and takes
/// everything.
pub(super) fn usual(request: &Request) -> Vec<u8> {
    match request.path.as_str() {
        "/v2/" => answer(200, "", "{}"),
        TAG => of(OCI_MANIFEST, &image("one")),
        UPLOADS => answer(202, "location: /v2/web/app/blobs/uploads/1\r\n", ""),
        path if path.starts_with(UPLOADS) => answer(201, "", ""),
        _ => answer(404, CLOSED, "{}"),
    }
}

/// A folder as the agent delivers it to a signer of this registry.
pub(super) fn delivered(host: &str, api: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let set = folder.path().join("..1");
    fs::create_dir(&set).unwrap();
    symlink("..1", folder.path().join("..data")).unwrap();
    let settings = format!(
        "version = 1\nregistry = \"{host}\"\napi = \"http://{api}\"\n\
         realm = \"http://{host}/auth\"\nissuer = \"i\"\nservice = \"web.sign\"\n\
         [[key]]\nname = \"*\"\nrepositories = [\"**\"]\n"
    );
    fs::write(set.join("sign.toml"), settings).unwrap();
    let key = Generate::Cosign.draw(&mut OsDice).unwrap().value;
    fs::write(set.join("key.release"), key.expose()).unwrap();
    folder
}

pub(super) fn desk(folder: &TempDir) -> SignDesk {
    let clock = Arc::new(SystemClock);
    let record = Record::open(&[], "web", clock.clone()).unwrap();
    SignDesk::open(folder.path().to_owned(), None, clock, record).unwrap()
}

/// Signs what stands at the tag `1` there.
pub(super) async fn sign(desk: &SignDesk, repository: &str) -> Result<usize, SignRefused> {
    let asked = |digest| SignAsked {
        repository: repository.to_owned(),
        tag: "1".into(),
        digest,
        annotations: std::collections::BTreeMap::new(),
    };
    let done = desk.sign_by_hand(asked, (repository, "1")).await;
    done.map(|answer| answer.signatures.len())
}

/// Signs what this registry has.
fn signed(registry: &Fake) -> Result<usize, SignRefused> {
    let folder = delivered(&registry.host(), &registry.host());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(sign(&desk(&folder), "web/app"))
}

#[track_caller]
fn refused(
    status: u16,
    said: &str,
    answers: impl Fn(&Request) -> Option<Vec<u8>> + Send + Sync + 'static,
) {
    let registry =
        Fake::start(move |request, _| answers(request).unwrap_or_else(|| usual(request)));
    let refused = signed(&registry).unwrap_err();
    let text = refused.to_string();
    assert_eq!(refused.status().as_u16(), status, "{text}");
    assert!(text.contains(said) && !text.contains('\n'), "{text}");
}

fn at(path: &'static str, answer: Vec<u8>) -> impl Fn(&Request) -> Option<Vec<u8>> + Send + Sync {
    move |request| (request.path == path).then(|| answer.clone())
}

#[test]
fn what_stands_at_the_tag_is_judged_before_it_is_signed() {
    let v1 = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    refused(404, "no tag 1 there", at(TAG, answer(404, "", "{}")));
    refused(422, "a kind that is not signed", at(TAG, of("text/html", &image("one"))));
    refused(422, "a kind that is not signed", at(TAG, of(v1, &image("one"))));
    refused(422, "it is no manifest", at(TAG, of(OCI_MANIFEST, "<html>")));
    refused(422, "it is no manifest", at(TAG, of(OCI_INDEX, &image("one"))));
    let large = format!("{{\"x\":\"{}\"}}", "x".repeat(5 * 1024 * 1024));
    refused(502, "4194304 bytes at most", at(TAG, of(OCI_MANIFEST, &large)));
    let endless = b"HTTP/1.1 200 X\r\ncontent-length: 104857600\r\n\r\n{".to_vec();
    refused(502, "4194304 bytes at most", at(TAG, endless));
    let lie = format!("docker-content-digest: {}\r\ncontent-type: {OCI_MANIFEST}\r\n", digest("x"));
    refused(502, "is not sha256:", at(TAG, answer(200, &lie, &image("one"))));
}

#[test]
fn registries_that_break_off_or_send_elsewhere_are_not_followed() {
    let away = "location: https://elsewhere.example/\r\n";
    refused(502, "sends elsewhere (status 307)", at(TAG, answer(307, away, "")));
    refused(502, "answers with status 500", at(TAG, answer(500, "", "{}")));
    refused(502, "refuses", at(TAG, answer(401, "", "{}")));
    refused(502, "again after 7 s", at(TAG, answer(429, "retry-after: 7\r\n", "{}")));
    refused(502, "cannot reach", at(TAG, b"HTTP/1.1 2".to_vec()));
    refused(502, "cannot reach", at(TAG, b"hello\r\n\r\n".to_vec()));
    refused(502, "elsewhere, or nowhere", at(UPLOADS, answer(202, away, "")));
    refused(502, "elsewhere, or nowhere", at(UPLOADS, answer(202, "", "")));
    refused(502, "refuses", at(UPLOADS, answer(403, "", "{}")));
}

#[test]
fn indexes_end_and_name_what_is_there() {
    let children: Vec<String> = (0..3).map(|n| image(&n.to_string())).collect();
    let three = index(&children);
    refused(422, "which is not there", at(TAG, of(OCI_INDEX, &three)));
    // It names itself, as it says: no bytes can.
    let top = three.clone();
    refused(502, "is not sha256:", move |request| {
        request.path.contains("/manifests/").then(|| of(OCI_INDEX, &top))
    });
    let many: Vec<String> = (0..300).map(|n| image(&n.to_string())).collect();
    let large = index(&many);
    refused(422, "more than 256 manifests", move |request| {
        let child = many.iter().find(|child| request.path.ends_with(&digest(child)));
        let child = child.map(|child| of(OCI_MANIFEST, child));
        child.or_else(|| (request.path == TAG).then(|| of(OCI_INDEX, &large)))
    });
    let mut deep = vec![image("one")];
    while deep.len() < 5 {
        let last = deep.last().cloned();
        deep.push(index(&Vec::from_iter(last)));
    }
    refused(422, "more than 3 indexes within each other", move |request| {
        let of_deep = |body: &String| {
            let kind = if body.contains("manifests") { OCI_INDEX } else { OCI_MANIFEST };
            of(kind, body)
        };
        let found = deep.iter().find(|body| request.path.ends_with(&digest(body)));
        found.or(deep.last().filter(|_| request.path == TAG)).map(of_deep)
    });
}

#[test]
fn garbage_where_signatures_are_kept_is_not_overwritten() {
    let tag = format!("/v2/web/app/manifests/{}", Digest::of(image("one").as_bytes()).tag(".sig"));
    let layer = json!({ "mediaType": "x", "size": 1, "digest": digest("l") });
    let config = layer.clone();
    let layers = vec![layer; 10_000];
    let many = json!({ "schemaVersion": 2, "config": config, "layers": layers }).to_string();
    for body in ["<html>".to_owned(), "[]".to_owned(), "{}".to_owned(), index(&[]), many] {
        let path = tag.clone();
        refused(422, "is in the way", move |request| {
            (request.path == path).then(|| of(OCI_MANIFEST, &body))
        });
    }
}

#[test]
fn a_registry_that_forgets_is_given_up() {
    // It takes all, and has nothing: what is written is never read back.
    refused(502, "all the time", |request| {
        (request.path != TAG && request.path.contains("/manifests/") && !request.body.is_empty())
            .then(|| answer(201, "", ""))
    });
}
