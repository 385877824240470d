//! Whether a member's disk is as new as what its peers had from it.
//!
//! Pure: what a member says of itself on one side, what a peer remembers of it on
//! the other. `peers` keeps both and asks.

use std::collections::BTreeMap;

use crate::store::{Incarnation, LogId, Memory, PEERS};
use skep_core::base::NodeId;

/// How a member stands among its peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has not heard enough of them yet: it says nothing and answers nothing.
    Comparing,
    /// Nobody remembers more of it than it does itself.
    Sound,
    /// Its disk was put back to an older state: it takes part no more.
    Behind(Behind),
}

/// Who remembers what of a member that the member does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behind {
    /// The peer.
    pub peer: NodeId,
    /// What it remembers.
    pub lacks: Lacks,
}

/// What a member lacks that a peer had from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lacks {
    /// A start.
    Start,
    /// A vote.
    Vote,
    /// Entries that it had acknowledged.
    Entries,
}

impl std::fmt::Display for Lacks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Start => "a start of this manager that its disk does not know",
            Self::Vote => "a vote of this manager that its disk does not hold",
            Self::Entries => "entries that this manager acknowledged and its disk does not hold",
        })
    }
}

/// What a member knows of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Own {
    /// This start.
    pub(super) start: Incarnation,
    /// Whether it is on its disk, so that peers may have been told of it.
    pub(super) told: bool,
    /// The term of its vote; 0 where it never voted.
    pub(super) term: u64,
    /// Its last entry, in the log or in a snapshot.
    pub(super) last: Option<LogId>,
}

/// What `own` lacks of what a peer remembers.
///
/// All that is remembered was durable before it was said: a member that kept its
/// disk lacks none of it, however it ended.
///
/// - A start takes a number above every one that its disk knows, and is told to
///   peers only once it is durable. The random mark tells it from another start
///   that took the same number from an older copy.
/// - The term of a vote only grows.
/// - *Entries* are compared only while the member's term is still that of the
///   leader to whom it acknowledged them. A log loses entries only where they
///   contradict a leader's, and what was acknowledged to the leader of a term is in
///   that leader's log, which never shrinks. So whatever takes such an entry away is
///   another leader's doing, whose higher term the member saved before it did so. An
///   older disk can't hide behind that: its term is at most that of the
///   acknowledgement, and a lower one is a missing vote.
/// - A log that was begun empty after the start that is remembered gave up all of
///   that with the members' consent.
pub(super) fn lacks(own: &Own, remembered: &Memory) -> Option<Lacks> {
    let (start, known) = (own.start, remembered.incarnation);
    if start.born > known.number {
        return None;
    }
    let newer = if own.told {
        known.number > start.number || (known.number == start.number && known.mark != start.mark)
    } else {
        known.number >= start.number
    };
    if newer {
        Some(Lacks::Start)
    } else if own.term < remembered.term {
        Some(Lacks::Vote)
    } else if own.term == remembered.acked_under && own.last < remembered.acked {
        Some(Lacks::Entries)
    } else {
        None
    }
}

/// What a member remembers of its peers.
#[derive(Debug, Default)]
pub(super) struct Table {
    peers: BTreeMap<NodeId, Memory>,
    changed: bool,
}

/// A peer says less of itself than it did before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reverted;

impl Table {
    pub(super) fn of(memories: Vec<Memory>) -> Self {
        let peers = memories.into_iter().map(|memory| (memory.node, memory)).collect();
        Self { peers, changed: false }
    }

    pub(super) fn get(&self, peer: NodeId) -> Option<&Memory> {
        self.peers.get(&peer)
    }

    /// A peer tells its start.
    pub(super) fn started(&mut self, peer: NodeId, start: Incarnation) -> Result<(), Reverted> {
        let blank = Memory { node: peer, incarnation: start, term: 0, acked_under: 0, acked: None };
        let Some(known) = self.peers.get_mut(&peer) else {
            self.peers.insert(peer, blank);
            self.changed = true;
            return Ok(());
        };
        let before = known.incarnation;
        if before == start {
            return Ok(());
        }
        if before.number >= start.number {
            return Err(Reverted);
        }
        if start.born > before.number {
            // Its log was begun anew: what was in the old one is given up.
            *known = blank;
        }
        known.incarnation = start;
        self.changed = true;
        Ok(())
    }

    /// It voted or led in `term`, in this start.
    pub(super) fn voted(&mut self, peer: NodeId, start: Incarnation, term: u64) {
        if let Some(known) = self.peers.get_mut(&peer)
            && known.incarnation == start
            && known.term < term
        {
            known.term = term;
            self.changed = true;
        }
    }

    /// It acknowledged `upto` to the leader of `term`, in this start.
    pub(super) fn acked(&mut self, peer: NodeId, start: Incarnation, term: u64, upto: LogId) {
        self.voted(peer, start, term);
        if let Some(known) = self.peers.get_mut(&peer)
            && known.incarnation == start
            && (known.acked_under, known.acked) < (term, Some(upto))
        {
            known.acked_under = term;
            known.acked = Some(upto);
            self.changed = true;
        }
    }

    /// All of it, if it has changed since it was taken last. Where there are too
    /// many, those go first that are no members.
    pub(super) fn take_changed(&mut self, member: impl Fn(NodeId) -> bool) -> Option<Vec<Memory>> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        if self.peers.len() > PEERS {
            self.peers.retain(|peer, _| member(*peer));
        }
        Some(self.peers.values().copied().take(PEERS).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PEER: NodeId = NodeId::from_bytes([9; 16]);

    fn start(number: u64) -> Incarnation {
        Incarnation { number, born: 1, mark: number * 7 }
    }

    fn id(term: u64, index: u64) -> LogId {
        LogId { term, index }
    }

    fn remembered(number: u64, term: u64, acked: Option<(u64, LogId)>) -> Memory {
        Memory {
            node: PEER,
            incarnation: start(number),
            term,
            acked_under: acked.map_or(0, |(under, _)| under),
            acked: acked.map(|(_, id)| id),
        }
    }

    #[test]
    fn an_older_disk_lacks_a_start_a_vote_or_entries() {
        let own = Own { start: start(4), told: false, term: 5, last: Some(id(5, 20)) };
        let acked = |index| Some((5, id(5, index)));
        assert_eq!(lacks(&own, &remembered(3, 5, acked(20))), None);
        assert_eq!(lacks(&own, &remembered(4, 5, acked(20))), Some(Lacks::Start));
        assert_eq!(lacks(&own, &remembered(3, 6, acked(20))), Some(Lacks::Vote));
        assert_eq!(lacks(&own, &remembered(3, 5, acked(21))), Some(Lacks::Entries));
        // Another leader took away what it had acknowledged: its vote says so.
        let later = Own { term: 6, last: Some(id(4, 18)), ..own };
        assert_eq!(lacks(&later, &remembered(3, 5, acked(21))), None);
        assert_eq!(lacks(&later, &remembered(3, 6, acked(21))), None);
        // Its own start, told to peers, and another one of the same number.
        let told = Own { told: true, ..own };
        assert_eq!(lacks(&told, &remembered(4, 5, acked(20))), None);
        let mut other = remembered(4, 5, acked(20));
        other.incarnation.mark = 1;
        assert_eq!(lacks(&told, &other), Some(Lacks::Start));
        assert_eq!(lacks(&told, &remembered(5, 5, acked(20))), Some(Lacks::Start));
    }

    #[test]
    fn an_emptied_log_lacks_all_unless_it_was_given_up() {
        let known = remembered(3, 5, Some((5, id(5, 20))));
        let wiped = Own { start: start(1), told: false, term: 0, last: None };
        assert_eq!(lacks(&wiped, &known), Some(Lacks::Start));
        // Later starts on the wiped disk, told to nobody who remembers.
        let again = Own { start: start(9), ..wiped };
        assert_eq!(lacks(&again, &known), Some(Lacks::Vote));
        let mut renewed = wiped;
        renewed.start = Incarnation { number: 4, born: 4, mark: 1 };
        assert_eq!(lacks(&renewed, &known), None);
        let mut table = Table::of(vec![known]);
        assert_eq!(table.started(PEER, renewed.start), Ok(()));
        let fresh = table.get(PEER).expect("remembered");
        assert_eq!((fresh.term, fresh.acked), (0, None));
        assert_eq!(table.started(PEER, start(3)), Err(Reverted));
    }

    #[test]
    fn what_an_earlier_start_said_late_is_not_remembered_of_a_later_one() {
        let mut table = Table::default();
        table.started(PEER, start(1)).expect("new");
        table.acked(PEER, start(1), 2, id(2, 5));
        table.started(PEER, start(2)).expect("newer");
        assert_eq!(table.get(PEER).expect("kept").acked, Some(id(2, 5)), "the disk is the same");
        table.acked(PEER, start(1), 2, id(2, 9));
        assert_eq!(table.get(PEER).expect("kept").acked, Some(id(2, 5)));
        assert!(table.take_changed(|_| true).is_some());
        table.acked(PEER, start(2), 2, id(2, 4));
        assert!(table.take_changed(|_| true).is_none(), "nothing new");
    }

    /// What may happen to a follower, in some order.
    #[derive(Clone, Debug)]
    enum Act {
        /// A leader of a later term, with a log that shares so many entries with ours.
        Lead { terms: u64, shared: u64 },
        /// The leader in office appends so many; the follower acknowledges.
        Append(u64),
        /// The follower votes in a later term, and nobody leads it.
        Vote(u64),
        /// The follower starts again.
        Restart,
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            (1..3_u64, 0..40_u64).prop_map(|(terms, shared)| Act::Lead { terms, shared }),
            (1..5_u64).prop_map(Act::Append),
            (1..3_u64).prop_map(Act::Vote),
            Just(Act::Restart),
        ];
        proptest::collection::vec(act, 1..40)
    }

    /// A follower's disk, and what its leaders remember of it: one table each, as a
    /// leader hears only what is said to itself.
    struct Model {
        start: Incarnation,
        term: u64,
        log: Vec<LogId>,
        leader: Option<u64>,
        tables: BTreeMap<u64, Table>,
    }

    impl Model {
        fn new() -> Self {
            let (log, tables) = (Vec::new(), BTreeMap::new());
            Self { start: start(1), term: 0, log, leader: None, tables }
        }

        fn own(&self) -> Own {
            let last = self.log.last().copied();
            Own { start: self.start, told: true, term: self.term, last }
        }

        /// One of two peers leads, by the parity of the term, and remembers.
        fn heard(&mut self, term: u64) -> &mut Table {
            let start = self.start;
            let table = self.tables.entry(term % 2).or_default();
            table.started(PEER, start).expect("never an older start");
            table.voted(PEER, start, term);
            table
        }

        fn step(&mut self, act: &Act) {
            match act {
                Act::Lead { terms, shared } => {
                    self.term += terms;
                    self.leader = Some(self.term);
                    let shared = usize::try_from(*shared).expect("small");
                    // Saved before anything is truncated.
                    self.log.truncate(shared);
                    self.heard(self.term);
                }
                Act::Append(count) => {
                    let Some(term) = self.leader else { return };
                    for _ in 0..*count {
                        let index = u64::try_from(self.log.len()).expect("small");
                        self.log.push(id(term, index));
                    }
                    let (start, last) = (self.start, *self.log.last().expect("some"));
                    self.heard(term).acked(PEER, start, term, last);
                }
                Act::Vote(terms) => {
                    self.term += terms;
                    self.leader = None;
                    self.heard(self.term);
                }
                Act::Restart => {
                    let number = self.start.number + 1;
                    self.start = start(number);
                    self.leader = None;
                }
            }
        }
    }

    proptest! {
        #[test]
        fn a_disk_that_was_kept_is_never_behind(acts in acts()) {
            let mut model = Model::new();
            for act in &acts {
                model.step(act);
                let untold = Own { told: false, start: start(model.start.number + 1), ..model.own() };
                for table in model.tables.values() {
                    let known = table.get(PEER).expect("heard");
                    prop_assert_eq!(lacks(&model.own(), known), None);
                    prop_assert_eq!(lacks(&untold, known), None);
                }
            }
        }

        #[test]
        fn a_disk_from_before_an_acknowledgement_is_behind(
            before in acts(), after in acts(), starts in 1..4_u64,
        ) {
            let mut model = Model::new();
            for act in &before {
                model.step(act);
            }
            let (copy, known) = (model.own(), model.tables.len());
            for act in &after {
                model.step(act);
            }
            // A leader that got an acknowledgement of what the copy does not hold,
            // under the copy's term or a later one, finds it out, however often the
            // copy was started since.
            let old = Own {
                start: Incarnation { mark: 1, ..start(copy.start.number + starts) },
                told: false,
                ..copy
            };
            for table in model.tables.values() {
                let remembered = table.get(PEER).expect("heard");
                let missing = remembered.acked_under >= copy.term && remembered.acked > copy.last;
                if missing || remembered.term > copy.term {
                    prop_assert!(lacks(&old, remembered).is_some());
                }
            }
            prop_assert!(known <= model.tables.len());
        }
    }
}
