//! Specs, grants, labels and the words for enumerations.

use super::{BadMessage, read_id, read_text};
use crate::base::{Label, Labels, limits};
use crate::domain::{
    Activation, Attribute, Availability, Constraint, Grant, MountKind, NodeRole, OfflinePolicy,
    Owner, Placement, ServiceSpec,
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

/// A node's role by its word.
///
/// # Errors
/// [`BadMessage`] unless it is `manager` or `worker`.
pub fn read_role(text: &str) -> Result<NodeRole, BadMessage> {
    match text {
        "manager" => Ok(NodeRole::Manager),
        "worker" => Ok(NodeRole::Worker),
        _ => Err(BadMessage::new("role", "neither manager nor worker")),
    }
}

/// The word for a node's role.
#[must_use]
pub fn role_text(role: NodeRole) -> &'static str {
    match role {
        NodeRole::Manager => "manager",
        NodeRole::Worker => "worker",
    }
}

/// An availability by its word; `None` for the empty text.
///
/// # Errors
/// [`BadMessage`] unless it is empty, `active`, `pause` or `drain`.
pub fn read_availability(text: &str) -> Result<Option<Availability>, BadMessage> {
    match text {
        "" => Ok(None),
        "active" => Ok(Some(Availability::Active)),
        "pause" => Ok(Some(Availability::Pause)),
        "drain" => Ok(Some(Availability::Drain)),
        _ => Err(BadMessage::new("availability", "none of active, pause, drain")),
    }
}

/// The word for an availability.
#[must_use]
pub fn availability_text(availability: Availability) -> &'static str {
    match availability {
        Availability::Active => "active",
        Availability::Pause => "pause",
        Availability::Drain => "drain",
    }
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

/// A service's spec. Empty words mean the defaults.
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
    let mount = match sent.mount.as_str() {
        "" | "tmpfs" => MountKind::Tmpfs,
        "fuse" => MountKind::Fuse,
        _ => return Err(BadMessage::new("mount", "none of tmpfs, fuse")),
    };
    let activation = match sent.activation.as_str() {
        "" | "running" => Activation::Running,
        "placed" => Activation::Placed,
        _ => return Err(BadMessage::new("activation", "neither running nor placed")),
    };
    Ok(ServiceSpec {
        placement,
        mount,
        activation,
        owner: Owner { uid: sent.owner_uid, gid: sent.owner_gid },
        offline: sent.offline_max_age_s.map_or(OfflinePolicy::Keep, OfflinePolicy::MaxAge),
        labels: read_labels(&sent.labels)?,
    })
}

/// A service's spec as it is sent.
#[must_use]
pub fn write_spec(spec: &ServiceSpec) -> api::ServiceSpec {
    api::ServiceSpec {
        nodes: spec.placement.nodes.iter().map(ToString::to_string).collect(),
        constraints: spec.placement.constraints.iter().map(write_constraint).collect(),
        everywhere: spec.placement.everywhere,
        mount: mount_text(spec.mount).to_owned(),
        activation: activation_text(spec.activation).to_owned(),
        owner_uid: spec.owner.uid,
        owner_gid: spec.owner.gid,
        offline_max_age_s: max_age(spec.offline),
        labels: write_labels(&spec.labels),
    }
}

pub(super) fn mount_text(mount: MountKind) -> &'static str {
    match mount {
        MountKind::Tmpfs => "tmpfs",
        MountKind::Fuse => "fuse",
    }
}

pub(super) fn activation_text(activation: Activation) -> &'static str {
    match activation {
        Activation::Running => "running",
        Activation::Placed => "placed",
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
    }
}
