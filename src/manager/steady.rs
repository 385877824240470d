//! Whether this manager's wall clock may be believed: each reading is compared with boot
//! time, which nobody sets.
//!
//! A step is nothing that a manager alone can judge: it may be the repair of a wrong clock,
//! or the beginning of one. So it proposes nothing until a majority of the managers shares
//! the new time, or, where it is alone, until it has kept it for a minute. Nothing of this is
//! stored: a clock that was wrong for a moment leaves no trace.

use parking_lot::Mutex;

use skep_core::base::{BootTime, Stamp};

/// Milliseconds by which wall clock and boot time may part between two looks: more is a step.
/// A leap second and what NTP slews are less; the shortest deadline is twelve times as much.
const STEP_MS: u64 = 5_000;
/// The part of the time gone by that slewing may gain or lose: chrony slews by a twelfth at most.
const SLEW: u64 = 10;
/// Milliseconds for which a manager alone must have kept a new time: as long as a command may be
/// under way, and several polls of an NTP client that sets a clock to rights.
pub(in crate::manager) const KEPT_MS: u64 = 60_000;
/// How far a manager's clock may be from another's, and both are said to share a time; also
/// how far one may be from the majority's median and lead. Certificates may be used that long
/// before they start.
pub(in crate::manager) const SHARED_MS: u64 = 5 * 60_000;
/// How far the clock of a manager alone may be ahead of the cluster's time when it starts: a
/// machine that was off for longer waits as after a step, lest a clock that the machine lost
/// while it was off makes the cluster's time.
const FAR_MS: u64 = 30 * 86_400_000;

/// Why a reading of the clock isn't used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::manager) enum Doubt {
    /// Nothing was found yet with which it could be compared.
    Fresh,
    /// It was set, by so many milliseconds forwards.
    Stepped(i64),
    /// It was so far ahead of the cluster's time when this manager started.
    FarAhead(i64),
}

/// What speaks for a clock.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::manager) struct Evidence {
    /// This manager is the only voter.
    pub alone: bool,
    /// Since this moment a majority, this manager included, was found to share its time.
    pub shared_since: Option<BootTime>,
    /// The cluster's time, where this manager leads with everything applied; the state of
    /// any other may lack what was written last.
    pub stamp: Option<Stamp>,
}

/// What was found of the clock so far. Offsets are wall clock less boot time, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Right { offset: i64, at: BootTime },
    Doubtful { offset: i64, since: BootTime, before: Option<i64>, doubt: Doubt },
}

/// The clock as it was found.
#[derive(Debug)]
pub(in crate::manager) struct Steady {
    found: Mutex<Found>,
    /// Told when a step is found.
    pub(in crate::manager) doubted: tokio::sync::Notify,
}

impl Default for Steady {
    fn default() -> Self {
        Self { found: Mutex::new(Found::Nothing), doubted: tokio::sync::Notify::new() }
    }
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

fn offset_of(now: Stamp, boot: BootTime) -> i64 {
    signed(now.0).saturating_sub(signed(boot.0))
}

fn near(one: i64, other: i64) -> bool {
    one.abs_diff(other) <= STEP_MS
}

impl Steady {
    /// Whether this reading may be used.
    pub(in crate::manager) fn look(&self, now: Stamp, boot: BootTime) -> Result<(), Doubt> {
        let mut found = self.found.lock();
        let before = *found;
        *found = before.seen(offset_of(now, boot), boot);
        if matches!(before, Found::Right { .. }) && matches!(*found, Found::Doubtful { .. }) {
            self.doubted.notify_one();
        }
        found.doubt()
    }

    /// The same, with what speaks for it.
    pub(in crate::manager) fn settle(
        &self,
        now: Stamp,
        boot: BootTime,
        evidence: Evidence,
    ) -> Result<(), Doubt> {
        let mut found = self.found.lock();
        *found = found.seen(offset_of(now, boot), boot).weighed(now, boot, evidence);
        found.doubt()
    }

    /// Since when the clock is in doubt: what was heard before counts no more.
    pub(in crate::manager) fn doubtful_since(&self) -> Option<BootTime> {
        match *self.found.lock() {
            Found::Nothing => Some(BootTime(0)),
            Found::Right { .. } => None,
            Found::Doubtful { since, .. } => Some(since),
        }
    }
}

impl Found {
    fn doubt(self) -> Result<(), Doubt> {
        match self {
            Self::Right { .. } => Ok(()),
            Self::Nothing => Err(Doubt::Fresh),
            Self::Doubtful { doubt, .. } => Err(doubt),
        }
    }

    /// After a look that found this offset.
    fn seen(self, offset: i64, boot: BootTime) -> Self {
        match self {
            Self::Nothing => self,
            Self::Right { offset: right, at } if near(offset, right) => {
                // It is followed no faster than slewing goes: many small steps are one.
                let most = signed(boot.0.saturating_sub(at.0) / SLEW);
                let moved = offset.saturating_sub(right).clamp(-most, most);
                // What is too little to count is kept for the next look.
                let at = if most == 0 { at } else { boot };
                Self::Right { offset: right.saturating_add(moved), at }
            }
            Self::Right { offset: right, .. } => {
                let doubt = Doubt::Stepped(offset.saturating_sub(right));
                Self::Doubtful { offset, since: boot, before: Some(right), doubt }
            }
            Self::Doubtful { before: Some(before), .. } if near(offset, before) => {
                Self::Right { offset: before, at: boot }
            }
            Self::Doubtful { offset: new, .. } if near(offset, new) => self,
            Self::Doubtful { before, doubt, .. } => {
                let doubt =
                    before.map_or(doubt, |before| Doubt::Stepped(offset.saturating_sub(before)));
                Self::Doubtful { offset, since: boot, before, doubt }
            }
        }
    }

    /// After what speaks for the clock was weighed.
    fn weighed(self, now: Stamp, boot: BootTime, evidence: Evidence) -> Self {
        let right = Self::Right { offset: offset_of(now, boot), at: boot };
        let shared_after = |since: BootTime| evidence.shared_since.is_some_and(|at| at >= since);
        match self {
            Self::Right { .. } => self,
            Self::Nothing => {
                if !evidence.alone && shared_after(BootTime(0)) {
                    return right;
                }
                let Some(stamp) = evidence.stamp else { return self };
                let ahead = signed(now.0).saturating_sub(signed(stamp.0));
                let founding = stamp == Stamp(0);
                let agrees = ahead.unsigned_abs() <= SHARED_MS;
                if founding || agrees || (evidence.alone && ahead <= signed(FAR_MS)) {
                    right
                } else if evidence.alone {
                    let (offset, doubt) = (offset_of(now, boot), Doubt::FarAhead(ahead));
                    Self::Doubtful { offset, since: boot, before: None, doubt }
                } else {
                    self
                }
            }
            Self::Doubtful { since, .. } => {
                let kept = evidence.alone && boot.0.saturating_sub(since.0) >= KEPT_MS;
                if kept || (!evidence.alone && shared_after(since)) { right } else { self }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::testing::NOW;

    const DECADE_MS: u64 = 10 * 365 * 86_400_000;

    fn at(ms: u64) -> (Stamp, BootTime) {
        (NOW.plus_ms(ms), BootTime(1_000 + ms))
    }

    fn ahead(ms: u64, by: u64) -> (Stamp, BootTime) {
        (NOW.plus_ms(ms + by), BootTime(1_000 + ms))
    }

    fn alone() -> Evidence {
        Evidence { alone: true, shared_since: None, stamp: Some(NOW) }
    }

    fn shared(at: u64) -> Evidence {
        Evidence { alone: false, shared_since: Some(BootTime(1_000 + at)), stamp: Some(NOW) }
    }

    /// One whose clock agreed with the cluster's time at its start.
    fn right() -> Steady {
        let steady = Steady::default();
        let (now, boot) = at(0);
        assert_eq!(steady.look(now, boot), Err(Doubt::Fresh));
        let evidence = Evidence { stamp: Some(NOW), ..Evidence::default() };
        assert_eq!(steady.settle(now, boot, evidence), Ok(()));
        steady
    }

    fn look(steady: &Steady, (now, boot): (Stamp, BootTime)) -> Result<(), Doubt> {
        steady.look(now, boot)
    }

    fn settle(
        steady: &Steady,
        (now, boot): (Stamp, BootTime),
        evidence: Evidence,
    ) -> Result<(), Doubt> {
        steady.settle(now, boot, evidence)
    }

    #[test]
    fn a_clock_that_jumps_and_comes_back_is_refused_meanwhile_and_leaves_nothing() {
        let steady = right();
        assert_eq!(look(&steady, at(100)), Ok(()));
        let decade = signed(DECADE_MS);
        assert_eq!(look(&steady, ahead(200, DECADE_MS)), Err(Doubt::Stepped(decade)));
        assert!(steady.doubtful_since().is_some());
        assert_eq!(look(&steady, at(300)), Ok(()));
        assert_eq!(steady.doubtful_since(), None);
        let back = (Stamp(NOW.0 - 60_000), BootTime(1_400));
        assert!(matches!(look(&steady, back), Err(Doubt::Stepped(by)) if by < -59_000));
        assert_eq!(look(&steady, at(500)), Ok(()));
    }

    #[test]
    fn one_alone_goes_on_once_it_has_kept_the_new_time_for_a_minute() {
        let steady = right();
        assert!(look(&steady, ahead(100, DECADE_MS)).is_err());
        assert!(settle(&steady, ahead(100 + KEPT_MS - 1, DECADE_MS), alone()).is_err());
        // Another step begins another minute.
        assert!(look(&steady, ahead(100 + KEPT_MS, 2 * DECADE_MS)).is_err());
        assert!(settle(&steady, ahead(100 + 2 * KEPT_MS - 1, 2 * DECADE_MS), alone()).is_err());
        assert_eq!(settle(&steady, ahead(100 + 2 * KEPT_MS, 2 * DECADE_MS), alone()), Ok(()));
        assert!(look(&steady, at(200 + 2 * KEPT_MS)).is_err(), "the way back is a step too");
    }

    #[test]
    fn among_others_a_majority_must_share_it_and_have_said_so_since() {
        let steady = right();
        assert!(look(&steady, ahead(1_000, DECADE_MS)).is_err());
        assert!(settle(&steady, ahead(1_100, DECADE_MS), shared(999)).is_err(), "heard before");
        let never = Evidence { alone: false, shared_since: None, stamp: Some(NOW) };
        assert!(settle(&steady, ahead(10 * KEPT_MS, DECADE_MS), never).is_err(), "however long");
        let since = 10 * KEPT_MS + 1;
        assert_eq!(settle(&steady, ahead(since, DECADE_MS), shared(since)), Ok(()));
    }

    #[test]
    fn slow_drift_is_followed_and_many_small_steps_are_one() {
        let steady = right();
        // A clock that gains a twelfth, as fast as chrony ever slews, for a day.
        for second in 1..86_400 {
            assert_eq!(look(&steady, ahead(second * 1_000, second * 1_000 / 12)), Ok(()));
        }
        let steady = right();
        let refused = (1..100).find(|n| look(&steady, ahead(n * 1_000, n * 1_000)).is_err());
        assert!(refused.is_some_and(|n| n <= 6), "{refused:?}: a second more each second");
        let steady = right();
        let mut refused = None;
        for n in 1..20_000_u64 {
            // A look each tenth of a millisecond doesn't make a step of 4 s smaller.
            let (now, boot) = ahead(n / 10, if n < 10 { 0 } else { 4_000 * (n / 1_000 + 1) });
            if steady.look(now, boot).is_err() {
                refused = Some(n);
                break;
            }
        }
        assert!(refused.is_some_and(|n| n <= 1_000), "{refused:?}");
    }

    #[test]
    fn at_its_start_a_clock_is_compared_with_the_cluster_or_the_others() {
        let by = |by: u64, evidence: Evidence| settle(&Steady::default(), ahead(0, by), evidence);
        let others = Evidence { stamp: Some(NOW), ..Evidence::default() };
        assert_eq!(by(DECADE_MS, Evidence { stamp: Some(Stamp(0)), ..others }), Ok(()), "founding");
        assert_eq!(by(0, Evidence { stamp: None, ..alone() }), Err(Doubt::Fresh), "it lags");
        assert_eq!(by(SHARED_MS, others), Ok(()));
        assert_eq!(by(SHARED_MS + 1, others), Err(Doubt::Fresh), "the others are asked");
        assert_eq!(by(DECADE_MS, shared(0)), Ok(()));
        assert_eq!(by(FAR_MS, alone()), Ok(()), "it was off for a month");
        let decade = signed(DECADE_MS);
        let itself = Evidence { alone: true, ..shared(0) };
        assert_eq!(by(DECADE_MS, itself), Err(Doubt::FarAhead(decade)), "nobody else shares it");
        assert_eq!(by(DECADE_MS, alone()), Err(Doubt::FarAhead(decade)));
        let behind = Evidence { stamp: Some(NOW.plus_ms(DECADE_MS)), ..alone() };
        assert_eq!(by(0, behind), Ok(()), "what it proposes has the cluster's time");
        let steady = Steady::default();
        assert!(settle(&steady, ahead(0, DECADE_MS), alone()).is_err());
        assert_eq!(settle(&steady, ahead(KEPT_MS, DECADE_MS), alone()), Ok(()));
    }
}
