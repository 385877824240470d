//! Values and their data keys (docs/keys.md, 5).

use super::construct::{
    SEAL_OVERHEAD, commit, context_hash, derive, open, open_key_from, same, seal, seal_to,
};
use super::{SealError, labels};
use crate::base::{ClusterId, Dice, Key32, SealedValue, SecretBytes, SecretId, VersionId};

/// What a value's key is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueContext {
    /// The cluster.
    pub cluster: ClusterId,
    /// The secret.
    pub secret: SecretId,
    /// The version.
    pub version: VersionId,
    /// Bytes of the value.
    pub size: u32,
}

impl ValueContext {
    pub(super) fn hash(&self) -> [u8; 32] {
        let size = self.size.to_le_bytes();
        let fields: [&[u8]; 4] =
            [self.cluster.as_bytes(), self.secret.as_bytes(), self.version.as_bytes(), &size];
        context_hash(labels::VALUE_CONTEXT, &fields)
    }

    fn fits(&self, length: usize) -> Result<(), SealError> {
        if usize::try_from(self.size) == Ok(length) { Ok(()) } else { Err(SealError::Malformed) }
    }
}

/// The 32-byte key of one secret version.
#[derive(Debug)]
pub struct DataKey(Key32);

impl DataKey {
    /// Draws a new one.
    pub fn draw(dice: &mut dyn Dice) -> Self {
        Self(Key32::draw(dice))
    }

    /// The one with these bytes.
    #[must_use]
    pub fn new(key: Key32) -> Self {
        Self(key)
    }

    /// The key's bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    /// In a process that writes: boxes this key and the hash of `context` to an agent's put key.
    ///
    /// # Errors
    /// [`SealError::LowOrder`].
    pub fn box_to(
        &self,
        dice: &mut dyn Dice,
        public: &[u8; 32],
        context: &ValueContext,
    ) -> Result<Vec<u8>, SealError> {
        let context = context.hash();
        let mut bytes = self.commitment(&context).to_vec();
        bytes.extend_from_slice(&seal_to(dice, public, &context, self.expose())?);
        Ok(bytes)
    }

    /// Opens the box that [`Self::box_to`] made, by the private half, and checks context
    /// hash and commitment.
    pub(super) fn unboxed(
        private: &Key32,
        boxed: &[u8],
        context: &ValueContext,
    ) -> Result<Self, SealError> {
        let (commitment, bytes) = boxed.split_at_checked(32).ok_or(SealError::Malformed)?;
        let hash = context.hash();
        Self(open_key_from(private, &hash, bytes)?).if_it_is(commitment, &hash)
    }

    /// This key, if it is the one that was committed to in this context.
    pub(super) fn if_it_is(self, commitment: &[u8], context: &[u8; 32]) -> Result<Self, SealError> {
        if same(commitment, &self.commitment(context)) {
            Ok(self)
        } else {
            Err(SealError::DoesNotOpen)
        }
    }

    pub(super) fn commitment(&self, context: &[u8; 32]) -> [u8; 32] {
        commit(&self.0, context)
    }

    fn value_key(&self, context: &ValueContext) -> Key32 {
        derive(&self.0, labels::VALUE, &[&context.hash()])
    }
}

/// Seals a value under a key derived from its data key and `context`.
///
/// # Errors
/// [`SealError::Malformed`] where `context.size` is not the value's length.
pub fn seal_value(
    dice: &mut dyn Dice,
    key: &DataKey,
    context: &ValueContext,
    value: &SecretBytes,
) -> Result<SealedValue, SealError> {
    context.fits(value.len())?;
    let sealed = seal(dice, &key.value_key(context), value.expose())?;
    Ok(SealedValue(sealed.into()))
}

/// Opens a value into a buffer of exactly its size.
///
/// # Errors
/// [`SealError::DoesNotOpen`], [`SealError::Malformed`].
pub fn open_value(
    key: &DataKey,
    context: &ValueContext,
    sealed: &[u8],
) -> Result<SecretBytes, SealError> {
    context.fits(sealed.len().checked_sub(SEAL_OVERHEAD).ok_or(SealError::Malformed)?)?;
    open(&key.value_key(context), sealed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::testing::Seeded;
    use crate::seal::tests::context;

    #[test]
    fn a_value_opens_in_its_own_context_only() {
        let mut dice = Seeded::new(1);
        let key = DataKey::draw(&mut dice);
        let home = context(5);
        let sealed = seal_value(&mut dice, &key, &home, &SecretBytes::copy_of(b"value")).unwrap();
        assert_eq!(open_value(&key, &home, &sealed.0).unwrap().expose(), b"value");
        let others = [
            ValueContext { cluster: ClusterId::from_bytes([9; 16]), ..home },
            ValueContext { secret: SecretId::from_bytes([9; 16]), ..home },
            ValueContext { version: VersionId::from_bytes([9; 16]), ..home },
        ];
        for other in others {
            assert_eq!(open_value(&key, &other, &sealed.0).err(), Some(SealError::DoesNotOpen));
        }
        assert_eq!(open_value(&key, &context(4), &sealed.0).err(), Some(SealError::Malformed));
        assert_eq!(open_value(&key, &home, &[]).err(), Some(SealError::Malformed));
        let wrong = seal_value(&mut dice, &key, &context(4), &SecretBytes::copy_of(b"value"));
        assert_eq!(wrong.err(), Some(SealError::Malformed));
    }
}
