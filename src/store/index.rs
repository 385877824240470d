//! Where each entry of Raft's log stands: in memory, rebuilt at every start.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::cursor::wide;
use super::log_id::LogId;
use super::memory::{Incarnation, Memory};
use super::record::{LogEntry, Vote};
use skep_core::seal::RecordKey;

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u64,
    pub(super) offset: u64,
    pub(super) number: u32,
    pub(super) length: usize,
}

struct Slot {
    id: LogId,
    /// Tells this entry from another that had its index before a truncation.
    serial: u64,
    size: usize,
    place: Option<Place>,
    payload: Option<Bytes>,
}

/// An entry asked for.
pub(super) enum Wanted {
    Here(LogEntry),
    There(LogId, Place, Arc<RecordKey>),
}

/// What the log says, written or about to be.
#[derive(Default)]
pub(super) struct Index {
    slots: VecDeque<Slot>,
    pub(super) purged: Option<LogId>,
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
    pub(super) incarnation: Option<Incarnation>,
    pub(super) remembered: Vec<Memory>,
    pub(super) keys: BTreeMap<u64, Arc<RecordKey>>,
    cached: usize,
    evicted_to: u64,
    serial: u64,
    cache: usize,
}

impl Index {
    /// One that keeps up to `cache` bytes of payloads.
    pub(super) fn new(cache: usize) -> Self {
        Self { cache, ..Self::default() }
    }

    pub(super) fn last(&self) -> Option<LogId> {
        self.slots.back().map(|slot| slot.id).or(self.purged)
    }

    fn first(&self) -> u64 {
        self.slots.front().map_or(0, |slot| slot.id.index)
    }

    /// Whether an entry of this index may come next: there are no holes.
    pub(super) fn takes(&self, index: u64) -> bool {
        self.last().is_none_or(|last| last.index.checked_add(1) == Some(index))
    }

    /// Appends an entry and answers its serial.
    pub(super) fn push(&mut self, entry: &LogEntry, place: Option<Place>) -> u64 {
        self.serial += 1;
        let size = entry.payload.len();
        self.cached += size;
        let payload = Some(entry.payload.clone());
        self.slots.push_back(Slot { id: entry.id, serial: self.serial, size, place, payload });
        if place.is_some() {
            self.evict();
        }
        self.serial
    }

    /// Drops what follows `after`; everything, if there is none.
    pub(super) fn truncate(&mut self, after: Option<LogId>) {
        while self.slots.back().is_some_and(|s| after.is_none_or(|id| s.id.index > id.index)) {
            let gone = self.slots.pop_back();
            self.forget(gone);
        }
    }

    /// Drops everything up to `upto`.
    pub(super) fn purge(&mut self, upto: LogId) {
        while self.slots.front().is_some_and(|slot| slot.id.index <= upto.index) {
            let gone = self.slots.pop_front();
            self.forget(gone);
        }
        self.purged = self.purged.max(Some(upto));
    }

    fn forget(&mut self, slot: Option<Slot>) {
        if let Some(Slot { payload: Some(payload), .. }) = slot {
            self.cached -= payload.len();
        }
    }

    /// Notes where an entry was written, if it still is in the log.
    pub(super) fn settle(&mut self, index: u64, serial: u64, place: Place) {
        if let Some(slot) = self.slot_mut(index).filter(|slot| slot.serial == serial) {
            slot.place = Some(place);
        }
    }

    fn slot_mut(&mut self, index: u64) -> Option<&mut Slot> {
        let at = index.checked_sub(self.first())?;
        self.slots.get_mut(usize::try_from(at).ok()?)
    }

    /// Drops the oldest payloads in memory beyond the cache's size.
    pub(super) fn evict(&mut self) {
        self.evicted_to = self.evicted_to.max(self.first());
        while self.cached > self.cache {
            let at = self.evicted_to;
            match self.slot_mut(at) {
                Some(Slot { place: Some(_), payload, .. }) => {
                    let gone = payload.take().map_or(0, |payload| payload.len());
                    self.cached -= gone;
                    self.evicted_to += 1;
                }
                // Not written yet, or the end.
                Some(Slot { place: None, .. }) | None => return,
            }
        }
    }

    /// The entries from `from` up to but not `to`, at most `most` bytes of payload
    /// but at least one entry.
    pub(super) fn want(&self, from: u64, to: u64, most: u64) -> Vec<Wanted> {
        let skip = usize::try_from(from.saturating_sub(self.first())).unwrap_or(usize::MAX);
        let mut room = most;
        let mut wanted = Vec::new();
        for slot in self.slots.iter().skip(skip) {
            if slot.id.index >= to || (room < wide(slot.size) && !wanted.is_empty()) {
                break;
            }
            room = room.saturating_sub(wide(slot.size));
            let place = slot.place.and_then(|p| self.keys.get(&p.segment).map(|key| (p, key)));
            wanted.push(match (&slot.payload, place) {
                (Some(payload), _) => {
                    Wanted::Here(LogEntry { id: slot.id, payload: payload.clone() })
                }
                (None, Some((place, key))) => Wanted::There(slot.id, place, Arc::clone(key)),
                // A payload is only ever dropped after its place is known.
                (None, None) => break,
            });
        }
        wanted
    }
}
