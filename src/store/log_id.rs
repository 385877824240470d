//! A place in Raft's log, and how it is written.

use super::cursor::Cursor;

/// A place in Raft's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogId {
    /// The term in which the entry was proposed.
    pub term: u64,
    /// Its index.
    pub index: u64,
}

pub(super) fn put_id(into: &mut Vec<u8>, id: LogId) {
    into.extend(id.term.to_le_bytes());
    into.extend(id.index.to_le_bytes());
}

pub(super) fn put_option(into: &mut Vec<u8>, id: Option<LogId>) {
    into.push(u8::from(id.is_some()));
    put_id(into, id.unwrap_or(LogId { term: 0, index: 0 }));
}

pub(super) fn take_flag(from: &mut Cursor<'_>) -> Option<bool> {
    match from.u8()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

pub(super) fn take_id(from: &mut Cursor<'_>) -> Option<LogId> {
    Some(LogId { term: from.u64()?, index: from.u64()? })
}

/// What may be absent: one field of the record, present or not.
pub(super) struct Maybe(pub(super) Option<LogId>);

pub(super) fn take_option(from: &mut Cursor<'_>) -> Option<Maybe> {
    let present = take_flag(from)?;
    let id = take_id(from)?;
    Some(Maybe(present.then_some(id)))
}
