//! A snapshot between the state and its file: read and written a piece at a time.

use prost::Message;

use super::cause::Cause;
use super::convert;
use super::types::{SnapshotMeta, SnapshotState};
use crate::store::{SnapshotReader, StoreError};
use skep_core::domain::State;
use skep_core::wire::raft as proto;
use skep_core::wire::stored::{StateReader, encode_state};

/// What is kept in `file`, and of what it is a snapshot.
pub(super) fn kept(file: SnapshotReader) -> Result<(SnapshotMeta, SnapshotState), StoreError> {
    let head = proto::SnapshotHead::decode(file.head()).map_err(|error| error.to_string());
    let read = head.and_then(|head| {
        let meta = convert::head_from(&head).map_err(|error| error.to_string())?;
        Ok((meta, head.bytes))
    });
    let (meta, bytes) = read.map_err(|why| file.damaged(why))?;
    Ok((meta, SnapshotState::Kept { file, bytes }))
}

/// Reads a state to its end. May block on the disk.
pub(super) fn decode(mut from: SnapshotState) -> Result<State, Cause> {
    let bad = |why| Cause::Undecodable { what: "the snapshot".to_owned(), why };
    let mut reader = StateReader::default();
    while let Some(piece) = from.next_piece().map_err(Cause::Store)? {
        reader.feed(&piece).map_err(bad)?;
    }
    reader.finish().map_err(bad)
}

/// The head of a file with a snapshot of `state`.
pub(super) fn head_of(meta: &SnapshotMeta, state: &State) -> Vec<u8> {
    let lengths = encode_state(state).map(|record| u64::try_from(record.len()).unwrap_or(u64::MAX));
    convert::head_to(meta, None, lengths.sum()).encode_to_vec()
}
