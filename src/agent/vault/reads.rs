//! What was opened, by whom and when: written down by the FUSE mount, handed on by the
//! connection. Bounded: what doesn't fit is counted, never silently lost.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use skep_core::base::{NodeId, limits};
use skep_core::domain::{Opened, OpenedList};

/// Records kept until they are handed on: an hour of 18 opens a second.
const KEPT: usize = 65_536;

/// The opens that no manager has on record yet. Clones see the same.
#[derive(Clone, Debug, Default)]
pub struct Reads(Arc<Noted>);

#[derive(Debug, Default)]
struct Noted {
    /// Drawn at each start: the numbers begin anew with it.
    origin: [u8; 16],
    waiting: Mutex<Waiting>,
    /// Something went.
    went: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    reads: VecDeque<Opened>,
    /// The number of the first one that waits.
    first: u64,
    /// Since the start.
    dropped: u64,
    /// Of those, how many a manager knows of.
    told: u64,
}

impl Reads {
    /// None yet; `origin` is random.
    #[must_use]
    pub fn new(origin: [u8; 16]) -> Self {
        Self(Arc::new(Noted { origin, ..Noted::default() }))
    }

    /// Writes one down, or counts it where there is no room. It wakes nobody: the serving
    /// threads have descriptors of their own, and no runtime could be woken by them.
    pub fn note(&self, read: Opened) {
        let mut waiting = self.0.waiting.lock();
        if waiting.reads.len() < KEPT {
            waiting.reads.push_back(read);
        } else {
            waiting.dropped = waiting.dropped.saturating_add(1);
        }
    }

    /// The oldest ones, at most `limits::OPENED_BATCH`, which stay until they are let go.
    /// `None`: there is nothing that a manager doesn't know.
    #[must_use]
    pub fn first(&self, node: NodeId) -> Option<OpenedList> {
        let waiting = self.0.waiting.lock();
        let list: Vec<_> = waiting.reads.iter().take(limits::OPENED_BATCH).cloned().collect();
        let news = !list.is_empty() || waiting.dropped > waiting.told;
        news.then_some(OpenedList {
            node,
            origin: self.0.origin,
            first: waiting.first,
            dropped: waiting.dropped,
            list,
        })
    }

    /// Lets go what stood in `list`: a manager has it on record.
    pub fn let_go(&self, list: &OpenedList) {
        let mut waiting = self.0.waiting.lock();
        let count = list.list.len().min(waiting.reads.len());
        waiting.reads.drain(..count);
        waiting.first = waiting.first.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        waiting.told = waiting.told.max(list.dropped);
        drop(waiting);
        self.0.went.notify_waiters();
    }

    /// How many there was no room for since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.waiting.lock().dropped
    }

    /// Waits until none waits.
    pub async fn gone(&self) {
        loop {
            let went = self.0.went.notified();
            if self.0.waiting.lock().reads.is_empty() {
                return;
            }
            went.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_core::base::{SecretId, ServiceId, Stamp, VersionId};
    use skep_core::domain::Reader;

    const NODE: NodeId = NodeId::from_bytes([9; 16]);

    fn read(number: u32) -> Opened {
        Opened {
            at: Stamp(1),
            service: ServiceId::from_bytes([1; 16]),
            secret: SecretId::from_bytes([2; 16]),
            version: VersionId::from_bytes([3; 16]),
            number,
            reader: Reader::Host,
            uid: 0,
            pid: 1,
            executable: "/bin/cat".to_owned(),
        }
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let reads = Reads::new([7; 16]);
        assert_eq!(reads.first(NODE), None);
        for number in 0..u32::try_from(KEPT).unwrap() + 5 {
            reads.note(read(number));
        }
        let mut next = 0;
        while let Some(list) = reads.first(NODE) {
            assert_eq!(
                (list.node, list.origin, list.first, list.dropped),
                (NODE, [7; 16], next, 5)
            );
            assert_eq!(u64::from(list.list[0].number), next);
            assert_eq!(reads.first(NODE).as_ref(), Some(&list), "they stay until they are let go");
            reads.let_go(&list);
            next += u64::try_from(list.list.len()).unwrap();
        }
        assert_eq!(next, u64::try_from(KEPT).unwrap());
        reads.note(read(1));
        let last = reads.first(NODE).unwrap();
        assert_eq!((last.first, last.list.len(), last.dropped), (next, 1, 5));
    }

    #[tokio::test]
    async fn who_waits_for_the_last_one_to_go_is_woken() {
        let reads = Reads::default();
        reads.gone().await;
        reads.note(read(1));
        let gone = tokio::spawn({
            let reads = reads.clone();
            async move { reads.gone().await }
        });
        let list = reads.first(NODE).unwrap();
        reads.let_go(&list);
        gone.await.unwrap();
    }
}
