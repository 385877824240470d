//! What this member and its peers tell each other of themselves, with every
//! message: so that no message of a member whose disk is behind counts.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prost::Message;
use tokio::sync::{Notify, oneshot, watch};
use tonic::metadata::{BinaryMetadataValue, MetadataMap};

use super::cause::Cause;
use super::machine::Replica;
use super::standing::{Behind, Own, Reverted, Standing, Table, lacks};
use crate::store::{Done, Incarnation, Log, LogId, Memory, StoreError};
use skep_core::base::{Dice, NodeId, draw};
use skep_core::domain::{NodeRole, State};
use skep_core::wire::raft as proto;

/// The header that carries a [`proto::Standing`].
const HEADER: &str = "skep-standing-bin";
/// How often what was heard is written down, if it changed.
const KEEP_EVERY: Duration = Duration::from_secs(1);

/// This member among its peers.
pub(super) struct Peers {
    log: Log,
    machine: Arc<Replica>,
    start: Incarnation,
    told: AtomicBool,
    table: Mutex<Table>,
    /// Those with whom the comparison was made in this start.
    met: Mutex<BTreeSet<NodeId>>,
    /// The highest number of a start of this member that a peer remembers.
    highest: AtomicU64,
    standing: watch::Sender<Standing>,
    /// Told whenever somebody was met.
    pub(super) meeting: Notify,
}

/// Why a peer's message is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Untaken {
    /// It is not for us yet, or no more.
    #[error("this manager takes no part: it compares its disk with what its peers remember")]
    Comparing,
    /// Ours is behind.
    #[error("this manager takes no part: its disk was put back to an older state")]
    OwnBehind,
    /// Theirs is.
    #[error("the disk of the manager that calls was put back to an older state")]
    TheirsBehind,
}

impl Peers {
    /// Of a member that has just opened its log.
    pub(super) fn new(log: Log, machine: Arc<Replica>, dice: &mut dyn Dice) -> Self {
        let mark = u64::from_le_bytes(draw(dice));
        let start = match log.incarnation() {
            Some(last) => {
                Incarnation { number: last.number.saturating_add(1), born: last.born, mark }
            }
            None => Incarnation { number: 1, born: 1, mark },
        };
        Self {
            table: Mutex::new(Table::of(log.remembered())),
            log,
            machine,
            start,
            told: AtomicBool::new(false),
            met: Mutex::default(),
            highest: AtomicU64::new(0),
            standing: watch::Sender::new(Standing::Comparing),
            meeting: Notify::new(),
        }
    }

    /// Where `peer` is as far as what is applied here says: it may have moved since a
    /// connection to it was thought of.
    pub(super) fn addresses_of(&self, peer: NodeId) -> Vec<String> {
        let at = |state: &State| state.nodes.get(&peer).map(|node| node.addresses.clone());
        self.machine.read(at).unwrap_or_default()
    }

    /// Whether a manager that shows this key may be `peer`, as far as what is applied here says.
    pub(super) fn may_show(&self, peer: NodeId, key: &[u8; 32]) -> bool {
        let shows = |state: &State| {
            let listed = state.nodes.get(&peer);
            listed.is_none_or(|node| node.role == NodeRole::Manager && node.shows(key))
        };
        self.machine.read(shows)
    }

    pub(super) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// What was to be sent can't be read: that ends this member.
    pub(super) fn unreadable(&self, error: StoreError) {
        self.machine.stop(Cause::Store(error));
    }

    /// Whether messages of Raft may go out and come in.
    pub(super) fn sound(&self) -> Result<(), Untaken> {
        match &*self.standing.borrow() {
            Standing::Sound => Ok(()),
            Standing::Comparing => Err(Untaken::Comparing),
            Standing::Behind(_) => Err(Untaken::OwnBehind),
        }
    }

    /// A number for the first start of an empty log: nobody remembers a higher one.
    pub(super) fn unheard_of(&self) -> u64 {
        self.highest.load(Ordering::Relaxed).max(self.start.number).saturating_add(1)
    }

    /// Whether this log began anew once, in the place of one that was given up.
    pub(super) fn was_renewed(&self) -> bool {
        self.start.born > 1
    }

    fn own(&self) -> Own {
        // What is applied or in a snapshot first: the log only goes on from there. The
        // log's end and the vote stand for one moment, as they must.
        let kept = self.machine.reached();
        let (last, vote) = self.log.position();
        Own {
            start: self.start,
            told: self.told.load(Ordering::Acquire),
            term: vote.map_or(0, |vote| vote.term),
            last: last.max(kept),
        }
    }

    /// What is said to `peer` with a message.
    pub(super) fn say(&self, peer: NodeId, into: &mut MetadataMap) {
        let told = self.told.load(Ordering::Acquire) && self.sound().is_ok();
        let (audited, head) = self.machine.checkpoint();
        let said = proto::Standing {
            own: told.then(|| start_to(self.start)),
            of_you: self.table.lock().get(peer).map(memory_to),
            audited,
            audit_head: head.to_vec(),
            led_ago_ms: self.machine.led_ago().map(milliseconds),
        };
        let value = BinaryMetadataValue::from_bytes(&said.encode_to_vec());
        into.insert_bin(HEADER, value);
    }

    /// Takes in what `peer` said with a message, and answers which start of it
    /// speaks. One that says nothing is of a version before this.
    pub(super) fn hear(
        &self,
        peer: NodeId,
        from: &MetadataMap,
    ) -> Result<Option<Incarnation>, Untaken> {
        let said = from.get_bin(HEADER).and_then(|value| value.to_bytes().ok());
        let said = said.and_then(|bytes| proto::Standing::decode(bytes).ok()).unwrap_or_default();
        let remembered = said.of_you.as_ref().and_then(|memory| memory_from(peer, memory));
        if let Some(remembered) = remembered {
            self.compare(peer, &remembered);
        }
        if matches!(&*self.standing.borrow(), Standing::Behind(_)) {
            return Err(Untaken::OwnBehind);
        }
        let start = said.own.as_ref().map(start_from);
        if let Some(start) = start {
            let known = self.table.lock().started(peer, start);
            known.map_err(|Reverted| Untaken::TheirsBehind)?;
        }
        if self.met.lock().insert(peer) {
            self.meeting.notify_waiters();
        }
        Ok(start)
    }

    /// The index at which the peer's audit head stands, and that head.
    pub(super) fn audited(from: &MetadataMap) -> Option<(u64, Vec<u8>)> {
        let said = from.get_bin(HEADER).and_then(|value| value.to_bytes().ok())?;
        let said = proto::Standing::decode(said).ok()?;
        (said.audited > 0).then_some((said.audited, said.audit_head))
    }

    /// Compares with what `peer` remembers of us, and takes nothing else of it in: it is not
    /// known as a manager.
    pub(super) fn compare_with(&self, peer: NodeId, from: &MetadataMap) -> Result<(), Untaken> {
        let said = from.get_bin(HEADER).and_then(|value| value.to_bytes().ok());
        let said = said.and_then(|bytes| proto::Standing::decode(bytes).ok()).unwrap_or_default();
        if let Some(remembered) = said.of_you.as_ref().and_then(|of| memory_from(peer, of)) {
            self.compare(peer, &remembered);
        }
        match &*self.standing.borrow() {
            Standing::Behind(_) => Err(Untaken::OwnBehind),
            Standing::Comparing | Standing::Sound => Ok(()),
        }
    }

    /// How long ago the peer knew of a leader with a majority, if it ever did.
    pub(super) fn led_ago(from: &MetadataMap) -> Option<Duration> {
        let said = from.get_bin(HEADER).and_then(|value| value.to_bytes().ok())?;
        proto::Standing::decode(said).ok()?.led_ago_ms.map(Duration::from_millis)
    }

    fn compare(&self, peer: NodeId, remembered: &Memory) {
        self.highest.fetch_max(remembered.incarnation.number, Ordering::Relaxed);
        let own = self.own();
        let Some(lacks) = lacks(&own, remembered) else { return };
        self.standing.send_if_modified(|standing| {
            if matches!(standing, Standing::Behind(_)) {
                return false;
            }
            tracing::error!(event = "rolled_back", ?own, ?remembered, "{peer} remembers {lacks}");
            *standing = Standing::Behind(Behind { peer, lacks });
            true
        });
        self.meeting.notify_waiters();
    }

    /// A peer of a version that can't say what it remembers, or that answered.
    pub(super) fn met(&self, peer: NodeId) {
        self.met.lock().insert(peer);
    }

    pub(super) fn has_met(&self, peer: NodeId) -> bool {
        self.met.lock().contains(&peer)
    }

    pub(super) fn voted(&self, peer: NodeId, start: Option<Incarnation>, term: u64) {
        if let Some(start) = start {
            self.table.lock().voted(peer, start, term);
        }
    }

    pub(super) fn acked(&self, peer: NodeId, start: Option<Incarnation>, term: u64, upto: LogId) {
        if let Some(start) = start {
            self.table.lock().acked(peer, start, term, upto);
        }
    }

    /// Nobody who was asked remembers more: this start is written down and peers are
    /// spoken to from now on.
    pub(super) async fn open(&self) -> Result<(), StoreError> {
        durably(|done| self.log.note_start(self.start, done)).await?;
        self.told.store(true, Ordering::Release);
        self.standing.send_if_modified(|standing| {
            let opens = *standing == Standing::Comparing;
            if opens {
                *standing = Standing::Sound;
            }
            opens
        });
        Ok(())
    }

    /// Writes down what was heard, if it changed.
    pub(super) async fn keep(&self, member: impl Fn(NodeId) -> bool) -> Result<(), StoreError> {
        let Some(all) = self.table.lock().take_changed(member) else { return Ok(()) };
        durably(|done| self.log.note_peers(all, done)).await
    }

    /// Does so for ever. A log that fails is told of by itself.
    pub(super) async fn keep_always(&self, member: impl Fn(NodeId) -> bool) {
        let mut every = tokio::time::interval(KEEP_EVERY);
        loop {
            every.tick().await;
            if self.keep(&member).await.is_err() {
                return;
            }
        }
    }
}

/// Waits until what was given to the log is durable.
pub(super) async fn durably<F>(write: impl FnOnce(Done) -> F) -> Result<(), StoreError>
where
    F: Future<Output = Result<(), StoreError>>,
{
    let (send, receive) = oneshot::channel();
    let done = Box::new(move |result| {
        // Whoever waited may be gone.
        send.send(result).ok();
    });
    write(done).await?;
    receive.await.unwrap_or(Err(StoreError::Closed))
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn start_to(start: Incarnation) -> proto::Start {
    proto::Start { number: start.number, born: start.born, mark: start.mark }
}

fn start_from(start: &proto::Start) -> Incarnation {
    Incarnation { number: start.number, born: start.born, mark: start.mark }
}

fn memory_to(memory: &Memory) -> proto::Remembered {
    let id = |id: LogId| proto::LogId { term: id.term, leader: Vec::new(), index: id.index };
    proto::Remembered {
        start: Some(start_to(memory.incarnation)),
        term: memory.term,
        acked_under: memory.acked_under,
        acked: memory.acked.map(id),
    }
}

fn memory_from(peer: NodeId, memory: &proto::Remembered) -> Option<Memory> {
    Some(Memory {
        node: peer,
        incarnation: start_from(memory.start.as_ref()?),
        term: memory.term,
        acked_under: memory.acked_under,
        acked: memory.acked.as_ref().map(|id| LogId { term: id.term, index: id.index }),
    })
}
