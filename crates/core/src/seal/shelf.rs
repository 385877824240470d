//! What an agent shows by FUSE, while nobody reads it (docs/keys.md, 7).
//!
//! AES-256-GCM, for a processor has instructions for it: a reader waits while a value is opened.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroize as _;

use super::construct::derive;
use super::{SealError, labels};
use crate::base::{Dice, Key32};

/// Bytes of a tag.
const TAG: usize = 16;

/// One piece of a file, sealed.
#[derive(Debug)]
pub struct ShelfPiece {
    nonce: [u8; NONCE_LEN],
    tag: [u8; TAG],
    ciphertext: Box<[u8]>,
}

/// The key stays while the process lives: what was taken away is to be nowhere any more, sealed
/// or not.
impl Drop for ShelfPiece {
    fn drop(&mut self) {
        self.ciphertext.zeroize();
    }
}

impl ShelfPiece {
    /// Bytes of the value that it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ciphertext.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ciphertext.is_empty()
    }
}

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

    /// The library's own copy of the piece's key is zeroed when it goes.
    fn piece_key(&self, (file, piece): (u64, u32)) -> Result<LessSafeKey, SealError> {
        let fields: [&[u8]; 2] = [&file.to_le_bytes(), &piece.to_le_bytes()];
        let key = derive(&self.0, labels::SHELF_PIECE, &fields);
        let key = UnboundKey::new(&AES_256_GCM, key.expose()).ok().ok_or(SealError::Malformed)?;
        Ok(LessSafeKey::new(key))
    }

    /// Seals one piece of a file. Numbers of files are never used again.
    ///
    /// # Errors
    /// None that a caller could cause.
    pub fn seal(
        &self,
        dice: &mut dyn Dice,
        place: (u64, u32),
        plaintext: &[u8],
    ) -> Result<ShelfPiece, SealError> {
        let mut nonce = [0; NONCE_LEN];
        dice.fill(&mut nonce);
        let mut ciphertext = vec![0; plaintext.len()].into_boxed_slice();
        let mut tag = [0; TAG];
        let unique = Nonce::assume_unique_for_key(nonce);
        self.piece_key(place)?
            .seal_out_of_place_scatter(
                unique,
                Aad::empty(),
                plaintext,
                &mut ciphertext,
                &[],
                &mut tag,
            )
            .ok()
            .ok_or(SealError::Malformed)?;
        Ok(ShelfPiece { nonce, tag, ciphertext })
    }

    /// Opens one piece into `plaintext`, which is as long as the piece.
    ///
    /// # Errors
    /// [`SealError`]: the memory was changed, or the piece is another one.
    pub fn open(
        &self,
        place: (u64, u32),
        piece: &ShelfPiece,
        plaintext: &mut [u8],
    ) -> Result<(), SealError> {
        if plaintext.len() != piece.len() {
            return Err(SealError::Malformed);
        }
        let nonce = Nonce::assume_unique_for_key(piece.nonce);
        self.piece_key(place)?
            .open_separate_gather(nonce, Aad::empty(), &piece.ciphertext, &piece.tag, plaintext)
            .ok()
            .ok_or(SealError::DoesNotOpen)
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
        let mut piece = key.seal(&mut dice, (3, 0), b"value").unwrap();
        assert_eq!(piece.len(), 5);
        assert_ne!(*piece.ciphertext, *b"value");
        let mut plaintext = [0; 5];
        key.open((3, 0), &piece, &mut plaintext).unwrap();
        assert_eq!(plaintext, *b"value");
        let refused = Err(SealError::DoesNotOpen);
        for place in [(3, 1), (4, 0)] {
            assert_eq!(key.open(place, &piece, &mut plaintext), refused);
        }
        assert_eq!(ShelfKey::draw(&mut dice).open((3, 0), &piece, &mut plaintext), refused);
        assert_eq!(key.open((3, 0), &piece, &mut [0; 4]), Err(SealError::Malformed));
        piece.tag[15] ^= 1;
        assert_eq!(key.open((3, 0), &piece, &mut plaintext), refused);
        piece.tag[15] ^= 1;
        piece.ciphertext[4] ^= 1;
        assert_eq!(key.open((3, 0), &piece, &mut plaintext), refused);
    }

    #[test]
    fn the_same_piece_is_never_sealed_alike() {
        let mut dice = Seeded::new(2);
        let key = ShelfKey::draw(&mut dice);
        let one = key.seal(&mut dice, (1, 0), b"value").unwrap();
        let other = key.seal(&mut dice, (1, 0), b"value").unwrap();
        assert_ne!(one.ciphertext, other.ciphertext);
        let empty = key.seal(&mut dice, (1, 1), b"").unwrap();
        assert!(empty.is_empty());
        key.open((1, 1), &empty, &mut []).unwrap();
    }
}
