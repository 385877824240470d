//! `skep dev`: a whole cluster in a folder, and nothing left of it.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;

use cluster_tests::{binary, run, until};
use skep::daemon::dev::Launcher;

/// A `skep dev` that is up.
struct Dev {
    child: Child,
    out: BufReader<ChildStdout>,
    /// What it printed for a shell to evaluate.
    line: String,
    /// Where it says that everything stands.
    folder: PathBuf,
    outer: TempDir,
}

fn outer() -> TempDir {
    tempfile::Builder::new().prefix("skep-dev-test-").tempdir().expect("a folder")
}

fn words(words: &[&str], outer: &Path) -> Command {
    let mut command = Launcher::strict(binary()).command([&["dev"], words].concat());
    command.env("TMPDIR", outer);
    command
}

impl Dev {
    fn start(flags: &[&str]) -> Self {
        Self::start_in(outer(), flags)
    }

    fn start_in(outer: TempDir, flags: &[&str]) -> Self {
        let err = fs::File::create(outer.path().join("err")).expect("a file");
        let mut command = words(flags, outer.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(err);
        let mut child = command.spawn().expect("skep dev");
        let mut out = BufReader::new(child.stdout.take().expect("its output"));
        let mut line = String::new();
        out.read_line(&mut line).expect("a line");
        let said = fs::read_to_string(outer.path().join("err")).expect("what it said");
        assert!(line.starts_with("export SKEP_HOST=127.0.0.1:"), "{line:?}\n{said}");
        let identity = line.split("SKEP_IDENTITY=").nth(1).expect("an identity");
        let identity = Path::new(identity.split_whitespace().next().expect("a path"));
        let folder = identity.parent().expect("its folder").to_owned();
        Self { child, out, line, folder, outer }
    }

    /// What a shell prints after it has evaluated the line.
    #[track_caller]
    fn shell(&self, script: &str) -> String {
        let script = format!("eval \"$0\"; {script}");
        let mut sh = Command::new("sh");
        let binary = binary();
        sh.args(["-c", &script, &self.line]).env("skep", binary);
        run(&mut sh, b"").ok()
    }

    fn pid_of(&self, member: &str) -> Pid {
        let text = fs::read_to_string(self.folder.join(member).join("pid")).expect("a pid");
        Pid::from_raw(text.trim().parse().expect("a number")).expect("a pid")
    }

    fn pids(&self) -> Vec<Pid> {
        let members = fs::read_dir(&self.folder).expect("the folder");
        let names = members.map(|entry| entry.expect("an entry").file_name());
        let names = names.filter_map(|name| name.into_string().ok());
        let names = names.filter(|name| self.folder.join(name).join("pid").exists());
        names.map(|name| self.pid_of(&name)).collect()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid")).expect("a pid");
        kill_process(pid, signal).expect("sent");
    }

    fn said(&self) -> String {
        fs::read_to_string(self.outer.path().join("err")).expect("what it said")
    }

    /// One Ctrl-C; the folder around is left for a look.
    #[track_caller]
    fn interrupt(mut self) -> TempDir {
        let pids = self.pids();
        self.signal(Signal::INT);
        let status = until("its end", || self.child.try_wait().expect("a child"));
        assert_eq!(status.code(), Some(0), "{}", self.said());
        assert!(pids.iter().all(|pid| gone(*pid)), "a process outlived it");
        assert_eq!(mounts(self.outer.path()), 0);
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).expect("the rest");
        assert_eq!(rest, "", "stdout has the one line");
        self.outer
    }
}

/// Whether there is no such process, or nothing but its status.
fn gone(pid: Pid) -> bool {
    if test_kill_process(pid).is_err() {
        return true;
    }
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.map_or(true, |stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')))
}

fn mounts(folder: &Path) -> usize {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("the mount table");
    let folder = folder.canonicalize().expect("the folder");
    table.matches(&*folder.to_string_lossy()).count()
}

#[test]
fn it_stands_where_it_says_works_and_leaves_nothing() {
    let dev = Dev::start(&[]);
    let names = ["manager-1", "manager-2", "manager-3", "agent-1", "agent-2"];
    for name in names {
        let folder = dev.folder.join(name);
        assert!(folder.join("data").is_dir() && folder.join("log").is_file(), "{name}");
        assert!(!gone(dev.pid_of(name)), "{name}");
    }
    assert!(dev.folder.join("agent-1/secrets").is_dir());
    assert!(!dev.folder.join("agent-1/token").exists(), "a used token is not left");
    for secret in ["unlock-key", "admin.skepid"] {
        let mode = fs::metadata(dev.folder.join(secret)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }
    assert_eq!(dev.line.matches("127.0.0.1:").count(), 3, "{}", dev.line);

    let nodes = dev.shell("$skep node ls --format '{{.Name}} {{.ManagerStatus}}' | sort");
    assert_eq!(
        nodes.lines().map(str::trim).collect::<Vec<_>>(),
        ["agent-1", "agent-2", "manager-1 leader", "manager-2 follower", "manager-3 follower"]
    );
    let read = dev.shell(
        "printf hello | $skep secret create greeting - >&2 && \
         $skep service create web --node agent-1 >&2 && $skep service grant web greeting >&2 && \
         $skep exec --service web -- cat /run/secrets/greeting",
    );
    assert_eq!(read, "hello");
    assert!(!dev.said().contains("INFO"), "no log on the terminal: {}", dev.said());

    // A workload that goes on doesn't keep it from ending.
    let mut workload = Command::new("sh");
    let script = "eval \"$0\"; exec $skep exec --service web -- sleep 1000";
    workload.args(["-c", script, &dev.line]).env("skep", binary()).stdin(Stdio::null());
    let mut workload = workload.spawn().expect("a workload");
    until("its secret", || dev.folder.join("agent-1/secrets/web/greeting").exists().then_some(()));
    assert!(mounts(dev.outer.path()) > 0);
    let folder = dev.folder.clone();
    let outer = dev.interrupt();
    workload.kill().expect("killed");
    workload.wait().expect("its end");
    assert!(!folder.exists());
    assert_eq!(fs::read_dir(outer.path()).expect("a folder").count(), 1, "stderr's file alone");
}

#[test]
fn the_same_folder_brings_the_same_cluster_back() {
    let outer = outer();
    let dir = outer.path().join("d").display().to_string();
    let flags = ["--managers", "1", "--agents", "1", "--dir", &dir];
    let dev = Dev::start_in(outer, &flags);
    let _ = dev.shell("printf v | $skep secret create kept -");
    let line = dev.line.clone();

    let taken = run(&mut words(&["--dir", &dir], dev.outer.path()), b"").status(22);
    assert!(taken.err.contains("in use") && taken.err.contains("hint:"), "{}", taken.err);
    assert_eq!(dev.shell("$skep secret ls --format '{{.Name}}'"), "kept");

    let outer = dev.interrupt();
    let other = run(&mut words(&["--dir", &dir, "--agents", "2"], outer.path()), b"").status(1);
    assert!(other.err.contains("1 manager"), "{}", other.err);
    let dev = Dev::start_in(outer, &["--dir", &dir]);
    assert_eq!(dev.line, line, "the same addresses");
    assert_eq!(dev.shell("$skep secret ls --format '{{.Name}}'"), "kept");
    let outer = dev.interrupt();
    assert!(outer.path().join("d/unlock-key").exists());

    let foreign = outer.path().display().to_string();
    let refused = run(&mut words(&["--dir", &foreign], outer.path()), b"").status(23);
    assert!(refused.err.contains("hint:"), "{}", refused.err);
}

#[test]
fn killed_it_leaves_no_process_and_no_mount() {
    let mut dev = Dev::start(&["--managers", "1", "--agents", "1"]);
    let _ = dev.shell(
        "printf hello | $skep secret create greeting - && \
         $skep service create web --node agent-1 && $skep service grant web greeting && \
         $skep agent service up web",
    );
    let pids = dev.pids();
    assert_eq!(pids.len(), 2);
    assert!(mounts(dev.outer.path()) > 0);
    dev.signal(Signal::KILL);
    dev.child.wait().expect("its end");
    until("the end of its processes", || pids.iter().all(|pid| gone(*pid)).then_some(()));
    assert_eq!(mounts(dev.outer.path()), 0, "the agent wiped what it showed");
}

#[test]
fn a_member_that_ends_is_told_of_and_the_others_stay() {
    let dev = Dev::start(&["--agents", "0"]);
    assert!(!dev.line.contains("SKEP_AGENT"), "{}", dev.line);
    let lost = dev.pid_of("manager-2");
    kill_process(lost, Signal::KILL).expect("sent");
    until("word of it", || dev.said().contains("manager-2 was killed by signal 9").then_some(()));
    assert!(!dev.folder.join("manager-2/pid").exists(), "no pid of nobody");
    assert_eq!(dev.pids().len(), 2);
    let _ = dev.shell("printf v | $skep secret create a -");
    drop(dev.interrupt());
}

#[test]
fn without_the_right_to_mount_it_says_so() {
    let outer = outer();
    let mut unprivileged = Command::new("setpriv");
    let all = ["--bounding-set", "-all", "--inh-caps", "-all", "--"];
    unprivileged.args(all).arg(binary()).arg("dev").env("TMPDIR", outer.path());
    let refused = run(&mut unprivileged, b"").status(23);
    assert!(refused.err.contains("--agents 0"), "{}", refused.err);
    assert_eq!(refused.out, "");
    assert_eq!(fs::read_dir(outer.path()).expect("a folder").count(), 0);
}

/// What lies in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = names.filter_map(|name| name.into_string().ok()).collect();
    names.sort();
    names
}

#[test]
fn a_start_that_failed_is_not_in_the_way_of_the_next() {
    let outer = outer();
    let path = outer.path().join("a/d");
    let dir = path.display().to_string();
    // Before anything is started: nothing is left.
    let long = outer.path().join("x".repeat(100)).display().to_string();
    let refused = run(&mut words(&["--agents", "0", "--dir", &long], outer.path()), b"").status(23);
    assert_eq!(names(outer.path()), [""; 0], "{}", refused.err);
    let mut unprivileged = Command::new("setpriv");
    unprivileged.args(["--bounding-set", "-all", "--inh-caps", "-all", "--"]);
    unprivileged.arg(binary()).args(["dev", "--dir", &dir]);
    let _ = run(&mut unprivileged, b"").status(23);
    assert_eq!(names(outer.path()), [""; 0], "not even the folder above");

    // Amid the start: the logs stay until the next.
    let failing = || {
        let mut limited = Command::new("prlimit");
        limited.arg("--nofile=200:200").arg(binary()).args(["dev", "--agents", "1", "--dir", &dir]);
        run(&mut limited, b"").status(26)
    };
    let failed = failing();
    assert!(path.join("manager-1/log").exists() && failed.err.contains("takes away"));
    let _ = failing();
    let letter = path.join("letter");
    fs::write(&letter, "mine").expect("a file");
    let before = names(&path);
    let refused = run(&mut words(&["--dir", &dir], outer.path()), b"").status(23);
    assert!(refused.err.contains("and other things"), "{}", refused.err);
    assert_eq!(names(&path), before, "nothing was touched");
    fs::rename(letter, outer.path().join("letter")).expect("moved");
    let dev = Dev::start_in(outer, &["--managers", "1", "--agents", "0", "--dir", &dir]);
    assert!(dev.said().contains("never came up"), "{}", dev.said());
    assert_eq!(dev.shell("$skep node ls --format '{{.Name}}'"), "manager-1");
    drop(dev.interrupt());
}

#[test]
fn killed_or_ended_amid_its_start_it_is_not_in_the_way_of_the_next() {
    let outer = outer();
    let path = outer.path().join("d");
    let dir = path.display().to_string();
    let flags = ["--managers", "1", "--agents", "1", "--dir", &dir];
    let begun = |sign: &str| {
        let mut dev = words(&flags, outer.path()).stderr(Stdio::null()).spawn().expect("skep dev");
        until(sign, || {
            assert!(dev.try_wait().expect("a child").is_none(), "it ended before {sign}");
            path.join(sign).exists().then_some(())
        });
        dev
    };
    let dev = begun("manager-1/log");
    let pid = Pid::from_raw(i32::try_from(dev.id()).expect("a pid")).expect("a pid");
    kill_process(pid, Signal::INT).expect("sent");
    let ended = dev.wait_with_output().expect("its end");
    assert_eq!(ended.status.code(), Some(0));
    assert!(!path.exists(), "who ends it needs no logs");
    for sign in ["manager-1/log", "unlock-key", "agent-1/log"] {
        let mut dev = begun(sign);
        dev.kill().expect("killed");
        dev.wait().expect("its end");
        assert!(!path.join("dev.toml").exists(), "killed too late");
    }
    let dev = Dev::start_in(outer, &flags);
    assert_eq!(dev.shell("$skep node ls --format '{{.Name}}' | sort"), "agent-1\nmanager-1");
    assert_eq!(mounts(dev.outer.path()), 0);
    drop(dev.interrupt());
}
