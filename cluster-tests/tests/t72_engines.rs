//! Real engines against a real registry and two token servers: what people and machines do
//! with docker, containerd and skopeo, and what a revoke takes away from them.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use cluster_tests::{Cluster, Containerd, DockerRegistry, Engine, Ran, TokenServer, binary, run};

const PASSWORD: &str = "correct horse battery";
const RULES: &str =
    "version = 1\n[[rule]]\nmatch = { name = \"web/**\" }\nactions = [\"pull\", \"push\"]\n";

/// A cluster, two token servers, and a registry that names each of them; the images are the
/// same.
struct Site {
    registries: [DockerRegistry; 2],
    servers: [TokenServer; 2],
    cluster: Cluster,
}

impl Site {
    fn start() -> Self {
        let cluster = Cluster::start(2);
        // Both are held until each is known; then the registries take them.
        let ports = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let [one, two] = ports.map(|port| port.local_addr().expect("an address").to_string());
        let out = cluster.folder().join("out").display().to_string();
        let words = ["setup", "web", "--realm", "https://auth.example/auth", "--out", &out];
        let more = ["--registry-service", &one, "--node", "node-1", "--node", "node-2"];
        let _ = registry(&cluster, &[&words[..], &more].concat(), b"").ok();
        cluster.update("web.acl.toml", RULES.as_bytes());
        let _ = registry(&cluster, &["user", "add", "web", "alice"], PASSWORD.as_bytes()).ok();
        let servers = [0, 1].map(|agent| TokenServer::start(&cluster, agent));
        let start =
            |address: &str, realm| DockerRegistry::start(cluster.folder(), address, &one, realm);
        let registries = [start(&one, &servers[0]), start(&two, &servers[1])];
        Self { registries, servers, cluster }
    }

    fn registry(&self, words: &[&str]) -> String {
        registry(&self.cluster, words, b"").ok()
    }

    /// A folder for one docker's logins.
    fn config(&self, name: &str) -> PathBuf {
        let folder = self.cluster.folder().join(name);
        fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    /// Another key signs from now on.
    fn rotate_signer(&self) {
        let program = binary().with_file_name("skep-registry").display().to_string();
        let words = [program.as_str(), "signer", "rotate", "web"];
        let mut command = self.cluster.agents[0].exec("web.ca", &words);
        let _ = run(command.env("SKEP_IDENTITY", self.cluster.identity()), b"").ok();
    }
}

/// `skep registry` as the admin.
fn registry(cluster: &Cluster, words: &[&str], input: &[u8]) -> Ran {
    let mut command = Command::new(binary().with_file_name("skep-registry"));
    command.args(words).env_clear().env("SKEP_IDENTITY", cluster.identity());
    run(&mut command, input)
}

/// One docker with its logins.
struct Docker<'a> {
    engine: &'a Engine,
    config: PathBuf,
    credentials: Option<PathBuf>,
}

impl Docker<'_> {
    fn run(&self, words: &[&str], input: &[u8]) -> Ran {
        let mut command = self.engine.docker(&self.config, words);
        if let Some(folder) = &self.credentials {
            // docker finds the helper by its name.
            let helpers = binary().parent().expect("a folder").display().to_string();
            let path = std::env::var("PATH").expect("a path");
            command.env("PATH", format!("{helpers}:{path}")).env("SKEP_CREDENTIALS", folder);
        }
        run(&mut command, input)
    }

    fn ok(&self, words: &[&str]) -> String {
        self.run(words, b"").ok()
    }

    fn login(&self, registry: &DockerRegistry, name: &str, password: &str) -> Ran {
        let words = ["login", "-u", name, "--password-stdin", &registry.address];
        self.run(&words, password.as_bytes())
    }

    fn pull(&self, image: &str) -> String {
        self.ok(&["pull", image])
    }

    /// What docker says when it may not.
    #[track_caller]
    fn refused(&self, words: &[&str]) -> String {
        let ran = self.run(words, b"");
        assert!(ran.status == 1 && !ran.err.is_empty(), "{words:?}: {} {}", ran.out, ran.err);
        ran.err
    }

    /// What its helper gives for this registry.
    fn password(&self, registry: &DockerRegistry) -> String {
        let mut helper = Command::new(binary().with_file_name("docker-credential-skep"));
        helper.arg("get").env("SKEP_CREDENTIALS", self.credentials.as_ref().expect("a folder"));
        let said = run(&mut helper, registry.address.as_bytes()).ok();
        let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
        said["Secret"].as_str().expect("a password").to_owned()
    }

    /// Makes an image of one file.
    fn import(&self, folder: &Path, image: &str) {
        fs::write(folder.join("app"), vec![b'a'; 64 * 1024]).expect("a file");
        let tar = folder.join("app.tar");
        let mut pack = Command::new("tar");
        pack.arg("-C").arg(folder).arg("-cf").arg(&tar).arg("app");
        let _ = run(&mut pack, b"").ok();
        let _ = self.ok(&["import", &tar.display().to_string(), image]);
    }
}

#[test]
fn docker_logs_in_pushes_pulls_mounts_and_logs_out() {
    let site = Site::start();
    let engine = Engine::start(&site.cluster.folder().join("engine"));
    let own = |name: &str| Docker { engine: &engine, config: site.config(name), credentials: None };
    let alice = own("alice");
    let [one, two] = &site.registries;
    let (app, copy) = (one.image("web/app:1"), one.image("web/copy:1"));
    alice.import(site.cluster.folder(), &app);

    // Nobody pushes without a login, and a wrong password is told in our words.
    let _ = alice.refused(&["push", &app]);
    let wrong = alice.login(one, "alice", "wrong horse").status(1);
    assert!(wrong.err.contains("the name or the password is wrong"), "{}", wrong.err);
    assert!(!alice.config.join("config.json").exists());

    let _ = alice.login(one, "alice", PASSWORD).ok();
    let kept = fs::read_to_string(alice.config.join("config.json")).expect("a login");
    assert!(kept.contains("identitytoken") && !kept.contains(PASSWORD), "{kept}");
    let _ = alice.ok(&["push", &app]);

    // A layer of another repository is mounted: none of its bytes are sent again.
    let _ = alice.ok(&["tag", &app, &copy]);
    let pushed = alice.ok(&["push", &copy]);
    assert!(pushed.contains("Mounted from web/app"), "{pushed}");
    let log = fs::read_to_string(&one.log).expect("a log");
    let mounts = |line: &&str| {
        line.contains("\"POST /v2/web/copy/blobs/uploads/?from=web%2Fapp&mount=sha256")
            && line.contains("\" 201 ")
    };
    assert_eq!(log.lines().filter(mounts).count(), 1, "{log}");

    // The other token server, by the same account.
    let _ = alice.login(two, "alice", PASSWORD).ok();
    let _ = alice.pull(&two.image("web/copy:1"));
    let _ = alice.pull(&app);

    // A robot that is given its password logs in as well, and does what it may.
    let ci = own("ci");
    let words = ["robot", "create", "web", "ci", "--show", "--form", "plain"];
    let password = site.registry(&[&words[..], &["--scope", "repository:web/*:pull"]].concat());
    let _ = ci.login(one, "ci", &password).ok();
    let _ = ci.pull(&app);
    let denied = ci.refused(&["push", &copy]);
    assert!(denied.contains("denied"), "{denied}");
    // What no rule gives is refused to a user too.
    let other = one.image("other/app:1");
    let _ = alice.ok(&["tag", &app, &other]);
    assert!(alice.refused(&["push", &other]).contains("denied"));
    assert!(alice.refused(&["pull", &one.image("other/none:1")]).contains("denied"));

    let _ = alice.ok(&["logout", &one.address]);
    let _ = alice.refused(&["pull", &app]);
    let _ = alice.pull(&two.image("web/copy:1"));

    // A login that docker keeps ends with its robot, and docker says why.
    let _ = site.registry(&["robot", "rm", "web", "ci"]);
    let gone = ci.refused(&["pull", &app]);
    assert!(gone.contains("the name or the password is wrong"), "{gone}");
}

#[test]
fn a_nodes_own_robot_pulls_until_it_is_revoked() {
    let site = Site::start();
    let engine = Engine::start(&site.cluster.folder().join("engine"));
    let alice = Docker { engine: &engine, config: site.config("alice"), credentials: None };
    let one = &site.registries[0];
    let app = one.image("web/app:1");
    alice.import(site.cluster.folder(), &app);
    let _ = alice.login(one, "alice", PASSWORD).ok();
    let _ = alice.ok(&["push", &app]);

    let words = ["robot", "create", "web", "pull", "--node", "node-2"];
    let _ = site.registry(&[&words[..], &["--scope", "repository:web/*:pull"]].concat());
    let config = site.config("node");
    let helpers = format!(r#"{{"credHelpers": {{"{}": "skep"}}}}"#, one.address);
    fs::write(config.join("config.json"), helpers).expect("settings");
    let credentials = Some(site.cluster.agents[1].root().join("web.on.node-2"));
    let node = Docker { engine: &engine, config, credentials };
    let _ = node.pull(&app);
    let _ = node.refused(&["push", &app]);

    // The next pull is by the new password; the old one is good for nothing.
    let old = node.password(one);
    let _ = site.registry(&["robot", "rotate", "web", "pull", "--now"]);
    let _ = node.pull(&app);
    let new = node.password(one);
    for server in &site.servers {
        let ask = |password| server.ask(&format!("service={}", one.address), "pull", password).0;
        assert_eq!((ask(&old), ask(&new)), (401, 200));
    }

    // Another key signs: neither the registry nor a token server is started again.
    let _ = site.cluster.ok(&["service", "update", "--node-add", "node-1", "web.ca"]);
    site.rotate_signer();
    let _ = node.pull(&app);
    let _ = alice.pull(&app);
    site.rotate_signer();
    let _ = node.pull(&app);

    // Once it returned 0, the next pull is refused.
    let _ = site.registry(&["robot", "rm", "web", "pull"]);
    let refused = node.refused(&["pull", &app]);
    assert!(refused.contains("denied") || refused.contains("unauthorized"), "{refused}");
    let _ = alice.pull(&app);
}

#[test]
fn containerd_and_skopeo_pull_until_the_robot_is_revoked() {
    let site = Site::start();
    let folder = site.cluster.folder();
    let engine = Engine::start(&folder.join("engine"));
    let alice = Docker { engine: &engine, config: site.config("alice"), credentials: None };
    let [one, two] = &site.registries;
    let app = one.image("web/app:1");
    alice.import(folder, &app);
    let _ = alice.login(one, "alice", PASSWORD).ok();
    let _ = alice.ok(&["push", &app]);

    let words = ["robot", "create", "web", "ci", "--show", "--form", "plain"];
    let more = ["--scope", "repository:web/*:pull,push"];
    let password = site.registry(&[&words[..], &more].concat());
    let both = format!("ci:{password}");
    let containerd = Containerd::start(&folder.join("containerd"));
    let pull = |registry: &DockerRegistry, user: &str| {
        let image = registry.image("web/app:1");
        let words = ["images", "pull", "--plain-http", "--user", user, &image];
        run(&mut containerd.ctr(&words), b"")
    };
    let copy = |from: &DockerRegistry, to: &str| {
        let mut command = Command::new("skopeo");
        command.args(["--insecure-policy", "copy", "--src-tls-verify=false"]);
        command.args(["--dest-tls-verify=false", "--src-creds", &both, "--dest-creds", &both]);
        let to = format!("docker://{}", two.image(to));
        command.arg(format!("docker://{}", from.image("web/app:1"))).arg(to);
        command.env("HOME", folder).env("XDG_RUNTIME_DIR", folder);
        run(&mut command, b"")
    };
    for registry in &site.registries {
        let _ = pull(registry, &both).ok();
    }
    let _ = pull(one, "ci:wrong").status(1);
    let _ = copy(one, "web/two:1").ok();
    let _ = copy(one, "other/two:1").status(1);
    // A signer that changes between two pulls is noticed by neither.
    let _ = site.cluster.ok(&["service", "update", "--node-add", "node-1", "web.ca"]);
    site.rotate_signer();
    let _ = pull(two, &both).ok();
    let _ = copy(two, "web/three:1").ok();

    let _ = site.registry(&["robot", "rm", "web", "ci"]);
    for (registry, server) in site.registries.iter().zip(&site.servers) {
        let _ = pull(registry, &both).status(1);
        let (status, said) = server.ask(&format!("service={}", one.address), "ci", &password);
        assert_eq!(status, 401, "{said}");
    }
    let _ = copy(one, "web/four:1").status(1);
}

/// A signing key is known to somebody else: its tokens are refused once the registry trusts the
/// next token CA alone, and nobody's pull fails until then.
#[test]
fn another_token_ca_takes_the_place_of_one_that_is_known_to_others() {
    let site = Site::start();
    let (cluster, server) = (&site.cluster, &site.servers[0]);
    let address = site.registries[0].address.clone();
    let folder = cluster.folder().to_owned();
    let trusted = folder.join("out/root.crt");
    let token = || {
        let query = format!("service={address}&scope=repository:web/app:pull");
        let (status, body) = server.ask(&query, "alice", PASSWORD);
        assert_eq!(status, 200, "{body}");
        let answer: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        answer["token"].as_str().expect("a token").to_owned()
    };
    // Nothing was pushed: whom it lets in it tells so.
    let status = |token: &str| {
        let bearer = format!("authorization: Bearer {token}");
        let url = format!("http://{address}/v2/web/app/tags/list");
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code}"]);
        run(curl.args(["--header", &bearer, &url]), b"").ok()
    };
    let mut registry_there = Some(site.registries);
    let mut start_again = || {
        drop(registry_there.take());
        DockerRegistry::start(&folder, &address, &address, server)
    };

    let stolen = token();
    assert_eq!(status(&stolen), "404");
    let next = folder.join("next").display().to_string();
    let said = registry(cluster, &["root", "rotate", "web", "--out", &next], b"").status(0);
    assert!(said.err.contains("next: run `skep exec --service web.ca -- "), "{}", said.err);
    let [old, new] = [&trusted, &folder.join("next/root.crt")]
        .map(|path| fs::read_to_string(path).expect("a certificate"));
    assert_ne!(old, new);
    assert_eq!(status(&token()), "404", "tokens are signed as before");

    fs::write(&trusted, format!("{old}{new}")).expect("both");
    let both = start_again();
    assert_eq!(status(&token()), "404");
    let _ = cluster.ok(&["service", "update", "--node-add", "node-1", "web.ca"]);
    let program = binary().with_file_name("skep-registry").display().to_string();
    let words = [program.as_str(), "signer", "rotate", "web"];
    let mut rotate = cluster.agents[0].exec("web.ca", &words);
    let _ = run(rotate.env("SKEP_IDENTITY", cluster.identity()), b"").ok();
    assert_eq!((status(&token()), status(&stolen)), ("404".into(), "404".into()));

    drop(both);
    fs::write(&trusted, &new).expect("the next one alone");
    let _new = start_again();
    assert_eq!((status(&token()), status(&stolen)), ("404".into(), "401".into()));

    // What is there already is not written over, and then nothing is changed.
    let label = || cluster.ok(&["secret", "inspect", "web.root.crt", "--format", "{{.Version}}"]);
    let before = label();
    let refused = registry(cluster, &["root", "rotate", "web", "--out", &next], b"");
    assert!(refused.status != 0 && refused.err.contains("next"), "{}", refused.err);
    let refused = registry(cluster, &["root", "rotate", "other", "--out", "/nowhere/x"], b"");
    assert!(refused.status(1).err.contains("there is no registry other"));
    assert_eq!(label(), before);
}
