//! How the other managers are: asked every few seconds, most of all for the time.
//!
//! A manager whose clock is far from the majority's would write wrong times into
//! the log and sign certificates that are not valid yet or end too soon. It finds
//! that out here, hands leadership over, stands for no election and says so. The same
//! holds for one whose clock was set (`steady`), until a majority shares the new time.

use crate::manager::problem;
use std::sync::Arc;
use std::time::Duration;

use crate::manager::members::others;
use crate::manager::running::Running;
use crate::manager::steady::{Doubt, SHARED_MS};
use skep_core::base::{BootTime, NodeId};

/// How often the others are asked.
const EVERY: Duration = Duration::from_secs(5);
/// The same while this manager's clock is in doubt.
const IN_DOUBT: Duration = Duration::from_millis(500);
/// What was said longer ago counts no more.
const FRESH_MS: u64 = 60_000;
/// How long another manager may take to take the lead.
const STEP_DOWN: Duration = Duration::from_secs(5);

/// How far the median of the voters' clocks is ahead of this manager's, in
/// milliseconds. `ahead`: that of each other voter who said so. Whoever said nothing
/// counts as if it agreed, and of two values in the middle the nearer one holds: only
/// a majority that disagrees can tell a manager that it is the one that is wrong.
fn off_by(voters: usize, ahead: &[i64]) -> i64 {
    let mut all = ahead.to_vec();
    all.resize(voters.max(ahead.len()).max(1), 0);
    all.sort_unstable();
    let upper = all.len() / 2;
    let lower = (all.len() - 1) / 2;
    let at = |place: usize| all.get(place).copied().unwrap_or(0);
    if at(lower).unsigned_abs() <= at(upper).unsigned_abs() { at(lower) } else { at(upper) }
}

/// Asks the other managers as long as this one runs.
pub(in crate::manager) async fn keep(running: Arc<Running>) {
    let mut judged = Judged::default();
    loop {
        let asked = others::ask_all(&running);
        tokio::select! {
            () = running.stop.cancelled() => return,
            () = asked => {}
            // Leadership goes before anybody is asked.
            () = running.core.doubted() => {}
        }
        judged.judge(&running).await;
        let pause = if running.core.doubtful_since().is_some() { IN_DOUBT } else { EVERY };
        tokio::select! {
            () = running.stop.cancelled() => return,
            () = running.core.doubted() => judged.judge(&running).await,
            () = steps(&running) => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Looks at the clock, so that a step is found also where nothing is proposed. Never ends: a
/// step that is found is told by `doubted`.
async fn steps(running: &Running) {
    loop {
        tokio::time::sleep(IN_DOUBT).await;
        // What is wrong with it is judged by whoever is told.
        running.core.reading().ok();
    }
}

/// What was found last, and what was done about it.
#[derive(Debug, Default)]
struct Judged {
    unfit: bool,
    handed_over: Option<BootTime>,
}

impl Judged {
    /// What follows from the clock and from what the others said.
    async fn judge(&mut self, running: &Running) {
        let (off, doubt) = (far_off(running), doubt(running));
        let stepped = doubt.filter(|doubt| *doubt != Doubt::Fresh);
        let unfit = off.is_some() || stepped.is_some();
        if self.unfit != unfit {
            self.unfit = unfit;
            self.handed_over = None;
            match (off, stepped) {
                (_, Some(doubt)) => {
                    tracing::error!(event = "clock_stepped", why = %problem::clock_doubted(doubt));
                }
                (Some(ahead), None) => {
                    tracing::error!(event = "clock_off", why = %problem::clock_off(ahead));
                }
                (None, None) => tracing::info!(event = "clock_right"),
            }
        }
        // Nobody else can lead where it is alone.
        let alone = running.core.is_alone();
        running.core.consensus.stand_for_election(!unfit || alone);
        if unfit && !alone && running.core.is_leader().is_ok() && self.is_time(running) {
            let moved = running.core.consensus.hand_over(STEP_DOWN, None).await;
            tracing::warn!(event = "leadership_handed_over", moved, why = "clock");
        }
    }

    /// Whether leadership is offered now: nobody may have taken it the last time.
    fn is_time(&mut self, running: &Running) -> bool {
        let now = running.core.clock.boot();
        let every = u64::try_from(EVERY.as_millis()).unwrap_or(u64::MAX);
        let is_time = self.handed_over.is_none_or(|at| now.0.saturating_sub(at.0) >= every);
        if is_time {
            self.handed_over = Some(now);
        }
        is_time
    }
}

/// How far the median of the voters' clocks is ahead, where that is too far.
fn far_off(running: &Running) -> Option<i64> {
    let now = running.core.clock.boot();
    let members = running.core.members();
    let voters = members.iter().filter(|member| member.voter).map(|member| member.node);
    let voters: Vec<NodeId> = voters.collect();
    let fresh = |node: &NodeId| {
        let heard = running.peers.said(*node)?;
        (now.0.saturating_sub(heard.at.0) < FRESH_MS).then_some(heard.ahead_ms)
    };
    let ahead: Vec<i64> = voters.iter().filter_map(fresh).collect();
    running.core.set_clock_off(off_by(voters.len(), &ahead));
    running.core.clock_off_ms()
}

/// Why the clock is in doubt, after what the others have said since it is.
fn doubt(running: &Running) -> Option<Doubt> {
    let core = &running.core;
    let shared = core.doubtful_since().and_then(|since| others::sharing(running, since, SHARED_MS));
    core.reading_shared(shared).err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_tells_a_manager_that_its_clock_is_wrong() {
        assert_eq!(off_by(3, &[600, 610]), 600);
        assert_eq!(off_by(3, &[-610, -600]), -600);
        assert_eq!(off_by(3, &[600]), 0, "one of three is no majority");
        assert_eq!(off_by(3, &[600, -600]), 0, "they do not agree");
        assert_eq!(off_by(3, &[600, 3]), 3, "the other one is wrong");
        assert_eq!(off_by(2, &[600]), 0, "nobody knows who of two is wrong");
        assert_eq!(off_by(5, &[600, 600, 600]), 600);
        assert_eq!(off_by(5, &[600, 600]), 0);
        assert_eq!(off_by(1, &[]), 0);
        assert_eq!(off_by(0, &[]), 0);
    }
}
