//! Running the built binary.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use skep::daemon::dev::Launcher;

use super::fit::fit;

/// The `skep` binary of this build: `SKEP_BIN`, or the one beside the tests.
///
/// # Panics
/// Where there is none, or the machine lacks what the tests need.
#[must_use]
pub fn binary() -> PathBuf {
    fit();
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
    ran(&child.wait_with_output().expect("its output"))
}

/// The same for a command that could go on for ever: at the deadline it is killed,
/// which is its status. It must not write more than a pipe holds.
///
/// # Panics
/// Where it can't be started.
pub fn run_until(command: &mut Command, input: &[u8], deadline: Duration) -> Ran {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("a process");
    drop(child.stdin.take().map(|mut stdin| stdin.write_all(input)));
    let start = Instant::now();
    while child.try_wait().expect("a child").is_none() {
        if start.elapsed() > deadline {
            drop(child.kill());
        }
        std::thread::park_timeout(Duration::from_millis(2));
    }
    ran(&child.wait_with_output().expect("its output"))
}

fn ran(output: &Output) -> Ran {
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

/// A command that is killed when this test's thread ends, and knows nothing of the
/// `SKEP_*` settings and contexts around it.
pub(crate) fn mortal(program: &Path) -> Command {
    let mut command = Launcher::strict(program.to_owned()).command::<&str>([]);
    command.env("XDG_CONFIG_HOME", "/proc/none");
    command
}
