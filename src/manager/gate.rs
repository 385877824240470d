//! How often a source may call `join`: a bucket for each address, and a limit on
//! the buckets.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use parking_lot::Mutex;

use crate::base::BootTime;

/// Calls that a source may make at once: a rack that is installed behind one address.
const BURST: u64 = 20;
/// Milliseconds after which a source has one more call.
const REFILL_MS: u64 = 1_000;
/// Sources remembered at once; a full bucket is forgotten first.
const SOURCES: usize = 4_096;

/// Counts calls by source.
#[derive(Debug, Default)]
pub(super) struct Gate(Mutex<BTreeMap<IpAddr, Bucket>>);

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Calls left, in milliseconds of refill.
    left_ms: u64,
    seen: BootTime,
}

impl Bucket {
    const FULL_MS: u64 = BURST * REFILL_MS;

    fn at(self, now: BootTime) -> u64 {
        let waited = now.0.saturating_sub(self.seen.0);
        self.left_ms.saturating_add(waited).min(Self::FULL_MS)
    }
}

impl Gate {
    /// Whether a call from `source` passes now.
    pub(super) fn pass(&self, source: IpAddr, now: BootTime) -> bool {
        let mut buckets = self.0.lock();
        let source = network(source);
        if !buckets.contains_key(&source) && buckets.len() >= SOURCES {
            buckets.retain(|_, bucket| bucket.at(now) < Bucket::FULL_MS);
            if buckets.len() >= SOURCES {
                return false;
            }
        }
        let bucket =
            buckets.entry(source).or_insert(Bucket { left_ms: Bucket::FULL_MS, seen: now });
        let left = bucket.at(now);
        let passes = left >= REFILL_MS;
        *bucket = Bucket { left_ms: if passes { left - REFILL_MS } else { left }, seen: now };
        passes
    }
}

/// One household or rack has a whole IPv6 /64.
fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V4(source) => IpAddr::V4(source),
        IpAddr::V6(source) => {
            IpAddr::V6(Ipv6Addr::from_bits(source.to_bits() & !u128::from(u64::MAX)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_a_burst_and_then_one_a_second() {
        let gate = Gate::default();
        let source = IpAddr::from([10, 0, 0, 1]);
        for _ in 0..BURST {
            assert!(gate.pass(source, BootTime(5)));
        }
        assert!(!gate.pass(source, BootTime(5)));
        assert!(gate.pass(IpAddr::from([10, 0, 0, 2]), BootTime(5)), "another source");
        assert!(!gate.pass(source, BootTime(5 + REFILL_MS - 1)));
        assert!(gate.pass(source, BootTime(5 + 2 * REFILL_MS)));
    }

    #[test]
    fn an_ipv6_network_is_one_source() {
        let gate = Gate::default();
        for host in 0..BURST {
            let source = Ipv6Addr::from_bits((0xfd00 << 112) | u128::from(host));
            assert!(gate.pass(IpAddr::V6(source), BootTime(0)));
        }
        assert!(!gate.pass(IpAddr::V6(Ipv6Addr::from_bits((0xfd00 << 112) + 99)), BootTime(0)));
    }

    #[test]
    fn it_remembers_a_bounded_number_of_sources() {
        let gate = Gate::default();
        for n in 0..u32::try_from(SOURCES).expect("small") {
            assert!(gate.pass(IpAddr::V4(n.into()), BootTime(0)));
        }
        assert!(!gate.pass(IpAddr::from([9, 9, 9, 9]), BootTime(0)), "no room");
        assert!(gate.pass(IpAddr::from([9, 9, 9, 9]), BootTime(REFILL_MS)), "all are full again");
        assert_eq!(gate.0.lock().len(), 1);
    }
}
