//! `skep exec` for a caller who isn't root: a user namespace, its own user, no more rights.
//!
//! A user namespace is given to a process of one thread only, and the usual test
//! harness runs every test on a second one. So this file is a program: asked by a test
//! runner it lists and runs its one test, which starts it again as the caller.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test: clippy knows it only by the harness that it can't use"
)]

use std::env;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Output};

use skep::agent::machine::{User, enter};
use skep::agent::mount::{Mounts, Options};
use skep::agent::vault::{FileSpec, ServiceFiles};
use skep_core::base::{BootTime, SecretBytes, SecretId, ServiceId, VersionId};
use skep_core::domain::{MountKind, OfflinePolicy, Owner};

const NAME: &str = "a_caller_who_is_not_root_keeps_its_user_and_gains_nothing";
/// Says that this process is the caller's: `files|at|user|script`.
const CASE: &str = "SKEP_TEST_NAMESPACE";
/// What `enter` refused.
const REFUSED: u8 = 97;

fn main() -> ExitCode {
    if let Ok(case) = env::var(CASE) {
        return caller(&case);
    }
    let arguments: Vec<String> = env::args().skip(1).collect();
    let has = |wanted: &str| arguments.iter().any(|argument| argument == wanted);
    let mut out = std::io::stdout();
    if has("--list") {
        let listed = if has("--ignored") { Ok(()) } else { writeln!(out, "{NAME}: test") };
        return if listed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let filters: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    if filters.is_empty() || filters.iter().any(|filter| NAME.contains(filter.as_str())) {
        a_caller_who_is_not_root_keeps_its_user_and_gains_nothing();
    }
    ExitCode::SUCCESS
}

fn caller(case: &str) -> ExitCode {
    let mut parts = case.splitn(4, '|');
    let mut part = || parts.next().unwrap_or_default();
    let (files, at, user, script) = (part(), part(), part(), part());
    let user = user.split_once(':').and_then(|(uid, gid)| {
        Some(User { uid: uid.parse().ok()?, gid: gid.parse().ok()?, groups: Vec::new() })
    });
    if let Err(error) = enter(Path::new(files), Path::new(at), user.as_ref()) {
        let said = writeln!(std::io::stderr(), "{error}");
        return ExitCode::from(if said.is_ok() { REFUSED } else { 1 });
    }
    let error = Command::new("/bin/sh").args(["-c", script]).exec();
    panic!("{error}")
}

/// A service's files, really mounted; gone with the test, also when it fails.
struct Mounted(Mounts);

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = self.0.remove_all() {
            panic!("{error}");
        }
    }
}

impl Mounted {
    fn put(&mut self, id: u8, name: &str, owner: u32) {
        let file = |target: &str, number: u8, uid| FileSpec {
            target: target.parse().unwrap(),
            uid,
            gid: uid,
            mode: 0o400,
            secret: SecretId::from_bytes([number; 16]),
            number: 1,
            version: VersionId::from_bytes([number; 16]),
            size: 5,
        };
        let set = ServiceFiles {
            fresh: false,
            on_change: skep_core::domain::OnChange::Nothing,
            service: ServiceId::from_bytes([id; 16]),
            name: name.parse().unwrap(),
            mount: MountKind::Tmpfs,
            owner: Owner { uid: owner, gid: owner },
            offline: OfflinePolicy::Keep,
            digest: [id; 32],
            files: vec![file("mine", 1, 4321), file("roots", 2, 0)],
        };
        let mut hello = |_| Some(SecretBytes::copy_of(b"hello"));
        self.0.apply(&set, &mut hello, BootTime(0)).unwrap();
    }
}

fn a_caller_who_is_not_root_keeps_its_user_and_gains_nothing() {
    assert!(rustix::process::geteuid().is_root(), "it mounts: run it as root");
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let root = folder.path().join("agent");
    let mut mounted = Mounted(Mounts::open(&root, Options::default(), BootTime(0)).unwrap().0);
    mounted.put(1, "own", 4321);
    mounted.put(2, "other", 0);
    let live = |id: u8| mounted.0.live_of(ServiceId::from_bytes([id; 16])).unwrap();
    let (own, other) = (live(1), live(2));
    let at = folder.path().join("secrets");
    let run_on = |files: &Path, user: &str, script: &str| -> Output {
        let script = script.replace("$AT", at.to_str().unwrap());
        Command::new("/proc/self/exe")
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env(CASE, format!("{}|{}|{user}|{script}", files.display(), at.display()))
            .current_dir("/")
            .uid(4321)
            .gid(4321)
            .output()
            .unwrap()
    };
    let run = |user: &str, script: &str| run_on(&own, user, script);
    // It can't make the folder.
    let output = run("", "true");
    assert_eq!(output.status.code(), Some(i32::from(REFUSED)), "{output:?}");
    fs::create_dir(&at).unwrap();
    let script = "id -u; id -g; cat $AT/mine; echo; cat $AT/roots || echo denied; \
                  touch $AT/new || echo read-only; umount $AT || echo stays; \
                  grep CapEff /proc/self/status";
    let expected = "4321\n4321\nhello\ndenied\nread-only\nstays\nCapEff:\t0000000000000000\n";
    for user in ["", "4321:4321"] {
        let output = run(user, script);
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{output:?}");
    }
    let output = run("0:0", "true");
    assert_eq!(output.status.code(), Some(i32::from(REFUSED)), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("only root"), "{output:?}");
    let output = run_on(&other, "", "true");
    assert_eq!(output.status.code(), Some(i32::from(REFUSED)), "not its owner: {output:?}");
    assert_eq!(fs::read_dir(&at).unwrap().count(), 0, "the host sees nothing of it");
}
