//! The things that commands and the state share.

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::{Bad, Read, shape};
use crate::base::{BadId, Epoch, Label, Labels, Name, NodeId, Revision, Stamp, WrappedKey};
use crate::domain::{
    Activation, Actor, Anchor, Attribute, Availability, Cluster, ClusterKey, Constraint, Grant,
    Issuers, Member, MountKind, Node, NodeRole, OfflinePolicy, OnChange, Owner, Placement,
    Recipient, Recovered, Rekey, Renewal, ServiceSpec, Token, UnitName,
};

pub(super) fn id<T>(field: &str, bytes: &[u8]) -> Read<T>
where
    T: for<'a> TryFrom<&'a [u8], Error = BadId>,
{
    T::try_from(bytes).map_err(|bad| Bad::new(field, bad))
}

pub(super) fn fixed<const N: usize>(field: &str, bytes: &[u8]) -> Read<[u8; N]> {
    bytes.try_into().map_err(|_| Bad::new(field, format_args!("not {N} bytes")))
}

pub(super) fn text<T: FromStr<Err: fmt::Display>>(field: &str, text: &str) -> Read<T> {
    text.parse().map_err(|bad| Bad::new(field, bad))
}

pub(super) fn there<T>(field: &str, part: Option<T>) -> Read<T> {
    part.ok_or_else(|| Bad::new(field, "missing"))
}

pub(super) fn unknown<T>(field: &str, number: u32) -> Read<T> {
    Err(Bad::new(field, format_args!("{number} is not known")))
}

pub(super) fn label_list(list: &[shape::Label]) -> Read<Vec<Label>> {
    let read = |label: &shape::Label| Label::new(&label.key, &label.value);
    list.iter().map(read).collect::<Result<_, _>>().map_err(|bad| Bad::new("label", bad))
}

pub(super) fn labels(list: &[shape::Label]) -> Read<Labels> {
    Labels::new(label_list(list)?).map_err(|bad| Bad::new("labels", bad))
}

pub(super) fn write_labels(labels: &Labels) -> Vec<shape::Label> {
    let write =
        |(key, value): (&str, &str)| shape::Label { key: key.to_owned(), value: value.to_owned() };
    labels.iter().map(write).collect()
}

pub(super) fn role(number: u32) -> Read<NodeRole> {
    match number {
        1 => Ok(NodeRole::Manager),
        2 => Ok(NodeRole::Worker),
        _ => unknown("role", number),
    }
}

pub(super) fn write_role(role: NodeRole) -> u32 {
    match role {
        NodeRole::Manager => 1,
        NodeRole::Worker => 2,
    }
}

pub(super) fn availability(number: u32) -> Read<Availability> {
    match number {
        1 => Ok(Availability::Active),
        2 => Ok(Availability::Pause),
        3 => Ok(Availability::Drain),
        _ => unknown("availability", number),
    }
}

pub(super) fn write_availability(availability: Availability) -> u32 {
    match availability {
        Availability::Active => 1,
        Availability::Pause => 2,
        Availability::Drain => 3,
    }
}

pub(super) fn wrapped(key: Option<shape::WrappedKey>) -> Read<WrappedKey> {
    let key = there("wrapped key", key)?;
    Ok(WrappedKey { number: key.number, bytes: key.bytes })
}

pub(super) fn write_wrapped(key: &WrappedKey) -> shape::WrappedKey {
    shape::WrappedKey { number: key.number, bytes: key.bytes.clone() }
}

pub(super) fn actor(shape: Option<shape::Actor>) -> Read<Actor> {
    Ok(match there("actor", shape.and_then(|shape| shape.of))? {
        shape::actor::Of::Leader(node) => Actor::Leader(id("actor", &node)?),
        shape::actor::Of::Local(local) => {
            Actor::Local { uid: local.uid, manager: id("actor", &local.manager)? }
        }
        shape::actor::Of::Operator(operator) => Actor::Operator(id("actor", &operator)?),
        shape::actor::Of::Node(node) => Actor::Node(id("actor", &node)?),
        shape::actor::Of::Token(token) => Actor::Token(id("actor", &token)?),
    })
}

pub(super) fn write_actor(of: &Actor) -> shape::Actor {
    let of = match of {
        Actor::Leader(node) => shape::actor::Of::Leader(node.as_bytes().to_vec()),
        Actor::Local { uid, manager } => {
            let manager = manager.as_bytes().to_vec();
            shape::actor::Of::Local(shape::LocalUser { uid: *uid, manager })
        }
        Actor::Operator(operator) => shape::actor::Of::Operator(operator.as_bytes().to_vec()),
        Actor::Node(node) => shape::actor::Of::Node(node.as_bytes().to_vec()),
        Actor::Token(token) => shape::actor::Of::Token(token.as_bytes().to_vec()),
    };
    shape::Actor { of: Some(of) }
}

pub(super) fn spec(spec: Option<shape::ServiceSpec>) -> Read<ServiceSpec> {
    let spec = there("spec", spec)?;
    let nodes = spec.nodes.iter().map(|name| text("placement node", name));
    let constraints = spec.constraints.into_iter().map(constraint);
    Ok(ServiceSpec {
        placement: Placement {
            nodes: nodes.collect::<Result<_, _>>()?,
            constraints: constraints.collect::<Result<_, _>>()?,
            everywhere: spec.everywhere,
        },
        mount: match spec.mount {
            1 => MountKind::Tmpfs,
            2 => MountKind::Fuse,
            other => return unknown("mount", other),
        },
        activation: match spec.activation {
            1 => Activation::Running,
            2 => Activation::Placed,
            other => return unknown("activation", other),
        },
        owner: Owner { uid: spec.owner_uid, gid: spec.owner_gid },
        offline: spec.offline_max_age_s.map_or(OfflinePolicy::Keep, OfflinePolicy::MaxAge),
        fresh: spec.fresh,
        on_change: hook(&spec.on_change)?,
        units: units(&spec.units)?,
        labels: labels(&spec.labels)?,
    })
}

fn hook(written: &str) -> Read<OnChange> {
    OnChange::read(written).map_err(|bad| Bad::new("on_change", bad))
}

fn units(names: &[String]) -> Read<BTreeSet<UnitName>> {
    names.iter().map(|name| text("unit", name)).collect()
}

pub(super) fn constraint(constraint: shape::Constraint) -> Read<Constraint> {
    let attribute: Attribute = text("constraint", &constraint.attribute)?;
    Ok(Constraint { attribute, equal: constraint.equal, value: constraint.value })
}

pub(super) fn write_constraint(constraint: &Constraint) -> shape::Constraint {
    shape::Constraint {
        attribute: constraint.attribute.to_string(),
        equal: constraint.equal,
        value: constraint.value.clone(),
    }
}

pub(super) fn write_spec(spec: &ServiceSpec) -> shape::ServiceSpec {
    shape::ServiceSpec {
        nodes: spec.placement.nodes.iter().map(ToString::to_string).collect(),
        constraints: spec.placement.constraints.iter().map(write_constraint).collect(),
        everywhere: spec.placement.everywhere,
        mount: match spec.mount {
            MountKind::Tmpfs => 1,
            MountKind::Fuse => 2,
        },
        activation: match spec.activation {
            Activation::Running => 1,
            Activation::Placed => 2,
        },
        owner_uid: spec.owner.uid,
        owner_gid: spec.owner.gid,
        offline_max_age_s: match spec.offline {
            OfflinePolicy::Keep => None,
            OfflinePolicy::MaxAge(seconds) => Some(seconds),
        },
        fresh: spec.fresh,
        on_change: spec.on_change.written(),
        units: spec.units.iter().map(ToString::to_string).collect(),
        labels: write_labels(&spec.labels),
    }
}

pub(super) fn grant(grant: &shape::Grant) -> Read<Grant> {
    Ok(Grant {
        secret: id("grant", &grant.secret)?,
        target: text("target", &grant.target)?,
        uid: grant.uid,
        gid: grant.gid,
        mode: grant.mode,
        pin: grant.pin,
        write: grant.write,
    })
}

pub(super) fn write_grant(grant: &Grant) -> shape::Grant {
    shape::Grant {
        secret: grant.secret.as_bytes().to_vec(),
        target: grant.target.to_string(),
        uid: grant.uid,
        gid: grant.gid,
        mode: grant.mode,
        pin: grant.pin,
        write: grant.write,
    }
}

/// A key boxed to managers.
pub(super) fn boxes(list: Vec<shape::KeyBox>) -> Read<BTreeMap<NodeId, Vec<u8>>> {
    list.into_iter().map(|of| Ok((id("box", &of.manager)?, of.boxed))).collect()
}

pub(super) fn write_boxes(boxes: &BTreeMap<NodeId, Vec<u8>>) -> Vec<shape::KeyBox> {
    let write = |(id, boxed): (&NodeId, &Vec<u8>)| shape::KeyBox {
        manager: id.as_bytes().to_vec(),
        boxed: boxed.clone(),
    };
    boxes.iter().map(write).collect()
}

pub(super) fn cluster(of: shape::Cluster) -> Read<Cluster> {
    let mut recipients = BTreeMap::new();
    for of in of.recipients {
        let recipient = Recipient {
            public: fixed("recipient", &of.public)?,
            label: of.label,
            only: of.only.map(|only| id("recipient", &only)).transpose()?,
        };
        recipients.insert(id("recipient", &of.id)?, recipient);
    }
    let previous = of.previous.into_iter().map(|of| Ok((of.number, wrapped(of.key)?)));
    let removed = of
        .removed_managers
        .iter()
        .map(|of| Ok((id("removed manager", &of.id)?, Stamp(of.removed))));
    Ok(Cluster {
        id: id("cluster", &of.id)?,
        name: text("cluster", &of.name)?,
        epoch: Epoch { counter: of.epoch_counter, tail: fixed("epoch", &of.epoch_tail)? },
        created: Stamp(of.created),
        root: of.root.into(),
        sealed_root_key: of.sealed_root_key.into(),
        issuing: of.issuing.into(),
        issuing_key: wrapped(of.issuing_key)?,
        recipients,
        cluster_key: ClusterKey {
            number: of.cluster_key_number,
            intake: fixed("intake", &of.intake)?,
            boxes: boxes(of.boxes)?,
            previous: previous.collect::<Read<_>>()?,
        },
        removed_managers: removed.collect::<Read<_>>()?,
        issuers: Issuers {
            current: Stamp(of.issuer),
            oldest: Stamp(of.oldest_issuer),
            rotating: of.rotating.map(Stamp),
        },
        recovered: of.recovered.as_ref().map(recovered).transpose()?.map(Arc::new),
        anchors: of.anchors.iter().map(anchor).collect::<Read<_>>()?,
    })
}

/// From where a command came.
pub(super) fn address(bytes: &[u8]) -> Read<Option<IpAddr>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let sixteen = || <[u8; 16]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| sixteen()).map(Some).map_err(|_| Bad::new("from", "not an address"))
}

pub(super) fn write_address(of: IpAddr) -> Vec<u8> {
    match of {
        IpAddr::V4(of) => of.octets().to_vec(),
        IpAddr::V6(of) => of.octets().to_vec(),
    }
}

pub(super) fn anchor(of: &shape::Anchor) -> Read<(NodeId, Anchor)> {
    let anchor = Anchor { number: of.number, head: fixed("anchor", &of.head)? };
    Ok((id("anchor", &of.manager)?, anchor))
}

pub(super) fn write_anchor(manager: NodeId, of: Anchor) -> shape::Anchor {
    let (manager, head) = (manager.as_bytes().to_vec(), of.head.to_vec());
    shape::Anchor { manager, number: of.number, head }
}

fn recovered(of: &shape::Recovered) -> Read<Recovered> {
    Ok(Recovered {
        at: Stamp(of.at),
        revision: Revision(of.revision),
        managers: of.managers.iter().map(|of| text("manager", of)).collect::<Read<_>>()?,
        tokens: of.tokens.iter().map(|of| id("token", of)).collect::<Read<_>>()?,
    })
}

pub(super) fn renewal(of: Option<shape::Renewal>) -> Read<Renewal> {
    let of = there("renewal", of)?;
    Ok(Renewal {
        next_key: of.next_key.map(|key| fixed("next key", &key)).transpose()?,
        issuer: Stamp(of.issuer),
        readmitted_until: of.readmitted_until.map(Stamp),
    })
}

pub(super) fn write_renewal(of: &Renewal) -> shape::Renewal {
    shape::Renewal {
        next_key: of.next_key.map(|key| key.to_vec()),
        issuer: of.issuer.0,
        readmitted_until: of.readmitted_until.map(|until| until.0),
    }
}

pub(super) fn member(of: Option<shape::Member>) -> Read<Member> {
    use shape::member::Of;
    Ok(match there("member", of.and_then(|of| of.of))? {
        Of::Node(of) => Member::Node(id("node", &of)?),
        Of::Operator(of) => Member::Operator(id("operator", &of)?),
    })
}

pub(super) fn write_member(of: Member) -> shape::Member {
    use shape::member::Of;
    let of = match of {
        Member::Node(id) => Of::Node(id.as_bytes().to_vec()),
        Member::Operator(id) => Of::Operator(id.as_bytes().to_vec()),
    };
    shape::Member { of: Some(of) }
}

pub(super) fn rekey(of: Option<shape::Rekey>) -> Read<Rekey> {
    let of = there("rekey", of)?;
    Ok(Rekey {
        number: of.number,
        intake: fixed("intake", &of.intake)?,
        boxes: boxes(of.boxes)?,
        previous: wrapped(of.previous)?,
        issuing_key: wrapped(of.issuing_key)?,
        issuer: Stamp(of.issuer),
    })
}

pub(super) fn write_rekey(of: &Rekey) -> shape::Rekey {
    shape::Rekey {
        number: of.number,
        intake: of.intake.to_vec(),
        boxes: write_boxes(&of.boxes),
        previous: Some(write_wrapped(&of.previous)),
        issuing_key: Some(write_wrapped(&of.issuing_key)),
        issuer: of.issuer.0,
    }
}

pub(super) fn write_cluster(of: &Cluster) -> shape::Cluster {
    let recipients = of.recipients.iter().map(|(id, recipient)| shape::Recipient {
        id: id.as_bytes().to_vec(),
        public: recipient.public.to_vec(),
        label: recipient.label.clone(),
        only: recipient.only.map(|only| only.as_bytes().to_vec()),
    });
    let previous = of
        .cluster_key
        .previous
        .iter()
        .map(|(number, key)| shape::PreviousKey { number: *number, key: Some(write_wrapped(key)) });
    let removed = of
        .removed_managers
        .iter()
        .map(|(id, at)| shape::RemovedManager { id: id.as_bytes().to_vec(), removed: at.0 });
    shape::Cluster {
        id: of.id.as_bytes().to_vec(),
        name: of.name.to_string(),
        epoch_counter: of.epoch.counter,
        epoch_tail: of.epoch.tail.to_vec(),
        created: of.created.0,
        root: of.root.to_vec(),
        sealed_root_key: of.sealed_root_key.to_vec(),
        issuing: of.issuing.to_vec(),
        issuing_key: Some(write_wrapped(&of.issuing_key)),
        recipients: recipients.collect(),
        cluster_key_number: of.cluster_key.number,
        intake: of.cluster_key.intake.to_vec(),
        boxes: write_boxes(&of.cluster_key.boxes),
        previous: previous.collect(),
        removed_managers: removed.collect(),
        anchors: of.anchors.iter().map(|(id, of)| write_anchor(*id, *of)).collect(),
        issuer: of.issuers.current.0,
        oldest_issuer: of.issuers.oldest.0,
        rotating: of.issuers.rotating.map(|since| since.0),
        recovered: of.recovered.as_deref().map(|of| shape::Recovered {
            at: of.at.0,
            revision: of.revision.0,
            managers: of.managers.iter().map(ToString::to_string).collect(),
            tokens: of.tokens.iter().map(|id| id.as_bytes().to_vec()).collect(),
        }),
    }
}

pub(super) fn node(of: Option<shape::Node>) -> Read<Node> {
    let of = there("node", of)?;
    Ok(Node {
        name: text::<Name>("node", &of.name)?,
        role: role(of.role)?,
        key: fixed("node key", &of.key)?,
        labels: labels(&of.labels)?,
        availability: availability(of.availability)?,
        box_key: of.box_key.map(|key| fixed("box key", &key)).transpose()?,
        addresses: of.addresses,
        joined: Stamp(of.joined),
        certificate_ends: Stamp(of.certificate_ends),
        renewal: renewal(of.renewal)?,
        learner: of.learner,
    })
}

pub(super) fn write_node(of: &Node) -> shape::Node {
    shape::Node {
        name: of.name.to_string(),
        role: write_role(of.role),
        key: of.key.to_vec(),
        labels: write_labels(&of.labels),
        availability: write_availability(of.availability),
        box_key: of.box_key.map(|key| key.to_vec()),
        addresses: of.addresses.clone(),
        joined: of.joined.0,
        certificate_ends: of.certificate_ends.0,
        renewal: Some(write_renewal(&of.renewal)),
        learner: of.learner,
    }
}

pub(super) fn token(of: Option<shape::Token>) -> Read<Token> {
    let of = there("token", of)?;
    Ok(Token {
        digest: fixed("token", &of.digest)?,
        role: role(of.role)?,
        labels: labels(&of.labels)?,
        name_pattern: of.name_pattern,
        created: Stamp(of.created),
        ends: Stamp(of.ends),
        uses_left: of.uses_left,
    })
}

pub(super) fn write_token(of: &Token) -> shape::Token {
    shape::Token {
        digest: of.digest.to_vec(),
        role: write_role(of.role),
        labels: write_labels(&of.labels),
        name_pattern: of.name_pattern.clone(),
        created: of.created.0,
        ends: of.ends.0,
        uses_left: of.uses_left,
    }
}

/// Sealed bytes shared, as the state keeps them.
pub(super) fn sealed(bytes: Vec<u8>) -> crate::base::SealedValue {
    crate::base::SealedValue(Arc::from(bytes))
}
