//! What was signed within the last hour. It is looked at again after longer and longer pauses:
//! another signer that was ended in the middle of its work may have written over it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use skep_core::base::{BootTime, Clock};

use super::keys::Signatures;

/// Manifests that are looked at again.
const MANIFESTS: usize = 4_096;
/// When that is done, in milliseconds after they were signed.
const AFTER_MS: [u64; 8] = [1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 3_600_000];

struct Remembered {
    repository: String,
    signatures: Arc<Signatures>,
    since: BootTime,
    /// How often it was looked at.
    looks: usize,
}

impl Remembered {
    fn due(&self) -> BootTime {
        let after = AFTER_MS.get(self.looks).copied().unwrap_or(u64::MAX);
        BootTime(self.since.0.saturating_add(after))
    }
}

/// Signatures that may have to be put back.
pub(super) struct Recent {
    clock: Arc<dyn Clock + Send + Sync>,
    all: Mutex<VecDeque<Remembered>>,
}

impl Recent {
    pub(super) fn new(clock: Arc<dyn Clock + Send + Sync>) -> Self {
        Self { clock, all: Mutex::default() }
    }

    /// Remembers these; the oldest are forgotten where there are too many.
    pub(super) fn add(&self, repository: &str, signatures: &Arc<Signatures>) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() == MANIFESTS {
            drop(all.pop_front());
        }
        let (repository, signatures) = (repository.to_owned(), Arc::clone(signatures));
        all.push_back(Remembered { repository, signatures, since: self.clock.boot(), looks: 0 });
    }

    /// One that is to be looked at now. It isn't due again before its next time.
    pub(super) fn due(&self) -> Option<(String, Arc<Signatures>)> {
        let now = self.clock.boot();
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|entry| entry.looks < AFTER_MS.len());
        let entry = all.iter_mut().find(|entry| entry.due() <= now)?;
        // Those that were missed meanwhile are made up for by one.
        while entry.looks < AFTER_MS.len() && entry.due() <= now {
            entry.looks += 1;
        }
        Some((entry.repository.clone(), Arc::clone(&entry.signatures)))
    }
}
