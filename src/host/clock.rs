//! The machine's clocks.

use rustix::time::{ClockId, clock_gettime};

use crate::base::{BootTime, Clock, Stamp};

/// `CLOCK_REALTIME` and `CLOCK_BOOTTIME`.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Stamp {
        Stamp(milliseconds(ClockId::Realtime))
    }

    fn boot(&self) -> BootTime {
        BootTime(milliseconds(ClockId::Boottime))
    }
}

fn milliseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let rest = u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000;
    seconds.saturating_mul(1000).saturating_add(rest)
}
