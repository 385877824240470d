//! A push as messages: no message is longer than 2 MiB, values travel ahead of
//! the push where they do not fit into it.

use bytes::Bytes;
use prost::Message;

use super::ledger::Refused;
use super::step::Delta;
use skep_core::base::{SecretId, VersionId};
use skep_core::domain::Version;
use skep_core::wire::api;
use skep_core::wire::convert::write_set;

/// Bytes to which a message is filled: with one value more it stays below 2 MiB.
const FILL_BYTES: usize = 1_500_000;

/// Why a data key could not be sealed for the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NoValue {
    /// For people.
    pub why: String,
    /// Trying again is no use.
    pub last: bool,
}

/// The messages of push `number`. `seal` gives a version's data key under the
/// session key; where it can't, the sets that need the value travel without it
/// (what they take away must not wait) and are named.
pub(super) fn frames(
    number: u64,
    delta: &Delta,
    mut seal: impl FnMut(SecretId, &Version) -> Result<Vec<u8>, NoValue>,
) -> (Vec<api::FromLeader>, Vec<Refused>) {
    let mut push = api::Push {
        number,
        revision: delta.revision.0,
        placed: delta.placed.as_ref().map(|placed| placed.services.clone()).unwrap_or_default(),
        drained: delta.placed.as_ref().is_some_and(|placed| placed.drained),
        placed_changed: delta.placed.is_some(),
        sets: delta.sets.iter().map(|due| write_set(&due.set)).collect(),
        gone: delta.gone.iter().map(|service| service.as_bytes().to_vec()).collect(),
        values: Vec::new(),
    };
    let (mut values, mut refused) = (Vec::new(), Vec::new());
    for (secret, version) in &delta.values {
        match seal(*secret, version) {
            Ok(sealed_key) => values.push(value(*secret, version, sealed_key)),
            Err(no_value) => refused.extend(without(delta, version.id, &no_value)),
        }
    }

    let mut messages = Vec::new();
    let bytes: usize = values.iter().map(api::Value::encoded_len).sum();
    if push.encoded_len().saturating_add(bytes) <= FILL_BYTES {
        push.values = values;
    } else {
        let mut frame = api::Values { push: number, values: Vec::new() };
        let mut filled = 0;
        for value in values {
            let bytes = value.encoded_len();
            if filled + bytes > FILL_BYTES && !frame.values.is_empty() {
                let next = api::Values { push: number, values: Vec::new() };
                messages.push(message(api::from_leader::Of::Values(std::mem::replace(
                    &mut frame, next,
                ))));
                filled = 0;
            }
            filled += bytes;
            frame.values.push(value);
        }
        messages.push(message(api::from_leader::Of::Values(frame)));
    }
    messages.push(message(api::from_leader::Of::Push(push)));
    (messages, refused)
}

/// One message of the session.
pub(super) fn message(of: api::from_leader::Of) -> api::FromLeader {
    api::FromLeader { of: Some(of) }
}

/// The sets of a push that use a version.
fn without(delta: &Delta, version: VersionId, no_value: &NoValue) -> Vec<Refused> {
    let sets = delta.sets.iter().filter(|due| due.versions.contains(&version));
    sets.map(|due| Refused::whole(due.set.service, no_value.why.clone(), no_value.last)).collect()
}

fn value(secret: SecretId, version: &Version, sealed_key: Vec<u8>) -> api::Value {
    api::Value {
        secret: secret.as_bytes().to_vec(),
        version: version.id.as_bytes().to_vec(),
        size: version.size,
        sealed_value: Bytes::from_owner(std::sync::Arc::clone(&version.value.0)),
        sealed_key,
    }
}
