//! Signing: keys that one service was granted sign what stands in a real registry, for whoever
//! shows a token of the token server.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use cluster_tests::{
    Canary, Cluster, DockerRegistry, OciLayout, Ran, Served, TokenServer, binary, processes_of,
    run, until,
};
use serde_json::{Value, json};

const PASSWORD: &str = "correct horse battery";
/// Accounts that sign at once.
const SIGNERS: usize = 10;

/// A cluster with a token server on the first node, a registry, and a signer on each node.
struct Site {
    signers: Vec<Served>,
    registry: DockerRegistry,
    server: TokenServer,
    cluster: Cluster,
}

impl Site {
    fn start() -> Self {
        let cluster = Cluster::start(2);
        // They are held until each is known.
        let ports = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let [images, tokens] = ports.map(|port| port.local_addr().expect("a port").to_string());
        let out = cluster.folder().join("out").display().to_string();
        let (realm, api) = (format!("http://{tokens}/auth"), format!("http://{images}"));
        let words = ["setup", "web", "--realm", &realm, "--out", &out, "--sign"];
        let more = ["--sign-api", &api, "--registry-service", &images];
        let nodes = ["--node", "node-1", "--node", "node-2"];
        let _ = registry(&cluster, &[&words[..], &more, &nodes].concat(), b"").ok();
        let rules = fs::read_to_string(cluster.folder().join("out/acl.toml")).expect("rules");
        let rules = format!(
            "{rules}\n[[rule]]\nmatch = {{ name = \"web/**\" }}\n\
             actions = [\"pull\", \"push\", \"sign\"]\n"
        );
        cluster.update("web.acl.toml", rules.as_bytes());
        let _ = registry(&cluster, &["user", "add", "web", "alice"], PASSWORD.as_bytes()).ok();
        let key = cluster.folder().join("release.pem");
        let mut openssl = Command::new("openssl");
        openssl.args(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        let _ = run(openssl.arg("-out").arg(&key), b"").ok();
        let _ = cluster.ok(&["secret", "create", "web.release", &key.display().to_string()]);
        let _ = cluster.ok(&["service", "grant", "web.sign", "web.release:key.release"]);
        let server = TokenServer::start_at(&cluster, 0, &tokens);
        let registry = DockerRegistry::start(cluster.folder(), &images, &images, &server);
        let words = ["sign", "web", "--serve", "--listen", "127.0.0.1:0"];
        let signer = |agent| Served::start(&cluster, agent, "web.sign", &words);
        let signers = vec![signer(0), signer(1)];
        Self { signers, registry, server, cluster }
    }

    fn registry(&self, words: &[&str]) -> String {
        registry(&self.cluster, words, b"").ok()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.cluster.folder().join(name)
    }

    /// A robot that may sign, and its password.
    fn robot(&self, name: &str) -> String {
        let scope = "repository:web/*:pull,push,sign";
        let words = ["robot", "create", "web", name, "--show", "--form", "plain", "--scope", scope];
        self.registry(&words).trim().to_owned()
    }

    /// A token for signing as this account.
    fn token(&self, name: &str, password: &str, scope: &str) -> String {
        let query = format!("service=web.sign&scope=repository:{scope}:sign");
        let (status, body) = self.server.ask(&query, name, password);
        assert_eq!(status, 200, "{body}");
        let body: Value = serde_json::from_str(&body).expect("JSON");
        body["token"].as_str().expect("a token").to_owned()
    }

    /// Copies an image to the registry.
    fn push(&self, image: &OciLayout, to: &str) {
        let auth = self.file("auth.json");
        let mut login = Command::new("skopeo");
        login.args(["login", "--tls-verify=false", "-u", "alice", "--password-stdin"]);
        login.arg("--authfile").arg(&auth).arg(&self.registry.address);
        let _ = run(&mut login, PASSWORD.as_bytes()).ok();
        let mut copy = Command::new("skopeo");
        copy.args([
            "--insecure-policy",
            "copy",
            "-q",
            "--all",
            "--preserve-digests",
            "--dest-tls-verify=false",
        ]);
        copy.arg("--authfile").arg(&auth).arg(image.source());
        let _ = run(copy.arg(format!("docker://{}", self.registry.image(to))), b"").ok();
    }

    /// What stands at a path of the registry, as alice sees it.
    fn stored(&self, repository: &str, path: &str) -> Option<Value> {
        let service = &self.registry.address;
        let query = format!("service={service}&scope=repository:{repository}:pull");
        let (_, body) = self.server.ask(&query, "alice", PASSWORD);
        let body: Value = serde_json::from_str(&body).expect("JSON");
        let config = self.file("curl");
        let header = format!("header = \"Authorization: Bearer {}\"\n", body["token"].as_str()?);
        fs::write(&config, header).expect("a file");
        let mut curl = Command::new("curl");
        curl.arg("-sf").arg("-K").arg(&config);
        let kinds =
            ["manifest", "index"].map(|kind| format!("application/vnd.oci.image.{kind}.v1+json"));
        curl.arg("-H").arg(format!("accept: {}", kinds.join(", ")));
        curl.arg(format!("http://{service}/v2/{repository}/{path}"));
        let ran = run(&mut curl, b"");
        (ran.status == 0).then(|| serde_json::from_str(&ran.out).expect("JSON"))
    }

    /// The signatures that cosign finds at a digest.
    fn signatures(&self, repository: &str, digest: &str) -> Vec<Value> {
        let tag = format!("{}.sig", digest.replace(':', "-"));
        let manifest = self.stored(repository, &format!("manifests/{tag}"));
        let layers = manifest.and_then(|manifest| manifest["layers"].as_array().cloned());
        layers.unwrap_or_default()
    }
}

/// `skep registry` as the admin.
fn registry(cluster: &Cluster, words: &[&str], input: &[u8]) -> Ran {
    let mut command = Command::new(binary().with_file_name("skep-registry"));
    command.args(words).env_clear().env("SKEP_IDENTITY", cluster.identity());
    run(&mut command, input)
}

/// Asks a signer; nothing, where it is gone.
fn try_sign(signer: &Served, token: &str, asked: &Value) -> Option<(u16, Value)> {
    let line = format!("authorization: Bearer {token}\r\n");
    let (status, body) = signer.try_exchange("POST /v1/sign", &line, &asked.to_string())?;
    Some((status, serde_json::from_slice(&body).ok()?))
}

fn sign(signer: &Served, token: &str, asked: &Value) -> (u16, Value) {
    try_sign(signer, token, asked).expect("an answer")
}

fn asked(repository: &str, digest: &str) -> Value {
    json!({ "repository": repository, "tag": "1", "digest": digest })
}

#[test]
fn what_a_tag_is_at_is_signed_for_whoever_may_until_the_robot_or_the_key_is_taken_away() {
    let site = Site::start();
    let image = OciLayout::image(&site.file("image"), "one");
    site.push(&image, "web/app:1");
    let ci = site.robot("ci");
    let token = site.token("ci", &ci, "web/app");
    let [signer, other] = site.signers.as_slice() else { panic!("two signers") };
    let wanted = asked("web/app", &image.digest);

    let (status, made) = sign(signer, &token, &wanted);
    assert_eq!(status, 200, "{made}");
    let forms: Vec<_> = made["signatures"].as_array().expect("a list").iter().collect();
    assert_eq!((forms.len(), &forms[0]["key"]), (2, &json!("release")), "{made}");
    // The other replica writes the same bytes: nothing is added.
    let (status, again) = sign(other, &token, &wanted);
    assert_eq!((status, &again), (200, &made));
    let layers = site.signatures("web/app", &image.digest);
    assert_eq!(layers.len(), 1, "{layers:?}");

    // openssl says whose signature it is, and of what.
    let blob = site.stored("web/app", &format!("blobs/{}", layers[0]["digest"].as_str().unwrap()));
    let blob = blob.expect("a payload");
    let reference = &blob["critical"]["identity"]["docker-reference"];
    assert_eq!(reference, &json!(site.registry.image("web/app:1")));
    assert_eq!(blob["critical"]["image"]["docker-manifest-digest"], json!(image.digest));
    assert_eq!(blob["optional"]["account"], "ci");
    let (payload, signature) = (site.file("payload"), site.file("signature"));
    fs::write(&payload, blob.to_string()).expect("a file");
    let text = layers[0]["annotations"]["dev.cosignproject.cosign/signature"].as_str().unwrap();
    let bytes = data_encoding::BASE64.decode(text.as_bytes()).expect("base64");
    fs::write(&signature, bytes).expect("a file");
    let verifies = || {
        let mut openssl = Command::new("openssl");
        openssl.args(["dgst", "-sha256", "-prverify"]).arg(site.file("release.pem"));
        run(openssl.arg("-signature").arg(&signature).arg(&payload), b"").status == 0
    };
    assert!(verifies());
    fs::write(&payload, blob.to_string().replace("web/app:1", "web/app:2")).expect("a file");
    assert!(!verifies());

    // A bundle is found by the index that stands in for the registry's own list.
    let index = site.stored("web/app", &format!("manifests/{}", image.digest.replace(':', "-")));
    let bundles = index.expect("an index");
    let kind = &bundles["manifests"][0]["artifactType"];
    assert_eq!(kind, "application/vnd.dev.sigstore.bundle.v0.3+json");

    // What is not so, or not allowed, is refused: each in its way.
    let elsewhere = OciLayout::image(&site.file("elsewhere"), "two").digest;
    let alice = site.token("alice", PASSWORD, "web/app");
    let foreign = site.token("ci", &ci, "other/app");
    for (token, asked, status, code) in [
        (token.as_str(), asked("web/app", &elsewhere), 409, "CONFLICT"),
        (&token, asked("web/none", &image.digest), 403, "DENIED"),
        (&foreign, asked("other/app", &image.digest), 403, "DENIED"),
        ("x.y.z", wanted.clone(), 401, "UNAUTHORIZED"),
        (&token, json!({ "repository": "web/app" }), 400, "INVALID"),
        (&token, asked("web/app", "sha256:1"), 400, "INVALID"),
    ] {
        let (found, body) = sign(signer, token, &asked);
        assert_eq!((found, &body["errors"][0]["code"]), (status, &json!(code)), "{asked} {body}");
    }
    assert_eq!(sign(signer, &alice, &wanted).0, 200, "people sign too");

    // Each open of the key is on record.
    until("reads of both on record", || {
        let reads = site.cluster.ok(&["secret", "reads", "web.release"]);
        (reads.contains("node-1") && reads.contains("node-2")).then_some(())
    });

    // A token outlives its robot; the signer doesn't take it.
    let _ = site.registry(&["robot", "rm", "web", "ci"]);
    let (status, body) = sign(signer, &token, &wanted);
    assert_eq!(status, 401, "{body}");

    // The private key is in no process but the signers', and in no file but where it came from.
    let pem = fs::read_to_string(site.file("release.pem")).expect("a key");
    let canary = Canary::of(pem.lines().nth(2).expect("a line").to_owned());
    for (pid, what) in processes_of(site.cluster.folder()) {
        let found = canary.in_memory(pid).map_or(0, |copies| copies.found);
        assert_eq!(found, 0, "{what} has the key");
    }

    // Without the key nothing is signed from the moment that the revoke returns.
    let _ = site.cluster.ok(&["service", "revoke", "web.sign", "web.release"]);
    for signer in &site.signers {
        let (status, body) = sign(signer, &alice, &wanted);
        assert_eq!(
            (status, &body["errors"][0]["code"]),
            (422, &json!("MANIFEST_INVALID")),
            "{body}"
        );
    }
}

#[test]
fn an_index_is_signed_with_all_that_it_names() {
    let site = Site::start();
    let index = OciLayout::index(&site.file("index"), &["amd64", "arm64", "riscv64"]);
    site.push(&index, "web/app:1");
    let program = binary().with_file_name("skep-registry").display().to_string();
    let words = [program.as_str(), "sign", "web", "web/app:1", "--annotation", "commit=abc"];
    let by_hand = run(&mut site.cluster.agents[0].exec("web.sign", &words), b"");
    let lines = by_hand.ok();
    assert_eq!(lines.lines().count(), 4 * 2, "{lines}");
    let digests: BTreeSet<&str> =
        lines.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(digests.len() == 4 && digests.contains(index.digest.as_str()), "{lines}");
    for digest in digests {
        assert_eq!(site.signatures("web/app", digest).len(), 1, "{digest}");
    }
    for (words, status) in [
        (["web/app:2", "--annotation", "commit=abc"], 1),
        (["web/app:1", "--annotation", "other=abc"], 2),
        (["web/app", "--annotation", "commit=abc"], 2),
    ] {
        let all = [&[program.as_str(), "sign", "web"], &words[..]].concat();
        let ran = run(&mut site.cluster.agents[0].exec("web.sign", &all), b"");
        assert_eq!(ran.status, status, "{words:?}: {}", ran.err);
        assert!(ran.err.contains("hint:"), "{}", ran.err);
    }
}

#[test]
fn a_machine_without_keys_asks_a_server_to_sign() {
    let site = Site::start();
    let image = OciLayout::image(&site.file("image"), "one");
    site.push(&image, "web/app:1");
    let scope = "repository:web/*:pull,sign";
    let words = ["robot", "create", "web", "ci", "--node", "node-1", "--scope", scope];
    let _ = site.registry(&words);
    let robots = site.cluster.agents[0].root().join("web.on.node-1");
    let server = format!("http://{}", site.signers[1].address());
    let ask = |image: &str, more: &[&str]| {
        let image = site.registry.image(image);
        let mut command = Command::new(binary().with_file_name("skep-registry"));
        command.args(["sign", "--server", &server, &image, "--plain-http"]).args(more);
        run(command.env_clear().env("SKEP_CREDENTIALS", &robots), PASSWORD.as_bytes())
    };

    let signed = ask("web/app:1", &["--annotation", "commit=abc"]).status(0);
    let line = |form: &str| format!("{}  {form}  release", image.digest);
    assert_eq!(signed.out.trim_end(), [line("cosign"), line("bundle")].join("\n"));
    let layers = site.signatures("web/app", &image.digest);
    assert_eq!(layers.len(), 1, "{layers:?}");
    let blob = site.stored("web/app", &format!("blobs/{}", layers[0]["digest"].as_str().unwrap()));
    let said = &blob.expect("a payload")["optional"];
    assert_eq!((&said["account"], &said["commit"]), (&json!("ci"), &json!("abc")));

    // Each refusal in its way; a person asks by a password.
    let elsewhere = OciLayout::image(&site.file("elsewhere"), "two").digest;
    let named = |digest: &str| format!("web/app:1@{digest}");
    for (image, more, status, why) in [
        (named(&elsewhere), &[][..], 1, "the tag is at sha256:"),
        ("web/app:2".to_owned(), &[], 1, "is not there"),
        (format!("web/app:2@{}", image.digest), &[], 1, "no tag 2"),
        ("web/app:1".to_owned(), &["--annotation", "other=x"], 2, "none that sign.toml lists"),
        (format!("other/app:1@{}", image.digest), &[], 1, "doesn't give the action sign"),
        (named(&image.digest), &["-u", "nobody"], 1, "the name or the password is wrong"),
        (named(&image.digest), &["-u", "alice"], 0, "is signed"),
    ] {
        let told = ask(&image, more).status(status);
        assert!(told.err.contains(why), "{image} {more:?}: {}", told.err);
        assert!(status == 0 || told.err.contains("hint: "), "{image}: {}", told.err);
    }

    // A robot that is gone has nothing to show.
    let _ = site.registry(&["robot", "rm", "web", "ci"]);
    let told = ask(&named(&image.digest), &[]).status(1);
    assert!(told.err.starts_with("this machine has no robot for "), "{}", told.err);
}

#[test]
fn of_ten_that_sign_at_once_no_signature_is_lost_though_a_signer_is_killed() {
    let mut site = Site::start();
    let image = OciLayout::image(&site.file("image"), "one");
    site.push(&image, "web/app:1");
    let names: Vec<String> = (0..SIGNERS).map(|number| format!("ci-{number}")).collect();
    let tokens: Vec<String> = names
        .iter()
        .map(|name| {
            let password = site.robot(name);
            site.token(name, &password, "web/app")
        })
        .collect();
    let wanted = asked("web/app", &image.digest);
    let mut first = site.signers.remove(0);
    let second = site.signers.remove(0);
    let left = thread::scope(|scope| {
        let each: Vec<_> = tokens
            .iter()
            .enumerate()
            .map(|(number, token)| {
                let (signer, wanted) = (if number % 2 == 0 { &first } else { &second }, &wanted);
                scope.spawn(move || {
                    let done = try_sign(signer, token, wanted);
                    done.is_none_or(|(status, _)| status != 200).then_some(token)
                })
            })
            .collect();
        // Some have signed, some are about to.
        until("a first signature", || {
            (!site.signatures("web/app", &image.digest).is_empty()).then_some(())
        });
        kill_below(&first);
        each.into_iter().filter_map(|one| one.join().expect("a client")).collect::<Vec<_>>()
    });
    first.kill();
    for token in left {
        assert_eq!(sign(&second, token, &wanted).0, 200);
    }
    let all = until("ten signatures", || {
        let layers = site.signatures("web/app", &image.digest);
        (layers.len() >= SIGNERS).then_some(layers)
    });
    let distinct: BTreeSet<&str> =
        all.iter().filter_map(|layer| layer["digest"].as_str()).collect();
    assert_eq!((all.len(), distinct.len()), (SIGNERS, SIGNERS));
}

/// Ends what listens, in the middle of its work.
fn kill_below(served: &Served) {
    let pid = rustix::process::Pid::from_raw(served.pid().cast_signed()).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("a signal");
}
