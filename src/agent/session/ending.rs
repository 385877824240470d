//! How a session comes to its end: this machine leaves, or the agent stops.

use std::collections::BTreeSet;

use super::core::{Link, Phase, Session};
use super::problem;
use super::types::{Act, Cause, ClaimId, Ending, Job, Refused};
use skep_core::base::ServiceId;
use skep_core::wire::delivery::Failed;

impl Session {
    /// Refuses what waits, keeps the files of `kept`, and ends.
    pub(super) fn end_with(
        &mut self,
        ending: Ending,
        kept: BTreeSet<ServiceId>,
        acts: &mut Vec<Act>,
    ) {
        if matches!(self.phase, Phase::Stopping(_) | Phase::Ended) {
            return;
        }
        self.queue.retain(|job| !matches!(job, Job::Deliver(_)));
        for claim in std::mem::take(&mut self.claims).into_keys() {
            acts.push(Act::Refuse(claim, problem::stopping()));
        }
        self.queue.push_back(Job::WipeBut(kept));
        self.phase = Phase::Stopping(ending);
    }

    pub(super) fn leave(&mut self, claim: ClaimId, acts: &mut Vec<Act>) {
        if !matches!(self.phase, Phase::Serving) {
            acts.push(Act::Refuse(claim, problem::leaving()));
        } else if self.is_synced() {
            self.phase = Phase::Departing(claim);
            self.queue.push_back(Job::WipeBut(BTreeSet::new()));
        } else {
            acts.push(Act::Refuse(claim, problem::no_way_to_leave(&self.why)));
        }
    }

    pub(super) fn wiped(&mut self, failed: &[Failed], acts: &mut Vec<Act>) {
        let Phase::Departing(claim) = self.phase else { return };
        match failed.first() {
            None => {
                self.phase = Phase::Asked(claim);
                acts.push(Act::Leave);
            }
            Some(failed) => {
                self.stay(claim, problem::not_wiped(failed), acts);
            }
        }
    }

    pub(super) fn left(&mut self, answer: Result<(), Refused>, acts: &mut Vec<Act>) {
        let Phase::Asked(claim) = self.phase else { return };
        match answer {
            Ok(()) => {
                acts.push(Act::Agree(claim));
                self.end_with(Ending::Left, BTreeSet::new(), acts);
            }
            Err(refused) => self.stay(claim, refused, acts),
        }
    }

    /// Leaving came to nothing: a new session tells the leader what was wiped.
    fn stay(&mut self, claim: ClaimId, refused: Refused, acts: &mut Vec<Act>) {
        self.phase = Phase::Serving;
        acts.push(Act::Refuse(claim, refused));
        if !matches!(self.link, Link::Cutting | Link::Idle | Link::Connecting) {
            self.link = Link::Cutting;
            acts.push(Act::Disconnect(Cause::Lost("leaving came to nothing".to_owned())));
        }
    }

    pub(super) fn stop(&mut self, wipe: bool, acts: &mut Vec<Act>) {
        let mut kept = BTreeSet::new();
        if !wipe {
            kept = self.running();
            kept.extend(self.memory.placed.iter().flatten().filter(|p| p.always).map(|p| p.id));
        }
        self.end_with(Ending::Stopped, kept, acts);
    }
}
