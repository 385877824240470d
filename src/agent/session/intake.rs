//! What a leader says, checked: after this module nothing has a wrong length.

use std::collections::BTreeSet;
use std::fmt;

use crate::agent::vault::{BadSet, ServiceFiles};
use skep_core::base::{Epoch, Name, NodeId, Revision, ServiceId, limits};
use skep_core::wire::api;

/// A message that no manager of ours sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the manager sent a malformed message: {0}")]
pub struct Malformed(pub &'static str);

/// The answer to a hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// Its half of the session key.
    pub session_public: [u8; 32],
    /// Who leads.
    pub leader: NodeId,
    /// The cluster's name, for people.
    pub cluster: String,
    /// All managers, `host:port`.
    pub addresses: Vec<String>,
    /// Which history.
    pub epoch: Epoch,
    /// What the leader has applied.
    pub revision: Revision,
}

/// A service that is placed on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its id.
    pub id: ServiceId,
    /// Its name.
    pub name: Name,
    /// Who may run it, beside root.
    pub owner_uid: u32,
    /// Due here even when nothing runs.
    pub always: bool,
    /// How many secrets it is granted.
    pub grants: u32,
}

/// A set that stays unapplied: what it is about could be read, the rest not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Which service.
    pub service: ServiceId,
    /// Why.
    pub why: BadSet,
}

/// A push, checked. What is taken comes first.
#[derive(Debug, PartialEq)]
pub struct Delivery {
    /// The push's number.
    pub number: u64,
    /// What was due then.
    pub revision: Revision,
    /// Nothing may stay of these.
    pub gone: Vec<ServiceId>,
    /// New or changed.
    pub sets: Vec<ServiceFiles>,
    /// Sets that are outside the rules: reported, never applied.
    pub unreadable: Vec<Unreadable>,
    /// Sealed values of versions that are not here yet.
    pub values: Vec<api::Value>,
}

impl fmt::Display for Welcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "welcome from {} at {}", self.leader, self.revision)
    }
}

impl Welcome {
    /// Checks a welcome.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn read(welcome: api::Welcome) -> Result<Self, Malformed> {
        let tail: [u8; 16] =
            welcome.epoch_tail.as_slice().try_into().ok().ok_or(Malformed("epoch"))?;
        let session_public =
            welcome.session_public.as_slice().try_into().ok().ok_or(Malformed("session key"))?;
        let mut addresses = welcome.addresses;
        addresses.retain(|address| !address.is_empty() && address.len() <= 255);
        addresses.truncate(limits::MANAGERS.saturating_mul(4));
        Ok(Self {
            session_public,
            leader: NodeId::try_from(welcome.leader.as_slice())
                .ok()
                .ok_or(Malformed("leader id"))?,
            cluster: welcome.cluster_name.chars().take(limits::NAME_CHARS).collect(),
            addresses,
            epoch: Epoch { counter: welcome.epoch_counter, tail },
            revision: Revision(welcome.revision),
        })
    }
}

/// Checks a push; answers the whole list of placed services where it has one.
///
/// # Errors
/// [`Malformed`].
pub fn read_push(
    push: api::Push,
    mut values: Vec<api::Value>,
) -> Result<(Option<Vec<Placed>>, Delivery), Malformed> {
    let placed = if push.placed_changed {
        if push.placed.len() > limits::SERVICES {
            return Err(Malformed("too many services"));
        }
        Some(push.placed.iter().map(read_placed).collect::<Result<Vec<_>, _>>()?)
    } else {
        None
    };
    let gone = push.gone.iter().map(|id| service(id)).collect::<Result<Vec<_>, _>>()?;
    let (mut sets, mut unreadable) = (Vec::new(), Vec::new());
    for set in &push.sets {
        match ServiceFiles::try_from(set) {
            Ok(set) => sets.push(set),
            Err(why) => unreadable.push(Unreadable { service: service(&set.service)?, why }),
        }
    }
    let mut named = BTreeSet::new();
    let all = sets.iter().map(|set| set.service).chain(unreadable.iter().map(|bad| bad.service));
    if !gone.iter().copied().chain(all).all(|id| named.insert(id)) {
        return Err(Malformed("a service is named twice"));
    }
    values.extend(push.values);
    let revision = Revision(push.revision);
    Ok((placed, Delivery { number: push.number, revision, gone, sets, unreadable, values }))
}

fn read_placed(placed: &api::PlacedService) -> Result<Placed, Malformed> {
    Ok(Placed {
        id: service(&placed.id)?,
        name: placed.name.parse().ok().ok_or(Malformed("service name"))?,
        owner_uid: placed.owner_uid,
        always: placed.activation == "placed",
        grants: placed.grants,
    })
}

fn service(id: &[u8]) -> Result<ServiceId, Malformed> {
    ServiceId::try_from(id).ok().ok_or(Malformed("service id"))
}
