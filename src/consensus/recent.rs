//! The newest entries of the log as openraft has them. Those that are sent to followers or
//! applied were appended a moment ago: they are neither read nor decoded for that, and no
//! other thread is asked.

use std::collections::VecDeque;

use openraft::EntryPayload;
use openraft::entry::RaftEntry;

use super::types::{LogEntry, LogId};

/// Entries that are kept, and bytes of their commands.
const ENTRIES: usize = 1024;
const BYTES: usize = 4 * 1024 * 1024;

/// What was appended last, without a hole.
#[derive(Debug, Default)]
pub(super) struct Recent {
    entries: VecDeque<LogEntry>,
    bytes: usize,
}

fn size(entry: &LogEntry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(proposal) => proposal.bytes.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    }
}

fn index(entry: &LogEntry) -> u64 {
    entry.log_id().index
}

impl Recent {
    /// Follows an entry that was appended.
    pub(super) fn push(&mut self, entry: LogEntry) {
        let next = self.entries.back().map(|last| index(last).saturating_add(1));
        if next.is_some_and(|next| next != index(&entry)) {
            *self = Self::default();
        }
        self.bytes = self.bytes.saturating_add(size(&entry));
        self.entries.push_back(entry);
        while self.entries.len() > ENTRIES || (self.bytes > BYTES && self.entries.len() > 1) {
            let gone = self.entries.pop_front();
            self.bytes = self.bytes.saturating_sub(gone.as_ref().map_or(0, size));
        }
    }

    /// Follows what was dropped behind `after`; everything, if there is none.
    pub(super) fn truncate(&mut self, after: Option<LogId>) {
        let stays = |entry: &LogEntry| after.is_some_and(|after| entry.log_id() <= after);
        while let Some(last) = self.entries.pop_back_if(|last| !stays(last)) {
            self.bytes = self.bytes.saturating_sub(size(&last));
        }
    }

    /// Follows what was dropped up to `upto`.
    pub(super) fn purge(&mut self, upto: u64) {
        while let Some(first) = self.entries.pop_front_if(|first| index(first) <= upto) {
            self.bytes = self.bytes.saturating_sub(size(&first));
        }
    }

    /// The entries from `from` up to but not `to`, at most `most` bytes of commands but at
    /// least one entry; `None` where the first of them is not here.
    pub(super) fn get(&self, from: u64, to: u64, most: u64) -> Option<Vec<LogEntry>> {
        let first = self.entries.front().map(index)?;
        let skip = usize::try_from(from.checked_sub(first)?).ok()?;
        let mut left = usize::try_from(most).unwrap_or(usize::MAX);
        let mut found = Vec::new();
        for entry in self.entries.iter().skip(skip).take_while(|entry| index(entry) < to) {
            if size(entry) > left && !found.is_empty() {
                break;
            }
            left = left.saturating_sub(size(entry));
            found.push(entry.clone());
        }
        Some(found).filter(|found| !found.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::types::Proposal;

    fn entry(term: u64, index: u64, bytes: usize) -> LogEntry {
        let payload = EntryPayload::Normal(Proposal::received(vec![1; bytes].into()));
        LogEntry { log_id: LogId::new_term_index(term, index), payload }
    }

    fn found(recent: &Recent, from: u64, to: u64, most: u64) -> Option<Vec<u64>> {
        Some(recent.get(from, to, most)?.iter().map(index).collect())
    }

    #[test]
    fn what_was_appended_last_is_there_and_nothing_else() {
        let mut recent = Recent::default();
        assert_eq!(found(&recent, 0, 9, 9), None);
        for index in 5..9 {
            recent.push(entry(1, index, 10));
        }
        assert_eq!(found(&recent, 4, 9, 99), None, "its first is in the log alone");
        assert_eq!(found(&recent, 5, 8, 99), Some(vec![5, 6, 7]));
        assert_eq!(found(&recent, 6, 99, 25), Some(vec![6, 7]));
        assert_eq!(found(&recent, 6, 99, 1), Some(vec![6]), "one at least");
        assert_eq!(found(&recent, 9, 99, 99), None);
        recent.truncate(Some(LogId::new_term_index(1, 6)));
        assert_eq!(found(&recent, 5, 99, 99), Some(vec![5, 6]));
        recent.purge(5);
        assert_eq!(found(&recent, 5, 99, 99), None, "it was dropped");
        assert_eq!(found(&recent, 6, 99, 99), Some(vec![6]));
        recent.push(entry(2, 7, 10));
        assert_eq!(recent.get(7, 8, 9).unwrap()[0].log_id(), entry(2, 7, 0).log_id());
        recent.push(entry(2, 9, 10));
        assert_eq!(found(&recent, 7, 99, 99), None, "a hole begins anew");
        assert_eq!(found(&recent, 9, 99, 99), Some(vec![9]));
        recent.truncate(None);
        assert_eq!((recent.entries.len(), recent.bytes), (0, 0));
    }

    #[test]
    fn it_is_bounded_in_entries_and_bytes() {
        let mut recent = Recent::default();
        for index in 0..2 * u64::try_from(ENTRIES).unwrap() {
            recent.push(entry(1, index, 1));
        }
        assert_eq!((recent.entries.len(), recent.bytes), (ENTRIES, ENTRIES));
        for index in 0..4 {
            recent.push(entry(1, 2 * u64::try_from(ENTRIES).unwrap() + index, BYTES));
        }
        assert_eq!((recent.entries.len(), recent.bytes), (1, BYTES));
    }
}
