//! What the leader sends, in order and one at a time, and what came of it.

use super::core::{Busy, Link, Phase, Session, names_of};
use super::types::{Act, Cause, Done, Job};
use skep_core::base::limits;
use skep_core::wire::delivery::{Ack, Push, SentValue};

impl Session {
    pub(super) fn values(&mut self, number: u64, values: Vec<SentValue>, acts: &mut Vec<Act>) {
        let Link::Open(open) = &mut self.link else { return };
        let bytes: u64 = values.iter().map(SentValue::bytes).sum();
        open.ahead_bytes = open.ahead_bytes.saturating_add(bytes);
        // Sealed values are a little longer than what they hold.
        let most = limits::SERVICE_BYTES.saturating_add(limits::SERVICE_BYTES / 8);
        if number != open.last_push.saturating_add(1) || open.ahead_bytes > most {
            self.cut(Cause::Lost("the manager sent values out of order".to_owned()), acts);
            return;
        }
        open.ahead.extend(values);
    }

    /// Managers came, went or moved: the next connection may have to be made to them.
    pub(super) fn managers(&mut self, addresses: Vec<String>) {
        let Link::Open(open) = &self.link else { return };
        if addresses.is_empty() || addresses == self.memory.managers {
            return;
        }
        self.memory.managers.clone_from(&addresses);
        self.reconnect.replace(addresses);
        if open.synced {
            self.reconnect.succeeded(&open.address);
        }
        self.remember();
    }

    pub(super) fn push(&mut self, mut push: Push, acts: &mut Vec<Act>) {
        if !matches!(self.phase, Phase::Serving) {
            return;
        }
        let Link::Open(open) = &mut self.link else { return };
        let number = push.number;
        let next = number == open.last_push.saturating_add(1) && open.in_flight.is_none();
        if !next || push.revision < self.memory.revision {
            let why = if next { "a lower revision" } else { "a push out of order" };
            self.cut(Cause::Lost(format!("the manager sent {why}")), acts);
            return;
        }
        open.last_push = number;
        open.in_flight = Some(number);
        open.ahead_bytes = 0;
        let mut values = std::mem::take(&mut open.ahead);
        values.append(&mut push.values);
        push.values = values;
        if let Some(placed) = push.placed.take() {
            self.names = names_of(Some(&placed));
            self.drained = push.drained;
            self.memory.placed = Some(placed);
        }
        self.queue.push_back(Job::Deliver(push));
    }

    pub(super) fn done(&mut self, done: Done, acts: &mut Vec<Act>) {
        self.shelf = done.shelf;
        match self.busy.take() {
            Some(Busy::Deliver { number, gone, sets, revision }) => {
                for service in gone.iter().chain(&sets) {
                    self.failed.remove(service);
                }
                for service in gone {
                    self.hooks.forget(service);
                    self.leaving.remove(&service);
                }
                for failed in &done.failed {
                    self.failed.insert(failed.service, failed.clone());
                }
                self.memory.revision.0 = self.memory.revision.0.max(revision);
                // Before the answer: who waits for it hears that it is not all.
                self.changed(done.changed, acts);
                let unchanged = done.unchanged.into_iter().collect();
                self.acknowledge(Ack { push: number, failed: done.failed, unchanged }, acts);
                self.remember();
            }
            Some(Busy::Wipe) => self.wiped(&done.failed, acts),
            Some(Busy::Other) | None => self.changed(done.changed, acts),
        }
    }

    fn acknowledge(&mut self, ack: Ack, acts: &mut Vec<Act>) {
        let Link::Open(open) = &mut self.link else { return };
        if open.in_flight != Some(ack.push) {
            return;
        }
        open.in_flight = None;
        open.synced = true;
        self.missed = false;
        self.tried = false;
        self.reconnect.succeeded(&open.address);
        acts.push(Act::Ack(ack));
    }
}
