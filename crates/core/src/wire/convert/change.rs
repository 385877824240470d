//! Changes on their way in, and what they came to on the way back.

use std::sync::Arc;

use super::parts::{
    read_availability, read_label_list, read_labels, read_spec, write_availability, write_labels,
    write_spec,
};
use super::{BadMessage, read_id, read_text, there};
use crate::base::{Label, Revision, SealedValue, SentKey, limits};
use crate::domain::{Change, Changed, GrantAsked, Member, NewVersion, Pin, PublicPart};
use crate::wire::api::{self, change::Of};

/// Bytes of a sent data key: far more than any that `seal` makes.
const SENT_KEY_BYTES: usize = 1024;

/// A change that an operator sent. Whether it is possible is for `apply` to say.
///
/// # Errors
/// [`BadMessage`] for the first field that is unsound.
pub fn read_change(sent: api::Change) -> Result<Change<SentKey>, BadMessage> {
    Ok(match there("change", sent.of)? {
        Of::CreateSecret(sent) => Change::CreateSecret {
            id: read_id("id", &sent.id)?,
            name: read_text("name", &sent.name)?,
            labels: read_labels(&sent.labels)?,
            forward_only: sent.forward_only,
            version: read_version(there("version", sent.version)?)?,
        },
        Of::UpdateSecret(sent) => Change::UpdateSecret {
            id: read_id("id", &sent.id)?,
            expect: sent.expect,
            version: read_version(there("version", sent.version)?)?,
        },
        Of::RollBackSecret(sent) => Change::RollBackSecret {
            id: read_id("id", &sent.id)?,
            expect: sent.expect,
            to: sent.to,
        },
        Of::LabelSecret(sent) => {
            let (put, gone) = read_relabelled(&sent.put, sent.gone)?;
            Change::LabelSecret { id: read_id("id", &sent.id)?, put, gone }
        }
        Of::RemoveSecret(sent) => Change::RemoveSecret { id: read_id("id", &sent.id)? },
        Of::RemoveVersion(sent) => {
            Change::RemoveVersion { id: read_id("id", &sent.id)?, number: sent.number }
        }
        Of::CreateService(sent) => Change::CreateService {
            id: read_id("id", &sent.id)?,
            name: read_text("name", &sent.name)?,
            spec: read_spec(&there("spec", sent.spec)?)?,
        },
        Of::UpdateService(sent) => Change::UpdateService {
            id: read_id("id", &sent.id)?,
            expect: sent.expect.map(Revision),
            spec: read_spec(&there("spec", sent.spec)?)?,
        },
        Of::RemoveService(sent) => Change::RemoveService { id: read_id("id", &sent.id)? },
        Of::Grant(sent) => Change::Grant {
            service: read_id("service", &sent.service)?,
            grant: GrantAsked {
                secret: read_id("secret", &sent.secret)?,
                target: read_text("target", &sent.target)?,
                uid: sent.uid,
                gid: sent.gid,
                mode: sent.mode,
                pin: sent.pin.map(Pin::read),
                write: sent.write,
                replace: sent.replace,
            },
        },
        Of::Revoke(sent) => Change::Revoke {
            service: read_id("service", &sent.service)?,
            secret: read_id("secret", &sent.secret)?,
            target: match sent.target.as_str() {
                "" => None,
                target => Some(read_text("target", target)?),
            },
        },
        Of::RemoveToken(sent) => Change::RemoveToken { id: read_id("id", &sent.id)? },
        Of::UpdateNode(sent) => read_update_node(sent)?,
        Of::RemoveNode(sent) => {
            Change::RemoveNode { id: read_id("id", &sent.id)?, force: sent.force }
        }
        Of::Readmit(sent) => Change::Readmit {
            member: match (sent.node.is_empty(), sent.operator.is_empty()) {
                (false, true) => Member::Node(read_id("node", &sent.node)?),
                (true, false) => Member::Operator(read_id("operator", &sent.operator)?),
                _ => return Err(BadMessage::new("readmit", "not one id")),
            },
        },
        Of::RemoveOperator(sent) => Change::RemoveOperator { id: read_id("id", &sent.id)? },
    })
}

fn read_update_node(sent: api::UpdateNode) -> Result<Change<SentKey>, BadMessage> {
    let (put, gone) = read_relabelled(&sent.put, sent.gone)?;
    Ok(Change::UpdateNode {
        id: read_id("id", &sent.id)?,
        put,
        gone,
        availability: read_availability(sent.availability)?,
    })
}

fn read_relabelled(
    put: &[api::LabelPair],
    gone: Vec<String>,
) -> Result<(Vec<Label>, Vec<String>), BadMessage> {
    if gone.len() > limits::LABELS {
        return Err(BadMessage::new("gone", "more than a thing may have"));
    }
    Ok((read_label_list(put)?, gone))
}

pub(super) fn read_version(sent: api::NewVersion) -> Result<NewVersion<SentKey>, BadMessage> {
    if sent.sent_key.len() > SENT_KEY_BYTES {
        return Err(BadMessage::new("sent_key", "too long"));
    }
    let half = sent.half.as_slice().try_into();
    let half = half.map_err(|_bad| BadMessage::new("half", "not 32 bytes"))?;
    Ok(NewVersion {
        id: read_id("version", &sent.id)?,
        size: sent.size,
        value: SealedValue(Arc::from(&*sent.sealed_value)),
        data_key: SentKey { number: sent.intake_number, half, bytes: sent.sent_key },
        public: sent.public.map(|part| read_public(&part)).transpose()?,
    })
}

fn read_public(part: &str) -> Result<PublicPart, BadMessage> {
    part.parse().map_err(|_bad| BadMessage::new("public", "no public part"))
}

pub(super) fn write_version(version: &NewVersion<SentKey>) -> api::NewVersion {
    api::NewVersion {
        id: version.id.as_bytes().to_vec(),
        size: version.size,
        sealed_value: version.value.0.to_vec().into(),
        intake_number: version.data_key.number,
        half: version.data_key.half.to_vec(),
        sent_key: version.data_key.bytes.clone(),
        public: version.public.as_ref().map(ToString::to_string),
    }
}

/// A change as an operator sends it; `None` for a new token or operator, which the leader
/// makes and nobody sends.
#[must_use]
pub fn write_change(change: &Change<SentKey>) -> Option<api::Change> {
    let of = match change {
        Change::CreateSecret { id, name, labels, forward_only, version } => {
            Of::CreateSecret(api::CreateSecret {
                id: id.as_bytes().to_vec(),
                name: name.to_string(),
                labels: write_labels(labels),
                version: Some(write_version(version)),
                forward_only: *forward_only,
            })
        }
        Change::UpdateSecret { id, expect, version } => Of::UpdateSecret(api::UpdateSecret {
            id: id.as_bytes().to_vec(),
            expect: *expect,
            version: Some(write_version(version)),
        }),
        Change::RollBackSecret { id, expect, to } => Of::RollBackSecret(api::RollBackSecret {
            id: id.as_bytes().to_vec(),
            expect: *expect,
            to: *to,
        }),
        Change::LabelSecret { id, put, gone } => Of::LabelSecret(api::LabelSecret {
            id: id.as_bytes().to_vec(),
            put: put.iter().map(write_label).collect(),
            gone: gone.clone(),
        }),
        Change::RemoveSecret { id } => {
            Of::RemoveSecret(api::RemoveSecret { id: id.as_bytes().to_vec() })
        }
        Change::RemoveVersion { id, number } => {
            Of::RemoveVersion(api::RemoveVersion { id: id.as_bytes().to_vec(), number: *number })
        }
        Change::CreateService { id, name, spec } => Of::CreateService(api::CreateService {
            id: id.as_bytes().to_vec(),
            name: name.to_string(),
            spec: Some(write_spec(spec)),
        }),
        Change::UpdateService { id, expect, spec } => Of::UpdateService(api::UpdateService {
            id: id.as_bytes().to_vec(),
            expect: expect.map(|revision| revision.0),
            spec: Some(write_spec(spec)),
        }),
        Change::RemoveService { id } => {
            Of::RemoveService(api::RemoveService { id: id.as_bytes().to_vec() })
        }
        Change::Grant { service, grant } => Of::Grant(api::GrantSecret {
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
        Change::Revoke { service, secret, target } => Of::Revoke(api::RevokeSecret {
            service: service.as_bytes().to_vec(),
            secret: secret.as_bytes().to_vec(),
            target: target.as_ref().map(ToString::to_string).unwrap_or_default(),
        }),
        Change::CreateToken { .. }
        | Change::CreateOperator { .. }
        | Change::RemoveManager { .. } => return None,
        Change::RemoveOperator { id } => {
            Of::RemoveOperator(api::RemoveOperator { id: id.as_bytes().to_vec() })
        }
        Change::RemoveToken { id } => {
            Of::RemoveToken(api::RemoveToken { id: id.as_bytes().to_vec() })
        }
        Change::UpdateNode { id, put, gone, availability } => Of::UpdateNode(api::UpdateNode {
            id: id.as_bytes().to_vec(),
            put: put.iter().map(write_label).collect(),
            gone: gone.clone(),
            availability: availability
                .map_or(api::Availability::Unspecified, write_availability)
                .into(),
        }),
        Change::RemoveNode { id, force } => {
            Of::RemoveNode(api::RemoveNode { id: id.as_bytes().to_vec(), force: *force })
        }
        Change::Readmit { member } => Of::Readmit(match member {
            Member::Node(id) => {
                api::Readmit { node: id.as_bytes().to_vec(), ..api::Readmit::default() }
            }
            Member::Operator(id) => {
                api::Readmit { operator: id.as_bytes().to_vec(), ..api::Readmit::default() }
            }
        }),
    };
    Some(api::Change { of: Some(of) })
}

fn write_label(label: &Label) -> api::LabelPair {
    api::LabelPair { key: label.key.clone(), value: label.value.clone() }
}

/// What a change came to, as it is sent.
#[must_use]
pub fn write_changed(changed: &Changed) -> api::Changed {
    use api::changed::Of;
    let of = match changed {
        Changed::Version { secret, number } => {
            Of::Version(api::VersionAdded { secret: secret.as_bytes().to_vec(), number: *number })
        }
        Changed::Service(id) => Of::Service(id.as_bytes().to_vec()),
        Changed::Already => Of::Already(true),
        Changed::Done => Of::Done(true),
    };
    api::Changed { of: Some(of) }
}

/// What a change came to, as the client reads it.
///
/// # Errors
/// [`BadMessage`] for an unsound id.
pub fn read_changed(sent: &api::Changed) -> Result<Changed, BadMessage> {
    use api::changed::Of;
    Ok(match there("changed", sent.of.as_ref())? {
        Of::Done(_) => Changed::Done,
        Of::Already(_) => Changed::Already,
        Of::Version(added) => {
            Changed::Version { secret: read_id("secret", &added.secret)?, number: added.number }
        }
        Of::Service(id) => Changed::Service(read_id("service", id)?),
    })
}
