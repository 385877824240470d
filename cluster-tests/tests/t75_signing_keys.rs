//! Keys that sign a registry's images: drawn, brought over, rotated and removed by commands, and
//! the policies that are written of their public halves.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use cluster_tests::{Cluster, Ran, binary, run};

const SERVED: &str = "registry.example:5000";

/// `skep registry` as the admin.
fn registry(cluster: &Cluster, words: &[&str], input: &[u8]) -> Ran {
    let mut command = Command::new(binary().with_file_name("skep-registry"));
    command.args(words).env_clear().env("SKEP_IDENTITY", cluster.identity());
    run(&mut command, input)
}

/// A cluster with a registry `web`, whose signers run on the one node.
fn set_up() -> Cluster {
    let cluster = Cluster::start(1);
    let out = cluster.folder().join("out").display().to_string();
    let words = ["setup", "web", "--realm", "https://auth.example/auth", "--out", &out];
    let words = [&words[..], &["--registry-service", SERVED, "--detach"]].concat();
    let _ = registry(&cluster, &words, b"").status(0);
    let refused = registry(&cluster, &["key", "create", "web", "release"], b"").status(1);
    assert!(refused.err.contains("no service web.sign"), "{}", refused.err);
    let words = ["service", "create", "--mount", "fuse", "--node", "node-1", "web.sign"];
    let _ = cluster.ok(&[&words[..], &["--activation", "placed"]].concat());
    cluster
}

fn ran(command: &mut Command) -> String {
    run(command, b"").ok()
}

/// What the signers have under this name.
fn value(cluster: &Cluster, file: &str) -> String {
    let path = format!("/run/secrets/{file}");
    run(&mut cluster.agents[0].exec("web.sign", &["cat", &path]), b"").ok()
}

#[test]
fn a_key_is_drawn_rotated_and_removed_and_its_private_half_is_never_shown() {
    let cluster = set_up();
    let mut said = String::new();
    let mut key = |words: &[&str], status: i32| {
        let ran = registry(&cluster, &[&["key"], words].concat(), b"").status(status);
        said.push_str(&ran.out);
        said.push_str(&ran.err);
        ran
    };
    let first = key(&["create", "web", "release"], 0).out;
    assert!(first.starts_with("-----BEGIN PUBLIC KEY-----\n"), "{first}");
    let pgp = key(&["create", "web", "release-pgp", "--kind", "openpgp"], 0).out;
    assert!(pgp.starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----\n"), "{pgp}");
    let again = key(&["create", "web", "release"], 1);
    assert!(again.err.contains("there is a key release already"), "{}", again.err);

    // What the signers have is the other half, and a rotation brings another one there.
    let half = |file: &str| {
        let mut openssl = Command::new("openssl");
        let held = value(&cluster, file);
        run(openssl.args(["pkey", "-pubout"]), held.as_bytes()).ok()
    };
    assert_eq!(half("key.release"), first.trim_end());
    assert!(value(&cluster, "key.release-pgp").contains("PGP PRIVATE KEY BLOCK"));
    let second = key(&["rotate", "web", "release"], 0).out;
    assert_ne!(second, first);
    assert_eq!(half("key.release"), second.trim_end());
    let second_pgp = key(&["rotate", "web", "release-pgp"], 0).out;
    assert_ne!(second_pgp, pgp);

    let listed = key(&["ls", "web"], 0).out;
    let lines: Vec<Vec<&str>> = listed.lines().map(|line| line.split(' ').collect()).collect();
    assert_eq!((lines[0][0], lines[0][1], lines[0][4]), ("release", "cosign", "2"), "{listed}");
    assert_eq!((lines[1][0], lines[1][1], lines[1][2].len()), ("release-pgp", "openpgp", 40));
    let json = key(&["ls", "web", "--format", "json"], 0).out;
    assert!(json.contains("\"kind\":\"cosign\"") && json.contains("web.key.release"), "{json}");

    let _ = key(&["rm", "web", "release"], 0);
    let gone = key(&["rotate", "web", "release"], 1);
    assert!(gone.err.contains("there is no key release"), "{}", gone.err);
    let left = run(&mut cluster.agents[0].exec("web.sign", &["ls", "/run/secrets"]), b"").ok();
    assert_eq!(left, "key.release-pgp");
    assert!(!said.contains("PRIVATE"), "{said}");
}

#[test]
fn a_key_is_brought_over_with_its_public_half() {
    let cluster = set_up();
    let folder = cluster.folder().to_owned();
    let at = |name: &str| folder.join(name).display().to_string();
    let mut openssl = Command::new("openssl");
    openssl.args(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    let _ = ran(openssl.args(["-out", &at("plain.pem")]));
    let mut half = Command::new("openssl");
    let half = ran(half.args(["pkey", "-pubout", "-in", &at("plain.pem")]));
    let import = |words: &[&str], input: &[u8]| {
        registry(&cluster, &[&["key", "import", "web"], words].concat(), input)
    };
    assert_eq!(import(&["plain", &at("plain.pem")], b"").status(0).out.trim_end(), half);
    let _ = cluster.file("other.pem", b"-----BEGIN PRIVATE KEY-----\nAAAA\n");
    let _ = cluster.file("large.pem", &vec![b'x'; 70_000]);
    let sealed = b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\ne30=\n\
                   -----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n";
    let _ = cluster.file("sealed.pem", sealed);
    let _ = cluster.file("password", b"secret\n");
    let password = ["--password-file", &at("password")];
    for (words, why) in [
        (&["x", &at("nowhere")][..], "it does not exist"),
        (&["x", &at("other.pem")], "no ECDSA key on P-256 in PKCS#8"),
        (&["x", &at("large.pem")], "too large for a key"),
        (&["x", &at("sealed.pem")], "damaged, or sealed in a way that is not known"),
        (&["x", &at("plain.pem"), password[0], password[1]], "it takes no password"),
        (&["X", &at("plain.pem")], "has 1 to 32 characters of a-z 0-9 -"),
        (&["-x-", &at("plain.pem")], "unexpected argument"),
    ] {
        let refused = import(words, b"a password").status(2);
        assert!(refused.err.contains(why), "{words:?}: {}", refused.err);
        assert!(!refused.err.contains("a password"), "{}", refused.err);
    }
    let keys = registry(&cluster, &["key", "ls", "web"], b"").status(0).out;
    assert_eq!(keys.lines().count(), 1, "{keys}");
}

#[test]
fn the_end_of_a_key_is_seen_coming() {
    let cluster = set_up();
    let home = cluster.folder().join("gnupg");
    fs::create_dir(&home).expect("a folder");
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).expect("a mode");
    let gpg = |words: &[&str]| {
        let mut gpg = Command::new("gpg");
        gpg.arg("--homedir").arg(&home).args(["--batch", "--no-tty", "--pinentry-mode"]);
        run(gpg.args(["loopback", "--passphrase", ""]).args(words), b"").ok()
    };
    let _ = gpg(&["--quick-gen-key", "web.hosts", "ed25519", "sign", "20d"]);
    let armour = gpg(&["--armor", "--export-secret-keys", "web.hosts"]);
    let file = cluster.file("hosts.asc", format!("{armour}\n").as_bytes());
    let _ = run(Command::new("gpgconf").arg("--homedir").arg(&home).args(["--kill", "all"]), b"");
    let ask = |words: &[&str], status: i32| registry(&cluster, words, b"").status(status);
    let _ = ask(&["key", "import", "web", "hosts", &file], 0);
    let _ = ask(&["key", "create", "web", "release"], 0);

    let told = ask(&["status", "web"], 8);
    assert!(told.err.contains("warning: key hosts: it ends in "), "{}", told.err);
    assert!(!told.err.contains("key release"), "{}", told.err);
    assert!(told.out.contains("key       release no end"), "{}", told.out);
    let json = ask(&["status", "web", "--format", "json"], 8).out;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let end = json["keys"][0]["ends"].as_str().expect("an end").to_owned();
    assert!(json["keys"][1]["ends"].is_null(), "{json}");
    let listed = ask(&["key", "ls", "web"], 0).out;
    assert!(listed.lines().next().is_some_and(|line| line.ends_with(&end)), "{listed}");
    let out = cluster.folder().join("policy").display().to_string();
    let written = ask(&["policy", "web", "--out", &out, "--lookaside", "https://s.example/x"], 0);
    assert!(written.err.contains("web.key.hosts, version 1: it ends in "), "{}", written.err);

    // Another one has no end.
    let _ = ask(&["key", "rotate", "web", "hosts"], 0);
    let told = ask(&["status", "web"], 8);
    assert!(!told.err.contains("key hosts"), "{}", told.err);
}

#[test]
fn a_policy_has_the_public_halves_of_all_versions_and_rotates_on_hosts() {
    let cluster = set_up();
    let key = |words: &[&str]| registry(&cluster, &[&["key"], words].concat(), b"").status(0).out;
    let out = |name: &str| cluster.folder().join(name).display().to_string();
    let policy = |words: &[&str], status: i32| {
        registry(&cluster, &[&["policy", "web"], words].concat(), b"").status(status)
    };
    let none = policy(&["--out", &out("none")], 1);
    assert!(none.err.contains("has no key that a policy could demand"), "{}", none.err);
    let _ = key(&["create", "web", "release"]);
    let none = policy(&["--out", &out("none")], 1);
    assert!(none.err.contains("--kind openpgp"), "{}", none.err);
    assert!(!Path::new(&out("none")).exists());
    let _ = key(&["create", "web", "release-pgp", "--kind", "openpgp"]);
    let url = ["--lookaside", "https://sign.example:5002/sigstore"];
    let _ = policy(&[&["--out", &out("one")], &url[..]].concat(), 0);
    let read = |path: &str| {
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let one = read(&format!("{}/policy.json", out("one")));
    assert!(one.contains("\"signedBy\"") && !one.contains("sigstoreSigned"), "{one}");
    let places = read(&format!("{}/registries.d/web.yaml", out("one")));
    assert!(places.contains("sigstore: \"https://sign.example:5002/sigstore\""), "{places}");
    assert!(read(&format!("{}/cosign-1.pub", out("one"))).contains("PUBLIC KEY"));
    let _ = policy(&["--out", &out("one")], 1);

    // On a host it is a set of files, and typed again it has the next key too.
    let words = ["service", "create", "--node", "node-1", "--activation", "placed", "hosts"];
    let _ = cluster.ok(&words);
    let missing = policy(&["--service", "nobody"], 1);
    assert!(missing.err.contains("there is no service nobody"), "{}", missing.err);
    let given = || {
        let cat = ["cat", "/run/secrets/policy.json", "/run/secrets/web.yaml"];
        run(&mut cluster.agents[0].exec("hosts", &cat), b"").ok()
    };
    let _ = policy(&[&["--service", "hosts"], &url[..]].concat(), 0);
    let before = given();
    assert!(before.starts_with(one.trim_end()), "{before}");
    let _ = key(&["rotate", "web", "release-pgp"]);
    let _ = policy(&[&["--service", "hosts", "--sigstore"], &url[..]].concat(), 0);
    let after = given();
    assert!(after.contains("sigstoreSigned") && after.len() > before.len(), "{after}");
    assert!(!after.contains("PRIVATE"), "{after}");
    // Skopeo reads it: the image is not of the registry, and so is rejected.
    let _ =
        cluster.file("policy.json", after.split("docker:").next().unwrap_or_default().as_bytes());
    let mut skopeo = Command::new("skopeo");
    skopeo.args([
        "--policy",
        &out("policy.json"),
        "copy",
        "dir:/nowhere",
        &format!("dir:{}", out("copy")),
    ]);
    let said = run(&mut skopeo, b"").status(1).err;
    assert!(!said.contains("trust policy"), "{said}");
}
