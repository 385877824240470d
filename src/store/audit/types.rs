//! What the audit log is told and says.

use std::time::Duration;

use skep_core::audit::Head;
use skep_core::base::Stamp;

/// How long a line may take to be written.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// Between two looks whether there is room for a line.
pub(super) const ROOM: Duration = Duration::from_millis(2);

/// A line of a chain: its number and its hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Its number; 0 stands before the first.
    pub number: u64,
    /// Its hash.
    pub head: Head,
}

/// For how long lines are kept: the oldest files go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Bytes of both chains.
    pub bytes: u64,
    /// How old lines get.
    pub age: Option<Duration>,
}

impl Default for Retention {
    fn default() -> Self {
        Self { bytes: 1024 * 1024 * 1024, age: None }
    }
}

/// Why a line was not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotRecorded(pub String);

/// How the log does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditStanding {
    /// Why nothing can be written at the moment.
    pub failing: Option<String>,
    /// Acts that happened since the start and have no line.
    pub lost: u64,
}

/// What whoever comes after the end is told.
pub(super) const CLOSED: &str = "the audit log is closed";

impl Retention {
    /// The moment before which lines are too old.
    pub(super) fn oldest(self, now: Stamp) -> Option<Stamp> {
        let age = u64::try_from(self.age?.as_millis()).unwrap_or(u64::MAX);
        Some(Stamp(now.0.saturating_sub(age)))
    }
}
