//! The numbered cluster key, what derives from it, and wrapping (docs/keys.md, 4, 5).

use super::construct::{
    commit, context_hash, derive, head16, open, open_key, open_key_from, public_of, same, seal,
    seal_to,
};
use super::{DataKey, IntakeAgreement, IntakePublic, SealError, ValueContext, labels};
use crate::base::{ClusterId, Dice, Key32, NodeId, SecretBytes, SentKey, WrappedKey};

/// A manager's box key pair: cluster keys are boxed to its public half.
#[derive(Debug)]
pub struct BoxKey(Key32);

impl BoxKey {
    /// Draws a pair.
    pub fn draw(dice: &mut dyn Dice) -> Self {
        Self(Key32::draw(dice))
    }

    /// The pair with this private half.
    #[must_use]
    pub fn new(private: Key32) -> Self {
        Self(private)
    }

    /// The private half, for the key file.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        public_of(&self.0)
    }

    pub(super) fn private(&self) -> &Key32 {
        &self.0
    }
}

/// A cluster key, opened.
#[derive(Debug)]
pub struct ClusterKey {
    cluster: ClusterId,
    number: u64,
    key: Key32,
}

fn box_context(cluster: ClusterId, number: u64, manager: NodeId) -> [u8; 32] {
    let fields: [&[u8]; 3] = [cluster.as_bytes(), &number.to_le_bytes(), manager.as_bytes()];
    context_hash(labels::CLUSTER_KEY_BOX, &fields)
}

/// Boxes a cluster key to one manager's box key.
///
/// # Errors
/// [`SealError::LowOrder`].
pub fn box_cluster_key(
    dice: &mut dyn Dice,
    key: &ClusterKey,
    manager: NodeId,
    box_public: &[u8; 32],
) -> Result<Vec<u8>, SealError> {
    seal_to(dice, box_public, &box_context(key.cluster, key.number, manager), key.key.expose())
}

impl ClusterKey {
    /// Draws number `number` of `cluster`.
    pub fn draw(dice: &mut dyn Dice, cluster: ClusterId, number: u64) -> Self {
        Self { cluster, number, key: Key32::draw(dice) }
    }

    /// Opens the box that [`box_cluster_key`] made for `manager`; cluster, number
    /// and manager are authenticated.
    ///
    /// # Errors
    /// [`SealError::DoesNotOpen`], [`SealError::Malformed`].
    pub fn open(
        boxed: &[u8],
        cluster: ClusterId,
        number: u64,
        manager: NodeId,
        key: &BoxKey,
    ) -> Result<Self, SealError> {
        let key = open_key_from(&key.0, &box_context(cluster, number, manager), boxed)?;
        Ok(Self { cluster, number, key })
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The public half of the intake key (X25519), with which clients agree.
    #[must_use]
    pub fn intake(&self) -> IntakePublic {
        let public = public_of(&self.intake_private());
        IntakePublic { cluster: self.cluster, number: self.number, public }
    }

    fn intake_private(&self) -> Key32 {
        self.derive(labels::INTAKE)
    }

    fn derive(&self, label: &str) -> Key32 {
        derive(&self.key, label, &[self.cluster.as_bytes(), &self.number.to_le_bytes()])
    }

    /// The key under which data keys and the issuing CA's key stand in the state.
    #[must_use]
    pub fn wrap_key(&self) -> WrapKey {
        WrapKey { number: self.number, key: self.derive(labels::WRAP) }
    }

    /// Wraps the cluster key of the number before for the state, so that whoever
    /// opens this one opens what older data keys need.
    ///
    /// # Errors
    /// [`SealError::Retired`] where `previous` is not the number before.
    pub fn wrap_previous(
        &self,
        dice: &mut dyn Dice,
        previous: &ClusterKey,
    ) -> Result<WrappedKey, SealError> {
        in_use(previous.number.saturating_add(1), self.number)?;
        let wrap = self.wrap_key();
        let (key, commitment) = wrap.previous_key(self.cluster, previous.number);
        let sealed = seal(dice, &key, previous.key.expose())?;
        Ok(wrap.wrapped(&commitment, &sealed))
    }

    /// Opens the cluster key of the number before, as [`Self::wrap_previous`] made it.
    ///
    /// # Errors
    /// [`SealError::Retired`], [`SealError::DoesNotOpen`], [`SealError::Malformed`].
    pub fn open_previous(&self, wrapped: &WrappedKey) -> Result<ClusterKey, SealError> {
        let number = self.number.checked_sub(1).ok_or(SealError::Malformed)?;
        let wrap = self.wrap_key();
        let (commitment, sealed) = wrap.unwrapped(wrapped)?;
        let (key, own) = wrap.previous_key(self.cluster, number);
        if !same(commitment, &own) {
            return Err(SealError::DoesNotOpen);
        }
        Ok(Self { cluster: self.cluster, number, key: open_key(&key, sealed)? })
    }

    /// The leader's act on intake: opens what a client sent, checks its commitment against
    /// `context`, and wraps the data key for the state. `kept` is what the connection's client
    /// agreed on before; where this key was sent under another half, that takes its place.
    ///
    /// # Errors
    /// [`SealError::Retired`], [`SealError::DoesNotOpen`], [`SealError::Malformed`],
    /// [`SealError::LowOrder`].
    pub fn rewrap(
        &self,
        dice: &mut dyn Dice,
        sent: &SentKey,
        context: &ValueContext,
        kept: &mut Option<IntakeAgreement>,
    ) -> Result<WrappedKey, SealError> {
        in_use(sent.number, self.number)?;
        let agreement = match kept.take() {
            Some(known) if known.is_of(sent.number, &sent.half) => known,
            _ => self.agree(sent)?,
        };
        let key = kept.insert(agreement).open(sent, context)?;
        self.wrap_key().wrap_data_key(dice, &key, context)
    }

    pub(super) fn agree(&self, sent: &SentKey) -> Result<IntakeAgreement, SealError> {
        self.intake().with_client(&self.intake_private(), sent.half)
    }
}

fn in_use(found: u64, wanted: u64) -> Result<(), SealError> {
    if found == wanted { Ok(()) } else { Err(SealError::Retired { found, wanted }) }
}

/// Wraps 32-byte data keys and the issuing CA's private key.
#[derive(Debug)]
pub struct WrapKey {
    number: u64,
    key: Key32,
}

/// Bytes before the sealed part: wrap key id and commitment.
const WRAP_HEAD: usize = 16 + 32;

impl WrapKey {
    fn id(&self) -> [u8; 16] {
        head16(derive(&self.key, labels::WRAP_ID, &[]).expose())
    }

    fn data_key_key(&self, context: &[u8; 32]) -> Key32 {
        derive(&self.key, labels::WRAPPED_DATA_KEY, &[context])
    }

    fn wrap_data_key(
        &self,
        dice: &mut dyn Dice,
        key: &DataKey,
        context: &ValueContext,
    ) -> Result<WrappedKey, SealError> {
        let context = context.hash();
        let sealed = seal(dice, &self.data_key_key(&context), key.expose())?;
        Ok(self.wrapped(&key.commitment(&context), &sealed))
    }

    fn wrapped(&self, commitment: &[u8; 32], sealed: &[u8]) -> WrappedKey {
        WrappedKey {
            number: self.number,
            bytes: [&self.id(), commitment.as_slice(), sealed].concat(),
        }
    }

    /// Splits commitment and sealed part, after number and key id were checked.
    fn unwrapped<'a>(&self, wrapped: &'a WrappedKey) -> Result<(&'a [u8], &'a [u8]), SealError> {
        in_use(wrapped.number, self.number)?;
        let (head, sealed) =
            wrapped.bytes.split_at_checked(WRAP_HEAD).ok_or(SealError::Malformed)?;
        let (id, commitment) = head.split_at_checked(16).ok_or(SealError::Malformed)?;
        if id == self.id() { Ok((commitment, sealed)) } else { Err(SealError::DoesNotOpen) }
    }

    /// Opens a wrapped data key; `context` is authenticated.
    ///
    /// # Errors
    /// [`SealError::Retired`], [`SealError::DoesNotOpen`], [`SealError::Malformed`].
    pub fn open_data_key(
        &self,
        wrapped: &WrappedKey,
        context: &ValueContext,
    ) -> Result<DataKey, SealError> {
        let (commitment, sealed) = self.unwrapped(wrapped)?;
        let context = context.hash();
        DataKey::new(open_key(&self.data_key_key(&context), sealed)?).if_it_is(commitment, &context)
    }

    /// The key under which a previous cluster key stands, and its commitment.
    fn previous_key(&self, cluster: ClusterId, number: u64) -> (Key32, [u8; 32]) {
        let fields: [&[u8]; 2] = [cluster.as_bytes(), &number.to_le_bytes()];
        let key = derive(&self.key, labels::PREVIOUS_CLUSTER_KEY, &fields);
        let commitment = commit(&key, &context_hash(labels::PREVIOUS_CLUSTER_KEY, &fields));
        (key, commitment)
    }

    fn secret_key(&self, label: &str) -> (Key32, [u8; 32]) {
        let hash = context_hash(label, &[]);
        let key = derive(&self.key, labels::WRAPPED_SECRET, &[&hash]);
        let commitment = commit(&key, &hash);
        (key, commitment)
    }

    /// Wraps any other private key (the issuing CA's, PKCS#8 DER) with a label.
    ///
    /// # Errors
    /// None today.
    pub fn wrap_secret(
        &self,
        dice: &mut dyn Dice,
        label: &'static str,
        secret: &SecretBytes,
    ) -> Result<WrappedKey, SealError> {
        let (key, commitment) = self.secret_key(label);
        let sealed = seal(dice, &key, secret.expose())?;
        Ok(self.wrapped(&commitment, &sealed))
    }

    /// Opens what [`Self::wrap_secret`] made under the same label.
    ///
    /// # Errors
    /// [`SealError::Retired`], [`SealError::DoesNotOpen`], [`SealError::Malformed`].
    pub fn open_secret(
        &self,
        label: &'static str,
        wrapped: &WrappedKey,
    ) -> Result<SecretBytes, SealError> {
        let (commitment, sealed) = self.unwrapped(wrapped)?;
        let (key, own) = self.secret_key(label);
        if !same(commitment, &own) {
            return Err(SealError::DoesNotOpen);
        }
        open(&key, sealed)
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// The cluster key that is these bytes.
    pub(in crate::seal) fn with_bytes(
        cluster: ClusterId,
        number: u64,
        mut bytes: [u8; 32],
    ) -> ClusterKey {
        ClusterKey { cluster, number, key: Key32::take(&mut bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::testing::Seeded;
    use crate::seal::tests::context;

    fn cluster() -> ClusterId {
        ClusterId::from_bytes([1; 16])
    }

    #[test]
    fn a_manager_opens_its_own_box_only() {
        let mut dice = Seeded::new(1);
        let key = ClusterKey::draw(&mut dice, cluster(), 1);
        let (mine, other) = (BoxKey::draw(&mut dice), BoxKey::draw(&mut dice));
        let manager = NodeId::draw(&mut dice);
        let boxed = box_cluster_key(&mut dice, &key, manager, &mine.public()).unwrap();
        let opened = ClusterKey::open(&boxed, cluster(), 1, manager, &mine).unwrap();
        assert_eq!(opened.intake(), key.intake());
        assert!(ClusterKey::open(&boxed, cluster(), 2, manager, &mine).is_err());
        assert!(ClusterKey::open(&boxed, cluster(), 1, NodeId::default(), &mine).is_err());
        assert!(ClusterKey::open(&boxed, cluster(), 1, manager, &other).is_err());
        assert_eq!(
            box_cluster_key(&mut dice, &key, manager, &[0; 32]).err(),
            Some(SealError::LowOrder)
        );
    }

    #[test]
    fn a_data_key_goes_from_client_to_state() {
        let mut dice = Seeded::new(2);
        let key = ClusterKey::draw(&mut dice, cluster(), 3);
        let data = DataKey::draw(&mut dice);
        let client = IntakeAgreement::draw(&mut dice, &key.intake()).unwrap();
        let sent = client.seal(&mut dice, &data, &context(5)).unwrap();
        let wrapped = key.rewrap(&mut dice, &sent, &context(5), &mut None).unwrap();
        let opened = key.wrap_key().open_data_key(&wrapped, &context(5)).unwrap();
        assert_eq!(opened.expose(), data.expose());
        assert!(key.wrap_key().open_data_key(&wrapped, &context(6)).is_err());
        let old = SentKey { number: 2, ..sent };
        let retired = Err(SealError::Retired { found: 2, wanted: 3 });
        assert_eq!(key.rewrap(&mut dice, &old, &context(5), &mut None), retired);
        for at in 0..wrapped.bytes.len() {
            let mut changed = wrapped.clone();
            changed.bytes[at] ^= 1;
            assert!(key.wrap_key().open_data_key(&changed, &context(5)).is_err(), "byte {at}");
        }
    }

    #[test]
    fn each_number_opens_the_one_before_and_none_after() {
        let mut dice = Seeded::new(4);
        let keys: Vec<_> = (1..=3).map(|n| ClusterKey::draw(&mut dice, cluster(), n)).collect();
        let second = keys[1].wrap_previous(&mut dice, &keys[0]).unwrap();
        let third = keys[2].wrap_previous(&mut dice, &keys[1]).unwrap();
        let opened = keys[2].open_previous(&third).unwrap();
        assert_eq!((opened.number(), opened.intake()), (2, keys[1].intake()));
        let first = opened.open_previous(&second).unwrap();
        assert_eq!((first.number(), first.intake()), (1, keys[0].intake()));
        assert!(keys[0].open_previous(&second).is_err(), "by the old one");
        assert!(keys[1].open_previous(&third).is_err(), "by the one inside");
        assert!(keys[2].open_previous(&second).is_err(), "by a later one");
        assert!(keys[2].wrap_previous(&mut dice, &keys[0]).is_err(), "a number left out");
        for at in 0..third.bytes.len() {
            let mut changed = third.clone();
            changed.bytes[at] ^= 1;
            assert!(keys[2].open_previous(&changed).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_secret_is_wrapped_under_its_label() {
        let mut dice = Seeded::new(3);
        let key = ClusterKey::draw(&mut dice, cluster(), 1).wrap_key();
        let wrapped =
            key.wrap_secret(&mut dice, "issuing key", &SecretBytes::copy_of(b"der")).unwrap();
        assert_eq!(key.open_secret("issuing key", &wrapped).unwrap().expose(), b"der");
        assert!(key.open_secret("other", &wrapped).is_err());
        for at in 0..wrapped.bytes.len() {
            let mut changed = wrapped.clone();
            changed.bytes[at] ^= 1;
            assert!(key.open_secret("issuing key", &changed).is_err(), "byte {at}");
        }
    }
}
