//! How much is measured.

use std::time::Duration;

/// A whole run, or a quick one.
pub(super) struct Size {
    /// How long each row of creates goes on.
    pub(super) row: Duration,
    pub(super) clients: &'static [usize],
    pub(super) deliveries: usize,
    pub(super) fail_overs: usize,
    /// How long commands go on amid a flood.
    pub(super) flood: Duration,
    /// Secrets of the clusters that have many.
    pub(super) secrets: &'static [usize],
    /// Secrets of one `skep secret import`.
    pub(super) imported: usize,
    /// Agents that are simulated.
    pub(super) agents: &'static [usize],
    /// Rotations of one large value.
    pub(super) rotations: usize,
    /// Starts of the command that lists.
    pub(super) commands: u32,
    /// Of each file on each mount; a large one a twentieth of that.
    pub(super) reads: usize,
    /// Accounts of machines that a token server has at first.
    pub(super) robots: usize,
    /// And at last.
    pub(super) most_robots: usize,
    /// Images that are signed.
    pub(super) signed: usize,
    /// Turns of each system beside the others.
    pub(super) rounds: usize,
    /// How long one of them is.
    pub(super) turn: Duration,
    /// Values that another system delivers: it takes seconds for one.
    pub(super) replaced: usize,
}

pub(super) const WHOLE: Size = Size {
    row: Duration::from_secs(5),
    clients: &[1, 16, 64, 256],
    deliveries: 100,
    fail_overs: 7,
    flood: Duration::from_secs(40),
    secrets: &[20_000, 100_000],
    imported: 20_000,
    agents: &[2, 200],
    rotations: 600,
    commands: 200,
    reads: 20_000,
    robots: 500,
    most_robots: 2_000,
    signed: 1_000,
    rounds: 4,
    turn: Duration::from_secs(3),
    replaced: 12,
};
pub(super) const QUICK: Size = Size {
    row: Duration::from_secs(1),
    clients: &[1, 16, 64],
    deliveries: 20,
    fail_overs: 2,
    flood: Duration::from_secs(3),
    secrets: &[2_000],
    imported: 2_000,
    agents: &[2, 20],
    rotations: 60,
    commands: 40,
    reads: 2_000,
    robots: 50,
    most_robots: 100,
    signed: 50,
    rounds: 2,
    turn: Duration::from_secs(1),
    replaced: 3,
};

/// Bytes of a value.
pub(super) const VALUE: usize = 512;
/// Values of one act.
pub(super) const ACT: usize = 16;
