//! Running the built binary.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The `skep` binary of this build: `SKEP_BIN`, or the one beside the tests.
///
/// # Panics
/// Where there is none.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("SKEP_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("the test's own path");
    let built =
        test.ancestors().skip(1).map(|folder| folder.join("skep")).find(|path| path.is_file());
    built.expect("the skep binary stands beside the tests: cargo build --bin skep")
}

/// What a command answered.
#[derive(Debug)]
pub struct Ran {
    /// Its exit status; 128+n after a signal.
    pub status: i32,
    /// What it wrote to stdout.
    pub out: String,
    /// What it wrote to stderr.
    pub err: String,
}

impl Ran {
    /// Fails the test unless the status is `wanted`.
    ///
    /// # Panics
    /// On another status, showing everything the command wrote.
    #[track_caller]
    #[must_use]
    pub fn status(self, wanted: i32) -> Self {
        assert_eq!(self.status, wanted, "stdout: {}\nstderr: {}", self.out, self.err);
        self
    }

    /// Stdout without the white space around it, after status 0.
    ///
    /// # Panics
    /// On another status.
    #[track_caller]
    #[must_use]
    pub fn ok(self) -> String {
        self.status(0).out.trim().to_owned()
    }
}

/// Runs a command to its end with `input` on stdin.
///
/// # Panics
/// Where it can't be started.
pub fn run(command: &mut Command, input: &[u8]) -> Ran {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a process");
    // A command that doesn't read its stdin closes it: that is its right.
    drop(child.stdin.take().map(|mut stdin| stdin.write_all(input)));
    let output = child.wait_with_output().expect("its output");
    Ran {
        status: status_of(output.status),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

pub(crate) fn status_of(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

/// A command that is killed when this test's process dies.
pub(crate) fn mortal(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    for (key, _) in
        std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("SKEP_"))
    {
        command.env_remove(key);
    }
    command
}

/// A daemon that ends with its fixture.
#[derive(Debug)]
pub(crate) struct Daemon(pub(crate) Child);

impl Daemon {
    /// Starts it with both outputs appended to `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Self {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(log).expect("a log");
        let also = file.try_clone().expect("the log again");
        Self(command.stdin(Stdio::null()).stdout(file).stderr(also).spawn().expect("a daemon"))
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.0.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
            .expect("a pid");
        rustix::process::kill_process(pid, signal).expect("a signal sent");
    }

    /// Waits for its end and answers its status.
    pub(crate) fn wait(&mut self) -> i32 {
        super::until("a daemon's end", || self.0.try_wait().expect("a child")).into_status()
    }
}

trait IntoStatus {
    fn into_status(self) -> i32;
}

impl IntoStatus for std::process::ExitStatus {
    fn into_status(self) -> i32 {
        status_of(self)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
