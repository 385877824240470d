//! What workloads write, on its way from an agent to the leader.

use super::change::{read_version, write_version};
use super::{BadMessage, read_id, there};
use crate::base::{NodeId, SentKey, limits};
use crate::domain::{Put, PutValue};
use crate::seal::IntakePublic;
use crate::wire::api;

/// What a node puts. Whether it may is for `apply` to say.
///
/// # Errors
/// [`BadMessage`] for the first field that is unsound.
pub fn read_put(
    node: NodeId,
    service: &[u8],
    values: Vec<api::PutValue>,
) -> Result<Put<SentKey>, BadMessage> {
    if !(1..=limits::CHANGES).contains(&values.len()) {
        return Err(BadMessage::new("values", "1 to 64 are put at once"));
    }
    let one = |sent: api::PutValue| {
        Ok(PutValue {
            secret: read_id("secret", &sent.secret)?,
            expect: sent.expect,
            version: read_version(there("version", sent.version)?)?,
        })
    };
    let service = read_id("service", service)?;
    let values = values.into_iter().map(one).collect::<Result<_, _>>()?;
    Ok(Put { node, service, values })
}

/// A value as it is sent.
#[must_use]
pub fn write_put_value(of: &PutValue<SentKey>) -> api::PutValue {
    api::PutValue {
        secret: of.secret.as_bytes().to_vec(),
        expect: of.expect,
        version: Some(write_version(&of.version)),
    }
}

/// With what whoever seals values for the managers agrees.
///
/// # Errors
/// [`BadMessage`] for the first field that is unsound.
pub fn read_intake(reply: &api::IntakeReply) -> Result<IntakePublic, BadMessage> {
    let public = reply.intake.as_slice().try_into();
    Ok(IntakePublic {
        cluster: read_id("cluster_id", &reply.cluster_id)?,
        number: reply.number,
        public: public.map_err(|_bad| BadMessage::new("intake", "not 32 bytes"))?,
    })
}
