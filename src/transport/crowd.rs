//! Strangers who share few places, among whom nobody is refused: the oldest of whoever has
//! most goes.
//!
//! Whoever is refused is the one that comes last, and that is the honest one. So a flood
//! displaces itself. Counted by network first (an IPv4 /24, an IPv6 /48), then by address
//! (an IPv6 /64).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::bounds::Source;

/// A network that one party may have as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Network(IpAddr);

impl Network {
    fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => Ipv4Addr::from(u32::from(address) & (u32::MAX << 8)).into(),
            IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & (u128::MAX << 80)).into(),
        })
    }
}

/// Those of one network: how many, and which by address, oldest first.
#[derive(Debug, Default)]
struct Group {
    count: usize,
    by_source: BTreeMap<Source, BTreeSet<u64>>,
}

impl Group {
    fn oldest(&self) -> Option<u64> {
        self.by_source.values().filter_map(|all| all.first().copied()).min()
    }
}

/// Who is where, in numbers: a later one is higher.
#[derive(Debug, Default)]
struct Places {
    next: u64,
    /// Those that may be displaced.
    groups: HashMap<Network, Group>,
    all: HashMap<u64, Seated>,
}

#[derive(Debug)]
struct Seated {
    address: IpAddr,
    kept: bool,
    cut: CancellationToken,
}

impl Places {
    fn add(&mut self, number: u64, address: IpAddr) {
        let group = self.groups.entry(Network::of(address)).or_default();
        group.count += 1;
        group.by_source.entry(Source::of(address)).or_default().insert(number);
    }

    fn take_out(&mut self, number: u64, address: IpAddr) {
        let (network, source) = (Network::of(address), Source::of(address));
        let Some(group) = self.groups.get_mut(&network) else { return };
        if let Some(own) = group.by_source.get_mut(&source) {
            group.count -= usize::from(own.remove(&number));
            if own.is_empty() {
                group.by_source.remove(&source);
            }
        }
        if group.by_source.is_empty() {
            self.groups.remove(&network);
        }
    }

    /// The oldest of the address that has most, in the network that has most. Of equals the
    /// one goes whose oldest is the oldest.
    fn most(&self) -> Option<u64> {
        let group =
            self.groups.values().max_by_key(|group| (group.count, Reverse(group.oldest())))?;
        let own = group.by_source.values().max_by_key(|own| (own.len(), Reverse(own.first())))?;
        own.first().copied()
    }

    fn remove(&mut self, number: u64) -> Option<Seated> {
        let seated = self.all.remove(&number)?;
        if !seated.kept {
            self.take_out(number, seated.address);
        }
        Some(seated)
    }
}

/// So many places, shared by strangers. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Crowd {
    most: usize,
    /// Of these may be kept.
    kept: usize,
    places: Arc<Mutex<Places>>,
}

/// One of the places; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Seat {
    seat: KeepSeat,
    /// Cancelled when somebody else takes the place: then the connection is to be dropped.
    pub(super) cut: CancellationToken,
}

/// By which a place is kept for a while.
#[derive(Clone, Debug)]
pub struct KeepSeat {
    crowd: Crowd,
    number: u64,
}

/// A place that is kept as long as this lives.
#[derive(Debug)]
pub struct KeptSeat(KeepSeat);

impl Crowd {
    pub(super) fn new(most: usize) -> Self {
        Self { most, kept: most / 4 * 3, places: Arc::default() }
    }

    /// Takes a place, and one from somebody else where all are taken: from whoever has
    /// most, this one counted in. `cut` is cancelled when it loses its own.
    pub(super) fn enter(&self, address: IpAddr, cut: CancellationToken) -> Seat {
        let mut places = self.places.lock();
        places.next += 1;
        let number = places.next;
        places.all.insert(number, Seated { address, kept: false, cut: cut.clone() });
        places.add(number, address);
        if places.all.len() > self.most
            && let Some(out) = places.most()
            && let Some(seated) = places.remove(out)
        {
            drop(places);
            seated.cut.cancel();
        }
        Seat { seat: KeepSeat { crowd: self.clone(), number }, cut }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.places.lock().all.len()
    }
}

impl Seat {
    /// By which it can be kept.
    pub(super) fn keeper(&self) -> KeepSeat {
        self.seat.clone()
    }
}

impl KeepSeat {
    /// Keeps the place. None: it is lost already, or too many are kept: the caller goes on
    /// as it is.
    #[must_use]
    pub fn keep(&self) -> Option<KeptSeat> {
        let places = &mut *self.crowd.places.lock();
        let kept = places.all.values().filter(|seated| seated.kept).count();
        let seated = places.all.get_mut(&self.number)?;
        if seated.kept || kept >= self.crowd.kept {
            return None;
        }
        seated.kept = true;
        let address = seated.address;
        places.take_out(self.number, address);
        Some(KeptSeat(self.clone()))
    }
}

impl Drop for KeptSeat {
    fn drop(&mut self) {
        let places = &mut *self.0.crowd.places.lock();
        let Some(seated) = places.all.get_mut(&self.0.number) else { return };
        seated.kept = false;
        let address = seated.address;
        places.add(self.0.number, address);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seat.crowd.places.lock().remove(self.seat.number);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn enter(crowd: &Crowd, address: IpAddr) -> Seat {
        crowd.enter(address, CancellationToken::new())
    }

    fn gone(seats: &[Seat]) -> Vec<usize> {
        let gone = seats.iter().enumerate().filter(|(_, seat)| seat.cut.is_cancelled());
        gone.map(|(at, _)| at).collect()
    }

    #[test]
    fn networks_are_what_one_party_has() {
        let same = |one, other| Network::of(ip(one)) == Network::of(ip(other));
        assert!(same("10.0.0.1", "10.0.0.255") && same("10.0.0.1", "::ffff:10.0.0.9"));
        assert!(!same("10.0.0.1", "10.0.1.1"));
        assert!(same("2001:db8:1::1", "2001:db8:1:ffff::1"));
        assert!(!same("2001:db8:1::1", "2001:db8:2::1"));
    }

    #[test]
    fn a_flood_displaces_itself() {
        let crowd = Crowd::new(8);
        let honest = enter(&crowd, ip("10.1.1.1"));
        let flood: Vec<Seat> =
            (0..100).map(|n| enter(&crowd, ip(&format!("10.9.{}.7", n % 4)))).collect();
        assert!(!honest.cut.is_cancelled());
        assert_eq!(gone(&flood), (0..93).collect::<Vec<_>>(), "the oldest go");
        let late = enter(&crowd, ip("10.1.2.1"));
        assert!(!late.cut.is_cancelled() && !honest.cut.is_cancelled());
        assert_eq!(crowd.len(), 8);
    }

    #[test]
    fn in_a_network_the_address_with_most_gives() {
        let crowd = Crowd::new(5);
        let seats: Vec<Seat> = ["10.0.0.1", "10.0.0.2", "10.0.0.2", "10.0.0.3", "10.0.0.2"]
            .map(|text| enter(&crowd, ip(text)))
            .into();
        let one_more = enter(&crowd, ip("10.0.0.4"));
        assert_eq!(gone(&seats), [1]);
        assert!(!one_more.cut.is_cancelled());
    }

    #[test]
    fn among_equals_the_oldest_goes() {
        let crowd = Crowd::new(3);
        let seats: Vec<Seat> = (0..5).map(|n| enter(&crowd, ip(&format!("10.0.{n}.1")))).collect();
        assert_eq!(gone(&seats), [0, 1]);
    }

    #[test]
    fn who_is_kept_stays_and_not_all_can_be() {
        let crowd = Crowd::new(4);
        let seats: Vec<Seat> = (0..4).map(|_| enter(&crowd, ip("10.0.0.1"))).collect();
        let kept: Vec<_> = seats.iter().map(|seat| seat.keeper().keep()).collect();
        assert_eq!(kept.iter().filter(|kept| kept.is_some()).count(), 3);
        assert!(seats[0].keeper().keep().is_none(), "kept already");
        let first = enter(&crowd, ip("10.0.0.9"));
        assert_eq!(gone(&seats), [3], "the one that is not kept");
        let second = enter(&crowd, ip("10.0.0.8"));
        assert!(first.cut.is_cancelled() && !second.cut.is_cancelled());
        drop(kept);
        let third = enter(&crowd, ip("10.0.0.7"));
        assert_eq!(gone(&seats), [0, 3]);
        assert!(!third.cut.is_cancelled());
        assert!(seats[0].keeper().keep().is_none(), "lost");
    }

    #[test]
    fn places_come_back() {
        let crowd = Crowd::new(2);
        let (first, second) = (enter(&crowd, ip("10.0.0.1")), enter(&crowd, ip("10.0.0.1")));
        let kept = second.keeper().keep();
        drop((first, second));
        drop(kept);
        let places = crowd.places.lock();
        assert!(places.all.is_empty() && places.groups.is_empty(), "nothing is remembered");
    }

    proptest! {
        #[test]
        fn the_counts_are_those_of_who_is_there(
            acts in proptest::collection::vec((0..3_u8, 0..6_u8, 0..3_u8), 0..200),
        ) {
            let crowd = Crowd::new(6);
            let (mut seats, mut kept) = (Vec::new(), Vec::new());
            for (act, network, host) in acts {
                match act {
                    0 => seats.push(enter(&crowd, ip(&format!("10.0.{network}.{host}")))),
                    1 if !seats.is_empty() => {
                        let at = usize::from(network) % seats.len();
                        kept.extend(seats[at].keeper().keep());
                    }
                    _ if seats.len() > 3 => drop(seats.remove(usize::from(host))),
                    _ => drop(kept.pop()),
                }
                let places = crowd.places.lock();
                prop_assert!(places.all.len() <= 6);
                let alive = seats.iter().filter(|seat| !seat.cut.is_cancelled()).count();
                prop_assert_eq!(alive, places.all.len());
                let free = places.all.values().filter(|seated| !seated.kept).count();
                let counted: usize = places.groups.values().map(|group| group.count).sum();
                let listed: usize = places
                    .groups
                    .values()
                    .flat_map(|group| group.by_source.values())
                    .map(BTreeSet::len)
                    .sum();
                prop_assert_eq!((counted, listed), (free, free));
            }
        }
    }
}
