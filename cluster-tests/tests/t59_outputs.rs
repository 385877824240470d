//! Outputs that are lost: what is said then is true.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use cluster_tests::{Cluster, Manager, Ran, binary, run, until};

/// A disk of 64 KiB; it goes with the test.
struct TinyDisk(PathBuf);

impl TinyDisk {
    fn at(folder: PathBuf) -> Self {
        fs::create_dir(&folder).expect("a mount point");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs"]).arg(&folder);
        let _ = run(&mut mount, b"").ok();
        Self(folder)
    }

    /// Leaves room for so many bytes.
    fn leave(&self, bytes: usize) {
        let ballast = self.0.join("ballast");
        fs::write(&ballast, vec![1; 64 * 1024 - bytes]).expect("written");
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        let _gone_already = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

/// `skep` with these words at a socket and standard output there.
fn skep(socket: &Path, words: &str, out: &str) -> Ran {
    run(&mut shell(socket, words, out), b"value")
}

fn shell(socket: &Path, words: &str, out: &str) -> Command {
    let mut command = Command::new("sh");
    let script = format!("exec \"$0\" {words} --socket \"$1\" {out}");
    command.args(["-c", &script]).arg(binary()).arg(socket);
    command
}

#[test]
fn a_full_disk_founds_no_cluster_and_leaves_no_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let manager = Manager::start(folder.path().join("m"));
    let disk = TinyDisk::at(folder.path().join("disk"));
    let (on_disk, beside) = (disk.0.join("file"), folder.path().join("file"));
    let (on, off) = (on_disk.display(), beside.display());
    for (room, words, out) in [
        (0, format!("init --identity-out {on}"), String::new()),
        (16 * 1024, format!("init --identity-out {on}"), String::new()),
        (0, format!("init --identity-out {off} --unlock-key-out {on}"), String::new()),
        (0, format!("init --identity-out {off}"), format!("> {on}.out")),
    ] {
        disk.leave(room);
        let ran = skep(&manager.socket(), &words, &out).status(1);
        assert!(ran.err.contains("No space left"), "{words}: {}", ran.err);
        assert!(ran.err.contains("nothing was changed"), "{words}: {}", ran.err);
        assert_eq!(manager.state(), "new", "{words}");
        assert!(!on_disk.exists() && !beside.exists(), "{words}: a file is left");
    }
    drop(disk);
    let _ = skep(&manager.socket(), &format!("init --identity-out {off}"), "").ok();
    assert_eq!(manager.state(), "leader");
}

#[test]
fn a_cluster_without_its_identity_file_is_not_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut manager = Manager::start(folder.path().join("m"));
    let [identity, key] = ["admin.skepid", "key"].map(|name| folder.path().join(name));
    let words =
        format!("init --identity-out {} --unlock-key-out {}", identity.display(), key.display());
    // Once the manager goes on, the file that was made for the identity is not there any more.
    manager.freeze();
    let mut command = shell(&manager.socket(), &words, "");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let init: Child = command.spawn().expect("init");
    until("room for both", || {
        let is_there = fs::metadata(&identity).is_ok_and(|found| found.len() == 32 * 1024);
        (is_there && key.exists()).then_some(())
    });
    fs::remove_file(&identity).expect("removed");
    manager.resume();
    let ended = init.wait_with_output().expect("its end");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(5), "{said}");
    assert!(said.contains("is founded, without its admin's identity: "), "{said}");
    assert!(said.contains("fingerprint") && !said.contains("nothing was changed"), "{said}");
    // What it says is so: all works by the socket, the key is good, and it can be founded anew.
    let _ = manager.skep_with(&["secret", "create", "db", "-"], b"value").ok();
    let key_file = key.display().to_string();
    assert!(manager.skep(&["unlock-key", "check", "--key-file", &key_file]).ok().contains("good"));
    assert!(said.contains("`skep leave --force --yes`"), "{said}");
    let _ = manager.skep(&["leave", "--force", "--yes"]).ok();
    let _ = manager.ended();
    manager.start_again();
    let _ = manager.skep(&["init", "--identity-out", &identity.display().to_string()]).ok();
    assert_eq!(manager.state(), "leader");
}

#[test]
fn a_token_that_nobody_reads_is_not_left() {
    let cluster = Cluster::start(0);
    let before = cluster.ok(&["join-token", "ls", "-q"]);
    let disk = TinyDisk::at(cluster.folder().join("disk"));
    disk.leave(0);
    let full = format!("> {}", disk.0.join("token").display());
    let socket = cluster.manager.socket();
    for role in ["worker", "manager"] {
        let words = format!("join-token {role}");
        for out in ["> /dev/full", &full] {
            let ran = skep(&socket, &words, out).status(1);
            assert!(ran.err.contains("it is removed again"), "{out}: {}", ran.err);
        }
        // The reader is gone before anything is written.
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = shell(&socket, &words, "");
        command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped());
        let ended = command.spawn().expect("skep").wait_with_output().expect("its end");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(said.contains("it is removed again"), "{said}");
        for out in [">&-", "> /dev/null"] {
            let ran = skep(&socket, &words, out).status(1);
            assert!(ran.err.contains("nothing was changed"), "{out}: {}", ran.err);
        }
    }
    assert_eq!(cluster.ok(&["join-token", "ls", "-q"]), before);
    let _ = cluster.ok(&["join-token", "worker", "-q"]);
    let ran = skep(&socket, "join-token worker --rotate", "> /dev/full").status(5);
    assert!(ran.err.contains("as --rotate says"), "{}", ran.err);
    assert_eq!(cluster.ok(&["join-token", "ls", "-q"]), before, "as it says");
}

#[test]
fn what_is_done_is_said_to_be_done_where_nobody_reads_it() {
    let cluster = Cluster::start(1);
    let socket = cluster.manager.socket();
    let spare = cluster.folder().join("spare.key");
    let generate = format!("unlock-key generate --out {}", spare.display());
    let ran = skep(&socket, &generate, "> /dev/full").status(1);
    assert!(ran.err.contains("nothing was changed") && !spare.exists(), "{}", ran.err);

    for words in [
        "secret create db -",
        "service create web --node node-1",
        "service grant web db",
        "secret update db -",
        "node update node-1 --label-add a=b",
        "service update web --label-add a=b",
    ] {
        let ran = skep(&socket, words, "> /dev/full");
        let prints = !words.starts_with("service grant");
        assert_eq!(ran.status, if prints { 5 } else { 0 }, "{words}: {}", ran.err);
        assert_eq!(ran.err.contains("it is done"), prints, "{words}: {}", ran.err);
    }
    let seen = |words: &[&str]| cluster.ok(words);
    assert!(seen(&["secret", "versions", "db"]).lines().count() > 2, "both versions");
    assert!(seen(&["node", "inspect", "node-1"]).contains("\"a\""));
    assert!(seen(&["service", "inspect", "web"]).contains("\"a\""));
    // More than one act holds: all of them are done.
    let names: Vec<String> = (0..70).map(|n| format!("n{n:02}")).collect();
    for name in &names {
        cluster.secret(name, b"v");
    }
    let ran = skep(&socket, &format!("secret rm {}", names.join(" ")), "> /dev/full");
    assert_eq!(ran.status, 5, "{}", ran.err);
    assert_eq!(cluster.ok(&["secret", "ls", "--format", "{{.Name}}"]), "db");
    // What changes nothing says so.
    let ran = skep(&socket, "secret ls", "> /dev/full").status(1);
    assert!(ran.err.contains("nothing was changed"), "{}", ran.err);
}
