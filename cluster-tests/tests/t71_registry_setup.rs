//! A registry that is set up by its commands: accounts that come, change and go, and what a
//! token server under an agent says to them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use cluster_tests::{Cluster, Ran, TokenServer, binary, run};
use data_encoding::{BASE64, BASE64URL_NOPAD};

const SERVED: &str = "registry.example:5000";
const RULES: &str = "version = 1\n[[rule]]\nmatch = {}\nactions = [\"pull\", \"push\"]\n";
const REALM: &str = "https://auth.example/auth";

/// `skep registry` as the admin.
fn registry(cluster: &Cluster, words: &[&str], input: &[u8]) -> Ran {
    let mut command = Command::new(binary().with_file_name("skep-registry"));
    command.args(words).env_clear().env("SKEP_IDENTITY", cluster.identity());
    run(&mut command, input)
}

fn set_up(cluster: &Cluster, more: &[&str]) -> (PathBuf, Ran) {
    let out = cluster.folder().join("out");
    let shown = out.display().to_string();
    let words = ["setup", "web", "--realm", REALM, "--registry-service", SERVED];
    let words = [&words[..], &["--node", "node-1", "--out", &shown], more].concat();
    (out, registry(cluster, &words, b""))
}

/// Asks a token server as an account.
struct Server(TokenServer);

impl Server {
    fn start(cluster: &Cluster) -> Self {
        Self(TokenServer::start(cluster, 0))
    }

    /// The status, and the token.
    fn token(&self, name: &str, password: &str, scope: &str) -> (u16, String) {
        let query = format!("service={SERVED}&scope={scope}");
        let (status, body) = self.0.ask(&query, name, password);
        let told: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
        (status, told["token"].as_str().unwrap_or_default().to_owned())
    }

    /// The status, and what the token grants.
    fn ask(&self, name: &str, password: &str, scope: &str) -> (u16, String) {
        let (status, token) = self.token(name, password, scope);
        let claims = token.split('.').nth(1).unwrap_or_default();
        let claims = BASE64URL_NOPAD.decode(claims.as_bytes()).expect("claims");
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap_or_default();
        let access = claims["access"][0]["actions"].to_string();
        (status, access)
    }

    fn status(&self, name: &str, password: &str) -> u16 {
        self.ask(name, password, "").0
    }
}

/// The files below a folder.
fn files(of: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(of).expect("a folder").map(|entry| entry.expect("an entry"));
    let each = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    entries.flat_map(|entry| each(entry.path())).collect()
}

/// The certificate that a token names, in PEM.
fn signer_of(token: &str) -> String {
    let head = token.split('.').next().unwrap_or_default();
    let head = BASE64URL_NOPAD.decode(head.as_bytes()).expect("a head");
    let head: serde_json::Value = serde_json::from_slice(&head).expect("JSON");
    let leaf = head["x5c"][0].as_str().expect("a certificate");
    format!("-----BEGIN CERTIFICATE-----\n{leaf}\n-----END CERTIFICATE-----\n")
}

#[test]
fn the_key_that_signs_rotates_under_a_running_server() {
    let cluster = Cluster::start(1);
    let (out, done) = set_up(&cluster, &[]);
    let _ = done.ok();
    let server = Server::start(&cluster);
    let _ = registry(&cluster, &["user", "add", "web", "alice"], b"correct horse\n").ok();
    let signer = || {
        let (status, token) = server.token("alice", "correct horse", "");
        assert_eq!(status, 200);
        let leaf = cluster.file("leaf.crt", signer_of(&token).as_bytes());
        // What the registry is given takes each of them.
        let mut verify = Command::new("openssl");
        verify.args(["verify", "-CAfile"]).arg(out.join("root.crt")).arg(leaf);
        let _ = run(&mut verify, b"").ok();
        signer_of(&token)
    };
    let first = signer();
    let _ = cluster.ok(&["service", "update", "--node-add", "node-1", "web.ca"]);
    let program = binary().with_file_name("skep-registry").display().to_string();
    let rotate = || {
        let words = [program.as_str(), "signer", "rotate", "web"];
        let mut command = cluster.agents[0].exec("web.ca", &words);
        run(command.env("SKEP_IDENTITY", cluster.identity()), b"")
    };
    let _ = rotate().ok();
    let second = signer();
    assert_ne!(first, second, "in force when it returns");
    let _ = rotate().ok();
    assert_ne!(second, signer());

    // A key that is not the root's signs nothing, and nothing is changed.
    let before = cluster.ok(&["secret", "inspect", "web.signer.key", "--format", "{{.Version}}"]);
    let folder = cluster.folder().join("foreign");
    std::fs::create_dir(&folder).expect("a folder");
    let shown = folder.display().to_string();
    let refused = registry(&cluster, &["signer", "rotate", "web", "--secrets", &shown], b"");
    assert!(refused.status(2).err.contains("ca.key: it does not exist"));
    let mut foreign = Command::new("openssl");
    foreign.args(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out"]);
    let _ = run(foreign.arg(folder.join("ca.key")), b"").ok();
    std::fs::copy(out.join("root.crt"), folder.join("root.crt")).expect("copied");
    let refused = registry(&cluster, &["signer", "rotate", "web", "--secrets", &shown], b"");
    let refused = refused.status(2);
    assert!(refused.err.contains("hint:"), "{}", refused.err);
    let after = cluster.ok(&["secret", "inspect", "web.signer.key", "--format", "{{.Version}}"]);
    assert_eq!(before, after);
}

#[test]
fn accounts_come_change_and_go() {
    let cluster = Cluster::start(2);
    let ca = cluster.file("ca.crt", b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n");
    let (out, done) = set_up(&cluster, &["--tls-ca", &ca]);
    let done = done.status(0);
    assert!(done.err.contains("next: skep registry user add web USER"), "{}", done.err);
    for file in files(&out) {
        let text = std::fs::read_to_string(&file).expect("text");
        assert!(!text.contains("PRIVATE"), "{}", file.display());
        let mode = file.metadata().expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o644, "{}", file.display());
    }
    assert!(out.join("certs.d").join(SERVED).join("ca.crt").is_file());
    let config = std::fs::read_to_string(out.join("config-part.yml")).expect("a part");
    assert!(config.contains(REALM) && config.contains(SERVED), "{config}");
    let server = Server::start(&cluster);
    // The signing certificate fits the root that the registry is given.
    let _ = registry(&cluster, &["user", "add", "web", "alice"], b"correct horse\n").ok();
    let scope = "repository:web/app:pull,push";
    // Rules give nothing to anybody as they stand.
    let (status, access) = server.ask("alice", "correct horse", scope);
    assert!(status == 200 && ["[]", "null"].contains(&access.as_str()), "{status} {access}");
    cluster.update("web.acl.toml", RULES.as_bytes());
    assert_eq!(server.ask("alice", "correct horse", scope), (200, r#"["pull","push"]"#.into()));
    assert_eq!(server.status("alice", "wrong horse"), 401);

    // A robot: its credential is on the other node, in the form asked for.
    let words = ["robot", "create", "web", "ci", "--owner", "alice", "--node", "node-2"];
    let more = ["--scope", "repository:web/*:pull", "--form", "docker"];
    let _ = registry(&cluster, &[&words[..], &more].concat(), b"").ok();
    let credential = || {
        let mut shell = cluster.shell(1, "web.on.node-2");
        let text = shell.read("config.json");
        let file: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let both = file["auths"][SERVED]["auth"].as_str().expect("a credential").to_owned();
        let both = BASE64.decode(both.as_bytes()).expect("base 64");
        let both = String::from_utf8(both).expect("text");
        both.split_once(':').map(|(_, password)| password.to_owned()).expect("a password")
    };
    let old = credential();
    assert_eq!(server.ask("alice+ci", &old, scope), (200, r#"["pull"]"#.into()));
    let _ = registry(&cluster, &["robot", "rotate", "web", "alice+ci"], b"").ok();
    let new = credential();
    // The old one is taken for a minute more.
    assert!(new != old);
    assert_eq!(server.status("alice+ci", &new), 200);
    assert_eq!(server.status("alice+ci", &old), 200);
    let _ = registry(&cluster, &["robot", "rotate", "web", "alice+ci", "--now"], b"").ok();
    let newest = credential();
    for (password, status) in [(&newest, 200), (&new, 401), (&old, 401)] {
        assert_eq!(server.status("alice+ci", password), status);
    }
    // One that nobody's machine has is shown.
    let shown =
        registry(&cluster, &["robot", "create", "web", "bare", "--show", "--form", "plain"], b"");
    let bare = shown.ok();
    assert_eq!(server.status("bare", &bare), 200);

    let listed = registry(&cluster, &["robot", "ls", "web"], b"").ok();
    assert_eq!(listed, "alice+ci\nbare");
    assert_eq!(registry(&cluster, &["user", "ls", "web"], b"").ok(), "alice");

    // Another password: the old one is refused once it returned 0.
    let _ = registry(&cluster, &["user", "passwd", "web", "alice"], b"battery staple").ok();
    assert_eq!(server.status("alice", "correct horse"), 401);
    assert_eq!(server.status("alice", "battery staple"), 200);
    let hash = "alice:$2b$04$abcdefghijklmnopqrstuuVQSpQPtlsuZ6DwvOXaXpzLnHwHgJ2iS";
    let words = ["user", "passwd", "web", "alice", "--htpasswd"];
    let _ = registry(&cluster, &words, hash.as_bytes()).ok();
    assert_eq!(server.status("alice", "battery staple"), 401);

    // Removed: refused after it returned 0; a robot without its owner may do nothing.
    let _ = registry(&cluster, &["user", "rm", "web", "alice"], b"").ok();
    assert_eq!(server.status("alice", "battery staple"), 401);
    let (status, access) = server.ask("alice+ci", &newest, scope);
    assert!(status == 200 && ["[]", "null"].contains(&access.as_str()), "{status} {access}");
    let _ = registry(&cluster, &["robot", "rm", "web", "alice+ci"], b"").ok();
    assert_eq!(server.status("alice+ci", &newest), 401);
    let mut shell = cluster.shell(1, "web.on.node-2");
    assert_eq!(shell.read("config.json"), "gone");
}

#[test]
fn what_is_there_is_not_made_again() {
    let cluster = Cluster::start(1);
    // A name that is taken: nothing of the act is done, and no file is left.
    cluster.secret("web.signer.key", b"mine");
    let (out, refused) = set_up(&cluster, &["--detach"]);
    let refused = refused.status(1);
    assert!(refused.err.contains("web.signer.key"), "{}", refused.err);
    assert!(!out.exists());
    let _ = cluster.ok(&["secret", "rm", "web.signer.key"]);
    let (_, done) = set_up(&cluster, &["--detach"]);
    let _ = done.ok();
    let root = std::fs::read(out.join("root.crt")).expect("a root");
    for folder in ["out", "out2"] {
        let shown = cluster.folder().join(folder).display().to_string();
        let words = ["setup", "web", "--realm", REALM, "--out", &shown];
        let again = registry(&cluster, &words, b"").status(1);
        assert!(again.err.contains("service web.auth"), "{}", again.err);
    }
    assert!(!cluster.folder().join("out2").exists());
    assert_eq!(std::fs::read(out.join("root.crt")).expect("a root"), root);
    // A folder that is there, with a name that isn't.
    let shown = out.display().to_string();
    let words = ["setup", "other", "--realm", REALM, "--out", &shown];
    let exists = registry(&cluster, &words, b"").status(1);
    assert!(exists.err.contains("exists"), "{}", exists.err);
    let listed = cluster.ok(&["service", "ls", "--format", "{{.Name}}"]);
    assert_eq!(listed.lines().count(), 2, "{listed}");
}

#[test]
fn bad_input_changes_nothing() {
    let cluster = Cluster::start(1);
    let (_, done) = set_up(&cluster, &["--detach"]);
    let _ = done.ok();
    let _ = registry(&cluster, &["user", "add", "web", "alice", "-d"], b"correct horse").ok();
    let long = "x".repeat(300);
    let before = cluster.ok(&["secret", "ls", "--format", "json"]);
    let rows: &[(&[&str], &[u8], i32, &str)] = &[
        (&["user", "add", "web", "alice"], b"correct horse", 1, "exists"),
        (&["user", "add", "none", "bob"], b"correct horse", 1, "no registry"),
        (&["user", "add", "web", "bob"], b"", 2, "8 to 256"),
        (&["user", "add", "web", "bob"], b"short", 2, "8 to 256"),
        (&["user", "add", "web", "bob"], &[b'x'; 300], 2, "8 to 256"),
        (&["user", "add", "web", "bob"], b"two\nlines of it", 2, "one line"),
        (&["user", "add", "web", "bob"], b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8", 2, "UTF-8"),
        (&["user", "add", "web", "bob", "--htpasswd"], b"correct horse", 2, "no hash"),
        (&["user", "add", "web", "bob", "--htpasswd"], b"x:$2b$04$", 2, "another user"),
        (&["user", "add", "web", "bob", "--label", "x"], b"correct horse", 2, "KEY=VALUE"),
        (&["user", "add", "web", "bob", "--from", "10.0.0.0/33"], b"correct horse", 2, "from"),
        (&["user", "add", "web", "bob+ci"], b"correct horse", 2, "robot"),
        (&["user", "add", "web", "a:b"], b"correct horse", 2, "colon"),
        (&["user", "add", "web", &long], b"correct horse", 2, "255"),
        (&["user", "add", "web", "bob", "secret"], b"", 2, "unexpected"),
        (&["user", "add", "a-name-that-is-long", "bob"], b"", 2, "at most 16"),
        (&["user", "passwd", "web", "bob"], b"correct horse", 1, "not found"),
        (&["user", "rm", "web", "bob"], b"", 1, "not found"),
        (&["robot", "create", "web", "ci"], b"", 2, "--node"),
        (&["robot", "create", "web", "a+b", "--show"], b"", 2, "--owner"),
        (&["robot", "create", "web", "ci", "--owner", "bob", "--show"], b"", 1, "not found"),
        (&["robot", "create", "web", "ci", "--service", "none"], b"", 1, "not found"),
        (&["robot", "create", "web", "ci", "--show", "--scope", "all"], b"", 2, "scopes"),
        (&["robot", "create", "web", "ci", "--show", "--expires", "x"], b"", 2, "time"),
        (&["robot", "create", "web", "ci", "--show", "--expires", "2020-01-31"], b"", 2, "past"),
        (&["robot", "create", "web", "ci", "--each-node", "--show"], b"", 2, "--show"),
        (&["robot", "create", "none", "ci", "--each-node"], b"", 1, "no registry"),
        (&["acl", "set", "none", "/dev/null"], b"", 23, "version"),
        (&["status", "none"], b"", 1, "no registry"),
        (&["robot", "create", "web", "ci", "--node", "n", "--target", "../x"], b"", 2, "target"),
        (&["robot", "create", "web", "ci", "--show", "--file-owner", "root"], b"", 2, "UID:GID"),
        (&["robot", "create", "web", "ci", "--show", "--form", "x"], b"", 2, "form"),
        (&["robot", "rotate", "web", "alice"], b"", 1, "not found"),
        (&["robot", "rm", "web", "alice"], b"", 1, "not found"),
        (&["robot", "ls", "none"], b"", 1, "no registry"),
        (&["setup", "b", "--realm", "x", "--out", "/no/such/x"], b"", 2, "https"),
        (&["setup", "b", "--realm", REALM, "--out", "/no/such/x"], b"", 2, "not there"),
        (&["setup", "b", "--realm", REALM, "--out", "x", "--issuer", "a b"], b"", 2, "issuer"),
    ];
    for (words, input, status, wanted) in rows {
        let ran = registry(&cluster, words, input);
        let shown: Vec<_> = words.iter().map(|word| &word[..word.len().min(40)]).collect();
        assert_eq!(ran.status, *status, "{shown:?}: {:.300}", ran.err);
        assert!(ran.err.contains(wanted), "{shown:?}: {:.300}", ran.err);
        let lines = ran.err.lines().count();
        assert!(lines <= 2 && !ran.err.contains("panicked"), "{shown:?}: {:.300}", ran.err);
        assert!(!ran.err.contains("correct horse"), "{shown:?}: {:.300}", ran.err);
    }
    assert_eq!(cluster.ok(&["secret", "ls", "--format", "json"]), before);
    // Without an identity and without a manager here it is said how to reach one.
    let mut command = Command::new(binary().with_file_name("skep-registry"));
    command.args(["user", "ls", "web", "--socket", "/no/such/socket"]).env_clear();
    let away = run(&mut command, b"").status(3);
    assert!(away.err.contains("hint: "), "{}", away.err);
}
