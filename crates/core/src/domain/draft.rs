//! A command under way: what it writes stands in the state at once, beside a
//! list of what stood there before, so that a refusal at the last change puts
//! everything back. It costs what the command touches, not the state's size.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::assignment::is_due;
use super::command::Fact;
use super::keep;
use super::named::Counted;
use super::opened::{Lapsed, Opened, Reporter, Span};
use super::refusal::Refusal;
use super::spec::Grant;
use super::state::{Cluster, Exposure, Node, Operator, Secret, Service, State, Token};
use crate::base::{
    NodeId, OperatorId, Revision, SecretId, ServiceId, Stamp, Target, TokenId, limits,
};

/// What stood there before.
enum Undo {
    Cluster(Option<Arc<Cluster>>),
    Operator(OperatorId, Option<Arc<Operator>>),
    Token(TokenId, Option<Arc<Token>>),
    Secret(SecretId, Option<Arc<Secret>>),
    Service(ServiceId, Option<Arc<Service>>),
    Grant(ServiceId, Target, Option<Grant>),
    Revised(ServiceId, (Stamp, Revision)),
    Node(NodeId, Option<Arc<Node>>),
    Exposure((NodeId, ServiceId), Option<Exposure>),
    Taken((ServiceId, SecretId), Option<Revision>),
    Opened((NodeId, Revision), Option<Arc<[Opened]>>),
    Reporter(NodeId, Option<Reporter>),
    Lapsed(Lapsed, Option<Span>),
    Level(u32),
}

/// A command under way.
pub(super) struct Draft<'a> {
    state: &'a mut State,
    undo: Vec<Undo>,
    facts: Vec<Fact>,
    /// Nodes and services that were looked at to place what changed.
    looked: usize,
    /// Services all of whose pairs fell behind in this command.
    behind: BTreeSet<ServiceId>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(state: &'a mut State) -> Self {
        Self { state, undo: Vec::new(), facts: Vec::new(), looked: 0, behind: BTreeSet::new() }
    }

    /// Whether anything was changed so far.
    pub(super) fn has_written(&self) -> bool {
        !self.undo.is_empty()
    }

    /// Whether so much may be looked at in one act.
    pub(super) fn within_looks(&self) -> Result<(), Refusal> {
        if self.looked > limits::LOOKED_AT {
            return Err(Refusal::limit(Counted::LookedAt, limits::LOOKED_AT));
        }
        Ok(())
    }

    fn looked_at(&mut self, things: usize) {
        self.looked = self.looked.saturating_add(things);
        #[cfg(test)]
        super::testing::count_steps(things);
    }

    /// The state with all that was written so far.
    pub(super) fn state(&self) -> &State {
        self.state
    }

    /// The command's time.
    pub(super) fn now(&self) -> Stamp {
        self.state.stamp
    }

    /// The command's revision.
    pub(super) fn revision(&self) -> Revision {
        self.state.revision
    }

    /// What was written stays. The facts, each once.
    pub(super) fn keep(mut self) -> Vec<Fact> {
        self.facts.sort();
        self.facts.dedup();
        self.facts
    }

    /// What was written goes.
    pub(super) fn undo(self) {
        let state = self.state;
        for undo in self.undo.into_iter().rev() {
            match undo {
                Undo::Cluster(old) => drop(keep::cluster(state, old)),
                Undo::Operator(id, old) => drop(keep::operator(state, id, old)),
                Undo::Token(id, old) => drop(keep::token(state, id, old)),
                Undo::Secret(id, old) => drop(keep::secret(state, id, old)),
                Undo::Service(id, old) => drop(keep::service(state, id, old)),
                Undo::Grant(id, target, old) => drop(keep::grant(state, id, &target, old)),
                Undo::Revised(id, old) => {
                    keep::revised(state, id, old);
                }
                Undo::Node(id, old) => drop(keep::node(state, id, old)),
                Undo::Exposure(pair, old) => {
                    keep::exposure(state, pair, old);
                }
                Undo::Taken(key, old) => {
                    keep::taken(state, key, old);
                }
                Undo::Opened(key, old) => drop(keep::opened(state, key, old)),
                Undo::Reporter(id, old) => {
                    keep::reporter(state, id, old);
                }
                Undo::Lapsed(of, old) => {
                    keep::lapse(state, of, old);
                }
                Undo::Level(old) => state.level = old,
            }
        }
    }

    pub(super) fn fact(&mut self, fact: Fact) {
        self.facts.push(fact);
    }

    pub(super) fn set_level(&mut self, level: u32) {
        self.undo.push(Undo::Level(std::mem::replace(&mut self.state.level, level)));
    }

    pub(super) fn put_cluster(&mut self, new: Cluster) {
        let old = keep::cluster(self.state, Some(Arc::new(new)));
        self.undo.push(Undo::Cluster(old));
    }

    pub(super) fn put_operator(&mut self, id: OperatorId, new: Option<Operator>) {
        let old = keep::operator(self.state, id, new.map(Arc::new));
        self.undo.push(Undo::Operator(id, old));
        self.fact(Fact::OperatorsRevised);
    }

    pub(super) fn put_token(&mut self, id: TokenId, new: Option<Token>) {
        let old = keep::token(self.state, id, new.map(Arc::new));
        self.undo.push(Undo::Token(id, old));
        self.fact(Fact::TokensRevised);
    }

    pub(super) fn put_secret(&mut self, id: SecretId, new: Option<Secret>) {
        let old = keep::secret(self.state, id, new.map(Arc::new));
        self.undo.push(Undo::Secret(id, old));
        self.fact(Fact::SecretRevised(id));
    }

    /// Pairs of it that were due and are not any more fall behind.
    pub(super) fn put_service(&mut self, id: ServiceId, new: Option<Service>) {
        let before = self.state.services.get(&id).map(|service| &service.spec.placement);
        let due = if before == new.as_ref().map(|service| &service.spec.placement) {
            // What is granted says nothing of where.
            Vec::new()
        } else {
            self.due(self.pairs_of_service(id))
        };
        let (old, moved) = keep::service(self.state, id, new.map(Arc::new));
        self.looked_at(moved.looked);
        self.undo.push(Undo::Service(id, old));
        self.fact(Fact::ServiceRevised(id));
        for node in moved.lost {
            self.fact(Fact::PairRevised(node, id));
        }
        self.fall_behind_undue(due);
    }

    /// What is granted says nothing of where: no pair is due more or less by it.
    pub(super) fn put_grant(&mut self, id: ServiceId, target: &Target, new: Option<Grant>) {
        if let Some(old) = keep::revised(self.state, id, (self.now(), self.revision())) {
            self.undo.push(Undo::Revised(id, old));
        }
        let old = keep::grant(self.state, id, target, new);
        self.undo.push(Undo::Grant(id, target.clone(), old));
        self.fact(Fact::ServiceRevised(id));
    }

    /// Pairs of it that were due and are not any more fall behind.
    pub(super) fn put_node(&mut self, id: NodeId, new: Option<Node>) {
        let due = self.due(self.pairs_of_node(id));
        self.fact(if new.is_some() { Fact::NodeRevised(id) } else { Fact::NodeRemoved(id) });
        let (old, looked) = keep::node(self.state, id, new.map(Arc::new));
        self.looked_at(looked);
        self.undo.push(Undo::Node(id, old));
        self.fall_behind_undue(due);
    }

    pub(super) fn put_exposure(&mut self, pair: (NodeId, ServiceId), new: Option<Exposure>) {
        let old = keep::exposure(self.state, pair, new);
        self.undo.push(Undo::Exposure(pair, old));
        self.fact(Fact::PairRevised(pair.0, pair.1));
        if let (Some(old), None) = (old, new) {
            self.lapse(Lapsed::Pair(pair.0, pair.1), old.began);
        }
        self.forget_taken(pair.1);
    }

    /// Where no pair of a service is pending, nobody holds what was taken from it.
    fn forget_taken(&mut self, id: ServiceId) {
        if self.state.indexes.behind_of.contains_key(&id) {
            return;
        }
        let all = self.state.taken.range((id, SecretId::from_bytes([0; 16]))..);
        let of_it = all.map(|(key, _)| *key).take_while(|(service, _)| *service == id);
        for key in of_it.collect::<Vec<_>>() {
            self.put_taken(key, None);
            self.lapse(Lapsed::Grant(key.0, key.1), Stamp::default());
        }
    }

    /// It ended now, and is remembered for a while.
    fn lapse(&mut self, of: Lapsed, began: Stamp) {
        self.put_lapse(of, Some(Span { began, ended: self.now() }));
        while self.state.lapsed.len() > limits::LAPSED
            && let Some((_, oldest)) = self.state.indexes.lapses.first().copied()
        {
            self.put_lapse(oldest, None);
        }
    }

    fn put_lapse(&mut self, of: Lapsed, new: Option<Span>) {
        let old = keep::lapse(self.state, of, new);
        self.undo.push(Undo::Lapsed(of, old));
    }

    fn put_taken(&mut self, key: (ServiceId, SecretId), new: Option<Revision>) {
        let old = keep::taken(self.state, key, new);
        self.undo.push(Undo::Taken(key, old));
    }

    pub(super) fn put_opened(&mut self, key: (NodeId, Revision), new: Option<Arc<[Opened]>>) {
        let old = keep::opened(self.state, key, new);
        self.undo.push(Undo::Opened(key, old));
    }

    pub(super) fn put_reporter(&mut self, id: NodeId, new: Option<Reporter>) {
        let old = keep::reporter(self.state, id, new);
        self.undo.push(Undo::Reporter(id, old));
    }

    /// These secrets were taken from a service: its pairs are pending.
    pub(super) fn take(&mut self, id: ServiceId, secrets: impl IntoIterator<Item = SecretId>) {
        if !self.state.indexes.exposed_of.contains_key(&id) {
            return;
        }
        // All that is taken by one command is taken at one revision.
        if self.behind.insert(id) {
            self.fall_behind(self.pairs_of_service(id));
        }
        for secret in secrets {
            self.put_taken((id, secret), Some(self.revision()));
        }
    }

    /// Something was taken from these pairs: they are pending until their nodes
    /// confirm this revision.
    fn fall_behind(&mut self, pairs: impl IntoIterator<Item = (NodeId, ServiceId)>) {
        for pair in pairs {
            if let Some(exposure) = self.state.exposed.get(&pair).copied() {
                let behind = Some(self.revision());
                if exposure.behind == behind {
                    continue;
                }
                self.put_exposure(pair, Some(Exposure { behind, ..exposure }));
            }
        }
    }

    /// The exposed pairs of a service.
    pub(super) fn pairs_of_service(&self, id: ServiceId) -> Vec<(NodeId, ServiceId)> {
        let nodes = self.state.indexes.exposed_of.get(&id).into_iter().flatten();
        let pairs: Vec<_> = nodes.map(|node| (*node, id)).collect();
        #[cfg(test)]
        super::testing::count_steps(pairs.len());
        pairs
    }

    /// The exposed pairs of a node.
    pub(super) fn pairs_of_node(&self, id: NodeId) -> Vec<(NodeId, ServiceId)> {
        let pairs = self.state.exposed.range((id, ServiceId::from_bytes([0; 16]))..);
        pairs.map(|(pair, _)| *pair).take_while(|(node, _)| *node == id).collect()
    }

    fn due(&self, mut pairs: Vec<(NodeId, ServiceId)>) -> Vec<(NodeId, ServiceId)> {
        pairs.retain(|(node, service)| is_due(self.state, *node, *service));
        pairs
    }

    fn fall_behind_undue(&mut self, mut were_due: Vec<(NodeId, ServiceId)>) {
        were_due.retain(|(node, service)| !is_due(self.state, *node, *service));
        self.fall_behind(were_due);
    }
}
