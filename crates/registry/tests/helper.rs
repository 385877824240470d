//! `docker-credential-skep`, over folders like an agent's.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "helpers of a test fail it")]
#![allow(clippy::disallowed_methods, reason = "files of a test are lost with it")]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use skep_registry::rules::login::{Form, Login};
use tempfile::TempDir;
use zeroize::Zeroizing;

const BIN: &str = env!("CARGO_BIN_EXE_docker-credential-skep");
const HOST: &str = "registry.example:5000";
const NOT_FOUND: &str = "credentials not found in native keychain\n";

fn login(hosts: &[&str], name: &str, password: &str) -> Login {
    let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
    Login::new(hosts, name.parse().unwrap(), Zeroizing::new(password.to_owned())).unwrap()
}

/// A service's folder with a set in place.
struct Granted(TempDir);

impl Granted {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Another set takes the place of the one there.
    fn put(&self, generation: &str, files: &[(&str, &str)]) {
        let folder = self.path().join(generation);
        fs::create_dir(&folder).unwrap();
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
        let fresh = self.path().join("..fresh-link");
        symlink(generation, &fresh).unwrap();
        fs::rename(fresh, self.path().join("..data")).unwrap();
    }
}

fn helper(folders: &[&Path], word: &str, input: &str) -> Output {
    let mut command = Command::new(BIN);
    let named = std::env::join_paths(folders).unwrap();
    ended(command.arg(word).env("SKEP_CREDENTIALS", named), input)
}

fn ended(command: &mut Command, input: &str) -> Output {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    child.wait_with_output().unwrap()
}

#[track_caller]
fn said(output: &Output, status: i32) -> String {
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{err}");
    assert!(!err.contains("skr1_"), "{err}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn it_gives_the_robot_of_exactly_that_registry() {
    let (one, two) = (Granted::new(), Granted::new());
    let ci = login(&[HOST, "[::1]:5000"], "ann+ci", "skr1_\"one\\");
    let other = login(&["other.example"], "other", "skr1_two");
    let shadowed = login(&["other.example", HOST], "shadowed", "skr1_three");
    one.put("..1", &[("robot.json", &ci.write(Form::Helper)), ("cert.pem", "no credential")]);
    let two_files = [
        ("robot-a.json", other.write(Form::Helper)),
        ("robot-b.json", shadowed.write(Form::Helper)),
    ];
    two.put("..1", &two_files.each_ref().map(|(name, text)| (*name, text.as_str())));
    let folders = [one.path(), two.path()];
    let get = |asked: &str| helper(&folders, "get", asked);
    for asked in [HOST, "https://registry.example:5000", "http://Registry.Example:5000/v2/\n"] {
        let answer: serde_json::Value = serde_json::from_str(&said(&get(asked), 0)).unwrap();
        let wanted = serde_json::json!({
            "ServerURL": asked.trim(), "Username": "ann+ci", "Secret": "skr1_\"one\\",
        });
        assert_eq!(answer, wanted);
    }
    assert!(said(&get("https://other.example/v1/"), 0).contains("\"Username\":\"other\""));
    for asked in [
        "",
        "registry.example",
        "registry.example:443",
        "registry.example:50001",
        "registry.example:5000.evil.example",
        "evil.example/registry.example:5000",
        "https://evil.example@registry.example:5000",
        "https://registry.example:5000/team",
        "other.example:443",
    ] {
        let output = get(asked);
        assert_eq!(said(&output, 1), NOT_FOUND, "{asked}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{asked}");
    }
    let all: serde_json::Value =
        serde_json::from_str(&said(&helper(&folders, "list", ""), 0)).unwrap();
    let wanted = serde_json::json!({
        HOST: "ann+ci", "[::1]:5000": "ann+ci", "other.example": "other",
    });
    assert_eq!(all, wanted);
    // Another set: at the next question.
    let rotated = login(&[HOST], "ann+ci", "skr1_rotated");
    one.put("..2", &[("robot.json", &rotated.write(Form::Helper))]);
    assert!(said(&get(HOST), 0).contains("skr1_rotated"));
    one.put("..3", &[]);
    assert!(said(&get(HOST), 0).contains("shadowed"), "the next that is for it");
    two.put("..2", &[]);
    assert_eq!(said(&get(HOST), 1), NOT_FOUND);
    assert_eq!(said(&helper(&folders, "list", ""), 0), "{}\n");
    let gone = [Path::new("/no/such/folder")];
    assert_eq!(said(&helper(&gone, "get", HOST), 1), NOT_FOUND);
}

#[test]
fn it_stores_and_erases_nothing_and_knows_five_words() {
    let granted = Granted::new();
    granted.put("..1", &[("robot.json", &login(&[HOST], "ci", "skr1_one").write(Form::Helper))]);
    let input = format!(r#"{{"ServerURL":"{HOST}","Username":"x","Secret":"skr1_typed"}}"#);
    for word in ["store", "erase"] {
        let told = said(&helper(&[granted.path()], word, &input), 1);
        assert!(told.contains("nothing is stored or erased") && !told.contains("skr1"), "{told}");
    }
    assert!(said(&helper(&[granted.path()], "get", HOST), 0).contains("skr1_one"));
    let version = said(&helper(&[], "version", ""), 0);
    assert!(version.starts_with("docker-credential-skep "), "{version}");
    assert!(version.trim_end().ends_with(env!("CARGO_PKG_VERSION")), "{version}");
    let help = said(&helper(&[], "--help", ""), 0);
    assert!(help.contains("credHelpers") && help.lines().all(|line| line.len() <= 80), "{help}");
    for words in [&[][..], &["got"], &["get", "get"], &["-x"]] {
        let output = ended(Command::new(BIN).args(words), HOST);
        assert_eq!(said(&output, 2), "");
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(err.starts_with("error: ") && err.contains("\nhint: "), "{err}");
    }
    let large = helper(&[granted.path()], "get", &"x".repeat(20_000));
    assert!(said(&large, 1).contains("standard input"));
}

#[test]
fn what_does_not_read_is_named_and_never_taken_for_absent() {
    let granted = Granted::new();
    let good = login(&["good.example"], "ci", "skr1_one").write(Form::Helper);
    granted.put("..1", &[("robot.json", &good), ("robot-b.json", "{\"password\":\"skr1_bad\"}")]);
    assert!(said(&helper(&[granted.path()], "get", "good.example"), 0).contains("skr1_one"));
    let told = said(&helper(&[granted.path()], "get", HOST), 1);
    assert!(
        told.contains("robot-b.json: doesn't read, at line 1") && !told.contains("skr1"),
        "{told}"
    );

    let odd = Granted::new();
    odd.put("..1", &[("robot-large.json", &" ".repeat(20_000)), ("robot-raw.json", "")]);
    let fifo = odd.path().join("..1/robot-fifo.json");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    fs::write(odd.path().join("..1/robot-raw.json"), b"\xff\xfe").unwrap();
    let told = said(&helper(&[odd.path()], "list", ""), 1);
    assert!(told.contains("robot-fifo.json: it is no file"), "{told}");
    for (name, why) in [("robot-large.json", "larger"), ("robot-raw.json", "UTF-8")] {
        fs::remove_file(&fifo).ok();
        let told = said(&helper(&[odd.path()], "get", HOST), 1);
        assert!(told.contains(name) && told.contains(why), "{told}");
        fs::remove_file(odd.path().join("..1").join(name)).unwrap();
    }
    // The caller's rights are all that it has.
    granted.put("..2", &[("robot.json", &good)]);
    let file = granted.path().join("..2/robot.json");
    fs::set_permissions(file, fs::Permissions::from_mode(0o400)).unwrap();
    let copy = granted.path().join("helper");
    let _ = fs::copy(BIN, &copy).unwrap();
    let mut command = Command::new(copy);
    let command =
        command.arg("get").env("SKEP_CREDENTIALS", granted.path()).uid(65_534).gid(65_534);
    let told = said(&ended(command, "good.example"), 1);
    assert!(told.contains("robot.json: Permission denied"), "{told}");
    assert!(!told.contains("skr1"), "{told}");
}

#[test]
fn the_folders_stand_in_a_file_of_the_caller() {
    let (granted, home) = (Granted::new(), tempfile::tempdir().unwrap());
    granted.put("..1", &[("robot.json", &login(&[HOST], "ci", "skr1_one").write(Form::Helper))]);
    let place = home.path().join(".config/skep");
    fs::create_dir_all(&place).unwrap();
    let get = |text: &str| {
        fs::write(place.join("credentials.toml"), text).unwrap();
        let mut command = Command::new(BIN);
        command.env_remove("SKEP_CREDENTIALS").env_remove("XDG_CONFIG_HOME");
        ended(command.arg("get").env("HOME", home.path()), HOST)
    };
    let folder = granted.path().display();
    let good = format!("version = 1\nfolders = [\"{folder}\"]\n");
    assert!(said(&get(&good), 0).contains("skr1_one"));
    for (text, wanted) in [
        (good.replace("= 1", "= 2"), "another version"),
        (good.replace("folders", "folder"), "line 2: unknown field"),
        (format!("version = 1\nfolders = [\"{folder}\", \"relative\"]"), "absolute"),
        ("version = 1\nfolders = []".to_owned(), "1 to 64"),
        (String::new(), "missing field"),
    ] {
        let told = said(&get(&text), 1);
        assert!(told.contains(wanted) && told.contains("credentials.toml"), "{text}: {told}");
    }
}

#[test]
fn trouble_is_told_to_the_machines_log() {
    let (granted, dev) = (Granted::new(), tempfile::tempdir().unwrap());
    granted.put("..1", &[("robot.json", "damaged")]);
    let log = UnixDatagram::bind(dev.path().join("log")).unwrap();
    log.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut command = Command::new("unshare");
    let script = "mount --bind \"$0\" /dev && exec \"$1\" get";
    command.args(["--mount", "sh", "-c", script]).arg(dev.path()).arg(BIN);
    let _ = said(&ended(command.env("SKEP_CREDENTIALS", granted.path()), HOST), 1);
    let mut line = [0; 2_048];
    let length = log.recv(&mut line).unwrap();
    let line = String::from_utf8_lossy(&line[..length]).into_owned();
    assert!(line.starts_with("<11>docker-credential-skep["), "{line}");
    assert!(line.contains("robot.json: doesn't read") && !line.contains("damaged"), "{line}");
}

/// What skopeo knows of a registry by this file.
fn skopeo(file: &Path, path: &Path, folder: &Path) -> Output {
    let mut command = Command::new("skopeo");
    command.args(["login", "--get-login", "--authfile"]).arg(file).arg(HOST);
    let mut paths = vec![path.to_path_buf()];
    paths.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
    command.env("PATH", std::env::join_paths(paths).unwrap()).env("SKEP_CREDENTIALS", folder);
    ended(&mut command, "")
}

#[test]
fn skopeo_reads_every_form_that_is_made_for_it() {
    let granted = Granted::new();
    let ci = login(&[HOST], "ann+ci", "skr1_one");
    granted.put("..1", &[("robot.json", &ci.write(Form::Helper))]);
    let here = PathBuf::from(BIN).parent().unwrap().to_path_buf();
    let place = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = place.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let helper = format!(r#"{{"credHelpers":{{"{HOST}":"skep"}}}}"#);
    for path in [
        file("helper.json", &helper),
        file("docker.json", &ci.write(Form::Docker)),
        file("kubernetes.json", &ci.write(Form::Kubernetes)),
    ] {
        let output = skopeo(&path, &here, granted.path());
        assert_eq!(said(&output, 0), "ann+ci\n", "{}", path.display());
    }
    granted.put("..2", &[]);
    let output = skopeo(&place.path().join("helper.json"), &here, granted.path());
    assert!(!output.status.success(), "a robot that is gone: {output:?}");
}
