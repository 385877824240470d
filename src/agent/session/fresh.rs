//! Whether what is here is what is due: asked again and again for services that are made to
//! have it written down, and written down when the leader says so.

use super::core::{Link, Phase, Session};
use super::types::{Act, Job};
use skep_core::base::BootTime;
use skep_core::wire::delivery::Confirmed;

/// Milliseconds between two questions: with the way there and back, what is written down is
/// less than 5 s old while the node is connected.
const ASK_MS: u64 = 3_000;

impl Session {
    /// When it is asked next; `None`: nobody wants to know, or there is nobody to be asked.
    pub(super) fn next_ask(&self) -> Option<BootTime> {
        let Link::Open(open) = &self.link else { return None };
        let wanted = open.synced && self.phase == Phase::Serving;
        let wanted = wanted && self.shelf.values().any(|held| held.fresh && held.digest.is_some());
        let after = |asked: BootTime| BootTime(asked.0.saturating_add(ASK_MS));
        wanted.then(|| open.asked.map_or(BootTime(0), after))
    }

    pub(super) fn ask(&mut self, now: BootTime, acts: &mut Vec<Act>) {
        if self.next_ask().is_none_or(|due| due > now) {
            return;
        }
        if let Link::Open(open) = &mut self.link {
            open.asked = Some(now);
            acts.push(Act::Ask(now));
        }
    }

    /// Only the answer to the last question counts.
    pub(super) fn confirmed(&mut self, confirmed: Confirmed) {
        let Link::Open(open) = &self.link else { return };
        if open.asked == Some(confirmed.asked) && confirmed.revision >= self.memory.revision {
            self.queue.retain(|job| !matches!(job, Job::Confirm(_)));
            self.queue.push_back(Job::Confirm(confirmed));
        }
    }
}
