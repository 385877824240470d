//! One file's bytes: sealed in pieces, opened for one read at a time.

use parking_lot::RwLock;
use zeroize::Zeroize as _;

use crate::agent::vault::FileSpec;
use skep_core::base::{Dice, SecretBytes, limits};
use skep_core::seal::{SealError, ShelfKey, ShelfPiece};

/// Plaintext bytes of a piece: what a read opens beyond what it asked for is bounded by it.
const PIECE: usize = 64 * 1024;
/// Bytes of one read at most: what the kernel asks for at a time.
pub(super) const READ_MOST: usize = 128 * 1024;
/// Room for every piece that one read can touch.
const ROOM: usize = READ_MOST + PIECE;

/// A file's bytes, which never change but for being taken away.
#[derive(Debug)]
pub(super) struct Content {
    /// The file's number: the same never comes twice.
    file: u64,
    body: RwLock<Body>,
}

#[derive(Debug, Default)]
struct Body {
    /// What is shown; none yet in a file that is being made, none in one that was emptied, and
    /// none in one that is no secret.
    of: Option<FileSpec>,
    pieces: Vec<ShelfPiece>,
}

impl Body {
    fn size(&self) -> usize {
        self.pieces.iter().map(ShelfPiece::len).sum()
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        self.body.get_mut().clear();
    }
}

/// A buffer for opened pieces, in locked pages.
pub(super) fn buffer() -> SecretBytes {
    SecretBytes::zeroed(ROOM)
}

impl Content {
    /// An empty file.
    pub(super) fn new(file: u64) -> Self {
        Self { file, body: RwLock::default() }
    }

    /// Fills it, once.
    pub(super) fn put(
        &self,
        key: &ShelfKey,
        dice: &mut dyn Dice,
        of: Option<&FileSpec>,
        value: &SecretBytes,
    ) -> Result<(), SealError> {
        let mut pieces = Vec::with_capacity(value.len().div_ceil(PIECE));
        for (piece, plaintext) in (0..).zip(value.expose().chunks(PIECE)) {
            pieces.push(key.seal(dice, (self.file, piece), plaintext)?);
        }
        *self.body.write() = Body { of: of.cloned(), pieces };
        Ok(())
    }

    /// It is of another version from here on, whose value is the same. What was emptied stays
    /// nobody's.
    pub(super) fn rename_version(&self, to: &FileSpec) {
        if let Some(of) = &mut self.body.write().of {
            to.clone_into(of);
        }
    }

    /// Takes everything away. Once this is back, no read gives a byte.
    pub(super) fn clear(&self) {
        self.body.write().clear();
    }

    /// Bytes that a reader may get.
    pub(super) fn size(&self) -> usize {
        self.body.read().size()
    }

    /// What is shown.
    pub(super) fn of(&self) -> Option<FileSpec> {
        self.body.read().of.clone()
    }

    /// Opens up to `size` bytes from `offset` on and hands them to `give`, which comes back
    /// before they can be taken away; then zeroes what was opened.
    pub(super) fn read(
        &self,
        key: &ShelfKey,
        buffer: &mut SecretBytes,
        (offset, size): (u64, usize),
        give: impl FnOnce(&[u8]),
    ) -> Result<(), SealError> {
        let body = self.body.read();
        let total = body.size();
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(total);
        let to = from.saturating_add(size.min(READ_MOST)).min(total);
        if from == to {
            give(&[]);
            return Ok(());
        }
        let (first, end) = (from / PIECE, to.div_ceil(PIECE));
        let room = buffer.expose_mut();
        let opened = open_pieces(key, self.file, &body.pieces, (first, end), room);
        let start = from % PIECE;
        let asked = room.get(start..start.saturating_add(to.saturating_sub(from)));
        let done = match (opened, asked) {
            (Ok(()), Some(bytes)) => {
                give(bytes);
                Ok(())
            }
            (Err(error), _) => Err(error),
            (Ok(()), None) => Err(SealError::Malformed),
        };
        let opened_to = end.saturating_mul(PIECE).min(total);
        let used = opened_to.saturating_sub(first.saturating_mul(PIECE)).min(room.len());
        if let Some(used) = room.get_mut(..used) {
            used.zeroize();
        }
        done
    }

    /// The whole value, for another generation.
    pub(super) fn value(
        &self,
        key: &ShelfKey,
        buffer: &mut SecretBytes,
    ) -> Result<SecretBytes, SealError> {
        let size = self.size();
        if size > limits::VALUE_BYTES {
            return Err(SealError::Malformed);
        }
        let mut value = SecretBytes::zeroed(size);
        for (offset, part) in (0_u64..).step_by(PIECE).zip(value.expose_mut().chunks_mut(PIECE)) {
            let mut whole = false;
            self.read(key, buffer, (offset, part.len()), |bytes| {
                whole = bytes.len() == part.len();
                if whole {
                    part.copy_from_slice(bytes);
                }
            })?;
            if !whole {
                return Err(SealError::Malformed);
            }
        }
        Ok(value)
    }
}

/// Opens neighbouring pieces so that their plaintext stands in one row.
fn open_pieces(
    key: &ShelfKey,
    file: u64,
    pieces: &[ShelfPiece],
    (first, end): (usize, usize),
    mut room: &mut [u8],
) -> Result<(), SealError> {
    for number in first..end {
        let sealed = pieces.get(number).ok_or(SealError::Malformed)?;
        let (place, rest) = room.split_at_mut_checked(sealed.len()).ok_or(SealError::Malformed)?;
        let piece = u32::try_from(number).map_err(|_| SealError::Malformed)?;
        key.open((file, piece), sealed, place)?;
        room = rest;
    }
    Ok(())
}
