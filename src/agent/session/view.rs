//! What `skep agent status` shows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::core::{Link, Session};
use skep_core::base::{BootTime, Revision, ServiceId};

/// How the agent stands with its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// It has a session.
    Connected,
    /// It looks for one.
    Offline,
    /// Managers were reached and don't accept it.
    Refused,
}

/// What there is of a service on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceState {
    /// Nothing runs.
    Idle,
    /// Something runs, and its set is not here.
    Waiting,
    /// Its set is here.
    InPlace,
    /// Its set can't be put in place.
    Failed,
}

/// A look at the core.
#[derive(Clone, Debug)]
pub struct View {
    /// How it stands.
    pub state: LinkState,
    /// Why it is offline or refused; else empty.
    pub why: String,
    /// The manager in use; else empty.
    pub manager: String,
    /// The newest revision taken.
    pub revision: Revision,
    /// The cluster's name.
    pub cluster: String,
    /// Since when there is no session.
    pub offline_since: Option<BootTime>,
    /// Services placed, running or with files here, by name.
    pub services: Vec<ServiceView>,
}

/// One service on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceView {
    /// Its id.
    pub id: ServiceId,
    /// Its name; empty where it was never told.
    pub name: String,
    /// Whether it is placed here.
    pub placed: bool,
    /// How many workloads run.
    pub workloads: u32,
    /// What there is of it.
    pub state: ServiceState,
    /// Of the set in place.
    pub generation: u64,
    /// In the set in place.
    pub files: u32,
    /// Its directory on the host.
    pub path: Option<PathBuf>,
    /// Why it failed; else empty.
    pub why: String,
    /// Why its last hook failed; else empty.
    pub hook: String,
}

impl Session {
    /// How things stand.
    #[must_use]
    pub fn view(&self) -> View {
        let manager = match &self.link {
            Link::Open(open) => open.address.clone(),
            Link::Idle
            | Link::Connecting
            | Link::Reached { .. }
            | Link::Greeted { .. }
            | Link::Cutting => String::new(),
        };
        let state = match (&self.link, self.refused) {
            (Link::Open(_), _) => LinkState::Connected,
            (_, true) => LinkState::Refused,
            (_, false) => LinkState::Offline,
        };
        let connected = state == LinkState::Connected;
        View {
            state,
            why: if connected { String::new() } else { self.why.clone() },
            manager,
            revision: self.memory.revision,
            cluster: self.memory.cluster.clone(),
            offline_since: self.offline_since,
            services: self.services(),
        }
    }

    fn services(&self) -> Vec<ServiceView> {
        let placed: BTreeMap<_, _> =
            self.memory.placed.iter().flatten().map(|placed| (placed.id, placed)).collect();
        let mut ids: BTreeSet<ServiceId> = placed.keys().copied().collect();
        ids.extend(self.shelf.keys());
        ids.extend(self.running());
        let mut services: Vec<ServiceView> = ids
            .into_iter()
            .map(|id| {
                let named = placed.get(&id).map(|placed| placed.name.as_str());
                let named = named.or_else(|| Some(self.memory.manual.get(&id)?.as_str()));
                self.service(id, named.unwrap_or_default(), placed.contains_key(&id))
            })
            .collect();
        services.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        services
    }

    fn service(&self, id: ServiceId, name: &str, placed: bool) -> ServiceView {
        let by_hand = u32::from(self.memory.manual.contains_key(&id));
        let workloads = self.crowd.count(id).saturating_add(by_hand);
        let shelved = self.shelf.get(&id);
        let whole = shelved.is_some_and(|shelved| shelved.digest.is_some());
        let failed = self.failed.get(&id);
        let state = match (failed, whole, workloads) {
            (Some(_), _, _) => ServiceState::Failed,
            (None, true, _) => ServiceState::InPlace,
            (None, false, 0) => ServiceState::Idle,
            (None, false, _) => ServiceState::Waiting,
        };
        ServiceView {
            id,
            name: name.to_owned(),
            placed,
            workloads,
            state,
            generation: shelved.map(|shelved| shelved.generation).unwrap_or_default(),
            files: shelved.map(|shelved| shelved.files).unwrap_or_default(),
            path: shelved.and_then(|shelved| shelved.path.clone()),
            why: failed.map(|failed| failed.why.clone()).unwrap_or_default(),
            hook: self.hooks.failed(id).unwrap_or_default().to_owned(),
        }
    }
}
