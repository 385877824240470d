//! An operator's identity is renewed by the commands that use it, with the key that it has: all
//! copies stay good. Clocks are libfaketime's, of the managers and of each command.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cluster_tests::{Agent, Cluster, Manager, Ran, run, until, with_clock};
use serde_json::Value;

/// A cluster with clocks of its own, and how many days ahead they are.
struct Case {
    _folder: tempfile::TempDir,
    cluster: Cluster,
    days: i64,
}

impl Case {
    fn start() -> Self {
        Self::start_with(0)
    }

    fn start_with(agents: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let cluster = Cluster::start_clocked(folder.path(), agents);
        Self { _folder: folder, cluster, days: 0 }
    }

    fn ahead(&mut self, days: i64) {
        self.cluster.ahead(days);
        self.days = days;
    }

    /// A copy of the admin's identity as it was at first.
    fn copy(&self, name: &str, mode: u32) -> PathBuf {
        let first = self.cluster.folder().join("first.skepid");
        if !first.exists() {
            fs::copy(self.cluster.identity(), &first).expect("a copy");
        }
        let path = self.cluster.folder().join(name);
        fs::copy(first, &path).expect("a copy");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
        path
    }

    fn command(&self, identity: &Path, words: &[&str]) -> Command {
        let mut command = self.cluster.command(words);
        with_clock(&mut command, &format!("+{}d", self.days));
        command.env("SKEP_IDENTITY", identity).env("TMPDIR", self.cluster.folder());
        command
    }

    /// The CLI over mTLS by this identity.
    fn skep(&self, identity: &Path, words: &[&str]) -> Ran {
        run(&mut self.command(identity, words), b"value")
    }
}

/// What stands between the lines of such a block: what else is in the file follows the
/// managers' addresses.
fn block(path: &Path, what: &str) -> String {
    let text = fs::read_to_string(path).expect("an identity");
    let (_, block) = text.split_once(&format!("-----BEGIN {what}-----")).expect("a block");
    block.split_once("-----END").expect("its end").0.to_owned()
}

fn leaf_of(path: &Path) -> String {
    block(path, "CERTIFICATE")
}

fn key_of(path: &Path) -> String {
    block(path, "PRIVATE KEY")
}

const LIST: [&str; 2] = ["secret", "ls"];

#[test]
fn commands_renew_the_identity_that_they_use_and_copies_stay_good() {
    let mut case = Case::start();
    let [used, late] = ["used", "late"].map(|name| case.copy(name, 0o640));
    let fixed = case.copy("fixed", 0o400);
    let first = leaf_of(&used);

    case.ahead(30);
    let _ = case.skep(&used, &LIST).ok();
    assert_eq!(leaf_of(&used), first, "it is not due");

    case.ahead(75);
    let told = case.skep(&used, &LIST);
    assert!(!told.err.contains("renewed"), "nothing to tell: {}", told.err);
    let _ = told.ok();
    assert_ne!(leaf_of(&used), first, "it is due");
    assert_eq!(key_of(&used), key_of(&late), "the key is the same");
    assert_eq!(fs::metadata(&used).expect("a file").mode() & 0o777, 0o640);
    let before = leaf_of(&used);
    let _ = case.skep(&used, &LIST).ok();
    assert_eq!(leaf_of(&used), before, "it is young");
    // One that can't be written is good on, and that is said once a day. (Root may write what
    // its owner may not: the mode decides.)
    for told in [true, false] {
        let ran = case.skep(&fixed, &LIST);
        assert_eq!(ran.err.contains("is to be renewed"), told, "{}", ran.err);
        let _ = ran.ok();
    }
    case.days = 77;
    assert!(case.skep(&fixed, &LIST).err.contains("is to be renewed"));
    assert_eq!(leaf_of(&fixed), first);

    // A copy whose certificate has ended renews first, and then does what it was asked for.
    case.ahead(110);
    let _ = case.skep(&late, &LIST).ok();
    assert_ne!(leaf_of(&late), first);
    let before = leaf_of(&late);
    let _ = case.skep(&late, &LIST).ok();
    assert_eq!(leaf_of(&late), before, "it is young");
}

/// Commands over mTLS that ask, change, wait and follow.
const COMMANDS: [&[&str]; 21] = [
    &["status"],
    &["secret", "create", "new-NAME", "-"],
    &["secret", "update", "s", "-", "--timeout", "20s"],
    &["secret", "ls"],
    &["secret", "inspect", "s"],
    &["secret", "holders", "s"],
    &["service", "create", "new-NAME", "--node", "node-1"],
    &["service", "update", "--label-add", "a=NAME", "web"],
    &["service", "grant", "web", "other", "--timeout", "20s"],
    &["service", "revoke", "web", "other", "--timeout", "20s"],
    &["service", "ls"],
    &["service", "inspect", "web"],
    &["node", "ls"],
    &["node", "inspect", "node-1"],
    &["node", "update", "--label-add", "a=NAME", "node-1"],
    &["join-token", "worker", "-q"],
    &["join-token", "ls"],
    &["unlock-key", "ls"],
    &["ca", "show"],
    &["manager", "step-down"],
    &["operator", "renew"],
];

#[test]
fn every_command_goes_on_sixty_and_a_hundred_and_ten_days_later() {
    let mut case = Case::start_with(1);
    for name in ["s", "other"] {
        case.cluster.secret(name, b"one");
    }
    let words = ["service", "create", "web", "--node", "node-1", "--activation", "placed"];
    let _ = case.cluster.ok(&words);
    let _ = case.cluster.ok(&["service", "grant", "web", "s"]);
    for days in [60, 110] {
        case.ahead(days);
        case.cluster.agents[0].start_again();
        case.cluster.agents[0].connected();
        for (number, words) in COMMANDS.iter().enumerate() {
            let identity = case.copy(&format!("copy-{days}-{number}"), 0o600);
            let first = leaf_of(&identity);
            let name = format!("{days}-{number}");
            let words: Vec<String> = words.iter().map(|word| word.replace("NAME", &name)).collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let ran = case.skep(&identity, &words);
            // A status may be degraded: the others' copies are not renewed.
            let good = ran.status == 0 || (words == ["status"] && ran.status == 8);
            assert!(good, "{days} {words:?}: {} {}", ran.status, ran.err);
            if days == 110 || words == ["operator", "renew"] {
                assert_ne!(leaf_of(&identity), first, "{days} {words:?}");
            }
        }
    }
}

#[test]
fn what_may_not_be_written_goes_on_in_its_grace_however_often_it_is_used_and_by_how_many() {
    let mut case = Case::start();
    let fixed = case.copy("fixed", 0o400);
    let first = leaf_of(&fixed);
    case.ahead(110);
    let begun = Instant::now();
    let mut told = 0;
    for _ in 0..25 {
        let ran = case.skep(&fixed, &LIST);
        assert!(!ran.err.contains("still trying"), "{}", ran.err);
        told += usize::from(ran.err.contains("is to be renewed"));
        let _ = ran.ok();
    }
    assert_eq!(told, 1, "once a day");
    // The leader signs five at once, and then one each 30 seconds: that would be ten minutes.
    assert!(begun.elapsed() < Duration::from_mins(2), "{:?}", begun.elapsed());
    assert_eq!(leaf_of(&fixed), first);

    // Several at once, by a copy that may be written: one of them renews it.
    case.ahead(111);
    let ended = case.copy("ended", 0o600);
    let all: Vec<_> = (0..8)
        .map(|_| {
            let mut command = case.command(&ended, &LIST);
            command.stdout(Stdio::null()).spawn().expect("a command")
        })
        .collect();
    for mut one in all {
        assert!(one.wait().expect("its end").success());
    }
    assert_ne!(leaf_of(&ended), first);
    assert_eq!(key_of(&ended), key_of(&fixed));
}

/// How often this manager has signed another certificate for an operator.
fn signed(manager: &Manager) -> usize {
    let log = fs::read_to_string(manager.log()).expect("a log");
    let of = |line: &&str| line.contains("certificate_signed") && line.contains("Operator");
    log.lines().filter(of).count()
}

#[test]
fn nobody_is_asked_for_what_could_not_be_written_whatever_forbids_it() {
    let mut case = Case::start();
    // Mounts of the command's own: the folder read-only, or the file in a place of its own, where
    // it is written to and not replaced.
    let mounts = [
        "mount --bind DIR DIR && mount -o remount,bind,ro DIR",
        "ln FILE DIR/another",
        "mount --bind FILE FILE",
        "true",
    ];
    let paths: Vec<PathBuf> = (0..mounts.len())
        .map(|number| {
            let folder = case.cluster.folder().join(format!("mounted-{number}"));
            fs::create_dir(&folder).expect("a folder");
            case.copy(&format!("mounted-{number}/id.skepid"), 0o600)
        })
        .collect();
    // Somebody else has it open to write it, and never does.
    let held = fs::File::open(&paths[3]).expect("the file");
    held.lock().expect("a lock");
    let first = leaf_of(&paths[0]);
    for days in [75, 110] {
        case.ahead(days);
        for (number, (path, mount)) in paths.iter().zip(mounts).enumerate() {
            let folder = path.parent().expect("its folder").display().to_string();
            let folder_of_marks = case.cluster.folder().join(folder.replace('/', "_"));
            fs::create_dir_all(&folder_of_marks).expect("a folder");
            let mount = mount.replace("DIR", &folder).replace("FILE", &path.display().to_string());
            let ran = |times: usize| {
                let script = format!("{mount} && for n in $(seq {times}); do \"$@\" || exit; done");
                let inner = case.command(path, &LIST);
                let mut command = Command::new("unshare");
                command.args(["-m", "sh", "-c", &script, "sh"]);
                command.arg(inner.get_program()).args(inner.get_args());
                let set = inner.get_envs().filter_map(|(name, value)| Some((name, value?)));
                run(command.envs(set).env("TMPDIR", &folder_of_marks), b"")
            };
            let ran = ran(if days == 75 { 3 } else { 8 });
            assert_eq!(ran.err.matches("is to be renewed").count(), 1, "{mount}: {}", ran.err);
            assert!(!ran.err.contains("still trying"), "{mount}: {}", ran.err);
            let _ = ran.ok();
            assert_eq!(leaf_of(path), first, "{mount}");
            fs::remove_file(path.with_file_name("another")).ok();
            // That a mounted file is not replaced is found out only by trying: it was signed for
            // then, once. Where another one may write, that certificate is given again.
            let signed: usize = case.cluster.managers().map(signed).sum();
            assert_eq!(signed, usize::from(days > 75 || number >= 2), "{days}: {mount}");
        }
    }
    drop(held);
    let _ = case.skep(&paths[3], &LIST).ok();
    assert_ne!(leaf_of(&paths[3]), first, "nothing forbids it any more");
}

#[test]
fn past_its_grace_it_takes_somebody_else_who_is_told_what_to_type() {
    let mut case = Case::start();
    let used = case.copy("used", 0o600);
    let key = key_of(&used);
    case.ahead(400);
    let refused = case.skep(&used, &LIST).status(24);
    let (_, hint) = refused.err.split_once("`skep ").expect("a command");
    let (hint, _) = hint.split_once('`').expect("its end");
    let words: Vec<&str> = hint.split(' ').collect();
    let warned = case.cluster.manager.status()["warnings"].to_string();
    assert!(warned.contains(&format!("`skep {hint}`")), "{warned}");
    // Nobody readmits himself.
    let mut itself = case.command(&used, &words);
    let itself = run(itself.env("SKEP_SOCKET", case.cluster.folder().join("none")), b"");
    assert!(itself.status(24).err.contains(hint));
    // On a manager's machine, with all that is set there for every command.
    let mut command = case.command(&used, &words);
    command.env("SKEP_SOCKET", case.cluster.manager.socket());
    let readmitted = run(&mut command, b"");
    assert!(readmitted.err.contains("for a day"), "{}", readmitted.err);
    let _ = readmitted.ok();
    let first = leaf_of(&used);
    let _ = case.skep(&used, &LIST).ok();
    assert_ne!(leaf_of(&used), first);
    assert_eq!(key_of(&used), key);
    // Another copy renews on its day, too.
    let other = case.copy("other", 0o600);
    let _ = case.skep(&other, &LIST).ok();
    assert_ne!(leaf_of(&other), first);

    let unknown = ["operator", "renew", "4kq2w7mzxgcy3v5tq6bn2h4daa"];
    let _ = case.skep(&used, &unknown).status(1);
    let _ = case.skep(&used, &["operator", "renew", "nobody"]).status(1);
    let _ = case.skep(&used, &["operator", "renew", "admin"]).ok();
}

#[test]
fn whatever_a_crash_left_of_a_renewal_the_identity_is_good() {
    let mut case = Case::start();
    case.ahead(75);
    // Killed at any moment of a command that renews.
    let mut renewed = 0;
    for number in 0..24_u64 {
        let used = case.copy(&format!("used-{number}"), 0o600);
        let first = leaf_of(&used);
        let mut command = case.command(&used, &LIST);
        let mut child = command.stdout(Stdio::null()).spawn().expect("a command");
        std::thread::sleep(Duration::from_millis(number * 4));
        child.kill().expect("killed");
        let _ = child.wait();
        renewed += usize::from(leaf_of(&used) != first);
        let _ = case.skep(&used, &LIST).ok();
        assert_ne!(leaf_of(&used), first, "{number}");
    }
    assert!(renewed < 24, "one was killed before its end");
    // Signed, and never written: somebody else holds the file. Also with another key.
    for words in [LIST.as_slice(), &["operator", "renew"], &["operator", "renew", "--new-key"]] {
        let used = case.copy("held", 0o600);
        let before = fs::read(&used).expect("an identity");
        let held = fs::File::open(&used).expect("the file");
        held.lock().expect("a lock");
        let ran = case.skep(&used, words);
        assert_eq!(ran.status, i32::from(words != LIST), "{}", ran.err);
        assert_eq!(fs::read(&used).expect("an identity"), before);
        drop(held);
        let _ = case.skep(&used, &LIST).ok();
    }
    let held = case.copy("held", 0o600);
    let _ = case.skep(&held, &["operator", "renew", "--new-key"]).ok();
    let _ = case.skep(&held, &LIST).ok();
}

#[test]
fn with_a_new_key_the_copies_die() {
    let mut case = Case::start();
    case.ahead(10);
    let [used, other] = ["used", "other"].map(|name| case.copy(name, 0o600));
    let renewed = case.skep(&used, &["operator", "renew"]);
    assert!(renewed.err.contains("its certificate is good until 20"), "{}", renewed.err);
    assert_eq!(renewed.ok(), used.display().to_string());
    assert_ne!(leaf_of(&used), leaf_of(&other));
    assert_eq!(key_of(&used), key_of(&other));
    let _ = case.skep(&other, &LIST).ok();

    let renewed = case.skep(&used, &["operator", "renew", "--new-key"]);
    assert!(renewed.err.contains("copies of the file"), "{}", renewed.err);
    let _ = renewed.ok();
    assert_ne!(key_of(&used), key_of(&other));
    // At once, also where it was not used yet.
    let refused = case.skep(&other, &LIST).status(1);
    assert!(refused.err.contains("not (or no longer)"), "{}", refused.err);
    let _ = case.skep(&used, &LIST).ok();

    // What can't be written is not renewed with another key: the file is as good as it was.
    fs::set_permissions(&used, fs::Permissions::from_mode(0o400)).expect("a mode");
    let before = fs::read(&used).expect("an identity");
    let refused = case.skep(&used, &["operator", "renew", "--new-key"]).status(1);
    assert!(refused.err.contains("as good"), "{}", refused.err);
    assert_eq!(fs::read(&used).expect("an identity"), before);
    let _ = case.skep(&used, &LIST).ok();
}

fn ends(agent: &Agent) -> Value {
    let status = agent.skep(&["agent", "status", "--format", "json"]);
    let status: Value = serde_json::from_str(&status.out).unwrap_or_default();
    status["certificate_ends"].clone()
}

#[test]
fn it_is_shown_when_certificates_end_and_the_control_socket_needs_none() {
    let mut case = Case::start_with(1);
    let status = |case: &Case, identity: &Path, words: &[&str]| -> Value {
        let ran = case.skep(identity, &[&["status", "--format", "json"], words].concat());
        serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{} {}", ran.status, ran.err))
    };
    let used = case.copy("used", 0o600);
    let first = status(&case, &used, &[])["identity_ends"].clone();
    assert!(first.as_str().is_some_and(|ends| ends.starts_with("20")), "{first}");
    let table = case.skep(&used, &["status"]);
    assert!(table.out.contains("identity:    until 20"), "{}", table.out);
    let shown = until("the end of its certificate", || Some(ends(&case.cluster.agents[0])));
    assert!(shown.as_str().is_some_and(|ends| ends.starts_with("20")), "{shown}");
    let table = case.cluster.agents[0].skep(&["agent", "status"]);
    assert!(table.out.contains("certificate: until 20"), "{}", table.out);

    // Over the control socket the identity is not shown to anybody, and is not renewed: not
    // where it is due, and not where it has ended, also so long ago that it is of no use.
    for days in [75, 110, 400] {
        case.ahead(days);
        for manager in case.cluster.managers() {
            let socket = manager.socket().display().to_string();
            let before = fs::read(&used).expect("an identity");
            let mut command = case.command(&used, &["secret", "ls", "--socket", &socket]);
            let _ = run(command.env_remove("SKEP_HOST"), b"").ok();
            assert_eq!(fs::read(&used).expect("an identity"), before, "{days}");
        }
    }
}
