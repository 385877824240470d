//! The one holder of the opened cluster key, outside the state machine.
//!
//! It hands out acts, not keys: re-wrapping on intake, opening on delivery,
//! signing. What it opened is wiped when another number takes its place and
//! when it is dropped.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;

use skep_client::ca::{CaError, Issuer, PrivateKey};
use skep_core::base::{ClusterId, Dice, NodeId, SecretBytes, SentKey, WrappedKey};
use skep_core::domain;
use skep_core::seal::{
    BoxKey, ClusterKey, DataKey, IntakeAgreement, SealError, ValueContext, WrapKey, box_cluster_key,
};

/// Under which label the issuing CA's private key is wrapped.
pub const ISSUING_KEY: &str = "issuing key";

/// Why a key was not at hand.
#[derive(Debug, thiserror::Error)]
pub enum NoKey {
    /// This manager has no cluster key of that number (yet).
    #[error("cluster key {0} is not open here")]
    NotOpen(u64),
    /// It did not open.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// It opened and is no key for that certificate.
    #[error("the issuing key {0}")]
    Issuer(#[from] CaError),
}

/// Holds the cluster key; hands out acts, not keys.
pub struct KeyHolder {
    cluster: ClusterId,
    node: NodeId,
    box_key: BoxKey,
    open: RwLock<Option<Arc<OpenedKeys>>>,
}

struct OpenedKeys {
    key: ClusterKey,
    /// The wrap keys of this number and of the older ones that data keys still need.
    wraps: BTreeMap<u64, WrapKey>,
}

impl OpenedKeys {
    /// Opens the chain of older keys below this one.
    fn chain(key: ClusterKey, previous: &BTreeMap<u64, WrappedKey>) -> Result<Self, SealError> {
        let mut wraps = BTreeMap::from([(key.number(), key.wrap_key())]);
        let mut newer: Option<ClusterKey> = None;
        for wrapped in previous.values().rev() {
            let older = newer.as_ref().unwrap_or(&key).open_previous(wrapped)?;
            wraps.insert(older.number(), older.wrap_key());
            newer = Some(older);
        }
        Ok(Self { key, wraps })
    }
    fn wrap(&self, number: u64) -> Result<&WrapKey, NoKey> {
        self.wraps.get(&number).ok_or(NoKey::NotOpen(number))
    }
}

impl std::fmt::Debug for KeyHolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyHolder({})", self.node)
    }
}

impl KeyHolder {
    /// The holder of `node`, with the box key of its key file. Nothing is open
    /// until [`Self::follow`].
    #[must_use]
    pub fn new(cluster: ClusterId, node: NodeId, box_key: BoxKey) -> Self {
        Self { cluster, node, box_key, open: RwLock::new(None) }
    }
    /// Opens this manager's box of the cluster key in use, if another number is
    /// open or none. A state without a box for this manager changes nothing: it
    /// is behind and will have one.
    ///
    /// # Errors
    /// [`NoKey::Seal`] for a box that does not open.
    pub fn follow(&self, stands: &domain::ClusterKey) -> Result<(), NoKey> {
        if self.number() == Some(stands.number) {
            return Ok(());
        }
        let Some(boxed) = stands.boxes.get(&self.node) else { return Ok(()) };
        let key = ClusterKey::open(boxed, self.cluster, stands.number, self.node, &self.box_key)?;
        let open = OpenedKeys::chain(key, &stands.previous)?;
        *self.open.write() = Some(Arc::new(open));
        Ok(())
    }
    /// The number of the cluster key that is open here.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        self.open.read().as_ref().map(|open| open.key.number())
    }
    fn opened(&self, number: u64) -> Result<Arc<OpenedKeys>, NoKey> {
        self.open.read().clone().ok_or(NoKey::NotOpen(number))
    }
    /// The leader's act on intake; `kept` is what the caller's connection keeps for it.
    ///
    /// # Errors
    /// [`NoKey`].
    pub fn rewrap(
        &self,
        dice: &mut dyn Dice,
        sent: &SentKey,
        context: &ValueContext,
        kept: &mut Option<IntakeAgreement>,
    ) -> Result<WrappedKey, NoKey> {
        Ok(self.opened(sent.number)?.key.rewrap(dice, sent, context, kept)?)
    }
    /// The leader's act on delivery: the caller seals the data key to a session at once.
    ///
    /// # Errors
    /// [`NoKey`].
    pub fn open_data_key(
        &self,
        wrapped: &WrappedKey,
        context: &ValueContext,
    ) -> Result<DataKey, NoKey> {
        Ok(self.opened(wrapped.number)?.wrap(wrapped.number)?.open_data_key(wrapped, context)?)
    }
    /// The issuing CA, opened; the caller signs and drops it at once.
    ///
    /// # Errors
    /// [`NoKey`].
    pub fn issuer(&self, cluster: &domain::Cluster) -> Result<Issuer, NoKey> {
        let key = self.issuing_key(cluster)?;
        Ok(Issuer::new(cluster.issuing.to_vec(), PrivateKey::from_pkcs8(key)?)?)
    }
    fn issuing_key(&self, cluster: &domain::Cluster) -> Result<SecretBytes, NoKey> {
        let number = cluster.issuing_key.number;
        let open = self.opened(number)?;
        Ok(open.wrap(number)?.open_secret(ISSUING_KEY, &cluster.issuing_key)?)
    }
    /// Wraps another issuing key for the state.
    ///
    /// # Errors
    /// [`NoKey`].
    pub fn wrap_issuing(
        &self,
        dice: &mut dyn Dice,
        cluster: &domain::Cluster,
        key: &PrivateKey,
    ) -> Result<WrappedKey, NoKey> {
        let number = cluster.cluster_key.number;
        let open = self.opened(number)?;
        let secret = SecretBytes::copy_of(key.expose());
        Ok(open.wrap(number)?.wrap_secret(dice, ISSUING_KEY, &secret)?)
    }
    /// Draws the next cluster key for the managers that stay (id and box key), with
    /// the key in use and the issuing key wrapped under it.
    ///
    /// # Errors
    /// [`NoKey`].
    pub fn rekey(
        &self,
        dice: &mut dyn Dice,
        cluster: &domain::Cluster,
        staying: &BTreeMap<NodeId, [u8; 32]>,
    ) -> Result<domain::Rekey, NoKey> {
        let number = cluster.cluster_key.number;
        let open = self.opened(number)?;
        if open.key.number() != number {
            return Err(NoKey::NotOpen(number));
        }
        let next = ClusterKey::draw(dice, self.cluster, number.saturating_add(1));
        let mut boxes = BTreeMap::new();
        for (manager, public) in staying {
            boxes.insert(*manager, box_cluster_key(dice, &next, *manager, public)?);
        }
        let issuing = self.issuing_key(cluster)?;
        Ok(domain::Rekey {
            number: next.number(),
            intake: next.intake().public,
            boxes,
            previous: next.wrap_previous(dice, &open.key)?,
            issuing_key: next.wrap_key().wrap_secret(dice, ISSUING_KEY, &issuing)?,
            issuer: cluster.issuers.current,
        })
    }
    /// The cluster key in use, boxed to a manager that joins.
    ///
    /// # Errors
    /// [`NoKey`].
    pub fn box_for(
        &self,
        dice: &mut dyn Dice,
        manager: NodeId,
        box_public: &[u8; 32],
    ) -> Result<(u64, Vec<u8>), NoKey> {
        let open = self.opened(0)?;
        Ok((open.key.number(), box_cluster_key(dice, &open.key, manager, box_public)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_core::base::testing::Seeded;
    use skep_core::base::{SecretId, VersionId};

    fn stands(
        dice: &mut Seeded,
        key: &ClusterKey,
        node: NodeId,
        public: &[u8; 32],
    ) -> domain::ClusterKey {
        let boxed = box_cluster_key(dice, key, node, public).expect("boxed");
        domain::ClusterKey {
            number: key.number(),
            intake: key.intake().public,
            boxes: BTreeMap::from([(node, boxed)]),
            previous: BTreeMap::new(),
        }
    }

    #[test]
    fn a_value_key_goes_in_and_comes_out() {
        let dice = &mut Seeded::new(1);
        let (cluster, node) = (ClusterId::draw(dice), NodeId::draw(dice));
        let own = BoxKey::draw(dice);
        let public = own.public();
        let holder = KeyHolder::new(cluster, node, own);
        let context = ValueContext {
            cluster,
            secret: SecretId::draw(dice),
            version: VersionId::draw(dice),
            size: 3,
        };
        let first = ClusterKey::draw(dice, cluster, 1);
        let data = DataKey::draw(dice);
        let client = IntakeAgreement::draw(dice, &first.intake()).expect("agreed");
        let sent = client.seal(dice, &data, &context).expect("sealed");

        let closed = holder.rewrap(dice, &sent, &context, &mut None);
        assert!(matches!(closed, Err(NoKey::NotOpen(1))));
        holder.follow(&stands(dice, &first, node, &public)).expect("opens");
        let wrapped = holder.rewrap(dice, &sent, &context, &mut None).expect("rewrapped");
        let opened = holder.open_data_key(&wrapped, &context).expect("opened");
        assert_eq!(opened.expose(), data.expose());

        let second = ClusterKey::draw(dice, cluster, 2);
        let mut next = stands(dice, &second, node, &public);
        next.previous.insert(1, second.wrap_previous(dice, &first).expect("wrapped"));
        let third = ClusterKey::draw(dice, cluster, 3);
        let mut last = stands(dice, &third, node, &public);
        last.previous.clone_from(&next.previous);
        last.previous.insert(2, third.wrap_previous(dice, &second).expect("wrapped"));
        for stands in [&next, &last] {
            holder.follow(stands).expect("opens");
            assert_eq!(holder.number(), Some(stands.number));
            let opened = holder.open_data_key(&wrapped, &context).expect("by the older key");
            assert_eq!(opened.expose(), data.expose());
        }
        last.number = 4;
        assert!(holder.follow(&last).is_err(), "a box of another number");
        holder.follow(&next).expect("opens");
        let retired = holder.rewrap(dice, &sent, &context, &mut None);
        assert!(matches!(retired, Err(NoKey::Seal(SealError::Retired { found: 1, wanted: 2 }))));
    }

    #[test]
    fn a_box_for_another_manager_is_not_this_ones() {
        let dice = &mut Seeded::new(1);
        let (cluster, node) = (ClusterId::draw(dice), NodeId::draw(dice));
        let own = BoxKey::draw(dice);
        let public = own.public();
        let holder = KeyHolder::new(cluster, node, own);
        let key = ClusterKey::draw(dice, cluster, 1);
        let other = NodeId::draw(dice);
        holder
            .follow(&stands(dice, &key, other, &public))
            .expect("none for this one: nothing to do");
        assert_eq!(holder.number(), None);
        let mut swapped = stands(dice, &key, other, &public);
        let boxed = swapped.boxes.remove(&other).expect("there");
        swapped.boxes.insert(node, boxed);
        assert!(matches!(holder.follow(&swapped), Err(NoKey::Seal(_))));
    }
}
