//! A machine that this machine's own systemd has booted (Debian 12: 252): a container with this
//! machine's `/usr`, an `/etc` of its own, and the network that the test has.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::process::{Ran, binary, mortal, run};
use super::until;

/// Where the machine finds the folder of the built binaries.
const PROGRAMS: &str = "/opt/skep";
/// Folders that a root has beside those that systemd makes.
const FOLDERS: [&str; 10] =
    ["etc/systemd/system", "usr", "var", "run", "tmp", "root", "proc", "sys", "dev", "opt/skep"];

/// Where the kernel's one hierarchy of control groups is: everywhere, or beside others.
const HIERARCHIES: [&str; 2] = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
/// Starts what follows in a control group of its own: two machines side by side would share one.
const IN_GROUP: &str = r#"echo $$ >"$0/cgroup.procs"; exec "$@""#;

/// A booted machine. It ends with this, and with the test's thread.
#[derive(Debug)]
pub struct Booted {
    child: Child,
    root: PathBuf,
    group: PathBuf,
    first: u32,
}

impl Booted {
    /// Boots one that keeps everything in this folder, and waits until its systemd answers.
    ///
    /// # Panics
    /// Where that fails, or takes too long.
    pub fn start(folder: &Path) -> Self {
        let root = folder.join("root");
        for name in FOLDERS {
            fs::create_dir_all(root.join(name)).expect("a folder");
        }
        for name in ["bin", "sbin", "lib", "lib64"] {
            symlink(Path::new("usr").join(name), root.join(name)).expect("a link");
        }
        let write = |name: &str, text: &str| fs::write(root.join("etc").join(name), text);
        write("machine-id", "5ce9a1f05ce9a1f05ce9a1f05ce9a1f0\n").expect("a file");
        write("os-release", "ID=debian\n").expect("a file");
        write("passwd", "root:x:0:0:root:/root:/bin/sh\nwww:x:33:33::/:/bin/sh\n").expect("a file");
        write("group", "root:x:0:\nwww:x:33:\n").expect("a file");
        let target = root.join("etc/systemd/system/default.target");
        symlink("/usr/lib/systemd/system/basic.target", target).expect("a link");

        let programs = binary().parent().expect("a folder").to_owned();
        let log = File::create(folder.join("systemd.log")).expect("a log");
        let group = HIERARCHIES.map(Path::new).into_iter();
        let mut group = group.filter(|at| at.join("cgroup.procs").is_file());
        let group =
            group.next().expect("cgroup2").join(format!("skep-test-{}", std::process::id()));
        fs::create_dir_all(&group).expect("a control group");
        let mut command = mortal(Path::new("sh"));
        command.args(["-euc", IN_GROUP]).arg(&group).arg("systemd-nspawn");
        command.arg("--quiet").arg("--directory").arg(&root).arg("--bind-ro=/usr");
        command.arg(format!("--bind-ro={}:{PROGRAMS}", programs.display()));
        command.arg(format!("--machine=skep-{}", std::process::id()));
        command.args([
            "--register=no",
            "--keep-unit",
            "--console=passive",
            "--bind=/dev/fuse",
            "--boot",
        ]);
        // The agent mounts and locks memory as it does outside, and control groups are of the
        // one hierarchy.
        command.env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1").env("SYSTEMD_SECCOMP", "0");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        let child = command.spawn().expect("a shell");
        let id = child.id();
        let mut booted = Self { child, root, group, first: 0 };
        booted.first = until("the container's first process", || {
            let said = || fs::read_to_string(folder.join("systemd.log")).unwrap_or_default();
            assert!(booted.child.try_wait().expect("a child").is_none(), "it ended: {}", said());
            let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
            let first = children.split_whitespace().next()?.parse().ok()?;
            let name = fs::read_to_string(format!("/proc/{first}/comm")).ok()?;
            (name.trim() == "systemd").then_some(first)
        });
        until("the boot", || {
            let state = booted.run(&["systemctl", "is-system-running"]).out;
            ["running", "degraded"].contains(&state.trim()).then_some(())
        });
        booted
    }

    /// Where its root is, as the test sees it. What it mounts is not seen there.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Runs a command in it.
    pub fn run(&self, words: &[&str]) -> Ran {
        let mut command = mortal(Path::new("nsenter"));
        command.args(["--target", &self.first.to_string()]);
        command.args(["--mount", "--pid", "--ipc", "--uts", "--cgroup", "--"]).args(words);
        run(&mut command, b"")
    }

    /// The same with `skep`.
    pub fn skep(&self, words: &[&str]) -> Ran {
        self.run(&[&[&*format!("{PROGRAMS}/skep")], words].concat())
    }

    /// Writes a unit, and has systemd read it.
    ///
    /// # Panics
    /// Where that fails.
    pub fn unit(&self, name: &str, text: &str) {
        let text = text.replace("@PROGRAMS@", PROGRAMS);
        fs::write(self.root.join("etc/systemd/system").join(name), text).expect("a unit");
        let _ = self.run(&["systemctl", "daemon-reload"]).ok();
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        // Its first process goes, and the kernel ends all that it started.
        match i32::try_from(self.first).ok().and_then(Pid::from_raw) {
            Some(first) => drop(kill_process(first, Signal::KILL)),
            None => drop(self.child.kill()),
        }
        drop(self.child.wait());
        let mut groups = vec![self.group.clone()];
        for at in 0.. {
            let Some(group) = groups.get(at) else { break };
            let below = fs::read_dir(group).into_iter().flatten().flatten();
            let folders: Vec<_> =
                below.map(|one| one.path()).filter(|path| path.is_dir()).collect();
            groups.extend(folders);
        }
        // The deepest first.
        for group in groups.iter().rev() {
            drop(fs::remove_dir(group));
        }
    }
}
