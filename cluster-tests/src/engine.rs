//! Real container engines with folders of their own: Debian's dockerd and containerd.
//!
//! Each stands in namespaces of mounts and processes of its own: whatever it mounts or starts
//! ends with its first process, which the kernel kills when the test's thread ends.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::process::{mortal, run};
use super::until;

/// The client of Debian's docker.io, whatever else a machine calls docker.
const DOCKER: &str = "/usr/bin/docker";

/// The first process of an engine's namespaces.
#[derive(Debug)]
struct Enclosed {
    child: Child,
    log: PathBuf,
}

impl Enclosed {
    /// Starts a daemon that sees an empty `/run`.
    fn start(log: PathBuf, words: &[&str]) -> Self {
        let file = File::create(&log).expect("a log");
        let mut command = mortal(Path::new("unshare"));
        command.args(["--mount", "--propagation", "private", "--pid", "--fork", "--mount-proc"]);
        command.args(["--kill-child", "--", "sh", "-c"]);
        command.args([r#"mount -t tmpfs tmpfs /run && exec "$@""#, "sh"]).args(words);
        command.stdin(Stdio::null()).stdout(file.try_clone().expect("a log")).stderr(file);
        Self { child: command.spawn().expect("unshare"), log }
    }

    /// Waits until it answers this command.
    fn answers(&mut self, mut command: impl FnMut() -> Command) {
        until("an engine", || {
            let said = || std::fs::read_to_string(&self.log).unwrap_or_default();
            let ended = self.child.try_wait().expect("a child");
            assert!(ended.is_none(), "it ended: {}", said());
            (run(&mut command(), b"").status == 0).then_some(())
        });
    }
}

impl Drop for Enclosed {
    fn drop(&mut self) {
        // The kernel ends what the daemon started, and its mounts, with the namespaces. Their
        // first process goes before the one that waits for it, so that nothing of it stays.
        let id = self.child.id();
        let inner = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let inner = inner.ok().and_then(|ids| ids.trim().parse().ok()).and_then(Pid::from_raw);
        let is_sent = inner.is_some_and(|inner| kill_process(inner, Signal::KILL).is_ok());
        if !is_sent {
            drop(self.child.kill());
        }
        drop(self.child.wait());
    }
}

/// A dockerd without networks of its own: it reaches registries on loopback.
#[derive(Debug)]
pub struct Engine {
    daemon: Enclosed,
    socket: PathBuf,
}

impl Engine {
    /// Starts one that keeps everything in this folder, and waits until it answers.
    ///
    /// # Panics
    /// When it ends, or doesn't answer in time.
    pub fn start(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).expect("a folder");
        let at = |name: &str| folder.join(name).display().to_string();
        let socket = folder.join("docker.sock");
        let host = format!("unix://{}", socket.display());
        let (data, state, pid) = (at("data"), at("state"), at("pid"));
        let places = ["--data-root", &data, "--exec-root", &state, "--pidfile", &pid];
        let nets = ["--iptables=false", "--bridge=none"];
        let words = [&["dockerd", "--host", &host], &places[..], &nets].concat();
        let daemon = Enclosed::start(folder.join("docker.log"), &words);
        let mut engine = Self { daemon, socket };
        let (socket, config) = (engine.socket.clone(), folder.join("no-config"));
        engine.daemon.answers(|| docker(&socket, &config, &["version"]));
        engine
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its client, which keeps logins in this folder.
    #[must_use]
    pub fn docker<W: AsRef<OsStr>>(&self, config: &Path, words: &[W]) -> Command {
        docker(&self.socket, config, words)
    }
}

fn docker<W: AsRef<OsStr>>(socket: &Path, config: &Path, words: &[W]) -> Command {
    let mut command = mortal(Path::new(DOCKER));
    command.arg("--host").arg(format!("unix://{}", socket.display()));
    command.arg("--config").arg(config).args(words);
    command
}

/// A containerd.
#[derive(Debug)]
pub struct Containerd {
    daemon: Enclosed,
    socket: PathBuf,
}

impl Containerd {
    /// Starts one that keeps everything in this folder, and waits until it answers.
    ///
    /// # Panics
    /// When it ends, or doesn't answer in time.
    pub fn start(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).expect("a folder");
        let at = |name: &str| folder.join(name).display().to_string();
        let (socket, data, state) = (folder.join("sock"), at("data"), at("state"));
        let address = socket.display().to_string();
        let config = at("config.toml");
        std::fs::write(&config, "version = 2\n").expect("settings");
        let places = ["--root", &data, "--state", &state, "--address", &address];
        let words = [&["containerd", "--config", &config], &places[..]].concat();
        let daemon = Enclosed::start(folder.join("containerd.log"), &words);
        let mut engine = Self { daemon, socket };
        let socket = engine.socket.clone();
        engine.daemon.answers(|| ctr(&socket, &["version"]));
        engine
    }

    /// Its client.
    #[must_use]
    pub fn ctr<W: AsRef<OsStr>>(&self, words: &[W]) -> Command {
        ctr(&self.socket, words)
    }
}

fn ctr<W: AsRef<OsStr>>(socket: &Path, words: &[W]) -> Command {
    let mut command = mortal(Path::new("ctr"));
    command.arg("--address").arg(socket).args(words);
    command
}
