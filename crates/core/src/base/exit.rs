//! Every exit status by its name, and the failure that a person reads.

use std::fmt;

use super::{OtherFormat, START_EMPTY};

/// Why a process of ours ends. The numbers are stable: scripts read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Refused: it exists, is in use, is not found or is not allowed.
    Refused = 1,
    /// Usage, bad input.
    Usage = 2,
    /// Not reachable or no leader: nothing was done.
    Unreachable = 3,
    /// The manager is locked.
    Locked = 4,
    /// Committed, but not confirmed in time.
    NotConfirmed = 5,
    /// Outcome unknown: look before repeating.
    Unknown = 6,
    /// The unlock key is wrong or mistyped, or the passphrase of an identity is wrong.
    WrongUnlockKey = 7,
    /// Works, but not as well as it should (`status` only).
    Degraded = 8,
    /// Stored data is damaged or was tampered with.
    Damaged = 20,
    /// A write or fsync failed.
    WriteFailed = 21,
    /// An address, socket or data directory is in use.
    InUse = 22,
    /// Bad configuration or permissions.
    Configuration = 23,
    /// The identity was removed or has expired for good.
    IdentityEnded = 24,
    /// The data was written by a newer version.
    NewerData = 25,
    /// A limit of the machine: memory lock, files, mounts.
    MachineLimit = 26,
    /// A bug: a panic or a broken invariant.
    Bug = 70,
    /// `skep exec` did not run the command.
    NotRun = 125,
    /// `skep exec`: the command is not executable.
    NotExecutable = 126,
    /// `skep exec`: the command was not found.
    CommandNotFound = 127,
    /// Interrupted (Ctrl-C) while it waited for nodes: what it asked for is committed.
    Interrupted = 130,
}

impl Exit {
    /// Every status, in the order of their numbers.
    pub const ALL: [Self; 21] = [
        Self::Done,
        Self::Refused,
        Self::Usage,
        Self::Unreachable,
        Self::Locked,
        Self::NotConfirmed,
        Self::Unknown,
        Self::WrongUnlockKey,
        Self::Degraded,
        Self::Damaged,
        Self::WriteFailed,
        Self::InUse,
        Self::Configuration,
        Self::IdentityEnded,
        Self::NewerData,
        Self::MachineLimit,
        Self::Bug,
        Self::NotRun,
        Self::NotExecutable,
        Self::CommandNotFound,
        Self::Interrupted,
    ];

    /// The number that the process ends with.
    #[must_use]
    #[allow(clippy::as_conversions, reason = "the discriminants are the numbers")]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Whether a daemon ends with it: stored data, the machine or the identity is at fault, and
    /// no other manager can help.
    #[must_use]
    pub const fn ends_a_daemon(self) -> bool {
        self.code() >= Self::Damaged.code() && self.code() <= Self::Bug.code()
    }

    /// The status with this number, as a manager names it in a problem.
    #[must_use]
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|exit| u32::from(exit.code()) == code)
    }
}

/// What went wrong, in one line, and what to do about it, in another. Neither
/// ever holds a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the process ends with.
    pub exit: Exit,
    /// What is wrong.
    pub text: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a hint.
    #[must_use]
    pub fn new(exit: Exit, text: impl fmt::Display) -> Self {
        Self { exit, text: text.to_string(), hint: None }
    }

    /// Stored data of another format than this build reads.
    #[must_use]
    pub fn of_format(format: OtherFormat, text: impl fmt::Display) -> Self {
        match format {
            OtherFormat::Older(_) => Self::new(Exit::Configuration, text).hint(START_EMPTY),
            OtherFormat::Newer(_) => Self::new(Exit::NewerData, text)
                .hint("run the version that wrote it, or a newer one"),
        }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }
}

/// `error: text` and, if there is one, `hint: hint`.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.text)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_stable_and_found_again() {
        let numbers: Vec<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        assert_eq!(
            numbers,
            [0, 1, 2, 3, 4, 5, 6, 7, 8, 20, 21, 22, 23, 24, 25, 26, 70, 125, 126, 127, 130]
        );
        for exit in Exit::ALL {
            assert_eq!(Exit::from_code(u32::from(exit.code())), Some(exit));
        }
        assert_eq!(Exit::from_code(99), None);
    }

    #[test]
    fn a_failure_reads_as_two_lines() {
        let failure = Failure::new(Exit::InUse, "the data directory is in use").hint("stop it");
        assert_eq!(failure.to_string(), "error: the data directory is in use\nhint: stop it");
        assert_eq!(Failure::new(Exit::Bug, "b").to_string(), "error: b");
    }
}
