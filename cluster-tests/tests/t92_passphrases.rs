//! Identity files that are encrypted with a passphrase: how they are made, used, renewed and
//! opened, and what is said where the passphrase is missing, weak or wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use cluster_tests::terminal::{leading, type_in};
use cluster_tests::{Cluster, Ran, run, until};

const PASSPHRASE: &str = "correct horse battery";
const OTHER: &str = "staple under the lamp";

struct Case {
    cluster: Cluster,
    right: String,
    wrong: String,
}

impl Case {
    fn start() -> Self {
        let cluster = Cluster::start(0);
        let right = cluster.file("right", format!("{PASSPHRASE}\n").as_bytes());
        let wrong = cluster.file("wrong", OTHER.as_bytes());
        Self { cluster, right, wrong }
    }

    fn at(&self, name: &str) -> String {
        self.cluster.folder().join(name).display().to_string()
    }

    /// A command by this identity.
    fn command(&self, identity: &str, words: &[&str]) -> Command {
        let mut command = self.cluster.command(words);
        command.env("SKEP_IDENTITY", self.at(identity));
        command
    }

    fn by(&self, identity: &str, words: &[&str]) -> Ran {
        run(&mut self.command(identity, words), b"value")
    }

    /// The same with the right passphrase from a file.
    fn with_file(&self, identity: &str, words: &[&str]) -> Ran {
        self.by(identity, &[words, &["--passphrase-file", &self.right]].concat())
    }

    /// Makes an operator whose identity is encrypted.
    fn operator(&self, name: &str, flags: &[&str]) {
        let out = self.at(&format!("{name}.skepid"));
        let words = ["operator", "create", name, "--role", "editor", "--out", &out];
        let words = [&words, &["--new-passphrase-file", &self.right][..], flags].concat();
        let _ = self.cluster.ok(&words);
    }
}

fn sealed(path: &str) -> bool {
    let text = fs::read_to_string(path).expect("an identity");
    assert_ne!(text.contains("SKEP ENCRYPTED KEYS"), text.contains("PRIVATE KEY"), "{text}");
    !text.contains("PRIVATE KEY")
}

const LIST: [&str; 3] = ["secret", "ls", "-q"];

#[test]
fn an_encrypted_identity_opens_by_file_program_and_terminal() {
    let case = Case::start();
    case.operator("bea", &[]);
    let file = case.at("bea.skepid");
    assert!(sealed(&file));
    let mode = fs::metadata(&file).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let _ = case.with_file("bea.skepid", &["secret", "create", "a", "-"]).ok();
    let stdin = case.command("bea.skepid", &[&LIST[..], &["--passphrase-file", "-"]].concat());
    let mut stdin = stdin;
    let _ = run(&mut stdin, PASSPHRASE.as_bytes()).ok();
    let by_program = |program: &str| {
        let mut command = case.command("bea.skepid", &LIST);
        run(command.env("SKEP_IDENTITY_COMMAND", program), b"")
    };
    let _ = by_program(&format!("cat '{}'", case.right)).ok();
    let typed = type_in(leading(&case.command("bea.skepid", &LIST)), PASSPHRASE).status(0);
    assert!(typed.out.contains("Passphrase of ") && !typed.out.contains(PASSPHRASE));

    // Nobody to ask, and what is no passphrase.
    let mut alone = Command::new("setsid");
    alone.arg("--wait").arg(case.command("bea.skepid", &[]).get_program()).args(LIST);
    alone.envs(
        case.command("bea.skepid", &[])
            .get_envs()
            .filter_map(|(name, value)| value.map(|value| (name.to_owned(), value.to_owned()))),
    );
    let refused = run(&mut alone, b"").status(2);
    assert!(refused.err.contains("there is no terminal to ask on"), "{}", refused.err);
    assert!(refused.err.contains("hint: --passphrase-file"), "{}", refused.err);
    let wrong = case.by("bea.skepid", &[&LIST[..], &["--passphrase-file", &case.wrong]].concat());
    let wrong = wrong.status(7);
    assert!(wrong.err.contains("bea.skepid: wrong passphrase"), "{}", wrong.err);
    assert!(!wrong.err.contains(OTHER) && wrong.err.lines().count() == 2, "{}", wrong.err);
    let typed = type_in(leading(&case.command("bea.skepid", &LIST)), OTHER).status(7);
    assert!(typed.out.contains("wrong passphrase") && !typed.out.contains(OTHER));
    for (program, status, said) in [
        ("false", 1, "the identity command false ended with"),
        ("/none/agent", 23, "the identity command /none/agent: cannot be started"),
        ("echo 'a", 23, "has a quote that does not end"),
        ("true", 2, "the passphrase is empty"),
        ("cat /dev/zero", 2, "a passphrase is one line"),
        ("sh -c 'echo to the user >&2; exit 3'", 1, "to the user"),
        ("echo hunter2 hunter2", 7, "wrong passphrase"),
    ] {
        let ran = by_program(program).status(status);
        assert!(ran.err.contains(said) && ran.err.contains("hint: "), "{program}: {}", ran.err);
        assert!(!ran.err.contains("hunter2"), "{}", ran.err);
    }
    // Standard input is one thing: not the passphrase and the value too.
    let both = ["secret", "create", "b", "-", "--passphrase-file", "-"];
    let refused = case.by("bea.skepid", &both).status(2);
    assert!(refused.err.contains("read already"), "{}", refused.err);
}

#[test]
fn the_program_is_told_which_identity_and_is_not_asked_where_nothing_is_encrypted() {
    let case = Case::start();
    case.operator("bea", &[]);
    let mark = case.at("asked");
    let script = format!(
        "sh -c 'echo \"$SKEP_IDENTITY_FILE $SKEP_IDENTITY_COMMAND\" >> {mark}; cat {}'",
        case.right
    );
    let mut command = case.command("bea.skepid", &LIST);
    let _ = run(command.env("SKEP_IDENTITY_COMMAND", &script), b"").ok();
    let asked = fs::read_to_string(&mark).expect("it was asked");
    assert_eq!(asked.trim_end(), case.at("bea.skepid"));
    let mut command = case.cluster.command(&LIST);
    let _ = run(command.env("SKEP_IDENTITY_COMMAND", &script), b"").ok();
    assert_eq!(fs::read_to_string(&mark).expect("it was asked"), asked, "nothing to ask");
    // The manager's socket needs no identity, and nobody is asked for one.
    let here = &case.cluster.manager;
    let socket = here.socket().display().to_string();
    let mut local = case.command("bea.skepid", &[&LIST[..], &["--socket", &socket]].concat());
    let _ = run(local.env("SKEP_IDENTITY_COMMAND", &script), b"").ok();
    assert_eq!(fs::read_to_string(&mark).expect("it was asked"), asked, "nothing to ask");
}

#[test]
fn passphrases_are_set_changed_and_removed() {
    let case = Case::start();
    let admin = case.cluster.identity().display().to_string();
    fs::copy(&admin, case.at("me.skepid")).expect("a copy");
    let change =
        |flags: &[&str]| case.by("me.skepid", &[&["operator", "passphrase"][..], flags].concat());
    let plain = fs::read_to_string(case.at("me.skepid")).expect("an identity");
    for (weak, said) in [
        ("short", "fewer than 12 characters"),
        ("aaaaaaaaaaaaaaaaaaaaaaa", "different characters"),
        ("admin-admin-1", "little more than the name"),
        ("", "empty"),
        ("one line\nand another", "one line"),
    ] {
        let file = case.cluster.file("weak", weak.as_bytes());
        let refused = change(&["--new-passphrase-file", &file]).status(2);
        assert!(refused.err.contains(said) && refused.err.contains("hint: "), "{}", refused.err);
    }
    let refused = change(&["--remove"]).status(2);
    assert!(refused.err.contains("is not encrypted"), "{}", refused.err);
    assert_eq!(fs::read_to_string(case.at("me.skepid")).expect("an identity"), plain);

    let _ = change(&["--new-passphrase-file", &case.right]).ok();
    assert!(sealed(&case.at("me.skepid")));
    let _ = case.with_file("me.skepid", &LIST).ok();
    // Another one, typed: the one so far, and the new one twice.
    let words = ["operator", "passphrase", "--passphrase-file", &case.right];
    let typed = type_in(leading(&case.command("me.skepid", &words)), OTHER).status(0);
    assert!(typed.out.contains("New passphrase: ") && typed.out.contains("it is encrypted"));
    assert_eq!(case.with_file("me.skepid", &LIST).status, 7);
    let with_other = [&LIST[..], &["--passphrase-file", &case.wrong]].concat();
    let _ = case.by("me.skepid", &with_other).ok();
    assert_eq!(change(&["--remove", "--passphrase-file", &case.right]).status, 7);
    let _ = change(&["--remove", "--passphrase-file", &case.wrong]).ok();
    assert!(!sealed(&case.at("me.skepid")));
    let _ = case.by("me.skepid", &LIST).ok();
    // What may not be written stays as it is.
    fs::set_permissions(case.at("me.skepid"), fs::Permissions::from_mode(0o400)).expect("a mode");
    let refused = change(&["--new-passphrase-file", &case.right]).status(1);
    assert!(refused.err.contains("may not be written"), "{}", refused.err);
}

#[test]
fn every_command_that_writes_an_identity_encrypts_it() {
    let case = Case::start();
    let new = ["--new-passphrase-file", &case.right];
    let request = case.cluster.ok(&["operator", "request", "--out", &case.at("dan.key")]);
    let request = case.cluster.file("dan.request", request.as_bytes());
    let (answer, out) = (case.at("dan.answer"), case.at("dan.skepid"));
    let create = ["operator", "create", "dan", "--role", "viewer", "--request", &request];
    let create = [&create[..], &["--out", &answer]].concat();
    let refused = case.cluster.skep(&[&create[..], &new].concat()).status(2);
    assert!(refused.err.contains("its identity is not made here"), "{}", refused.err);
    let _ = case.cluster.ok(&create);
    let accept = ["operator", "accept", &answer, "--key", &case.at("dan.key"), "--out", &out];
    let _ = case.cluster.ok(&[&accept[..], &new].concat());
    assert!(sealed(&out));
    let _ = case.with_file("dan.skepid", &LIST).ok();
    let (key, out) = (case.cluster.unlock_key().display().to_string(), case.at("eve.skepid"));
    let recover = ["operator", "recover", "eve", "--key-file", &key, "--out", &out];
    let _ = case.cluster.manager.skep(&[&recover[..], &new].concat()).ok();
    assert!(sealed(&out));
    let _ = case.with_file("eve.skepid", &LIST).ok();
    // A weak one is refused before anything is made.
    let weak = case.cluster.file("weak", b"eve");
    let out = case.at("fay.skepid");
    let words = ["operator", "create", "fay", "--role", "viewer", "--out", &out];
    let _ = case.cluster.skep(&[&words[..], &["--new-passphrase-file", &weak]].concat()).status(2);
    assert!(!Path::new(&out).exists());
    assert!(!case.cluster.ok(&["operator", "ls", "--format", "{{.Name}}"]).contains("fay"));
}

/// The certificate that a file holds.
fn leaf_of(path: &str) -> String {
    let text = fs::read_to_string(path).expect("an identity");
    text.split("-----END CERTIFICATE").next().unwrap_or_default().to_owned()
}

#[test]
fn what_is_renewed_stays_encrypted() {
    let case = Case::start();
    case.operator("bea", &[]);
    let file = case.at("bea.skepid");
    let before = leaf_of(&file);
    // Two certificates of one second are the same.
    until("another certificate", || {
        let _ = case.with_file("bea.skepid", &["operator", "renew"]).ok();
        (leaf_of(&file) != before).then_some(())
    });
    assert!(sealed(&file));
    let _ = case.with_file("bea.skepid", &LIST).ok();
    let (copy, old) = (case.at("copy.skepid"), fs::read(&file).expect("an identity"));
    fs::write(&copy, old).expect("a copy");
    let _ = case.with_file("bea.skepid", &["operator", "renew", "--new-key"]).ok();
    assert!(sealed(&file));
    let _ = case.with_file("bea.skepid", &LIST).ok();
    assert_eq!(case.with_file("bea.skepid", &[&LIST[..], &["--stale"]].concat()).status, 0);
    let copy = case.with_file("copy.skepid", &LIST);
    assert_ne!(copy.status, 0, "the key before is good no more: {}", copy.err);
}

#[test]
fn a_file_that_asks_for_more_than_there_is_is_refused_at_once() {
    let case = Case::start();
    case.operator("bea", &[]);
    let text = fs::read_to_string(case.at("bea.skepid")).expect("an identity");
    for (name, from, to) in [
        ("memory", "m=65536", "m=4194304"),
        ("passes", "t=3", "t=4000000000"),
        ("kind", "argon2id", "scrypt"),
        ("cut", "salt=", "salt"),
    ] {
        let edited = text.replacen(from, to, 1);
        let (head, rest) = edited.split_once("checksum = \"").expect("a checksum");
        let (_, rest) = rest.split_once("\"\n").expect("its end");
        let sum = skep_sum(rest.trim_end());
        fs::write(case.at(name), format!("{head}checksum = \"{sum}\"\n{rest}")).expect("a file");
        let begun = Instant::now();
        let refused = case.with_file(name, &LIST).status(2);
        assert!(refused.err.contains("passphrase is used"), "{name}: {}", refused.err);
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}

/// What the head of an identity file says of the rest (docs/certificates.md).
fn skep_sum(rest: &str) -> String {
    let mut bytes = [0; 16];
    blake3::Hasher::new().update(rest.as_bytes()).finalize_xof().fill(&mut bytes);
    data_encoding::BASE32_NOPAD.encode(&bytes).to_ascii_lowercase()
}

#[test]
fn the_key_of_a_request_is_encrypted_while_it_waits_and_so_is_its_identity() {
    let case = Case::start();
    let (key, request, answer) =
        (case.at("dan.key"), case.at("dan.request"), case.at("dan.answer"));
    let made = ["operator", "request", "--out", &key, "--new-passphrase-file", &case.right];
    fs::write(&request, case.cluster.ok(&made)).expect("a request");
    let text = fs::read_to_string(&key).expect("a key");
    assert!(text.contains("SKEP ENCRYPTED KEY") && !text.contains("PRIVATE KEY"), "{text}");
    let weak = case.cluster.file("weak", b"short");
    let refused = ["operator", "request", "--out", &case.at("x"), "--new-passphrase-file", &weak];
    let refused = case.cluster.skep(&refused).status(2);
    assert!(refused.err.contains("too weak"), "{}", refused.err);
    assert!(!Path::new(&case.at("x")).exists());
    let create = ["operator", "create", "dan", "--role", "editor", "--request", &request];
    let _ = case.cluster.ok(&[&create[..], &["--out", &answer]].concat());

    let out = case.at("dan.skepid");
    let accept = ["operator", "accept", &answer, "--key", &key, "--out", &out];
    let accept = |more: &[&str]| case.cluster.skep(&[&accept[..], more].concat());
    let wrong = accept(&["--passphrase-file", &case.wrong]).status(7);
    assert!(wrong.err.contains("dan.key: wrong passphrase"), "{}", wrong.err);
    assert!(wrong.err.contains("hint: ") && !wrong.err.contains(OTHER), "{}", wrong.err);
    assert!(!Path::new(&out).exists());
    let _ = accept(&["--passphrase-file", &case.right]).ok();
    assert!(sealed(&out), "its key never lay there in clear");
    let _ = case.with_file("dan.skepid", &LIST).ok();
    // On a terminal the passphrase is asked for twice, and once to use it.
    let typed = ["operator", "request", "--out", &case.at("eve.key"), "--passphrase"];
    let mut command = case.cluster.command(&typed);
    command.stdin(std::process::Stdio::null());
    let typed = type_in(leading(&command), PASSPHRASE).status(0);
    assert!(typed.out.contains("New passphrase: "), "{}", typed.out);
    assert!(typed.out.contains("The same again: "), "{}", typed.out);
    assert!(!typed.out.contains(PASSPHRASE));
}
