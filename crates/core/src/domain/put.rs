//! What a workload writes: the next values of secrets that its service was granted to write.

use crate::base::{NodeId, SecretId, ServiceId, VersionId, WrappedKey};

use super::command::NewVersion;

/// Next values of secrets, 1 to 64, written by a workload of a service through its node's
/// agent: all of them or none. `K` is how their data keys are protected, as in [`NewVersion`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put<K = WrappedKey> {
    /// On which node.
    pub node: NodeId,
    /// Of which service.
    pub service: ServiceId,
    /// The values.
    pub values: Vec<PutValue<K>>,
}

/// The next value of one secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutValue<K = WrappedKey> {
    /// Which secret.
    pub secret: SecretId,
    /// Refused unless the current version has this number: whoever writes has seen what it
    /// replaces.
    pub expect: u32,
    /// The new value.
    pub version: NewVersion<K>,
}

/// By whom a version was written that no operator wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrittenBy {
    /// On which node.
    pub node: NodeId,
    /// By a workload of which service.
    pub service: ServiceId,
}

impl<K> Put<K> {
    /// The same, the data keys protected otherwise. `protect` is told secret, version, and
    /// bytes of the value.
    ///
    /// # Errors
    /// What `protect` says.
    pub fn with_key<L, E>(
        self,
        mut protect: impl FnMut(SecretId, VersionId, u32, K) -> Result<L, E>,
    ) -> Result<Put<L>, E> {
        let one = |value: PutValue<K>| {
            let PutValue { secret, expect, version } = value;
            let NewVersion { id, size, value, data_key, public } = version;
            let data_key = protect(secret, id, size, data_key)?;
            let version = NewVersion { id, size, value, data_key, public };
            Ok(PutValue { secret, expect, version })
        };
        let values = self.values.into_iter().map(one).collect::<Result<_, E>>()?;
        Ok(Put { node: self.node, service: self.service, values })
    }
}
