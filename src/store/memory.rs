//! What a manager keeps of its own starts and of what peers told it.

use super::cursor::Cursor;
use super::log_id::{LogId, put_option, take_option};
use skep_core::base::NodeId;

/// Peers that are remembered: managers there are, and some that were replaced.
pub const PEERS: usize = 32;

/// One start of one manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incarnation {
    /// Counts the starts; no two starts that a peer was told of share one.
    pub number: u64,
    /// The number with which this manager's log was begun empty: what was said by
    /// smaller numbers was given up with the log that held it.
    pub born: u64,
    /// Random: tells this start from another that took the same number from an
    /// older copy of the disk.
    pub mark: u64,
}

/// What a manager had from one peer. Each of it was durable there before it was
/// said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Which peer.
    pub node: NodeId,
    /// Its latest start.
    pub incarnation: Incarnation,
    /// The highest term in which it voted or led.
    pub term: u64,
    /// The term of the leader to whom it acknowledged `acked`.
    pub acked_under: u64,
    /// The last entry that it acknowledged in that term.
    pub acked: Option<LogId>,
}

impl Incarnation {
    pub(super) fn put(&self, into: &mut Vec<u8>) {
        for field in [self.number, self.born, self.mark] {
            into.extend(field.to_le_bytes());
        }
    }

    pub(super) fn take(from: &mut Cursor<'_>) -> Option<Self> {
        Some(Self { number: from.u64()?, born: from.u64()?, mark: from.u64()? })
    }
}

impl Memory {
    fn put(&self, into: &mut Vec<u8>) {
        into.extend(self.node.as_bytes());
        self.incarnation.put(into);
        into.extend(self.term.to_le_bytes());
        into.extend(self.acked_under.to_le_bytes());
        put_option(into, self.acked);
    }

    fn take(from: &mut Cursor<'_>) -> Option<Self> {
        Some(Self {
            node: NodeId::from_bytes(from.array()?),
            incarnation: Incarnation::take(from)?,
            term: from.u64()?,
            acked_under: from.u64()?,
            acked: take_option(from)?.0,
        })
    }
}

pub(super) fn put_all(memories: &[Memory], into: &mut Vec<u8>) {
    // The log refuses more than `PEERS`.
    into.push(u8::try_from(memories.len()).unwrap_or(u8::MAX));
    for memory in memories {
        memory.put(into);
    }
}

pub(super) fn take_all(from: &mut Cursor<'_>) -> Option<Vec<Memory>> {
    let count = usize::from(from.u8()?);
    if count > PEERS {
        return None;
    }
    (0..count).map(|_| Memory::take(from)).collect()
}
