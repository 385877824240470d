//! Time and order: always arguments, never read by the core.

use std::fmt;

/// Wall-clock time in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(pub u64);

impl Stamp {
    /// This time, `ms` milliseconds later.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

/// Milliseconds since this machine started, sleep included (`CLOCK_BOOTTIME`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootTime(pub u64);

/// The Raft log index at which something became true.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Which history of the cluster this is: new by a restore or recovery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch {
    /// Grows by one with every restore or recovery; 1 at init.
    pub counter: u64,
    /// 128 random bits, so that two recoveries from one backup differ.
    pub tail: [u8; 16],
}

/// The machine's clocks. The real one is `host::SystemClock`.
pub trait Clock: Send + Sync {
    /// The wall clock.
    fn now(&self) -> Stamp;
    /// Time since boot.
    fn boot(&self) -> BootTime;
}
