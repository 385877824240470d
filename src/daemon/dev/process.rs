//! One daemon as a process: started with its log and `pid` file, looked at, ended.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::folder::put;
use super::plan::Member;
use skep_core::base::{Exit, Failure};

/// Bytes at a log's end that are looked at for its last line.
const LOG_END: u64 = 4096;

/// Makes commands of one binary that end with whoever started them.
#[derive(Clone, Debug)]
pub struct Launcher {
    binary: PathBuf,
    manager: Signal,
    agent: Signal,
    environment: Vec<(&'static str, &'static str)>,
}

impl Launcher {
    /// For daemons that end as well as they can if this process is killed: managers
    /// at once, which they outlive, and agents after they have wiped their mounts.
    #[must_use]
    pub fn gentle(binary: PathBuf) -> Self {
        Self { binary, manager: Signal::KILL, agent: Signal::TERM, environment: Vec::new() }
    }

    /// For daemons that are killed with this process; their mounts are somebody
    /// else's care.
    #[must_use]
    pub fn strict(binary: PathBuf) -> Self {
        Self { binary, manager: Signal::KILL, agent: Signal::KILL, environment: Vec::new() }
    }

    /// Sets a variable in what it starts.
    #[must_use]
    pub fn env(mut self, name: &'static str, value: &'static str) -> Self {
        self.environment.push((name, value));
        self
    }

    /// This very program.
    ///
    /// # Errors
    /// [`Exit::MachineLimit`] where the system does not tell which it is.
    pub fn own() -> Result<Self, Failure> {
        let own = std::env::current_exe().map_err(|error| {
            Failure::new(Exit::MachineLimit, format!("this program's own path: {error}"))
        })?;
        Ok(Self::gentle(own))
    }

    /// The binary with these words. It knows nothing of this process's `SKEP_*`
    /// settings, hears no Ctrl-C of this terminal, and is killed when the calling
    /// thread ends.
    #[must_use]
    pub fn command<W: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = W>) -> Command {
        self.ending(words, Signal::KILL)
    }

    fn ending<W: AsRef<OsStr>>(
        &self,
        words: impl IntoIterator<Item = W>,
        signal: Signal,
    ) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(words).process_group(0);
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"SKEP_") {
                command.env_remove(name);
            }
        }
        command.envs(self.environment.iter().copied());
        locked_pages::end_with_parent(&mut command, signal);
        command
    }

    /// The command that runs a member on its settings.
    #[must_use]
    pub fn daemon(&self, member: &Member) -> Command {
        let signal = if member.is_manager() { self.manager } else { self.agent };
        self.ending(member.words(), signal)
    }

    /// Starts a member. It ends with the calling thread.
    ///
    /// # Errors
    /// [`Exit::MachineLimit`] where the process, its log or its `pid` can't be made.
    pub fn start(&self, member: &Member) -> Result<Process, Failure> {
        let made = (|| {
            let mut options = OpenOptions::new();
            let log = options.create(true).append(true).mode(0o600).open(member.log())?;
            let mut command = self.daemon(member);
            command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
            let process = Process { child: command.spawn()?, pid_file: member.pid() };
            let pid = format!("{}\n", process.id());
            put(&member.pid(), pid.as_bytes())?;
            Ok(process)
        })();
        made.map_err(|error: io::Error| {
            Failure::new(Exit::MachineLimit, format!("{}: not started: {error}", member.name)).hint(
                "raise the limits of processes and open files, and see that the disk has room",
            )
        })
    }
}

/// A daemon that runs. Dropped, it is killed.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pid_file: PathBuf,
}

impl Process {
    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, unless it has ended.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_some() {
            return;
        }
        // It was not waited for, so that the number is still its own.
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(Err(error)) = pid.map(|pid| kill_process(pid, signal)) {
            tracing::debug!(event = "signal_not_sent", %error);
        }
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = match self.child.try_wait() {
            Ok(status) => status?,
            // Nothing is known of it any more.
            Err(_not_ours) => ExitStatus::from_raw(0),
        };
        std::fs::remove_file(&self.pid_file).ok();
        Some(status)
    }

    /// `kill -9`, and its end.
    pub fn kill(&mut self) {
        if self.ended().is_none() {
            self.child.kill().ok();
            self.child.wait().ok();
            std::fs::remove_file(&self.pid_file).ok();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How a daemon ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its exit status, if it ended by itself.
    pub status: Option<Exit>,
    /// The same in words: `ended with status 22`, `was killed by signal 9`.
    pub how: String,
    /// What its log says last, without `error:`.
    pub last_line: Option<String>,
    /// The log's hint.
    pub hint: Option<String>,
}

impl Ended {
    /// Reads it from the status and the log.
    #[must_use]
    pub fn of(member: &Member, status: ExitStatus) -> Self {
        let (last_line, hint) = last_lines(&log_end(&member.log()));
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("ended with status {code}"),
            (None, Some(signal)) => format!("was killed by signal {signal}"),
            (None, None) => "ended".to_owned(),
        };
        let status = status.code().and_then(|code| u32::try_from(code).ok());
        Self { status: status.and_then(Exit::from_code), how, last_line, hint }
    }

    /// The failure of whoever needed it.
    #[must_use]
    pub fn failure(&self, name: &str) -> Failure {
        let why = self.last_line.as_ref().map(|line| format!(": {line}")).unwrap_or_default();
        let exit = self.status.filter(|exit| *exit != Exit::Done).unwrap_or(Exit::Refused);
        let failure = Failure::new(exit, format!("{name} {}{why}", self.how));
        match &self.hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// The end of a log, whole lines or not.
fn log_end(path: &Path) -> String {
    let read = || {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_END)))?;
        let mut end = Vec::new();
        file.take(LOG_END).read_to_end(&mut end)?;
        io::Result::Ok(end)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

/// What was said last, and the hint that followed it.
pub(super) fn last_lines(text: &str) -> (Option<String>, Option<String>) {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty()).rev().peekable();
    let hint = lines.peek().and_then(|line| line.strip_prefix("hint: ")).map(str::to_owned);
    if hint.is_some() {
        lines.next();
    }
    let last = lines.next().map(|line| line.strip_prefix("error: ").unwrap_or(line).to_owned());
    (last, hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_are_found() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(last_lines(""), (None, None));
        assert_eq!(last_lines("a\nb\n\n"), (some("b"), None));
        assert_eq!(last_lines("a\nerror: b\nhint: c\n"), (some("b"), some("c")));
        assert_eq!(last_lines("hint: c"), (None, some("c")));
    }

    #[test]
    fn an_end_says_how_and_why() {
        let folder = tempfile::tempdir().expect("a folder");
        let member = Member::manager(folder.path().to_owned(), 1);
        let status = |code| ExitStatus::from_raw(code << 8);
        let ended = Ended::of(&member, ExitStatus::from_raw(9));
        assert_eq!(ended.how, "was killed by signal 9");
        assert_eq!(ended.failure("m").to_string(), "error: m was killed by signal 9");
        std::io::Write::write_all(
            &mut File::create(member.log()).expect("a log"),
            b"error: taken\nhint: wait\n",
        )
        .expect("written");
        let failure = Ended::of(&member, status(22)).failure("m");
        assert_eq!(failure.exit, Exit::InUse);
        assert_eq!(failure.to_string(), "error: m ended with status 22: taken\nhint: wait");
        assert_eq!(Ended::of(&member, status(0)).failure("m").exit, Exit::Refused);
    }
}
