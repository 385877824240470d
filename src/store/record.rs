//! What a record says, as plaintext, and its frame in a file.

use bytes::Bytes;

use super::cursor::Cursor;
use super::log_id::{LogId, put_id, put_option, take_flag, take_id, take_option};
use super::memory::{self, Incarnation, Memory};
use skep_core::base::{Dice, NodeId};
use skep_core::seal::{RecordKey, SealError, TAG_AND_NONCE};

/// Bytes of a frame before the sealed record: length and number.
pub(super) const FRAME: usize = 8;
/// Bytes of one sealed record: an act of 4 MiB with room for everything around it.
pub(super) const MOST_SEALED: usize = 64 * 1024 * 1024;

/// The vote of this manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    /// The term voted in.
    pub term: u64,
    /// For whom.
    pub node: NodeId,
    /// Whether a majority voted likewise.
    pub committed: bool,
}

/// An entry of Raft's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Its place.
    pub id: LogId,
    /// What it says; opaque here.
    pub payload: Bytes,
}

/// The first record of a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) previous: u64,
    pub(super) previous_records: u32,
    pub(super) previous_tag: [u8; 16],
    pub(super) manifest: u64,
    pub(super) length: u64,
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
    pub(super) purged: Option<LogId>,
}

/// How far the log has been durable: so many records of a segment, which the tag of its Head
/// tells from another one of that number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reach {
    pub(super) segment: u64,
    pub(super) records: u32,
    pub(super) head: [u8; 16],
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    Head(Head),
    Entry(LogEntry),
    Vote(Vote),
    Truncate(Option<LogId>),
    Purge(LogId),
    Mark(Option<LogId>),
    Manifest { first: u64, purged: LogId },
    Incarnation(Incarnation),
    Remembered(Vec<Memory>),
    Reached(Reach),
}

fn put_vote(into: &mut Vec<u8>, vote: Vote) {
    into.extend(vote.term.to_le_bytes());
    into.extend(vote.node.as_bytes());
    into.push(u8::from(vote.committed));
}

fn take_vote(from: &mut Cursor<'_>) -> Option<Vote> {
    let term = from.u64()?;
    let node = NodeId::from_bytes(from.array()?);
    Some(Vote { term, node, committed: take_flag(from)? })
}

impl Record {
    fn kind(&self) -> u8 {
        match self {
            Self::Head(_) => 1,
            Self::Entry(_) => 2,
            Self::Vote(_) => 3,
            Self::Truncate(_) => 4,
            Self::Purge(_) => 5,
            Self::Mark(_) => 6,
            Self::Manifest { .. } => 7,
            Self::Incarnation(_) => 8,
            Self::Remembered(_) => 9,
            Self::Reached(_) => 10,
        }
    }

    fn put(&self, into: &mut Vec<u8>) {
        match self {
            Self::Head(head) => {
                into.extend(head.previous.to_le_bytes());
                into.extend(head.previous_records.to_le_bytes());
                into.extend(head.previous_tag);
                into.extend(head.manifest.to_le_bytes());
                into.extend(head.length.to_le_bytes());
                into.push(u8::from(head.vote.is_some()));
                let none = Vote { term: 0, node: NodeId::default(), committed: false };
                put_vote(into, head.vote.unwrap_or(none));
                put_option(into, head.committed);
                put_option(into, head.purged);
            }
            Self::Entry(entry) => {
                put_id(into, entry.id);
                into.extend_from_slice(&entry.payload);
            }
            Self::Vote(vote) => put_vote(into, *vote),
            Self::Truncate(id) | Self::Mark(id) => put_option(into, *id),
            Self::Purge(id) => put_id(into, *id),
            Self::Manifest { first, purged } => {
                into.extend(first.to_le_bytes());
                put_id(into, *purged);
            }
            Self::Incarnation(incarnation) => incarnation.put(into),
            Self::Remembered(memories) => memory::put_all(memories, into),
            Self::Reached(reach) => {
                into.extend(reach.segment.to_le_bytes());
                into.extend(reach.records.to_le_bytes());
                into.extend(reach.head);
            }
        }
    }

    fn take(kind: u8, mut from: Cursor<'_>) -> Option<Self> {
        let record = match kind {
            1 => {
                let head = Head {
                    previous: from.u64()?,
                    previous_records: from.u32()?,
                    previous_tag: from.array()?,
                    manifest: from.u64()?,
                    length: from.u64()?,
                    vote: {
                        let present = take_flag(&mut from)?;
                        let vote = take_vote(&mut from)?;
                        present.then_some(vote)
                    },
                    committed: take_option(&mut from)?.0,
                    purged: take_option(&mut from)?.0,
                };
                Self::Head(head)
            }
            2 => {
                let id = take_id(&mut from)?;
                let payload = Bytes::copy_from_slice(from.rest());
                return Some(Self::Entry(LogEntry { id, payload }));
            }
            3 => Self::Vote(take_vote(&mut from)?),
            4 => Self::Truncate(take_option(&mut from)?.0),
            5 => Self::Purge(take_id(&mut from)?),
            6 => Self::Mark(take_option(&mut from)?.0),
            7 => Self::Manifest { first: from.u64()?, purged: take_id(&mut from)? },
            8 => Self::Incarnation(Incarnation::take(&mut from)?),
            9 => Self::Remembered(memory::take_all(&mut from)?),
            10 => {
                let (segment, records, head) = (from.u64()?, from.u32()?, from.array()?);
                Self::Reached(Reach { segment, records, head })
            }
            _ => return None,
        };
        from.end(record)
    }

    /// Bytes that this record takes in a file.
    pub(super) fn framed_length(&self) -> usize {
        let mut body = Vec::new();
        let length = match self {
            Self::Entry(entry) => 16 + entry.payload.len(),
            Self::Head(_)
            | Self::Vote(_)
            | Self::Truncate(_)
            | Self::Purge(_)
            | Self::Mark(_)
            | Self::Manifest { .. }
            | Self::Incarnation(_)
            | Self::Remembered(_)
            | Self::Reached(_) => {
                self.put(&mut body);
                body.len()
            }
        };
        FRAME + TAG_AND_NONCE + 5 + length
    }

    /// Appends the sealed and framed record to `out` and answers its tag.
    pub(super) fn seal(
        &self,
        key: &RecordKey,
        dice: &mut dyn Dice,
        number: u32,
        synced: u32,
        out: &mut Vec<u8>,
    ) -> Result<[u8; 16], SealError> {
        let start = out.len();
        out.resize(start + FRAME + TAG_AND_NONCE, 0);
        out.push(self.kind());
        out.extend(synced.to_le_bytes());
        self.put(out);
        seal_framed(key, dice, number, out.get_mut(start..).ok_or(SealError::Malformed)?)
    }

    /// Parses an opened record: how many were synced before it, and what it says.
    pub(super) fn parse(plain: &[u8]) -> Option<(u32, Self)> {
        let mut from = Cursor(plain);
        let kind = from.u8()?;
        let synced = from.u32()?;
        Some((synced, Self::take(kind, from)?))
    }
}

/// Seals in place: `framed` is room for the frame, nonce and tag, then plaintext.
pub(super) fn seal_framed(
    key: &RecordKey,
    dice: &mut dyn Dice,
    number: u32,
    framed: &mut [u8],
) -> Result<[u8; 16], SealError> {
    let (frame, sealed) = framed.split_at_mut_checked(FRAME).ok_or(SealError::Malformed)?;
    key.seal(dice, u64::from(number), sealed)?;
    let length = u32::try_from(sealed.len()).ok().ok_or(SealError::Malformed)?;
    let clear = length.to_le_bytes().into_iter().chain(number.to_le_bytes());
    for (to, from) in frame.iter_mut().zip(clear) {
        *to = from;
    }
    tag_of(sealed).ok_or(SealError::Malformed)
}

/// The tag of sealed bytes: they begin with the nonce.
pub(super) fn tag_of(sealed: &[u8]) -> Option<[u8; 16]> {
    sealed.get(24..40)?.try_into().ok()
}
