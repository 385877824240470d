//! What workloads write, on its way from an agent to the leader.

use super::change::{read_version, write_version};
use super::{BadMessage, read_id, there};
use crate::base::{BoxedKey, NodeId, limits};
use crate::domain::{Put, PutValue};
use crate::wire::api;

/// What a node puts. Whether it may is for `apply` to say.
///
/// # Errors
/// [`BadMessage`] for the first field that is unsound.
pub fn read_put(
    node: NodeId,
    service: &[u8],
    values: Vec<api::PutValue>,
) -> Result<Put<BoxedKey>, BadMessage> {
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
pub fn write_put_value(of: &PutValue<BoxedKey>) -> api::PutValue {
    api::PutValue {
        secret: of.secret.as_bytes().to_vec(),
        expect: of.expect,
        version: Some(write_version(&of.version)),
    }
}
