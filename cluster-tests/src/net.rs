//! Several hosts on one machine: network namespaces on a bridge.
//!
//! The namespaces have no names. A process holds each, which the kernel kills
//! with the test's, and what stands in a namespace ends with it: a test that
//! fails or is killed leaves nothing.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::process::{mortal, run};
use super::until;

/// A network namespace and the process that holds it.
#[derive(Debug)]
struct Space(Child);

impl Space {
    fn new() -> Self {
        let mut command = mortal(Path::new("unshare"));
        command.args(["--net", "--", "sleep", "infinity"]).stdin(Stdio::null());
        let child = command.spawn().expect("a process in a network of its own");
        let space = Self(child);
        let own = std::fs::read_link("/proc/self/ns/net").expect("this network");
        let asleep = || std::fs::read_to_string(format!("/proc/{}/comm", space.0.id())).ok();
        until("a network of its own", || {
            let other = std::fs::read_link(space.path()).is_ok_and(|other| other != own);
            (other && asleep()?.trim() == "sleep").then_some(())
        });
        space
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.0.id())
    }

    fn command(&self, program: &OsStr) -> Command {
        let mut command = mortal(Path::new("nsenter"));
        command.arg(format!("--net={}", self.path())).arg("--").arg(program);
        command
    }

    /// Runs `ip` in it; the words are split at blanks.
    fn ip(&self, words: &str) {
        let mut command = self.command(OsStr::new("ip"));
        let ran = run(command.args(words.split_whitespace()), b"");
        assert_eq!(ran.status, 0, "ip {words}: {}", ran.err);
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A host with an address of its own.
#[derive(Debug)]
pub struct Host {
    number: usize,
    space: Space,
}

impl Host {
    /// Its address, without a port.
    #[must_use]
    pub fn address(&self) -> String {
        format!("10.77.0.{}", self.number)
    }

    /// A command that runs on it, and is killed when the test's process dies.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.space.command(program.as_ref())
    }

    fn port(&self) -> String {
        format!("port{}", self.number)
    }
}

/// A switch, to which hosts are attached.
#[derive(Debug)]
pub struct Net {
    switch: Space,
    hosts: usize,
}

impl Net {
    /// A switch without hosts. It has two halves, `main` and `apart`, which no
    /// frame crosses.
    #[must_use]
    pub fn new() -> Self {
        let switch = Space::new();
        for half in ["main", "apart"] {
            switch.ip(&format!("link add {half} type bridge"));
            switch.ip(&format!("link set {half} up"));
        }
        Self { switch, hosts: 0 }
    }

    /// One more host, on the main half.
    pub fn host(&mut self) -> Host {
        self.hosts += 1;
        let host = Host { number: self.hosts, space: Space::new() };
        let (port, holder) = (host.port(), host.space.0.id());
        self.switch.ip(&format!("link add {port} type veth peer name eth0 netns {holder}"));
        self.switch.ip(&format!("link set {port} master main"));
        self.switch.ip(&format!("link set {port} up"));
        host.space.ip("link set lo up");
        host.space.ip(&format!("addr add {}/24 dev eth0", host.address()));
        host.space.ip("link set eth0 up");
        host
    }

    /// Moves a host to the other half: its cable is in, and nobody there answers.
    pub fn cut(&self, host: &Host) {
        self.switch.ip(&format!("link set {} master apart", host.port()));
    }

    /// Moves it back.
    pub fn heal(&self, host: &Host) {
        self.switch.ip(&format!("link set {} master main", host.port()));
    }

    /// Nothing that `from` sends reaches `to` any more; the other way is open.
    pub fn cut_way(&self, from: &Host, to: &Host) {
        // A neighbour that is not there takes the frames.
        let nobody = "lladdr 02:00:00:00:00:fe nud permanent";
        from.space.ip(&format!("neigh replace {} {nobody} dev eth0", to.address()));
    }

    /// Opens that way again.
    pub fn heal_way(&self, from: &Host, to: &Host) {
        from.space.ip(&format!("neigh del {} dev eth0", to.address()));
    }
}

impl Default for Net {
    fn default() -> Self {
        Self::new()
    }
}
