//! Secret bytes. They derive nothing: no `Debug`, `Clone`, `PartialEq` or
//! serialisation; they stand in locked pages and are zeroed on drop. `grep expose`
//! lists every place that touches plaintext.

use zeroize::Zeroize;

use locked_pages::{LockedArray, LockedBytes};

/// Secret bytes of a length fixed when they were made, so that no copy is left
/// behind by a growing buffer.
pub struct SecretBytes(LockedBytes);

impl SecretBytes {
    /// `length` zero bytes, to be filled in place through [`Self::expose_mut`].
    #[must_use]
    pub fn zeroed(length: usize) -> Self {
        Self(LockedBytes::zeroed(length))
    }

    /// Moves bytes here from ordinary memory, which is zeroed.
    #[must_use]
    pub fn take(mut bytes: Vec<u8>) -> Self {
        let secret = Self::copy_of(&bytes);
        bytes.zeroize();
        secret
    }

    /// Copies `bytes`; the caller wipes the original.
    #[must_use]
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut secret = Self::zeroed(bytes.len());
        secret.0.copy_from_slice(bytes);
        secret
    }

    /// The bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, to be written.
    pub fn expose_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// How many bytes there are. Lengths are not secret (P6).
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first `length` bytes (all, if there are fewer); the rest is zeroed.
    #[must_use]
    pub fn truncated(self, length: usize) -> Self {
        match self.0.get(..length) {
            Some(kept) if length < self.0.len() => Self::copy_of(kept),
            _ => self,
        }
    }
}

/// A 32-byte key.
pub struct Key32(LockedArray<32>);

impl Key32 {
    /// The key made of these bytes; the caller's copy is zeroed.
    #[must_use]
    pub fn take(bytes: &mut [u8; 32]) -> Self {
        let mut key = Self(LockedArray::zeroed());
        key.0.copy_from_slice(bytes);
        bytes.zeroize();
        key
    }

    /// Draws a new key.
    pub fn draw(dice: &mut dyn super::Dice) -> Self {
        let mut key = Self(LockedArray::zeroed());
        dice.fill(key.0.as_mut_slice());
        key
    }

    /// The key with these bytes, if there are 32 of them.
    #[must_use]
    pub fn copy_of(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 32] = bytes.try_into().ok()?;
        let mut key = Self(LockedArray::zeroed());
        key.0.copy_from_slice(bytes);
        Some(key)
    }

    /// The key's bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

// Lints ask for `Debug`; these say what it is and never what it holds.
impl std::fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretBytes")
    }
}

impl std::fmt::Debug for Key32 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key32")
    }
}
