//! A machine of its own: a network, a name, and the folders that daemons use by default.
//!
//! Its mounts are in a namespace without a name, which a process holds that the kernel
//! kills with the test's: nothing is mounted where anybody else sees it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::process::{Ran, mortal, run_until, status_of};
use super::{DEADLINE, Host, Net, terminal, until};

/// Where it looks for programs after the test's own: nothing of what whoever runs the
/// tests has in their `PATH`.
const SYSTEM_PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// What makes it: its own folder is `$1`, its name `$2`. An installed `skep` has no settings
/// here.
const FURNISH: &str = r#"
hostname "$2"
mkdir -p "$1/bin" "$1/etc" "$1/home" "$1/over"
cp -a /etc/. "$1/etc" && rm -rf "$1/etc/skep" && mkdir -p "$1/etc/bash_completion.d"
mount --bind "$1/etc" /etc
mount --bind "$1/home" /root
for folder in /run /var/lib /media /usr/local/share; do
    mount -t tmpfs -o mode=0755 tmpfs "$folder"
done
mount -t tmpfs tmpfs "$1/over" && mkdir "$1/over/upper" "$1/over/work"
mount -t overlay overlay \
    -o "lowerdir=/usr/bin,upperdir=$1/over/upper,workdir=$1/over/work" /usr/bin
"#;

/// A machine, and the daemons that run on it.
#[derive(Debug)]
pub struct Machine {
    /// Its name.
    pub name: String,
    host: Host,
    holder: Child,
    folder: PathBuf,
    daemons: Vec<Child>,
}

impl Machine {
    /// One on this network; its files are below `folder`. Programs are found in `bin`
    /// of its own folder (`$OWN/bin`) before `bin` of `folder`, and there before those
    /// of the system, so that a stand-in is found whatever is installed.
    ///
    /// # Panics
    /// Where it can't be made.
    #[must_use]
    pub fn new(net: &mut Net, folder: &Path, name: &str) -> Self {
        let host = net.host();
        let mut command = host.command("unshare");
        command.args(["--mount", "--uts", "--propagation", "private", "--", "sleep", "infinity"]);
        let holder = command.stdin(Stdio::null()).spawn().expect("a process");
        let folder = folder.to_owned();
        let daemons = Vec::new();
        let machine = Self { name: name.to_owned(), host, holder, folder, daemons };
        let asleep = || std::fs::read_to_string(format!("/proc/{}/comm", machine.holder.id())).ok();
        until("a machine", || (asleep()?.trim() == "sleep").then_some(()));
        let own = machine.folder.join(name);
        let mut furnish = machine.enter();
        furnish.args(["sh", "-euc", FURNISH, "sh"]).arg(own).arg(name);
        let _ = run_until(&mut furnish, b"", DEADLINE).status(0);
        machine
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> String {
        self.host.address()
    }

    fn enter(&self) -> Command {
        let mut command = mortal(Path::new("nsenter"));
        for space in ["net", "uts", "mnt"] {
            let word = if space == "mnt" { "mount" } else { space };
            command.arg(format!("--{word}=/proc/{}/ns/{space}", self.holder.id()));
        }
        let own = self.folder.join(&self.name);
        let (stand_ins, shared) = (own.join("bin"), self.folder.join("bin"));
        let path = format!("{}:{}:{SYSTEM_PATH}", stand_ins.display(), shared.display());
        command
            .arg("--")
            .env("HOME", "/root")
            .env("XDG_CONFIG_HOME", "")
            .env("SHARED", &self.folder);
        command.env("OWN", own).env("PATH", path);
        command
    }

    fn shell(&self, before: &[&str], line: &str) -> Command {
        let mut command = self.enter();
        command.args(before).args(["bash", "-c", "cd && eval \"$1\"", "bash", line]);
        command
    }

    /// Runs a line in a shell, in root's home.
    #[must_use]
    pub fn run(&self, line: &str) -> Ran {
        run_until(&mut self.shell(&[], line), b"", DEADLINE)
    }

    /// Starts a daemon by a line, and waits until `ready`, another line, ends with 0. In that
    /// `$LOG` is what the daemon printed.
    ///
    /// # Panics
    /// Where it is not ready in time, or has ended before.
    pub fn start(&mut self, line: &str, ready: &str) {
        let log = self.log_of(self.daemons.len());
        let file = File::create(&log).expect("a log");
        let ready = format!("LOG={}; {ready}", log.display());
        let again = file.try_clone().expect("the log again");
        let mut command = self.shell(&[], &format!("exec {line}"));
        let started = command.stdin(Stdio::null()).stdout(file).stderr(again).spawn();
        let mut daemon = started.expect("a daemon");
        until(line, || {
            let ended = daemon.try_wait().expect("a child");
            let said = || std::fs::read_to_string(&log).unwrap_or_default();
            assert!(ended.is_none(), "{line}: ended with {ended:?}\n{}", said());
            (self.run(&ready).status == 0).then_some(())
        });
        self.daemons.push(daemon);
    }

    /// What its last daemon printed.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.log_of(self.daemons.len().saturating_sub(1))
    }

    fn log_of(&self, number: usize) -> PathBuf {
        let more = if number == 0 { String::new() } else { format!("-{}", number + 1) };
        self.folder.join(format!("{}{more}.log", self.name))
    }

    /// Asks its last daemon to end and answers its status.
    ///
    /// # Panics
    /// Where there is none, or it doesn't end.
    pub fn stop(&mut self) -> i32 {
        let daemon = self.daemons.last().expect("a daemon");
        let pid = i32::try_from(daemon.id()).ok().and_then(Pid::from_raw).expect("a pid");
        // It may have ended by itself.
        let _gone_already = kill_process(pid, Signal::TERM);
        self.ended()
    }

    /// Waits until its last daemon ends and answers its status.
    ///
    /// # Panics
    /// Where there is none, or it doesn't end.
    pub fn ended(&mut self) -> i32 {
        let mut daemon = self.daemons.pop().expect("a daemon");
        status_of(until("a daemon's end", || daemon.try_wait().expect("a child")))
    }

    /// Runs a line on a terminal, and types `text` whenever it asks.
    ///
    /// # Panics
    /// Where there is no terminal, or the line doesn't end.
    #[must_use]
    pub fn type_in(&self, line: &str, text: &str) -> Ran {
        terminal::type_in(self.shell(&terminal::LEADS, line), text)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for child in self.daemons.iter_mut().rev().chain([&mut self.holder]) {
            drop(child.kill());
            drop(child.wait());
        }
    }
}
