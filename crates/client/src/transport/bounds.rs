//! How much a listener takes on at once, and the counters that hold it to that.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::{DefaultKeyedRateLimiter, Quota};
use parking_lot::Mutex;

use skep_core::base::ManagerPlaces;

/// A listener's limits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Connections of strangers, from `accept` to the end of their handshake.
    pub(super) strangers: usize,
    /// How long a stranger's first message may take to come.
    pub(super) hello_time: Duration,
    /// How long a stranger's handshake may take after that.
    pub(super) stranger_time: Duration,
    /// How long a member's handshake may take, once its hello is there.
    pub(super) handshake_time: Duration,
    /// Handshakes of nodes and operators under way, in all; more wait.
    pub(super) handshakes: usize,
    /// Of one member; more wait.
    pub(super) handshakes_each: usize,
    /// Connections from other managers.
    pub(super) managers: usize,
    /// Of one manager: it has several.
    pub(super) per_manager: usize,
    /// Connections of nodes and operators: every node, and room for operators.
    pub(super) known: usize,
    /// Of one of them: an agent has one or two.
    pub(super) per_known: usize,
    /// Connections of callers without a valid certificate.
    pub(super) guests: usize,
    /// How long a guest may stay: `join` is one call.
    pub(super) guest_time: Duration,
    /// How long connections may take to end once the listener stops.
    pub(super) drain_time: Duration,
}

impl Bounds {
    /// Those of a listener that has so many places; what one member may take of them is a
    /// part of that.
    pub(super) fn within(places: &ManagerPlaces) -> Self {
        let part = |of: usize, by: usize, most: usize| (of / by).clamp(1, most);
        Self {
            strangers: places.strangers,
            hello_time: Duration::from_secs(1),
            stranger_time: Duration::from_secs(3),
            handshake_time: Duration::from_secs(5),
            handshakes: 512,
            handshakes_each: 16,
            managers: places.managers,
            per_manager: part(places.managers, 4, 28),
            known: places.known,
            per_known: part(places.known, 8, 256),
            guests: places.guests,
            guest_time: Duration::from_mins(1),
            drain_time: Duration::from_secs(5),
        }
    }

    /// Sockets of strangers until their handshake begins, and while it goes on.
    pub(super) fn of_strangers(&self) -> (usize, usize) {
        let shaking = (self.strangers / 4).max(2);
        (self.strangers.saturating_sub(shaking).max(2), shaking)
    }

    /// Of so many sockets those that strangers may have at once; the others have lost their
    /// place and are being closed.
    pub(super) fn seats(sockets: usize) -> usize {
        sockets.saturating_sub((sockets / 8).max(1)).max(1)
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self::within(&ManagerPlaces::default())
    }
}

/// Where a connection comes from, as far as one party controls it: an IPv4
/// address, or the first 64 bits of an IPv6 one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Source(IpAddr);

impl Source {
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = u128::from(address) & (u128::MAX << 64);
                Self(Ipv6Addr::from(network).into())
            }
            address @ IpAddr::V4(_) => Self(address),
        }
    }
}

/// Counts what is held under each key.
#[derive(Debug)]
pub(super) struct Counts<K: Eq + Hash>(Arc<Mutex<HashMap<K, usize>>>);

/// One of the places under a key; dropping it gives the place back.
#[derive(Debug)]
pub(super) struct Place<K: Copy + Eq + Hash> {
    key: K,
    counts: Arc<Mutex<HashMap<K, usize>>>,
}

impl<K: Copy + Eq + Hash> Counts<K> {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(HashMap::new())))
    }

    /// Takes a place under `key`, of which there are `most`.
    pub(super) fn take(&self, key: K, most: usize) -> Option<Place<K>> {
        let mut counts = self.0.lock();
        let count = counts.entry(key).or_insert(0);
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Place { key, counts: Arc::clone(&self.0) })
    }
}

impl<K: Copy + Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        if let Some(count) = counts.get_mut(&self.key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

/// How often each source may come: a burst at once, then so many a second. It
/// remembers a bounded number of sources.
pub struct Rate(DefaultKeyedRateLimiter<Source>);

impl std::fmt::Debug for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rate({} sources)", self.0.len())
    }
}

impl Rate {
    /// Sources remembered at most; then the idle ones are forgotten, and with so many
    /// busy ones new ones wait.
    const MOST: usize = 8_192;

    /// A limiter that has seen nobody.
    #[must_use]
    pub fn new(burst: NonZeroU32, per_second: NonZeroU32) -> Self {
        let quota = Quota::per_second(per_second).allow_burst(burst);
        Self(DefaultKeyedRateLimiter::keyed(quota))
    }

    /// Whether one more from this address passes now.
    pub fn passes(&self, address: IpAddr) -> bool {
        self.admits(Source::of(address))
    }

    fn admits(&self, source: Source) -> bool {
        if self.0.len() >= Self::MOST {
            self.0.retain_recent();
        }
        self.0.len() < Self::MOST && self.0.check_key(&source).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back() {
        let counts = Counts::new();
        let first = counts.take(1, 2);
        let second = counts.take(1, 2);
        assert!(first.is_some() && second.is_some());
        assert!(counts.take(1, 2).is_none());
        assert!(counts.take(2, 2).is_some(), "another key");
        drop(first);
        assert!(counts.take(1, 2).is_some());
        drop(second);
        assert!(counts.0.lock().is_empty(), "nothing is remembered of who has left");
        assert!(counts.take(1, 0).is_none());
    }

    #[test]
    fn sources_are_networks() {
        let source = |text: &str| Source::of(text.parse().expect("an address"));
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:2"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("10.0.0.1"), source("::ffff:10.0.0.1"));
        assert_ne!(source("10.0.0.1"), source("10.0.0.2"));
    }

    #[test]
    fn a_rate_remembers_a_bounded_number_of_sources() {
        let rate = Rate::new(NonZeroU32::MIN, NonZeroU32::MIN);
        let most = u32::try_from(Rate::MOST).expect("small");
        for n in 0..most {
            assert!(rate.passes(IpAddr::V4(n.into())), "{n}");
        }
        for n in most..most + 500 {
            // Refused, or idle ones were forgotten for it.
            let _passed = rate.passes(IpAddr::V4(n.into()));
            assert!(rate.0.len() <= Rate::MOST);
        }
    }

    #[test]
    fn sources_are_rated_apart() {
        let three = NonZeroU32::new(3).expect("not zero");
        let rate = Rate::new(three, NonZeroU32::MIN);
        let [first, second] =
            ["10.0.0.1", "10.0.0.2"].map(|text| text.parse::<IpAddr>().expect("an address"));
        let admitted = (0..10).filter(|_| rate.passes(first)).count();
        assert_eq!(admitted, 3);
        assert!(rate.passes(second));
    }

    #[test]
    fn there_is_always_a_seat_and_room_to_leave() {
        for sockets in 2..600 {
            assert!((1..sockets).contains(&Bounds::seats(sockets)), "{sockets}");
        }
        assert_eq!(Bounds::seats(512), 448);
    }
}
