//! What is true of every state, by name: run after every step of every
//! simulation, and over a state that was read from bytes.

use std::collections::BTreeSet;

use super::apply::LEVEL;
use super::indexes::Indexes;
use super::spec::Owner;
use super::state::{NodeRole, State};
use super::weight;
use crate::base::{Name, limits};

/// One of them.
#[derive(Clone, Copy)]
pub struct Invariant {
    /// Its name.
    pub name: &'static str,
    /// Whether it holds.
    pub holds: fn(&State) -> bool,
}

impl std::fmt::Debug for Invariant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

macro_rules! all {
    ($($name:ident),* $(,)?) => {
        /// All of them.
        pub const ALL: &[Invariant] =
            &[$(Invariant { name: stringify!($name), holds: $name }),*];
    };
}

all![
    indexes_are_of_the_state,
    the_total_is_the_sum,
    a_level_comes_with_a_cluster,
    nothing_before_init,
    a_cluster_has_a_manager,
    every_manager_has_the_cluster_key,
    older_cluster_keys_are_a_chain,
    every_wrapped_key_can_be_opened,
    the_removed_are_gone,
    names_are_unique,
    names_are_no_ids,
    the_current_version_is_there,
    versions_are_kept_for_a_reason,
    values_are_within_limits,
    grants_are_of_secrets_there,
    pins_are_of_versions_there,
    what_goes_forward_only_is_current_everywhere,
    grants_lie_under_their_target,
    services_are_within_limits,
    exposed_pairs_are_of_nodes_there,
    exposed_pairs_are_due_or_behind,
    what_was_taken_is_pending,
    nothing_lies_in_the_future,
    opens_are_on_record_within_limits,
    answers_are_not_past_their_deadline,
    kinds_are_within_limits,
    operators_are_within_limits,
];

/// The names of those that do not hold.
#[must_use]
pub fn broken(state: &State) -> Vec<&'static str> {
    ALL.iter().filter(|one| !(one.holds)(state)).map(|one| one.name).collect()
}

fn indexes_are_of_the_state(state: &State) -> bool {
    state.indexes == Indexes::of(state)
}

fn the_total_is_the_sum(state: &State) -> bool {
    state.bytes == weight::state(state)
}

fn a_level_comes_with_a_cluster(state: &State) -> bool {
    let known = (1..=LEVEL).contains(&state.level);
    if state.cluster.is_some() { known } else { state.level == 0 }
}

fn nothing_before_init(state: &State) -> bool {
    state.cluster.is_some()
        || (state.nodes.is_empty()
            && state.operators.is_empty()
            && state.tokens.is_empty()
            && state.secrets.is_empty()
            && state.services.is_empty()
            && state.exposed.is_empty()
            && state.taken.is_empty()
            && state.opened.is_empty()
            && state.reporters.is_empty()
            && state.lapsed.is_empty())
}

fn a_cluster_has_a_manager(state: &State) -> bool {
    let managers = state.nodes.values().filter(|node| node.role == NodeRole::Manager).count();
    state.cluster.is_none() || (1..=limits::MANAGERS).contains(&managers)
}

fn every_manager_has_the_cluster_key(state: &State) -> bool {
    let managers = state.nodes.iter().filter(|(_, node)| node.role == NodeRole::Manager);
    let managers = managers.map(|(id, _)| id);
    state.cluster.as_deref().is_none_or(|cluster| managers.eq(cluster.cluster_key.boxes.keys()))
}

/// Each older key stands under the next one's wrap key, up to the one in use.
fn older_cluster_keys_are_a_chain(state: &State) -> bool {
    let Some(cluster) = state.cluster.as_deref() else { return true };
    let key = &cluster.cluster_key;
    let first = key.number.saturating_sub(u64::try_from(key.previous.len()).unwrap_or(u64::MAX));
    key.previous.len() <= limits::CLUSTER_KEYS
        && key.previous.keys().copied().eq(first..key.number)
        && key.previous.iter().all(|(number, key)| key.number == number.saturating_add(1))
}

fn every_wrapped_key_can_be_opened(state: &State) -> bool {
    let Some(cluster) = state.cluster.as_deref() else { return true };
    let key = &cluster.cluster_key;
    let mut versions = state.secrets.values().flat_map(|secret| secret.versions.values());
    cluster.issuing_key.number == key.number
        && versions.all(|version| {
            let number = version.data_key.number;
            number == key.number || key.previous.contains_key(&number)
        })
}

fn the_removed_are_gone(state: &State) -> bool {
    state.cluster.as_deref().is_none_or(|cluster| {
        let removed = &cluster.removed_managers;
        let manages = |id| state.nodes.get(id).is_some_and(|node| node.role == NodeRole::Manager);
        removed.len() <= limits::REMOVED
            && !removed.keys().any(|id| state.nodes.contains_key(id))
            && cluster.anchors.keys().all(manages)
    })
}

fn names_are_unique(state: &State) -> bool {
    let indexes = &state.indexes;
    indexes.secrets.len() == state.secrets.len()
        && indexes.services.len() == state.services.len()
        && indexes.nodes.len() == state.nodes.len()
        && indexes.operators.len() == state.operators.len()
}

/// What stands for a thing's id stands for nothing else.
fn names_are_no_ids(state: &State) -> bool {
    let secrets = state.secrets.values().map(|secret| &secret.name);
    let services = state.services.values().map(|service| &service.name);
    let nodes = state.nodes.values().map(|node| &node.name);
    let operators = state.operators.values().map(|operator| &operator.name);
    !secrets.chain(services).chain(nodes).chain(operators).any(Name::reads_as_id)
}

fn the_current_version_is_there(state: &State) -> bool {
    state.secrets.values().all(|secret| secret.versions.contains_key(&secret.current))
}

fn versions_are_kept_for_a_reason(state: &State) -> bool {
    state.secrets.iter().all(|(id, secret)| {
        if secret.versions.len() <= limits::VERSIONS {
            return true;
        }
        if secret.versions.len() > limits::PINNED_VERSIONS {
            return false;
        }
        let services = state.indexes.granted.get(id).into_iter().flatten();
        let services = services.filter_map(|(service, _)| state.services.get(service));
        let grants = services.flat_map(|service| service.grants.values());
        let pinned: BTreeSet<u32> =
            grants.filter(|grant| grant.secret == *id).filter_map(|grant| grant.pin).collect();
        secret.versions.keys().all(|number| *number == secret.current || pinned.contains(number))
    })
}

fn values_are_within_limits(state: &State) -> bool {
    state.secrets.values().flat_map(|secret| secret.versions.values()).all(|version| {
        let size = usize::try_from(version.size).unwrap_or(usize::MAX);
        (1..=limits::VALUE_BYTES).contains(&size) && version.value.0.len() >= size
    })
}

fn grants_are_of_secrets_there(state: &State) -> bool {
    let mut grants = state.services.values().flat_map(|service| service.grants.values());
    grants.all(|grant| state.secrets.contains_key(&grant.secret))
}

fn pins_are_of_versions_there(state: &State) -> bool {
    let mut grants = state.services.values().flat_map(|service| service.grants.values());
    grants.all(|grant| {
        let secret = state.secrets.get(&grant.secret);
        grant.pin.is_none_or(|pin| secret.is_some_and(|secret| secret.versions.contains_key(&pin)))
    })
}

/// Of a secret that is forward-only the newest version is in use, and no other.
fn what_goes_forward_only_is_current_everywhere(state: &State) -> bool {
    let forward = |id| state.secrets.get(id).is_some_and(|secret| secret.forward_only);
    let mut grants = state.services.values().flat_map(|service| service.grants.values());
    let mut secrets = state.secrets.values().filter(|secret| secret.forward_only);
    !grants.any(|grant| grant.pin.is_some() && forward(&grant.secret))
        && secrets.all(|secret| {
            secret.versions.keys().next_back() == Some(&secret.current)
                && secret.versions.values().all(|version| version.repeats.is_none())
        })
}

fn grants_lie_under_their_target(state: &State) -> bool {
    let mut grants = state.services.values().flat_map(|service| &service.grants);
    grants.all(|(target, grant)| {
        let owner = Owner { uid: grant.uid, gid: grant.gid };
        *target == grant.target && grant.mode <= 0o777 && owner.can_own()
    })
}

fn services_are_within_limits(state: &State) -> bool {
    state.services.values().all(|service| {
        let placement = &service.spec.placement;
        let size = |grant: &super::Grant| {
            let secret = state.secrets.get(&grant.secret)?;
            let version = secret.versions.get(&grant.pin.unwrap_or(secret.current))?;
            Some(u64::from(version.size))
        };
        service.grants.len() <= limits::GRANTS
            && placement.nodes.len() <= limits::PLACEMENT_NODES
            && placement.constraints.len() <= limits::CONSTRAINTS
            && (!placement.everywhere || placement.nodes.is_empty())
            && service.spec.owner.can_own()
            && service.grants.values().filter_map(size).sum::<u64>() <= limits::SERVICE_BYTES
    })
}

fn exposed_pairs_are_of_nodes_there(state: &State) -> bool {
    state.exposed.keys().all(|(node, _)| state.nodes.contains_key(node))
}

/// What a node has and is not due is pending: nothing taken is forgotten.
fn exposed_pairs_are_due_or_behind(state: &State) -> bool {
    state.exposed.iter().all(|((node, service), exposure)| {
        exposure.behind.is_some() || super::is_due(state, *node, *service)
    })
}

/// And of nothing else it is remembered that it was taken.
fn what_was_taken_is_pending(state: &State) -> bool {
    state.taken.keys().all(|(service, _)| state.indexes.behind_of.contains_key(service))
}

fn nothing_lies_in_the_future(state: &State) -> bool {
    let now = state.revision;
    state.exposed.values().all(|pair| {
        pair.since <= pair.clear
            && pair.clear <= now
            && pair.behind.is_none_or(|behind| (pair.clear..=now).contains(&behind))
    }) && state.taken.values().all(|taken| *taken <= now)
        && state.services.values().all(|service| service.revision <= now)
        && state.secrets.values().all(|secret| secret.revision <= now)
        && state.answers.values().all(|answer| answer.revision <= now)
        && state.opened.keys().all(|(_, revision)| *revision <= now)
}

fn opens_are_on_record_within_limits(state: &State) -> bool {
    state.opened.values().all(|list| (1..=limits::OPENED_BATCH).contains(&list.len()))
        && state.opened.values().map(|list| list.len()).sum::<usize>() <= limits::OPENED
        && state.reporters.keys().all(|node| state.nodes.contains_key(node))
        && state.lapsed.len() <= limits::LAPSED
}

fn answers_are_not_past_their_deadline(state: &State) -> bool {
    let latest = state.stamp.plus_ms(limits::DEADLINE_MS);
    state.answers.len() <= limits::REMEMBERED
        && state.answers.values().all(|answer| (state.stamp..=latest).contains(&answer.deadline))
}

fn kinds_are_within_limits(state: &State) -> bool {
    state.secrets.len() <= limits::SECRETS
        && state.services.len() <= limits::SERVICES
        && state.nodes.len() <= limits::NODES
        && state.operators.len() <= limits::OPERATORS
        && state.tokens.len() <= limits::TOKENS
        && state.indexes.places.pairs() <= limits::PLACEMENTS
}

/// Who is bound to nodes is bound to names, and no two operators show one key.
fn operators_are_within_limits(state: &State) -> bool {
    let keys = state.operators.values().map(|of| of.key);
    keys.collect::<BTreeSet<_>>().len() == state.operators.len()
        && state.operators.values().all(|of| {
            of.constraints.len() <= limits::CONSTRAINTS
                && of.constraints.iter().all(|one| one.check().is_ok())
                && (of.constraints.is_empty() || of.scope.is_bounded())
        })
}
