//! P1 and P5: a random value goes its whole way, and is looked for wherever it
//! must not be.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use cluster_tests::{Canary, Cluster, Copies, binary, launcher, processes_of, until};

/// What no process of the cluster may have: the canary in its arguments or
/// environment, or a core dump.
fn words_and_limits(folder: &Path, canary: &Canary) -> Vec<String> {
    let mut wrong = Vec::new();
    let processes = processes_of(folder);
    assert!(processes.len() >= 5, "three managers and two agents: {processes:?}");
    for (pid, name) in processes {
        wrong.extend(canary.in_words(pid));
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
        let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size"));
        let none = |core: &str| core.split_ascii_whitespace().take(2).all(|limit| limit == "0");
        if !core.is_none_or(none) {
            wrong.push(format!("{name} ({pid}) may dump core: {core:?}"));
        }
    }
    wrong
}

#[test]
fn p1_a_value_reaches_no_file_log_argument_or_environment() {
    let (first, second) = (Canary::draw(), Canary::draw());
    let cluster = Cluster::start_with(3, 2);
    let folder = cluster.folder();
    let mut said = String::new();
    let mut say = |ran: cluster_tests::Ran| {
        said.push_str(&ran.out);
        said.push_str(&ran.err);
        ran.status
    };
    assert_eq!(
        say(cluster.skep_with(&["secret", "create", "db", "-"], first.value().as_bytes())),
        0
    );
    // Errors on the way repeat no value either.
    let again = ["secret", "create", "db", "-"];
    assert_eq!(say(cluster.skep_with(&again, first.value().as_bytes())), 1);
    let big = first.value().repeat(512_000 / first.value().len() + 1);
    assert_eq!(say(cluster.skep_with(&["secret", "create", "big", "-"], big.as_bytes())), 2);
    let words = ["secret", "update", "missing", "-"];
    assert_eq!(say(cluster.skep_with(&words, first.value().as_bytes())), 1);
    let nobody = ["secret", "update", "db", "-", "--host", "127.0.0.1:1", "--timeout", "1s"];
    assert_eq!(say(cluster.skep_with(&nobody, first.value().as_bytes())), 3);

    assert_eq!(say(cluster.skep(&["service", "create", "web", "--everywhere"])), 0);
    assert_eq!(say(cluster.skep(&["service", "grant", "web", "db"])), 0);
    let (mut one, mut two) = (cluster.shell(0, "web"), cluster.shell(1, "web"));
    assert_eq!((one.read("db"), two.read("db")), (first.value().into(), first.value().into()));
    assert_eq!(words_and_limits(folder, &first), [""; 0]);
    assert_eq!(
        say(cluster.skep_with(&["secret", "update", "db", "-"], second.value().as_bytes())),
        0
    );
    assert_eq!((one.read("db"), two.read("db")), (second.value().into(), second.value().into()));
    assert_eq!(words_and_limits(folder, &second), [""; 0]);
    assert_eq!(say(cluster.skep(&["service", "revoke", "web", "db"])), 0);
    assert_eq!((one.read("db"), two.read("db")), ("gone".into(), "gone".into()));
    assert_eq!(say(cluster.skep(&["secret", "rm", "db"])), 0);

    for canary in [&first, &second] {
        assert_eq!(canary.in_bytes(said.as_bytes()), None, "said on a terminal");
        assert_eq!(words_and_limits(folder, canary), [""; 0]);
        assert_eq!(canary.in_files(folder), [""; 0]);
        assert_eq!(canary.in_files(&std::env::temp_dir()), [""; 0]);
    }
    // The search finds what is there.
    let planted = cluster.file("planted", format!("x{}", second.value()).as_bytes());
    assert_eq!(second.in_files(folder), [format!("{planted} (raw)")]);
}

#[test]
fn p1_a_process_cannot_be_read_by_its_own_user() {
    let folder = tempfile::Builder::new().prefix("skep-test-").tempdir().expect("a folder");
    let nobody = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "--pdeathsig", "KILL"];
    let data = folder.path().join("data");
    std::fs::create_dir(&data).expect("a folder");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), mode).expect("a folder that others enter");
    std::os::unix::fs::chown(&data, Some(65534), Some(65534)).expect("a folder of nobody's");
    let mut manager = Command::new("setpriv")
        .args(nobody)
        .arg("--")
        .arg(binary())
        .args(["manager", "run", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(data.join("d"))
        .arg("--socket")
        .arg(data.join("socket"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a manager");
    let mut plain =
        Command::new("setpriv").args(nobody).args(["--", "sleep", "60"]).spawn().expect("sleep");
    let readable = |pid: u32| {
        let path = format!("/proc/{pid}/environ");
        let read = Command::new("setpriv").args(nobody).args(["--", "cat", &path]).output();
        read.expect("cat").status.success()
    };
    until("the manager's socket", || data.join("socket").exists().then_some(()));
    let (hidden, open) = (!readable(manager.id()), readable(plain.id()));
    for child in [&mut manager, &mut plain] {
        drop(child.kill());
        drop(child.wait());
    }
    assert!(hidden, "the manager's environment was read by another process of its user");
    assert!(open, "of an ordinary process it can be read");
}

/// What stands in the memory of each process of the cluster.
struct Memory<'a> {
    cluster: &'a Cluster,
    canary: &'a Canary,
}

impl Memory<'_> {
    /// Copies in each of them.
    fn look(&self, stage: &str) -> Vec<(String, Copies)> {
        let mut all = Vec::new();
        for (pid, name) in processes_of(self.cluster.folder()) {
            let daemon = name.contains("manager") || name.contains("agent");
            if daemon && let Some(copies) = self.canary.in_memory(pid) {
                println!("{stage}: {name} ({pid}): {copies:?}");
                all.push((name, copies));
            }
        }
        assert!(all.iter().filter(|(name, _)| name.contains("manager")).count() >= 3);
        all
    }
    /// In no daemon there is a copy.
    fn none(&self, stage: &str) {
        let wrong: Vec<_> =
            self.look(stage).into_iter().filter(|(_, copies)| copies.found > 0).collect();
        assert!(wrong.is_empty(), "{stage}: {wrong:?}");
    }
    fn managers_have_none(&self, stage: &str) {
        let mut all = self.look(stage);
        all.retain(|(name, copies)| name.contains("manager") && copies.found > 0);
        assert!(all.is_empty(), "{stage}: {all:?}");
    }
    /// In no daemon there is a copy soon.
    fn soon_none(&self, stage: &str) {
        until(stage, || self.look(stage).iter().all(|(_, copies)| copies.found == 0).then_some(()));
    }
}

#[test]
fn p5_no_daemon_keeps_a_value_in_memory_on_tmpfs() {
    let cluster = Cluster::start_with(3, 2);
    no_daemon_keeps_a_value_in_memory(&cluster, "tmpfs");
    // Nothing is hidden from the search but where keys are.
    let hidden = Memory { cluster: &cluster, canary: &Canary::draw() }.look("keys");
    assert!(hidden.iter().all(|(_, copies)| copies.unreadable == copies.lent), "{hidden:?}");
    let enabled = std::fs::read("/sys/module/secretmem/parameters/enable");
    let lends = enabled.is_ok_and(|word| word.starts_with(b"Y"));
    let managers = hidden.iter().filter(|(name, _)| name.contains("manager"));
    assert!(managers.clone().all(|(_, copies)| (copies.lent > 0) == lends), "{hidden:?}");
}

#[test]
fn p5_no_daemon_keeps_a_value_in_memory_that_can_all_be_searched() {
    let cluster = Cluster::start_by(&launcher().env("SKEP_NO_MEMFD_SECRET", "1"), 3, 2);
    no_daemon_keeps_a_value_in_memory(&cluster, "tmpfs");
    let hidden = Memory { cluster: &cluster, canary: &Canary::draw() }.look("keys");
    assert!(hidden.iter().all(|(_, copies)| copies.unreadable == 0), "{hidden:?}");
}

#[test]
fn p5_no_daemon_keeps_a_value_in_memory_on_fuse() {
    no_daemon_keeps_a_value_in_memory(&Cluster::start_with(3, 2), "fuse");
}

fn no_daemon_keeps_a_value_in_memory(cluster: &Cluster, mount: &str) {
    let canary = Canary::draw();
    let memory = Memory { cluster, canary: &canary };
    let create = ["secret", "create", "db", "-"];
    let _ = cluster.skep_with(&create, canary.value().as_bytes()).ok();
    memory.none("created");
    let _ = cluster.ok(&["service", "create", "web", "--everywhere", "--mount", mount]);
    let _ = cluster.ok(&["service", "grant", "web", "db"]);
    memory.none("granted");
    let (mut one, mut two) = (cluster.shell(0, "web"), cluster.shell(1, "web"));
    assert_eq!(one.read("db"), canary.value());
    assert_eq!(two.read("db"), canary.value());
    memory.managers_have_none("delivered");
    memory.soon_none("in place");
    let next = Canary::draw();
    let words = ["secret", "update", "db", "-"];
    let _ = cluster.skep_with(&words, next.value().as_bytes()).ok();
    let _ = cluster.skep_with(&words, canary.value().as_bytes()).ok();
    memory.managers_have_none("rotated twice");
    // Held open, and not being read.
    assert_eq!(one.line("exec 3</run/secrets/db; echo open"), "open");
    memory.soon_none("in place again");
    assert_eq!(one.line("cat <&3; echo"), canary.value());
    memory.soon_none("read");
    let _ = cluster.ok(&["service", "revoke", "web", "db"]);
    memory.none("revoked");
    assert_eq!((one.read("db"), two.read("db")), ("gone".into(), "gone".into()));
    let _ = cluster.ok(&["secret", "rm", "db"]);
    memory.none("removed");
    Memory { cluster, canary: &next }.none("the version between");
}

#[test]
fn p1_the_cli_shows_no_value_while_it_has_one() {
    let canary = Canary::draw();
    let cluster = Cluster::start(0);
    let mut create = cluster.command(&["secret", "create", "db", "-"]);
    let mut create =
        create.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command");
    let mut input = create.stdin.take().expect("its stdin");
    input.write_all(canary.value().as_bytes()).and_then(|()| input.flush()).expect("a value");
    // It has read the value and waits for the end.
    let copies = until("the value in the command's memory", || {
        canary.in_memory(create.id()).filter(|copies| copies.found > 0)
    });
    println!("reading: {copies:?}");
    assert_eq!(copies.found, 1, "one buffer that never moves");
    assert_eq!(canary.in_words(create.id()), [""; 0]);
    let limits =
        std::fs::read_to_string(format!("/proc/{}/limits", create.id())).expect("its limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size"));
    assert!(core.is_some_and(|core| core.contains(" 0 ")), "{core:?}");
    drop(input);
    assert!(create.wait().expect("its status").success());
}
