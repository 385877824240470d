//! The machine's clocks.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use skep_core::base::{BootTime, Clock, Stamp};

/// The wall clock, through the C library, so that a test can set it for one process; and
/// `CLOCK_BOOTTIME`, from the kernel itself, so that nobody can.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that others take")]
    fn now(&self) -> Stamp {
        // Before 1970 it is 1970: that is wrong enough to be found out.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Stamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn boot(&self) -> BootTime {
        let time = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let rest = u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000;
        BootTime(seconds.saturating_mul(1000).saturating_add(rest))
    }
}
