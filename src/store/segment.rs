//! Reading a file of framed records, and telling a torn end from damage.

use super::cursor::{Cursor, narrow, wide};
use super::error::StoreError;
use super::header::HEADER;
use super::record::{FRAME, Head, MOST_SEALED, Record, tag_of};
use skep_core::seal::{RecordKey, TAG_AND_NONCE};

/// A record that opened, and where it stands.
pub(super) struct Found {
    pub(super) number: u32,
    pub(super) offset: u64,
    pub(super) record: Record,
}

/// How far a segment goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) records: u32,
    pub(super) tag: [u8; 16],
    pub(super) offset: u64,
}

/// A segment in memory with the key of its records.
pub(super) struct Segment<'a> {
    pub(super) file: &'a str,
    pub(super) bytes: &'a [u8],
    pub(super) key: &'a RecordKey,
}

struct Opened {
    plain: Vec<u8>,
    tag: [u8; 16],
    end: usize,
}

/// Opens the framed record `number` that begins at `offset`: its plaintext, its
/// tag and where it ends.
pub(super) fn open_framed(
    key: &RecordKey,
    bytes: &[u8],
    offset: usize,
    number: u32,
) -> Option<(Vec<u8>, [u8; 16], usize)> {
    let mut frame = Cursor(bytes.get(offset..)?);
    let length = usize::try_from(frame.u32()?).ok()?;
    let found = frame.u32()?;
    if found != number || length <= TAG_AND_NONCE || length > MOST_SEALED {
        return None;
    }
    let mut sealed = frame.rest().get(..length)?.to_vec();
    let tag = tag_of(&sealed)?;
    key.open(u64::from(number), &mut sealed).ok()?;
    sealed.drain(..TAG_AND_NONCE);
    Some((sealed, tag, offset + FRAME + length))
}

/// Whether nothing but zeros stands behind the place of header and Head, as in
/// a segment whose making was interrupted.
pub(super) fn is_unfinished(bytes: &[u8]) -> bool {
    let head = HEADER + Record::Head(Head::default()).framed_length();
    bytes.get(head..).is_none_or(|rest| rest.iter().all(|byte| *byte == 0))
}

/// How many zeros stand first: most of a segment is zeros, so by blocks.
fn leading_zeros(bytes: &[u8]) -> usize {
    const BLOCK: [u8; 4096] = [0; 4096];
    let blocks = bytes.chunks_exact(BLOCK.len()).take_while(|block| **block == BLOCK).count();
    let rest = bytes.iter().skip(blocks * BLOCK.len());
    blocks * BLOCK.len() + rest.take_while(|byte| **byte == 0).count()
}

impl Segment<'_> {
    fn open(&self, offset: usize, number: u32) -> Option<Opened> {
        let (plain, tag, end) = open_framed(self.key, self.bytes, offset, number)?;
        Some(Opened { plain, tag, end })
    }

    fn parse(&self, number: u32, offset: usize, plain: &[u8]) -> Result<Record, StoreError> {
        // Authentic but not understood: written by a version that forgot to say so.
        Record::parse(plain).map(|(_, record)| record).ok_or_else(|| {
            self.damaged(number, offset, "it opens, and says nothing that is known here")
        })
    }

    fn damaged(&self, number: u32, offset: usize, why: &str) -> StoreError {
        StoreError::record(self.file, u64::from(number), wide(offset), why)
    }

    /// The first record, if it opens, and where it ends.
    pub(super) fn head(&self) -> Option<Head> {
        let opened = self.open(HEADER, 0)?;
        match Record::parse(&opened.plain) {
            Some((_, Record::Head(head))) => Some(head),
            _ => None,
        }
    }

    /// The tag of the first record, which tells this segment from any other.
    pub(super) fn head_tag(&self) -> Option<[u8; 16]> {
        tag_of(self.bytes.get(HEADER + FRAME..)?)
    }

    /// Reads records until `expected`, which the next segment names, or, without
    /// it, until the torn or clean end of the log. `each` sees them in order.
    pub(super) fn read(
        &self,
        expected: Option<&Head>,
        mut each: impl FnMut(Found) -> Result<(), StoreError>,
    ) -> Result<End, StoreError> {
        let mut end = End { records: 0, tag: [0; 16], offset: wide(HEADER) };
        loop {
            if expected.is_some_and(|next| end.records == next.previous_records) {
                break;
            }
            let offset = narrow(end.offset);
            let Some(opened) = self.open(offset, end.records) else {
                if expected.is_some() {
                    return Err(self.damaged(end.records, offset, "it does not open"));
                }
                self.refuse_if_synced(end.records, offset)?;
                break;
            };
            let record = self.parse(end.records, offset, &opened.plain)?;
            if matches!(record, Record::Head(_)) != (end.records == 0) {
                return Err(self.damaged(end.records, offset, "it is in no place for its kind"));
            }
            each(Found { number: end.records, offset: end.offset, record })?;
            end = End { records: end.records + 1, tag: opened.tag, offset: wide(opened.end) };
        }
        if let Some(next) = expected {
            let offset = narrow(end.offset);
            if end.tag != next.previous_tag {
                return Err(self.damaged(end.records, offset, "the next segment follows another"));
            }
            if self.open(offset, end.records).is_some() {
                let why = "it follows the last one that the next segment knows";
                return Err(self.damaged(end.records, offset, why));
            }
        }
        Ok(end)
    }

    /// Record `number` does not open at `offset`. It is the end of the log unless
    /// something further on was written after it had been synced.
    fn refuse_if_synced(&self, number: u32, offset: usize) -> Result<(), StoreError> {
        let mut at = offset;
        while let Some(rest) = self.bytes.get(at..) {
            let zeros = leading_zeros(rest);
            if zeros == rest.len() {
                return Ok(());
            }
            // A frame may begin with zeros of its own: at most seven.
            at += zeros.saturating_sub(FRAME - 1);
            if let Some(opened) = self.open_any(at, number) {
                let synced = Record::parse(&opened.plain).map_or(u32::MAX, |(synced, _)| synced);
                if synced > number {
                    let why = "it does not open, and records that follow prove that it was written";
                    return Err(self.damaged(number, offset, why));
                }
                at = opened.end;
            } else {
                at += 1;
            }
        }
        Ok(())
    }

    /// Opens whatever record from `least` on claims to begin at `offset`.
    fn open_any(&self, offset: usize, least: u32) -> Option<Opened> {
        let mut frame = Cursor(self.bytes.get(offset..)?);
        let _length = frame.u32()?;
        let number = frame.u32()?;
        let room = u32::try_from(self.bytes.len() / (FRAME + TAG_AND_NONCE)).ok()?;
        if number < least || number > room {
            return None;
        }
        self.open(offset, number)
    }
}
