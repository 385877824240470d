//! Commands.

use prost::Message;

use super::opened::{opened, write_opened};
use super::operator::{operator, write_operator};
use super::parts::{
    actor, address, anchor, availability, cluster, fixed, id, label_list, labels, member, node,
    rekey, role, spec, text, there, token, wrapped, write_actor, write_address, write_anchor,
    write_availability, write_cluster, write_labels, write_member, write_node, write_rekey,
    write_role, write_spec, write_token, write_wrapped,
};
use super::put::{read_put, read_version, write_put, write_version};
use super::shape::{self, change, command};
use super::{Bad, BadStored, Read, of_this_format};
use crate::base::{Epoch, FORMAT, Label, Revision, Stamp, limits};
use crate::domain::{
    Act, Change, Command, Confirmation, Genesis, GrantAsked, Join, OpenedList, Pin, Recover,
};

/// A command's stored bytes.
///
/// # Errors
/// [`BadStored`], where [`decode_command`] would refuse them: what other managers could not
/// read must never be proposed.
pub fn encode_command(command: &Command) -> Result<Vec<u8>, BadStored> {
    let shape = shape::Command {
        version: FORMAT,
        request: command.request.as_bytes().to_vec(),
        stamp: command.stamp.0,
        deadline: command.deadline.0,
        actor: Some(write_actor(&command.actor)),
        act: Some(write_act(&command.act)),
        from: command.from.map(write_address).unwrap_or_default(),
    };
    let bytes = shape.encode_to_vec();
    if decode_command(&bytes)? != *command {
        return Err(Bad::new("command", "it does not read as it was written").of("command"));
    }
    Ok(bytes)
}

/// The command in these bytes.
///
/// # Errors
/// [`BadStored`].
pub fn decode_command(bytes: &[u8]) -> Result<Command, BadStored> {
    let damaged = |bad: Bad| bad.of("command");
    if bytes.len() > limits::COMMAND_BYTES {
        return Err(damaged(Bad::new("command", "it is too long")));
    }
    let shape = shape::Command::decode(bytes).map_err(|bad| damaged(Bad::new("shape", bad)))?;
    of_this_format(shape.version, "command")?;
    read(shape).map_err(damaged)
}

fn read(shape: shape::Command) -> Read<Command> {
    Ok(Command {
        request: id("request", &shape.request)?,
        stamp: Stamp(shape.stamp),
        deadline: Stamp(shape.deadline),
        actor: actor(shape.actor)?,
        from: address(&shape.from)?,
        act: read_act(there("act", shape.act)?)?,
    })
}

fn read_act(act: command::Act) -> Read<Act> {
    Ok(match act {
        command::Act::Genesis(of) => Act::Genesis(Box::new(Genesis {
            cluster: cluster(there("cluster", of.cluster)?)?,
            manager: id("manager", &of.manager)?,
            node: node(of.node)?,
            operator: id("operator", &of.operator)?,
            admin: operator(of.admin)?,
        })),
        command::Act::Change(list) => {
            Act::Change(list.changes.into_iter().map(read_change).collect::<Read<_>>()?)
        }
        command::Act::Join(of) => Act::Join(Box::new(read_join(of)?)),
        command::Act::Expose(list) => {
            let pair = |of: &shape::Pair| Ok((id("pair", &of.node)?, id("pair", &of.service)?));
            Act::Expose(list.pairs.iter().map(pair).collect::<Read<_>>()?)
        }
        command::Act::Confirm(list) => {
            let one = |of: &shape::Confirmation| {
                Ok(Confirmation {
                    node: id("pair", &of.node)?,
                    service: id("pair", &of.service)?,
                    revision: Revision(of.revision),
                    gone: of.gone,
                })
            };
            Act::Confirm(list.confirmations.iter().map(one).collect::<Read<_>>()?)
        }
        command::Act::Opened(of) => Act::Opened(OpenedList {
            node: id("node", &of.node)?,
            origin: fixed("origin", &of.origin)?,
            first: of.first,
            dropped: of.dropped,
            list: of.list.into_iter().map(opened).collect::<Read<_>>()?,
        }),
        command::Act::ResetTime(shape::ResetTime {}) => Act::ResetTime,
        command::Act::Move(of) => {
            Act::Move { manager: id("manager", &of.manager)?, addresses: of.addresses }
        }
        command::Act::Renew(of) => Act::Renew {
            member: member(of.member)?,
            key: fixed("key", &of.key)?,
            certificate_ends: Stamp(of.certificate_ends),
            issuer: Stamp(of.issuer),
        },
        command::Act::Renewed(of) => {
            Act::Renewed { member: member(of.member)?, key: fixed("key", &of.key)? }
        }
        command::Act::RotateIssuer(of) => Act::RotateIssuer {
            issuing: of.issuing.into(),
            issuing_key: wrapped(of.issuing_key)?,
            begins: Stamp(of.begins),
        },
        command::Act::RetireIssuers(of) => Act::RetireIssuers { begins: Stamp(of.begins) },
        command::Act::Recover(of) => Act::Recover(Box::new(Recover {
            survivor: id("manager", &of.survivor)?,
            epoch: Epoch { counter: of.epoch_counter, tail: fixed("epoch", &of.epoch_tail)? },
            operator: of.operator.map(|of| id("operator", &of)).transpose()?,
            rekey: of.rekey.map(|of| rekey(Some(of))).transpose()?,
        })),
        command::Act::Resume(shape::Resume {}) => Act::Resume,
        command::Act::Put(of) => Act::Put(Box::new(read_put(of)?)),
        command::Act::Anchor(of) => {
            let (manager, anchor) = anchor(&of)?;
            Act::Anchor { manager, anchor }
        }
    })
}

fn write_act(act: &Act) -> command::Act {
    match act {
        Act::Genesis(of) => command::Act::Genesis(shape::Genesis {
            cluster: Some(write_cluster(&of.cluster)),
            manager: of.manager.as_bytes().to_vec(),
            node: Some(write_node(&of.node)),
            operator: of.operator.as_bytes().to_vec(),
            admin: Some(write_operator(&of.admin)),
        }),
        Act::Change(list) => command::Act::Change(shape::ChangeList {
            changes: list.iter().map(write_change).collect(),
        }),
        Act::Join(of) => command::Act::Join(write_join(of)),
        Act::Expose(list) => {
            let pairs = list.iter().map(|(node, service)| shape::Pair {
                node: node.as_bytes().to_vec(),
                service: service.as_bytes().to_vec(),
            });
            command::Act::Expose(shape::Pairs { pairs: pairs.collect() })
        }
        Act::Confirm(list) => {
            let confirmations = list.iter().map(|of| shape::Confirmation {
                node: of.node.as_bytes().to_vec(),
                service: of.service.as_bytes().to_vec(),
                revision: of.revision.0,
                gone: of.gone,
            });
            let confirmations = confirmations.collect();
            command::Act::Confirm(shape::Confirmations { confirmations })
        }
        Act::Opened(of) => command::Act::Opened(shape::OpenedList {
            node: of.node.as_bytes().to_vec(),
            origin: of.origin.to_vec(),
            first: of.first,
            dropped: of.dropped,
            list: of.list.iter().map(write_opened).collect(),
        }),
        Act::ResetTime => command::Act::ResetTime(shape::ResetTime {}),
        Act::Move { manager, addresses } => command::Act::Move(shape::Move {
            manager: manager.as_bytes().to_vec(),
            addresses: addresses.clone(),
        }),
        Act::Renew { member, key, certificate_ends, issuer } => command::Act::Renew(shape::Renew {
            member: Some(write_member(*member)),
            key: key.to_vec(),
            certificate_ends: certificate_ends.0,
            issuer: issuer.0,
        }),
        Act::Renewed { member, key } => command::Act::Renewed(shape::Renewed {
            member: Some(write_member(*member)),
            key: key.to_vec(),
        }),
        Act::RotateIssuer { issuing, issuing_key, begins } => {
            command::Act::RotateIssuer(shape::RotateIssuer {
                issuing: issuing.to_vec(),
                issuing_key: Some(write_wrapped(issuing_key)),
                begins: begins.0,
            })
        }
        Act::RetireIssuers { begins } => {
            command::Act::RetireIssuers(shape::RetireIssuers { begins: begins.0 })
        }
        Act::Recover(of) => command::Act::Recover(shape::Recover {
            survivor: of.survivor.as_bytes().to_vec(),
            epoch_counter: of.epoch.counter,
            epoch_tail: of.epoch.tail.to_vec(),
            operator: of.operator.map(|id| id.as_bytes().to_vec()),
            rekey: of.rekey.as_ref().map(write_rekey),
        }),
        Act::Resume => command::Act::Resume(shape::Resume {}),
        Act::Put(of) => command::Act::Put(write_put(of)),
        Act::Anchor { manager, anchor } => command::Act::Anchor(write_anchor(*manager, *anchor)),
    }
}

fn read_join(of: shape::Join) -> Read<Join> {
    Ok(Join {
        token: id("token", &of.token)?,
        digest: fixed("digest", &of.digest)?,
        node: id("node", &of.node)?,
        name: text("name", &of.name)?,
        role: role(of.role)?,
        key: fixed("key", &of.key)?,
        box_key: of.box_key.map(|key| fixed("box key", &key)).transpose()?,
        cluster_key_box: of.cluster_key_box.map(|of| (of.number, of.boxed)),
        addresses: of.addresses,
        certificate_ends: Stamp(of.certificate_ends),
        issuer: Stamp(of.issuer),
        learner: of.learner,
    })
}

fn write_join(of: &Join) -> shape::Join {
    let boxed = of.cluster_key_box.clone();
    shape::Join {
        token: of.token.as_bytes().to_vec(),
        digest: of.digest.to_vec(),
        node: of.node.as_bytes().to_vec(),
        name: of.name.to_string(),
        role: write_role(of.role),
        key: of.key.to_vec(),
        box_key: of.box_key.map(|key| key.to_vec()),
        cluster_key_box: boxed.map(|(number, boxed)| shape::ClusterKeyBox { number, boxed }),
        addresses: of.addresses.clone(),
        certificate_ends: of.certificate_ends.0,
        issuer: of.issuer.0,
        learner: of.learner,
    }
}

fn read_change(shape: shape::Change) -> Read<Change> {
    use change::Of;
    Ok(match there("change", shape.of)? {
        Of::CreateSecret(of) => Change::CreateSecret {
            id: id("secret", &of.id)?,
            name: text("secret", &of.name)?,
            labels: labels(&of.labels)?,
            forward_only: of.forward_only,
            version: read_version(of.version)?,
        },
        Of::UpdateSecret(of) => Change::UpdateSecret {
            id: id("secret", &of.id)?,
            expect: of.expect,
            version: read_version(of.version)?,
        },
        Of::RollBackSecret(of) => {
            Change::RollBackSecret { id: id("secret", &of.id)?, expect: of.expect, to: of.to }
        }
        Of::LabelSecret(of) => Change::LabelSecret {
            id: id("secret", &of.id)?,
            put: label_list(&of.put)?,
            gone: of.gone,
        },
        Of::RemoveSecret(secret) => Change::RemoveSecret { id: id("secret", &secret)? },
        Of::RemoveVersion(of) => {
            Change::RemoveVersion { id: id("secret", &of.id)?, number: of.number }
        }
        Of::CreateService(of) => Change::CreateService {
            id: id("service", &of.id)?,
            name: text("service", &of.name)?,
            spec: spec(of.spec)?,
        },
        Of::UpdateService(of) => Change::UpdateService {
            id: id("service", &of.id)?,
            expect: of.expect.map(Revision),
            spec: spec(of.spec)?,
        },
        Of::RemoveService(service) => Change::RemoveService { id: id("service", &service)? },
        Of::Grant(of) => Change::Grant {
            service: id("service", &of.service)?,
            grant: GrantAsked {
                secret: id("secret", &of.secret)?,
                target: text("target", &of.target)?,
                uid: of.uid,
                gid: of.gid,
                mode: of.mode,
                pin: of.pin.map(Pin::read),
                write: of.write,
                replace: of.replace,
            },
        },
        Of::Revoke(of) => Change::Revoke {
            service: id("service", &of.service)?,
            secret: id("secret", &of.secret)?,
            target: (!of.target.is_empty()).then(|| text("target", &of.target)).transpose()?,
        },
        Of::CreateToken(of) => {
            Change::CreateToken { id: id("token", &of.id)?, token: token(of.token)? }
        }
        Of::RemoveToken(token) => Change::RemoveToken { id: id("token", &token)? },
        Of::UpdateNode(of) => Change::UpdateNode {
            id: id("node", &of.id)?,
            put: label_list(&of.put)?,
            gone: of.gone,
            availability: of.availability.map(availability).transpose()?,
        },
        Of::RemoveNode(of) => Change::RemoveNode { id: id("node", &of.id)?, force: of.force },
        Of::RemoveManager(of) => {
            Change::RemoveManager { id: id("node", &of.id)?, rekey: Box::new(rekey(of.rekey)?) }
        }
        Of::Readmit(of) => Change::Readmit { member: member(Some(of))? },
        Of::CreateOperator(of) => Change::CreateOperator {
            id: id("operator", &of.id)?,
            operator: Box::new(operator(of.operator)?),
        },
        Of::RemoveOperator(of) => Change::RemoveOperator { id: id("operator", &of)? },
    })
}

fn write_change(of: &Change) -> shape::Change {
    use change::Of;
    let of = match of {
        Change::CreateSecret { id, name, labels, forward_only, version } => {
            Of::CreateSecret(shape::CreateSecret {
                id: id.as_bytes().to_vec(),
                name: name.to_string(),
                labels: write_labels(labels),
                version: Some(write_version(version)),
                forward_only: *forward_only,
            })
        }
        Change::UpdateSecret { id, expect, version } => Of::UpdateSecret(shape::UpdateSecret {
            id: id.as_bytes().to_vec(),
            expect: *expect,
            version: Some(write_version(version)),
        }),
        Change::RollBackSecret { id, expect, to } => Of::RollBackSecret(shape::RollBackSecret {
            id: id.as_bytes().to_vec(),
            expect: *expect,
            to: *to,
        }),
        Change::LabelSecret { id, put, gone } => Of::LabelSecret(shape::LabelSecret {
            id: id.as_bytes().to_vec(),
            put: put.iter().map(write_label).collect(),
            gone: gone.clone(),
        }),
        Change::RemoveSecret { id } => Of::RemoveSecret(id.as_bytes().to_vec()),
        Change::RemoveVersion { id, number } => {
            Of::RemoveVersion(shape::RemoveVersion { id: id.as_bytes().to_vec(), number: *number })
        }
        Change::CreateService { id, name, spec } => Of::CreateService(shape::CreateService {
            id: id.as_bytes().to_vec(),
            name: name.to_string(),
            spec: Some(write_spec(spec)),
        }),
        Change::UpdateService { id, expect, spec } => Of::UpdateService(shape::UpdateService {
            id: id.as_bytes().to_vec(),
            expect: expect.map(|expect| expect.0),
            spec: Some(write_spec(spec)),
        }),
        Change::RemoveService { id } => Of::RemoveService(id.as_bytes().to_vec()),
        Change::Grant { service, grant } => Of::Grant(shape::GrantSecret {
            service: service.as_bytes().to_vec(),
            secret: grant.secret.as_bytes().to_vec(),
            target: grant.target.to_string(),
            uid: grant.uid,
            gid: grant.gid,
            mode: grant.mode,
            pin: grant.pin.map(Pin::written),
            write: grant.write,
            replace: grant.replace,
        }),
        Change::Revoke { service, secret, target } => Of::Revoke(shape::RevokeSecret {
            service: service.as_bytes().to_vec(),
            secret: secret.as_bytes().to_vec(),
            target: target.as_ref().map(ToString::to_string).unwrap_or_default(),
        }),
        Change::CreateToken { id, token } => Of::CreateToken(shape::CreateToken {
            id: id.as_bytes().to_vec(),
            token: Some(write_token(token)),
        }),
        Change::RemoveToken { id } => Of::RemoveToken(id.as_bytes().to_vec()),
        Change::UpdateNode { id, put, gone, availability } => Of::UpdateNode(shape::UpdateNode {
            id: id.as_bytes().to_vec(),
            put: put.iter().map(write_label).collect(),
            gone: gone.clone(),
            availability: availability.map(write_availability),
        }),
        Change::RemoveNode { id, force } => {
            Of::RemoveNode(shape::RemoveNode { id: id.as_bytes().to_vec(), force: *force })
        }
        Change::RemoveManager { id, rekey } => Of::RemoveManager(shape::RemoveManager {
            id: id.as_bytes().to_vec(),
            rekey: Some(write_rekey(rekey)),
        }),
        Change::Readmit { member } => Of::Readmit(write_member(*member)),
        Change::CreateOperator { id, operator } => Of::CreateOperator(shape::CreateOperator {
            id: id.as_bytes().to_vec(),
            operator: Some(write_operator(operator)),
        }),
        Change::RemoveOperator { id } => Of::RemoveOperator(id.as_bytes().to_vec()),
    };
    shape::Change { of: Some(of) }
}

fn write_label(label: &Label) -> shape::Label {
    shape::Label { key: label.key.clone(), value: label.value.clone() }
}
