//! What was opened, by whom and when: written down by the FUSE mount, handed on by the
//! session. Bounded: what doesn't fit is counted, never silently lost.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Workload;
use crate::base::{SecretId, ServiceId, Stamp, VersionId};

/// Records kept until they are handed on: an hour of 18 opens a second.
const KEPT: usize = 65_536;

/// Who opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// A process of a workload, which is known by this one.
    Workload(Workload),
    /// A process of the host: root, or the owner of the service's directory.
    Host,
    /// Somebody, of a service that is up by hand.
    ByHand,
    /// Nobody who belongs to the service: it was refused.
    Stranger,
}

/// One open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// When, by this machine's clock.
    pub at: Stamp,
    /// Of which service.
    pub service: ServiceId,
    /// Which secret.
    pub secret: SecretId,
    /// Which version.
    pub version: VersionId,
    /// The version's number.
    pub number: u32,
    /// Who; a stranger's open was refused.
    pub reader: Reader,
    /// Its user.
    pub uid: u32,
    /// Its process or thread id, as this machine's kernel tells it.
    pub pid: u32,
    /// Its executable; empty: it couldn't be told.
    pub executable: String,
}

/// The opens that nobody has taken yet. Clones see the same.
#[derive(Clone, Debug, Default)]
pub struct Reads(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    reads: VecDeque<Read>,
    dropped: u64,
}

impl Reads {
    /// Writes one down, or counts it where there is no room.
    pub fn note(&self, read: Read) {
        let mut waiting = self.0.lock();
        if waiting.reads.len() < KEPT {
            waiting.reads.push_back(read);
        } else {
            waiting.dropped = waiting.dropped.saturating_add(1);
        }
    }

    /// The oldest ones, at most `count`, which stay until they are let go, and how many
    /// were dropped for want of room.
    #[must_use]
    pub fn first(&self, count: usize) -> (Vec<Read>, u64) {
        let waiting = self.0.lock();
        (waiting.reads.iter().take(count).cloned().collect(), waiting.dropped)
    }

    /// Lets go the `count` oldest ones and as many of the dropped, once they are kept elsewhere.
    pub fn let_go(&self, count: usize, dropped: u64) {
        let mut waiting = self.0.lock();
        let count = count.min(waiting.reads.len());
        waiting.reads.drain(..count);
        waiting.dropped = waiting.dropped.saturating_sub(dropped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(number: u32) -> Read {
        Read {
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
        let reads = Reads::default();
        for number in 0..u32::try_from(KEPT).unwrap() + 5 {
            reads.note(read(number));
        }
        let (first, dropped) = reads.first(2);
        assert_eq!((first[1].number, dropped), (1, 5));
        reads.let_go(2, dropped);
        let (first, dropped) = reads.first(1);
        assert_eq!((first[0].number, dropped), (2, 0));
        reads.let_go(usize::MAX, 7);
        assert_eq!(reads.first(1), (Vec::new(), 0));
    }
}
