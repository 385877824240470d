//! Wrong passwords make the next try wait: by account and address, so that nobody can lock
//! somebody else out, in a bounded table.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use skep_core::base::{BootTime, Clock};

/// Pairs that are remembered; beyond that the least used is forgotten.
const PAIRS: u64 = 65_536;
/// How long one is remembered after its last wrong password.
const REMEMBERED: Duration = Duration::from_mins(15);
/// Wrong passwords that cost nothing.
const FREE: u32 = 5;
/// Seconds of the longest wait.
const LONGEST_S: u64 = 60;

/// Wrong passwords of an account from an address.
#[derive(Clone, Copy, Debug)]
struct Wrong {
    count: u32,
    until: BootTime,
}

/// The table.
pub(super) struct BackOff {
    clock: Arc<dyn Clock + Send + Sync>,
    wrong: Cache<([u8; 32], IpAddr), Wrong>,
}

impl BackOff {
    pub(super) fn new(clock: Arc<dyn Clock + Send + Sync>) -> Self {
        let wrong = Cache::builder().max_capacity(PAIRS).time_to_idle(REMEMBERED).build();
        Self { clock, wrong }
    }

    /// Seconds to wait, if any.
    pub(super) fn wait_s(&self, account: &str, address: IpAddr) -> Option<u64> {
        let wrong = self.wrong.get(&key(account, address))?;
        let left = wrong.until.0.checked_sub(self.clock.boot().0).filter(|left| *left > 0)?;
        Some(left.div_ceil(1_000))
    }

    /// A password was wrong.
    pub(super) fn wrong(&self, account: &str, address: IpAddr) {
        let now = self.clock.boot().0;
        self.wrong.entry(key(account, address)).and_upsert_with(|old| {
            let count = old.map_or(0, |old| old.into_value().count).saturating_add(1);
            let doubled = 1_u64.checked_shl(count.saturating_sub(FREE)).unwrap_or(u64::MAX);
            let wait_s = if count < FREE { 0 } else { doubled.min(LONGEST_S) };
            Wrong { count, until: BootTime(now.saturating_add(wait_s * 1_000)) }
        });
    }

    /// A password was right.
    pub(super) fn right(&self, account: &str, address: IpAddr) {
        let key = key(account, address);
        if self.wrong.contains_key(&key) {
            self.wrong.invalidate(&key);
        }
    }
}

fn key(account: &str, address: IpAddr) -> ([u8; 32], IpAddr) {
    (*blake3::hash(account.as_bytes()).as_bytes(), network(address))
}

/// Of IPv6 the network: one has as many addresses as one likes.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => IpAddr::V6((six.to_bits() >> 64 << 64).into()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use skep_core::base::Stamp;

    use super::*;

    #[derive(Default)]
    struct Hand(AtomicU64);

    impl Clock for Hand {
        fn now(&self) -> Stamp {
            Stamp(0)
        }

        fn boot(&self) -> BootTime {
            BootTime(self.0.load(Ordering::Relaxed))
        }
    }

    #[test]
    fn the_wait_doubles_up_to_a_minute_for_that_pair_alone() {
        let clock = Arc::new(Hand::default());
        let table = BackOff::new(clock.clone());
        let here: IpAddr = "192.0.2.1".parse().unwrap();
        for _ in 1..FREE {
            table.wrong("alice", here);
            assert_eq!(table.wait_s("alice", here), None);
        }
        for wanted in [1, 2, 4, 8, 16, 32, 60, 60] {
            table.wrong("alice", here);
            assert_eq!(table.wait_s("alice", here), Some(wanted));
            clock.0.fetch_add(wanted * 1_000, Ordering::Relaxed);
            assert_eq!(table.wait_s("alice", here), None);
        }
        table.wrong("alice", here);
        assert_eq!(table.wait_s("bob", here), None);
        assert_eq!(table.wait_s("alice", "192.0.2.2".parse().unwrap()), None);
        table.right("alice", here);
        assert_eq!(table.wait_s("alice", here), None);
    }
}
