//! A year on a simulated clock: managers, agents and an operator renew by their own schedules,
//! answers are lost and agents die at every step, machines are away, one is readmitted, two are
//! removed, and the issuing CA is replaced. Nobody is locked out who should not be, and nobody
//! is left in who should be out. The state, the gate, the schedules and the agents' files are
//! the real ones; the network is a function call, and all that falls is drawn from one seed.

mod cluster;
mod members;

use std::collections::BTreeSet;

use self::cluster::{DAY_MS, Side, Why};
use self::members::{Agent, Kept, Party};
use skep_core::base::{Stamp, limits};
use skep_core::domain::testing::{MANAGER, node_id, rekey};
use skep_core::domain::{Act, Change, Member, Method};

/// Milliseconds of one step.
const STEP_MS: u64 = 3 * 3_600_000;
/// Days of a year.
const DAYS: u64 = 365;
/// How long lost answers and crashes may keep somebody out who is there and has a way in.
const PATIENCE_MS: u64 = 2 * DAY_MS;
/// Days past the end of its certificate that somebody may be away.
const LATE_MS: u64 = 27 * DAY_MS;

/// When somebody goes, and when it comes back.
#[derive(Clone, Copy, Debug)]
enum Away {
    Never,
    /// From one day to another.
    Days(u64, u64),
    /// From that day, until 27 days after the end of its certificate: three days of its grace are left.
    Late(u64),
}

/// One of those that live through the year.
struct One {
    party: Party,
    away: Away,
    /// Since when it has not been served though it was there.
    out_since: Option<Stamp>,
    /// It came back from the dead.
    back: bool,
    removed: bool,
    /// It was refused for good until somebody readmitted it.
    refused: bool,
}

impl One {
    fn new(party: Party, away: Away) -> Self {
        Self { party, away, out_since: None, back: false, removed: false, refused: false }
    }

    fn is_here(&mut self, now: Stamp, day: u64) -> bool {
        let here = match self.away {
            Away::Never => true,
            Away::Days(from, to) => !(from..to).contains(&day),
            Away::Late(from) => {
                day < from || self.back || now >= self.party.ends().plus_ms(LATE_MS)
            }
        };
        self.back |= here && matches!(self.away, Away::Late(from) if day >= from);
        here
    }
}

struct Year {
    side: Side,
    all: Vec<One>,
}

/// Where in `all` each stands.
const LATE_AGENT: usize = 1;
const LONG_GONE: usize = 2;
const REMOVED_AGENT: usize = 3;
const REMOVED_MANAGER: usize = 7;

impl Year {
    fn new(seed: u64) -> Self {
        let mut side = Side::new(seed);
        let agents = [
            Away::Never,
            Away::Late(40),
            Away::Days(20, 250),
            Away::Never,
            // While the issuing CA is replaced: 45 days, less than the 18 and 30 that are left.
            Away::Days(150, 195),
        ];
        let mut all: Vec<One> = (1..)
            .zip(agents)
            .map(|(n, away)| One::new(Party::Agent(Agent::join(&mut side, n)), away))
            .collect();
        for (id, away) in
            [(MANAGER, Away::Never), (node_id(8), Away::Late(30)), (node_id(9), Away::Never)]
        {
            all.push(One::new(Party::Kept(Kept::manager(&mut side, id)), away));
        }
        all.push(One::new(Party::Kept(Kept::operator(&mut side)), Away::Late(60)));
        Self { side, all }
    }

    /// Everybody who is there does what is due.
    fn step(&mut self, day: u64) {
        let now = self.side.now();
        for one in &mut self.all {
            if !one.is_here(now, day) {
                one.out_since = None;
                continue;
            }
            match one.party.step(&mut self.side) {
                Ok(()) => {
                    assert!(!one.removed, "day {day}: served though removed: {:?}", one.party);
                    (one.out_since, one.refused) = (None, false);
                }
                // The question was lost.
                Err(Why::Lost) if one.removed => {}
                Err(Why::Lost) => {
                    let since = *one.out_since.get_or_insert(now);
                    assert!(
                        now < since.plus_ms(PATIENCE_MS),
                        "day {day}: locked out: {:?}",
                        one.party
                    );
                }
                Err(Why::Over) => (one.out_since, one.refused) = (None, true),
                Err(Why::Removed) => {
                    assert!(one.removed, "day {day}: out though listed: {:?}", one.party);
                }
            }
        }
    }

    /// No refusal for good but of the one that was away for too long.
    fn is_over(&self) -> Vec<usize> {
        (0..self.all.len()).filter(|number| self.all[*number].refused).collect()
    }

    fn readmit(&mut self, number: usize) {
        let member = self.all[number].party.member();
        self.side.act(Act::Change(vec![Change::Readmit { member }])).expect("readmitted");
    }

    fn remove(&mut self, number: usize) {
        let Member::Node(id) = self.all[number].party.member() else { panic!("a node") };
        let change = match &self.all[number].party {
            Party::Agent(_) => Change::RemoveNode { id, force: false },
            Party::Kept(_) => {
                let rekey = rekey(2, [MANAGER, node_id(8)]);
                let rekey = skep_core::domain::Rekey { issuer: self.side.issuer(), ..rekey };
                Change::RemoveManager { id, rekey: Box::new(rekey) }
            }
        };
        self.side.act(Act::Change(vec![change])).expect("removed");
        self.all[number].removed = true;
    }

    /// The older issuing CA is retired once nobody who is there has a certificate of it.
    fn retire(&mut self, day: u64) {
        let now = self.side.now();
        let current = self.side.issuer();
        let here: BTreeSet<Member> = self
            .all
            .iter_mut()
            .filter_map(|one| one.is_here(now, day).then(|| one.party.member()))
            .collect();
        let lagging = self.side.lagging();
        if self.side.is_rotating() && !lagging.iter().any(|member| here.contains(member)) {
            self.side.act(Act::RetireIssuers { begins: current }).expect("retired");
        }
    }

    /// Every certificate that there ever was is shown again.
    fn nobody_is_left_in(&mut self, day: u64) {
        for one in &self.all {
            let (now, side) = (self.side.now(), &self.side);
            let mut keys = BTreeSet::new();
            for shown in one.party.history() {
                let renews = side.call(shown, Method::Renew).is_ok();
                let serves = side.call(shown, one.party.method()).is_ok();
                let old = now >= shown.leaf.ends;
                let over = now >= shown.leaf.ends.plus_ms(limits::GRACE_MS);
                let retired = shown.issuer < side.oldest();
                let readmitted = side.is_readmitted(one.party.member());
                assert!(!(serves && (old || retired)), "day {day}: {shown:?}");
                assert!(!(renews && over && !readmitted), "day {day}: {shown:?}");
                assert!(!(one.removed && (renews || serves)), "day {day}: {shown:?}");
                if renews || serves {
                    keys.insert(shown.leaf.key);
                }
            }
            let most = if one.party.is_settled() { 1 } else { 2 };
            assert!(keys.len() <= most, "day {day}: {} keys of {:?}", keys.len(), one.party);
        }
    }
}

fn live(seed: u64) {
    let mut year = Year::new(seed);
    for day in 0..DAYS {
        match day {
            // It lapses before the machine is back.
            240 => year.readmit(LONG_GONE),
            150 => year.remove(REMOVED_AGENT),
            170 => year.side.rotate(),
            200 => year.remove(REMOVED_MANAGER),
            255 => {
                assert_eq!(year.is_over(), [LONG_GONE], "refused for good until it is readmitted");
                year.readmit(LONG_GONE);
            }
            _ => {}
        }
        for _ in 0..DAY_MS / STEP_MS {
            year.step(day);
            year.retire(day);
            year.side.passes(STEP_MS);
        }
        let over = year.is_over();
        assert!(over.is_empty() || (over == [LONG_GONE] && day < 258), "day {day}: {over:?}");
        year.nobody_is_left_in(day);
    }
    year.side.calm();
    for one in &mut year.all {
        // A change of the disk may still fail, and then it is started again.
        let mut served = one.party.step(&mut year.side);
        for _ in 0..2 {
            served = one.party.step(&mut year.side);
        }
        assert_eq!(served.is_ok(), !one.removed, "{:?}: {served:?}", one.party);
        assert!(one.removed || !one.party.is_unseen(), "seed {seed}: {:?}", one.party);
        let lives = if one.removed { 2 } else { 3 };
        assert!(one.party.history().len() >= lives, "it renewed: {:?}", one.party);
    }
    assert!(year.all[LATE_AGENT].back, "it was away, and is back");
    assert!(!year.side.is_rotating() && year.side.oldest() == year.side.issuer());
}

#[test]
fn a_year_passes_and_nobody_is_locked_out_and_nobody_is_left_in() {
    for seed in 0..5 {
        live(seed);
    }
}
