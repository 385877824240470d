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
#[derive(Debug)]
struct Places<T> {
    next: u64,
    /// Those that may be displaced.
    groups: HashMap<Network, Group>,
    all: BTreeMap<u64, Seated<T>>,
}

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self { next: 0, groups: HashMap::new(), all: BTreeMap::new() }
    }
}

#[derive(Debug)]
struct Seated<T> {
    address: IpAddr,
    kept: bool,
    cut: CancellationToken,
    /// What waits here for its turn, where nobody else has it.
    waits: Option<T>,
}

impl<T> Places<T> {
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

    /// Who is next of those that wait: the oldest of whoever has least, so that one who comes
    /// alone waits behind no crowd.
    fn least(&self) -> Option<u64> {
        let waiting = self.all.iter().filter(|(_, seated)| seated.waits.is_some());
        let has = |seated: &Seated<T>| {
            self.groups.get(&Network::of(seated.address)).map_or(0, |group| group.count)
        };
        waiting.min_by_key(|(_, seated)| has(seated)).map(|(number, _)| *number)
    }

    fn remove(&mut self, number: u64) -> Option<Seated<T>> {
        let seated = self.all.remove(&number)?;
        if !seated.kept {
            self.take_out(number, seated.address);
        }
        Some(seated)
    }
}

/// So many places, shared by strangers. Clones share them.
#[derive(Debug)]
pub(super) struct Crowd<T = ()> {
    most: usize,
    /// Of these may be kept.
    kept: usize,
    places: Arc<Mutex<Places<T>>>,
}

impl<T> Clone for Crowd<T> {
    fn clone(&self) -> Self {
        Self { places: Arc::clone(&self.places), ..*self }
    }
}

/// One of the places; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Seat<T = ()> {
    crowd: Crowd<T>,
    number: u64,
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

impl<T> Crowd<T> {
    pub(super) fn new(most: usize) -> Self {
        Self { most, kept: most / 4 * 3, places: Arc::default() }
    }

    /// Takes a place, and one from somebody else where all are taken: from whoever has
    /// most, this one counted in. `cut` is cancelled when it loses its own.
    pub(super) fn enter(&self, address: IpAddr, cut: CancellationToken) -> Seat<T> {
        let mut places = self.places.lock();
        places.next += 1;
        let number = places.next;
        let seated = Seated { address, kept: false, cut: cut.clone(), waits: None };
        places.all.insert(number, seated);
        places.add(number, address);
        if places.all.len() > self.most
            && let Some(out) = places.most()
            && let Some(seated) = places.remove(out)
        {
            drop(places);
            seated.cut.cancel();
        }
        Seat { crowd: self.clone(), number, cut }
    }

    /// Takes out who is next of those that [`Seat::wait`].
    pub(super) fn next(&self) -> Option<T> {
        let mut places = self.places.lock();
        let number = places.least()?;
        places.remove(number).and_then(|seated| seated.waits)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.places.lock().all.len()
    }
}

impl<T> Seat<T> {
    /// Leaves what has this place to wait there: for its turn ([`Crowd::next`]), or to be
    /// dropped when somebody else takes the place.
    pub(super) fn wait(self, what: T) {
        let mut places = self.crowd.places.lock();
        let seated = places.all.get_mut(&self.number);
        let lost = match seated {
            Some(seated) => {
                seated.waits = Some(what);
                None
            }
            None => Some(what),
        };
        drop(places);
        drop(lost);
    }
}

impl Seat {
    /// By which it can be kept.
    pub(super) fn keeper(&self) -> KeepSeat {
        KeepSeat { crowd: self.crowd.clone(), number: self.number }
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

impl<T> Drop for Seat<T> {
    fn drop(&mut self) {
        let mut places = self.crowd.places.lock();
        // What waits has the place for itself.
        if places.all.get(&self.number).is_some_and(|seated| seated.waits.is_none()) {
            places.remove(self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn enter<T>(crowd: &Crowd<T>, address: IpAddr) -> Seat<T> {
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
        let crowd = Crowd::<()>::new(8);
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
        let crowd = Crowd::<()>::new(5);
        let seats: Vec<Seat> = ["10.0.0.1", "10.0.0.2", "10.0.0.2", "10.0.0.3", "10.0.0.2"]
            .map(|text| enter(&crowd, ip(text)))
            .into();
        let one_more = enter(&crowd, ip("10.0.0.4"));
        assert_eq!(gone(&seats), [1]);
        assert!(!one_more.cut.is_cancelled());
    }

    #[test]
    fn among_equals_the_oldest_goes() {
        let crowd = Crowd::<()>::new(3);
        let seats: Vec<Seat> = (0..5).map(|n| enter(&crowd, ip(&format!("10.0.{n}.1")))).collect();
        assert_eq!(gone(&seats), [0, 1]);
    }

    #[test]
    fn who_is_kept_stays_and_not_all_can_be() {
        let crowd = Crowd::<()>::new(4);
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
    fn who_comes_alone_waits_behind_no_crowd() {
        let crowd = Crowd::new(4);
        for number in 0..3 {
            enter(&crowd, ip("10.0.0.1")).wait(Arc::new(number));
        }
        enter(&crowd, ip("10.0.9.1")).wait(Arc::new(7));
        assert_eq!(crowd.next().as_deref(), Some(&7));
        let silent = enter(&crowd, ip("10.0.8.1"));
        let lost = Arc::new(8);
        let late = enter(&crowd, ip("10.0.0.2"));
        late.wait(Arc::clone(&lost));
        assert_eq!(crowd.next().as_deref(), Some(&1), "the oldest gave its place");
        assert_eq!(
            [crowd.next(), crowd.next()].map(|next| next.as_deref().copied()),
            [Some(2), Some(8)]
        );
        assert!(crowd.next().is_none(), "one is there, and has not come so far");
        let another = enter(&crowd, ip("10.0.8.2"));
        for number in 0..9 {
            enter(&crowd, ip(&format!("10.1.{number}.1"))).wait(Arc::clone(&lost));
        }
        assert!(silent.cut.is_cancelled() || another.cut.is_cancelled());
        assert_eq!(crowd.len(), 4);
        let waiting = crowd.places.lock().all.values().filter(|one| one.waits.is_some()).count();
        assert_eq!(Arc::strong_count(&lost), 1 + waiting, "what lost its place is dropped");
        drop(another);
        while crowd.next().is_some() {}
        assert_eq!(Arc::strong_count(&lost), 1);
    }

    #[test]
    fn places_come_back() {
        let crowd = Crowd::<()>::new(2);
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
            let crowd = Crowd::<()>::new(6);
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
