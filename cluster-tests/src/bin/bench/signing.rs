//! How many images a signer signs: one key of cosign's under a token, with all that it reads and
//! writes at a real registry.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::connection::Connection;
use super::row::{Row, rate};
use super::size::Size;
use super::tokens::{CLIENTS, PASSWORD, registry};
use cluster_tests::{Cluster, DockerRegistry, OciLayout, Served, TokenServer, run};

const REPOSITORY: &str = "web/app";
const KIND: &str = "application/vnd.oci.image.manifest.v1+json";

/// Images that are signed for the first time, and again.
pub(super) fn rows(size: &Size) -> Vec<Row> {
    let cluster = Cluster::start(1);
    // They are held until both are known.
    let ports = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    let [images, tokens] = ports.map(|port| port.local_addr().expect("a port").to_string());
    let out = cluster.folder().join("out").display().to_string();
    let (realm, api) = (format!("http://{tokens}/auth"), format!("http://{images}"));
    let words = ["setup", "web", "--realm", &realm, "--out", &out, "--sign", "--sign-api", &api];
    let more = ["--registry-service", &images, "--node", "node-1"];
    let _ = registry(&cluster, &[&words[..], &more].concat(), "");
    let rule =
        "[[rule]]\nmatch = { name = \"web/**\" }\nactions = [\"pull\", \"push\", \"sign\"]\n";
    let rules = fs::read_to_string(cluster.folder().join("out/acl.toml")).expect("rules");
    cluster.update("web.acl.toml", format!("{rules}\n{rule}").as_bytes());
    let _ = registry(&cluster, &["user", "add", "web", "alice"], PASSWORD);
    let _ = registry(&cluster, &["key", "create", "web", "release"], "");
    let server = TokenServer::start_at(&cluster, 0, &tokens);
    let stored = DockerRegistry::start(cluster.folder(), &images, &images, &server);
    let words = ["sign", "web", "--serve", "--listen", "127.0.0.1:0"];
    let signer = Served::start(&cluster, 0, "web.sign", &words);

    let layout = OciLayout::image(&cluster.folder().join("image"), "one");
    let pushed = push(&cluster, &stored, &layout, &server, size.signed);
    let token = token(&server, "web.sign", "sign");
    let sign = |what: &str| all_at_once(what, signer.address(), &token, &pushed);
    let first = sign("image signed").note(format!(
        "{CLIENTS} kept connections; `.sig` and bundle by one key of cosign's, written and read back"
    ));
    let again = sign("the same images again").note("all is there, and is read");
    vec![first, again]
}

fn token(server: &TokenServer, service: &str, actions: &str) -> String {
    let query = format!("service={service}&scope=repository:{REPOSITORY}:{actions}");
    let (status, body) = server.ask(&query, "alice", PASSWORD);
    assert_eq!(status, 200, "{body}");
    let body: Value = serde_json::from_str(&body).expect("JSON");
    body["token"].as_str().expect("a token").to_owned()
}

/// So many images of the same blobs, each at a tag of its own: requests to sign them.
fn push(
    cluster: &Cluster,
    stored: &DockerRegistry,
    layout: &OciLayout,
    server: &TokenServer,
    count: usize,
) -> Vec<Vec<u8>> {
    let mut copy = Command::new("skopeo");
    copy.args(["--insecure-policy", "copy", "-q", "--preserve-digests", "--dest-tls-verify=false"]);
    copy.args(["--dest-creds", &format!("alice:{PASSWORD}")]).arg(layout.source());
    let _ = run(copy.arg(format!("docker://{}", stored.image("web/app:0"))), b"").ok();
    let hex = layout.digest.trim_start_matches("sha256:");
    let manifest = cluster.folder().join("image/blobs/sha256").join(hex);
    let mut manifest: Value =
        serde_json::from_slice(&fs::read(manifest).expect("a manifest")).expect("JSON");
    let token = token(server, &stored.address, "pull,push");
    let lines = format!("authorization: Bearer {token}\r\ncontent-type: {KIND}\r\n");
    let mut to = Connection::plain(stored.address.parse().expect("an address"));
    let put = (1..=count).map(|number| {
        manifest["annotations"] = json!({ "number": number.to_string() });
        let bytes = manifest.to_string();
        let what = format!("PUT /v2/{REPOSITORY}/manifests/{number}");
        let (status, said) = to.exchange(&what, &lines, bytes.as_bytes());
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&said));
        let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(&bytes));
        let asked = json!({ "repository": REPOSITORY, "tag": number.to_string(),
            "digest": format!("sha256:{digest}") });
        asked.to_string().into_bytes()
    });
    put.collect()
}

/// All of them by all clients, each taking the next one.
fn all_at_once(what: &str, signer: SocketAddr, token: &str, asked: &[Vec<u8>]) -> Row {
    let (next, lines) = (AtomicUsize::new(0), format!("authorization: Bearer {token}\r\n"));
    let start = Instant::now();
    let times = thread::scope(|scope| {
        let each = || {
            let (mut times, mut to) = (Vec::new(), Connection::plain(signer));
            while let Some(asked) = asked.get(next.fetch_add(1, Ordering::Relaxed)) {
                let begun = Instant::now();
                let (status, said) = to.exchange("POST /v1/sign", &lines, asked);
                assert_eq!(status, 200, "{}", String::from_utf8_lossy(&said));
                times.push(begun.elapsed());
            }
            times
        };
        let started: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(each)).collect();
        let ended = started.into_iter().flat_map(|one| one.join().expect("a client"));
        ended.collect::<Vec<Duration>>()
    });
    let mut row = Row::of(what, times);
    row.rate = Some(rate(row.times.len(), start.elapsed()));
    row
}
