//! What is due on a node: pure, and indexed both ways, so that a change costs
//! what it touches and not the cluster's size.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::hook::OnChange;
use super::spec::{Activation, Grant, MountKind, OfflinePolicy, Owner};
use super::state::{Availability, Nodes, State, Version};
use crate::audit::Digest;
use crate::base::{Name, NodeId, SecretId, ServiceId, Target};

/// All that is due of one service on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSet {
    /// Which service.
    pub service: ServiceId,
    /// Its name.
    pub name: Name,
    /// How it is mounted.
    pub mount: MountKind,
    /// When it is delivered.
    pub activation: Activation,
    /// Who owns its directory.
    pub owner: Owner,
    /// How long it stays offline.
    pub offline: OfflinePolicy,
    /// Whether it is written down there when it was last confirmed.
    pub fresh: bool,
    /// What is done there once it has changed.
    pub on_change: OnChange,
    /// Its files in the order of their targets; empty where nothing is granted.
    pub files: Vec<FileAssignment>,
}

/// One file that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileAssignment {
    /// Its name.
    pub target: Target,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its permissions.
    pub mode: u32,
    /// Which secret.
    pub secret: SecretId,
    /// Which version's number.
    pub number: u32,
    /// The version.
    pub version: Arc<Version>,
}

/// The sets due on `node` while `running` are the services that it reports
/// running: one per service that is placed there, and running or activated by
/// placement. A service placed but idle is not in it; a drained node gets none,
/// a paused one only what it has already.
#[must_use]
pub fn assignments(state: &State, node: NodeId, running: &BTreeSet<ServiceId>) -> Vec<ServiceSet> {
    let due = |service: &ServiceId| match state.services.get(service)?.spec.activation {
        Activation::Placed => set_of(state, *service),
        Activation::Running if running.contains(service) => set_of(state, *service),
        Activation::Running => None,
    };
    placed(state, node).iter().filter_map(due).collect()
}

/// The set of one service, wherever it is due; `None` for no such service.
#[must_use]
pub fn set_of(state: &State, service: ServiceId) -> Option<ServiceSet> {
    let found = state.services.get(&service)?;
    let file = |(target, grant): (&Target, &Grant)| {
        let secret = state.secrets.get(&grant.secret)?;
        let number = grant.pin.unwrap_or(secret.current);
        Some(FileAssignment {
            target: target.clone(),
            uid: grant.uid,
            gid: grant.gid,
            mode: grant.mode,
            secret: grant.secret,
            number,
            version: Arc::clone(secret.versions.get(&number)?),
        })
    };
    Some(ServiceSet {
        service,
        name: found.name.clone(),
        mount: found.spec.mount,
        activation: found.spec.activation,
        owner: found.spec.owner,
        offline: found.spec.offline,
        fresh: found.spec.fresh,
        on_change: found.spec.on_change.clone(),
        files: found.grants.iter().filter_map(file).collect(),
    })
}

/// The services placed on `node`, whether they run or not.
#[must_use]
pub fn placed(state: &State, node: NodeId) -> BTreeSet<ServiceId> {
    let services = state.indexes.places.on(node);
    services.filter(|service| admitted(state, node, *service)).collect()
}

/// The nodes on which `service` may run.
#[must_use]
pub fn nodes_of(state: &State, service: ServiceId) -> Nodes {
    let nodes = state.indexes.places.of(service);
    nodes.filter(|node| admitted(state, *node, service)).collect()
}

/// Whether something of `service` may be on `node` now: placed there, and the
/// node takes it.
#[must_use]
pub fn is_due(state: &State, node: NodeId, service: ServiceId) -> bool {
    state.indexes.places.allow(node, service) && admitted(state, node, service)
}

/// What the node's availability says of a service that is placed there.
fn admitted(state: &State, node: NodeId, service: ServiceId) -> bool {
    state.nodes.get(&node).is_some_and(|found| match found.availability {
        Availability::Active => true,
        Availability::Pause => state.exposed.contains_key(&(node, service)),
        Availability::Drain => false,
    })
}

impl ServiceSet {
    /// BLAKE3 over everything but values: version ids stand for those. Every
    /// field has a fixed width or its length before it, so that no two sets
    /// read alike.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Digest::new("skep 1 service set");
        hash.bytes(self.service.as_bytes());
        hash.bytes(self.name.as_str().as_bytes());
        hash.number(match self.mount {
            MountKind::Tmpfs => 0,
            MountKind::Fuse => 1,
        });
        hash.number(match self.activation {
            Activation::Running => 0,
            Activation::Placed => 1,
        });
        hash.number(self.owner.uid.into());
        hash.number(self.owner.gid.into());
        hash.option(match self.offline {
            OfflinePolicy::Keep => None,
            OfflinePolicy::MaxAge(seconds) => Some(seconds),
        });
        hash.number(self.fresh.into());
        hash.bytes(self.on_change.written().as_bytes());
        hash.count(self.files.len());
        for file in &self.files {
            hash.bytes(file.target.as_str().as_bytes());
            hash.number(file.uid.into());
            hash.number(file.gid.into());
            hash.number(file.mode.into());
            hash.bytes(file.secret.as_bytes());
            hash.number(file.number.into());
            hash.bytes(file.version.id.as_bytes());
            hash.number(file.version.size.into());
        }
        hash.end()
    }
}
