//! What an agent shows by FUSE, while nobody reads it (docs/keys.md, 7).

use super::construct::{SEAL_OVERHEAD, derive, open_in_place, seal_in_place};
use super::{SealError, labels};
use crate::base::{Dice, Key32};

/// Bytes that sealing adds to a piece.
pub const SHELF_OVERHEAD: usize = SEAL_OVERHEAD;

/// The key of one agent process: drawn when it starts, in locked memory, told to nobody,
/// gone with the process.
pub struct ShelfKey(Key32);

impl std::fmt::Debug for ShelfKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ShelfKey")
    }
}

impl ShelfKey {
    /// Draws a new one.
    pub fn draw(dice: &mut dyn Dice) -> Self {
        Self(Key32::draw(dice))
    }

    fn piece_key(&self, file: u64, piece: u32) -> Key32 {
        derive(&self.0, labels::SHELF_PIECE, &[&file.to_le_bytes(), &piece.to_le_bytes()])
    }

    /// Seals one piece of a file. Numbers of files are never used again.
    ///
    /// # Errors
    /// None that a caller could cause.
    pub fn seal(
        &self,
        dice: &mut dyn Dice,
        (file, piece): (u64, u32),
        plaintext: &[u8],
    ) -> Result<Box<[u8]>, SealError> {
        let mut buffer = vec![0; SHELF_OVERHEAD.saturating_add(plaintext.len())].into_boxed_slice();
        let body = buffer.get_mut(SHELF_OVERHEAD..).ok_or(SealError::Malformed)?;
        body.copy_from_slice(plaintext);
        seal_in_place(dice, &self.piece_key(file, piece), &mut buffer)?;
        Ok(buffer)
    }

    /// Opens one piece into `buffer`, which is as long as the sealed piece; answers the
    /// plaintext's part of it.
    ///
    /// # Errors
    /// [`SealError`]: the memory was changed, or the piece is another one.
    pub fn open<'b>(
        &self,
        (file, piece): (u64, u32),
        sealed: &[u8],
        buffer: &'b mut [u8],
    ) -> Result<&'b mut [u8], SealError> {
        if buffer.len() != sealed.len() {
            return Err(SealError::Malformed);
        }
        buffer.copy_from_slice(sealed);
        open_in_place(&self.piece_key(file, piece), buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::testing::Seeded;

    #[test]
    fn a_piece_opens_in_its_own_place_only() {
        let mut dice = Seeded::new(1);
        let key = ShelfKey::draw(&mut dice);
        let sealed = key.seal(&mut dice, (3, 0), b"value").unwrap();
        assert_eq!(sealed.len(), SHELF_OVERHEAD + 5);
        assert!(!sealed.windows(5).any(|window| window == b"value"));
        let mut buffer = vec![0; sealed.len()];
        assert_eq!(key.open((3, 0), &sealed, &mut buffer).unwrap(), b"value");
        for place in [(3, 1), (4, 0)] {
            assert_eq!(key.open(place, &sealed, &mut buffer).err(), Some(SealError::DoesNotOpen));
        }
        let other = ShelfKey::draw(&mut dice);
        assert_eq!(other.open((3, 0), &sealed, &mut buffer).err(), Some(SealError::DoesNotOpen));
        assert!(key.open((3, 0), &sealed, &mut [0; 4]).is_err());
    }
}
