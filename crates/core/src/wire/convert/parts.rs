//! Specs, grants, labels and enumerations.

use std::collections::BTreeSet;

use super::{BadMessage, read_id, read_text};
use crate::base::{Label, Labels, limits};
use crate::domain::{
    Activation, Attribute, Availability, BadUnit, Constraint, Grant, MountKind, NodeRole,
    OfflinePolicy, OnChange, Owner, Placement, ServiceSpec, UnitName,
};
use crate::wire::api;

/// The labels of a message.
///
/// # Errors
/// [`BadMessage`] for an unsound label, or too many.
pub fn read_labels(pairs: &[api::LabelPair]) -> Result<Labels, BadMessage> {
    let labels = read_label_list(pairs)?;
    Labels::new(labels).map_err(|bad| BadMessage::new("labels", bad.to_string()))
}

pub(super) fn read_label_list(pairs: &[api::LabelPair]) -> Result<Vec<Label>, BadMessage> {
    if pairs.len() > limits::LABELS {
        return Err(BadMessage::new("labels", "too many labels: at most 64, and 4 KiB in all"));
    }
    let read = |pair: &api::LabelPair| {
        Label::new(&pair.key, &pair.value).map_err(|bad| BadMessage::new("labels", bad.to_string()))
    };
    pairs.iter().map(read).collect()
}

/// Labels as they are sent.
#[must_use]
pub fn write_labels(labels: &Labels) -> Vec<api::LabelPair> {
    let write = |(key, value): (&str, &str)| api::LabelPair {
        key: key.to_owned(),
        value: value.to_owned(),
    };
    labels.iter().map(write).collect()
}

/// A node's role.
///
/// # Errors
/// [`BadMessage`] unless it is one that this version knows.
pub fn read_role(sent: api::NodeRole) -> Result<NodeRole, BadMessage> {
    match sent {
        api::NodeRole::Manager => Ok(NodeRole::Manager),
        api::NodeRole::Worker => Ok(NodeRole::Worker),
        api::NodeRole::Unspecified => Err(BadMessage::new("role", "neither manager nor worker")),
    }
}

/// A node's role as it is sent.
#[must_use]
pub fn write_role(role: NodeRole) -> api::NodeRole {
    match role {
        NodeRole::Manager => api::NodeRole::Manager,
        NodeRole::Worker => api::NodeRole::Worker,
    }
}

/// An availability; `None` where it stays as it is. `sent` is the field's number.
///
/// # Errors
/// [`BadMessage`] for one that this version does not know.
pub(super) fn read_availability(sent: i32) -> Result<Option<Availability>, BadMessage> {
    match known::<api::Availability>("availability", sent)? {
        api::Availability::Unspecified => Ok(None),
        api::Availability::Active => Ok(Some(Availability::Active)),
        api::Availability::Pause => Ok(Some(Availability::Pause)),
        api::Availability::Drain => Ok(Some(Availability::Drain)),
    }
}

/// An availability as it is sent.
#[must_use]
pub fn write_availability(availability: Availability) -> api::Availability {
    match availability {
        Availability::Active => api::Availability::Active,
        Availability::Pause => api::Availability::Pause,
        Availability::Drain => api::Availability::Drain,
    }
}

/// What a field's number stands for; a number of a newer version is not guessed at.
fn known<T: TryFrom<i32>>(field: &'static str, sent: i32) -> Result<T, BadMessage> {
    T::try_from(sent).map_err(|_other| BadMessage::new(field, "not known to this version"))
}

/// A constraint of a message.
///
/// # Errors
/// [`BadMessage`] for an attribute that is none, or an unsound label key.
pub fn read_constraint(sent: &api::Constraint) -> Result<Constraint, BadMessage> {
    let attribute: Attribute =
        sent.attribute.parse().map_err(|bad: crate::domain::BadConstraint| {
            BadMessage::new("constraint", bad.to_string())
        })?;
    let constraint = Constraint { attribute, equal: sent.equal, value: sent.value.clone() };
    constraint.check().map_err(|bad| BadMessage::new("constraint", bad.to_string()))?;
    Ok(constraint)
}

/// A constraint as it is sent.
#[must_use]
pub fn write_constraint(constraint: &Constraint) -> api::Constraint {
    api::Constraint {
        attribute: constraint.attribute.to_string(),
        equal: constraint.equal,
        value: constraint.value.clone(),
    }
}

/// A service's spec. What is unspecified means the defaults.
///
/// # Errors
/// [`BadMessage`] for the first field that is unsound.
pub fn read_spec(sent: &api::ServiceSpec) -> Result<ServiceSpec, BadMessage> {
    if sent.nodes.len() > limits::PLACEMENT_NODES {
        return Err(BadMessage::new("nodes", "more names than a placement may hold"));
    }
    if sent.constraints.len() > limits::CONSTRAINTS {
        return Err(BadMessage::new("constraints", "more than a placement may hold"));
    }
    let nodes = sent.nodes.iter().map(|name| read_text("nodes", name));
    let constraints = sent.constraints.iter().map(read_constraint);
    let placement = Placement {
        nodes: nodes.collect::<Result<_, _>>()?,
        constraints: constraints.collect::<Result<_, _>>()?,
        everywhere: sent.everywhere,
    };
    let mount = match known::<api::Mount>("mount", sent.mount)? {
        api::Mount::Unspecified | api::Mount::Tmpfs => MountKind::Tmpfs,
        api::Mount::Fuse => MountKind::Fuse,
    };
    let activation = match known::<api::Activation>("activation", sent.activation)? {
        api::Activation::Unspecified | api::Activation::Running => Activation::Running,
        api::Activation::Placed => Activation::Placed,
    };
    Ok(ServiceSpec {
        placement,
        mount,
        activation,
        owner: Owner { uid: sent.owner_uid, gid: sent.owner_gid },
        offline: sent.offline_max_age_s.map_or(OfflinePolicy::Keep, OfflinePolicy::MaxAge),
        fresh: sent.fresh,
        on_change: OnChange::read(&sent.on_change)
            .map_err(|bad| BadMessage::new("on_change", bad.to_string()))?,
        units: read_units(&sent.units)?,
        labels: read_labels(&sent.labels)?,
    })
}

/// The names of units, as often as they may be named.
fn read_units(sent: &[String]) -> Result<BTreeSet<UnitName>, BadMessage> {
    if sent.len() > limits::UNITS_OF_ONE {
        return Err(BadMessage::new("units", "more than a service may have"));
    }
    let unit = |name: &String| {
        name.parse().map_err(|bad: BadUnit| BadMessage::new("units", bad.to_string()))
    };
    sent.iter().map(unit).collect()
}

/// A service's spec as it is sent.
#[must_use]
pub fn write_spec(spec: &ServiceSpec) -> api::ServiceSpec {
    api::ServiceSpec {
        nodes: spec.placement.nodes.iter().map(ToString::to_string).collect(),
        constraints: spec.placement.constraints.iter().map(write_constraint).collect(),
        everywhere: spec.placement.everywhere,
        mount: write_mount(spec.mount).into(),
        activation: write_activation(spec.activation).into(),
        owner_uid: spec.owner.uid,
        owner_gid: spec.owner.gid,
        offline_max_age_s: max_age(spec.offline),
        fresh: spec.fresh,
        on_change: spec.on_change.written(),
        units: spec.units.iter().map(ToString::to_string).collect(),
        labels: write_labels(&spec.labels),
    }
}

pub(super) fn write_mount(mount: MountKind) -> api::Mount {
    match mount {
        MountKind::Tmpfs => api::Mount::Tmpfs,
        MountKind::Fuse => api::Mount::Fuse,
    }
}

pub(super) fn write_activation(activation: Activation) -> api::Activation {
    match activation {
        Activation::Running => api::Activation::Running,
        Activation::Placed => api::Activation::Placed,
    }
}

pub(super) fn max_age(offline: OfflinePolicy) -> Option<u64> {
    match offline {
        OfflinePolicy::Keep => None,
        OfflinePolicy::MaxAge(seconds) => Some(seconds),
    }
}

/// A grant of a message.
///
/// # Errors
/// [`BadMessage`] for an unsound secret id or target.
pub fn read_grant(sent: &api::Grant) -> Result<Grant, BadMessage> {
    Ok(Grant {
        secret: read_id("secret", &sent.secret)?,
        target: read_text("target", &sent.target)?,
        uid: sent.uid,
        gid: sent.gid,
        mode: sent.mode,
        pin: sent.pin,
        write: sent.write,
    })
}

/// A grant as it is sent.
#[must_use]
pub fn write_grant(grant: &Grant) -> api::Grant {
    api::Grant {
        secret: grant.secret.as_bytes().to_vec(),
        target: grant.target.to_string(),
        uid: grant.uid,
        gid: grant.gid,
        mode: grant.mode,
        pin: grant.pin,
        write: grant.write,
    }
}
