//! What a command sees. Namespaces and users can't be left again, so every case runs
//! in a process of its own: this test binary, asked for the one test
//! [`the_command_sees_the_files_and_the_host_does_not`], which is the command then. Callers
//! who aren't root need a process of one thread: `tests/unprivileged.rs`.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use super::*;
use crate::agent::machine::Workload;
use crate::agent::mount::{Mounts, Options};
use crate::agent::vault::{FileSpec, ServiceFiles};
use skep_core::base::{BootTime, SecretBytes, SecretId, ServiceId, VersionId};
use skep_core::domain::{MountKind, OfflinePolicy, Owner};

/// Says that this process is the command's: `files|at|user|script`.
const CASE: &str = "SKEP_TEST_NAMESPACE";

/// Becomes the command that `case` says; whoever asked sees how that ends.
fn become_the_command(case: &str) -> ! {
    let parts: Vec<&str> = case.splitn(4, '|').collect();
    let [files, at, user, script] = parts.as_slice() else { panic!("{case}") };
    let user = user.split_once(':').map(|(uid, gid)| User {
        uid: uid.parse().unwrap(),
        gid: gid.parse().unwrap(),
        groups: Vec::new(),
    });
    if let Err(error) = enter(Path::new(files), Path::new(at), user.as_ref()) {
        eprintln!("refused: {error}");
        std::process::exit(97);
    }
    let error = Command::new("/bin/sh").args(["-c", script]).exec();
    panic!("{error}");
}

struct Case {
    files: PathBuf,
    at: PathBuf,
    _folder: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let (files, at) = (folder.path().join("live"), folder.path().join("run/secrets"));
        fs::create_dir(&files).unwrap();
        for (name, owner) in [("mine", 4321), ("roots", 0)] {
            let path = files.join(name);
            fs::File::create(&path).unwrap().write_all(b"hello").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
            chown(&path, Some(owner), Some(owner)).unwrap();
        }
        Self { files, at, _folder: folder }
    }

    /// Runs `script` (with `$AT`) after `enter`, for `user`.
    fn run(&self, user: &str, script: &str) -> Output {
        self.command(&self.files, user, script).output().unwrap()
    }

    fn command(&self, files: &Path, user: &str, script: &str) -> Command {
        let script = script.replace("$AT", self.at.to_str().unwrap());
        let case = format!("{}|{}|{user}|{script}", files.display(), self.at.display());
        let mut command = Command::new("/proc/self/exe");
        command
            .args([
                "--exact",
                "agent::machine::namespace::tests::the_command_sees_the_files_and_the_host_does_not",
                "--nocapture",
                "--test-threads=1",
            ])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env(CASE, case)
            .current_dir("/");
        command
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_command_sees_the_files_and_the_host_does_not() {
    if let Ok(case) = env::var(CASE) {
        become_the_command(&case);
    }
    let case = Case::new();
    let output = case.run("", "cat $AT/roots $AT/mine; echo .$?.");
    assert!(said(&output).ends_with("hellohello.0.\n"), "{output:?}");
    assert!(case.at.is_dir(), "root makes the folder");
    assert_eq!(fs::read_dir(&case.at).unwrap().count(), 0);
}

#[test]
fn an_agents_root_may_be_where_commands_see_their_files() {
    let mut case = Case::new();
    fs::create_dir_all(case.at.join("web")).unwrap();
    let below = case.at.join("web/..live");
    fs::rename(&case.files, &below).unwrap();
    case.files = below;
    let output = case.run("", "cat $AT/roots $AT/mine; echo .$?.; ls $AT");
    assert!(said(&output).ends_with("hellohello.0.\nmine\nroots\n"), "{output:?}");
}

#[test]
fn the_view_is_read_only_for_root_too() {
    let case = Case::new();
    let output = case.run(
        "",
        "echo x > $AT/roots; echo .$?.; touch $AT/new; echo .$?.; chmod 777 $AT/mine; echo .$?.; \
         grep -c \" $AT ro,nosuid,nodev,noexec\" /proc/self/mountinfo",
    );
    let text = said(&output);
    assert!(!text.contains(".0."), "{output:?}");
    // The mark, and the view over it.
    assert!(text.ends_with(".1.\n2\n"), "{output:?}");
    assert_eq!(fs::read(case.files.join("roots")).unwrap(), b"hello");
}

#[test]
fn the_user_has_the_rights_named_and_no_more() {
    let case = Case::new();
    let script = "id -u; id -g; id -G; cat $AT/mine; echo; cat $AT/roots || echo denied; \
                  grep CapEff /proc/self/status; grep NoNewPrivs /proc/self/status";
    let output = case.run("4321:4322", script);
    let text = said(&output);
    let expected = "4321\n4322\n4322\nhello\ndenied\nCapEff:\t0000000000000000\nNoNewPrivs:\t0\n";
    assert!(text.ends_with(expected), "{output:?}");
}

#[test]
fn a_running_command_sees_changes_and_the_wipe() {
    let case = Case::new();
    let root = case.at.parent().unwrap().with_file_name("agent");
    let mut mounts = Mounted(Mounts::open(&root, Options::default(), BootTime(0)).unwrap().0);
    let service = ServiceId::from_bytes([1; 16]);
    mounts.put(1, b"first");
    let script = "cat $AT/a; echo; read x; cat $AT/a; echo; read x; ls $AT; echo end";
    let mut child = case
        .command(&mounts.0.live_of(service).unwrap(), "4321:4321", script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut go, lines) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    // The harness in the child talks first, and its last words have no end of line.
    let mut lines = BufReader::new(lines)
        .lines()
        .map(Result::unwrap)
        .skip_while(|line| line.is_empty() || line.starts_with("running"));
    assert!(lines.next().unwrap().ends_with("first"));
    mounts.put(2, b"other");
    go.write_all(b"\n").unwrap();
    assert_eq!(lines.next().unwrap(), "other");
    let workload = Workload { pid: child.id(), started: 0 };
    mounts.0.set_workloads(service, vec![workload]).unwrap();
    mounts.0.wipe(service).unwrap();
    go.write_all(b"\n").unwrap();
    assert_eq!(lines.next().unwrap(), "end");
    assert!(child.wait().unwrap().success());
}

/// Mounts that are gone with the test, also when it fails.
struct Mounted(Mounts);

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = self.0.remove_all() {
            eprintln!("{error}");
        }
    }
}

impl Mounted {
    /// One file of user 4321's, in a directory that isn't.
    fn put(&mut self, number: u8, value: &[u8]) {
        let set = ServiceFiles {
            fresh: false,
            on_change: skep_core::domain::OnChange::Nothing,
            service: ServiceId::from_bytes([1; 16]),
            name: "web".parse().unwrap(),
            mount: MountKind::Tmpfs,
            owner: Owner::default(),
            offline: OfflinePolicy::Keep,
            digest: [number; 32],
            files: vec![FileSpec {
                target: "a".parse().unwrap(),
                uid: 4321,
                gid: 4321,
                mode: 0o400,
                secret: SecretId::from_bytes([1; 16]),
                number: u32::from(number),
                version: VersionId::from_bytes([number; 16]),
                size: u32::try_from(value.len()).unwrap(),
            }],
        };
        let mut fresh = |_| Some(SecretBytes::copy_of(value));
        self.0.apply(&set, &mut fresh, BootTime(0)).unwrap();
    }
}

fn stacked_at(lines: &str, at: &Path) -> io::Result<Stack> {
    let list = [lines.as_bytes(), b"\n\xff\xfe 1 0:56 / /a\xff rw - fuse skep ro\n"].concat();
    let mut stack = Stack::default();
    let list = std::io::Read::take(list.as_slice(), 1 << 20);
    mounts::walk(list, &mut |mount| stack.take(mount, at))?;
    Ok(stack)
}

#[test]
fn a_view_is_dead_where_another_connection_serves_it() {
    let device = rustix::fs::makedev(0, 57);
    let at = Path::new("/run/secrets");
    let seen = |lines: &[&str]| {
        stacked_at(&lines.join("\n"), at)
            .and_then(|stack| serves_another(&stack, device))
            .expect("read")
    };
    let other = "36 35 0:56 /web /run/secrets ro,nosuid - fuse skep ro,user_id=0";
    let same = "37 35 0:57 /web /run/secrets ro,nosuid master:3 - fuse skep ro,user_id=0";
    let memory = "38 35 0:58 /live /run/secrets ro - tmpfs skep ro,size=64k";
    assert!(seen(&[other]));
    assert!(!seen(&[same]));
    assert!(!seen(&[memory]));
    // One on another, whichever the list names first.
    let on_other = "37 36 0:57 /web /run/secrets ro,nosuid - fuse skep ro,user_id=0";
    let on_mark = "36 39 0:56 /web /run/secrets ro,nosuid - fuse skep ro,user_id=0";
    let mark = "39 35 0:59 / /run/secrets ro - tmpfs skep-exec ro,size=4k";
    for turned in [false, true] {
        let stacked = |mut lines: Vec<&str>| {
            if turned {
                lines.reverse();
            }
            seen(&lines)
        };
        assert!(!stacked(vec![other, on_other]), "the one on top counts");
        assert!(stacked(vec![mark, on_mark]));
        assert!(!stacked(vec![mark, on_mark, on_other]));
    }
    let (_, rest) = other.split_at(6);
    let many: Vec<String> = (0..STACKED).map(|at| format!("{at} 1 {rest}")).collect();
    let list = [many.join("\n"), format!("\n{other}\n")].concat();
    assert!(stacked_at(&list, at).and_then(|stack| serves_another(&stack, device)).is_err());
    assert!(!seen(&["36 35 0:56 / /run/secrets/below ro - fuse skep ro"]));
    assert!(!seen(&["", "garbage", "1 2", "36 35 0:56 / /run/secrets ro"]));
}
