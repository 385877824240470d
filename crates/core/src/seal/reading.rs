//! Where a reading of the audit log has come to, so that nobody makes one up (docs/keys.md, 10).

use super::construct::{derive, same};
use super::labels;
use crate::base::{Dice, Key32};

/// Bytes of a mark.
const MARK: usize = 16;

/// The key of one start of a manager: told to nobody, and gone with the process.
pub struct ReadingKey(Key32);

impl std::fmt::Debug for ReadingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReadingKey")
    }
}

/// How far somebody has read of what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadingPlace {
    /// A hash of who reads what.
    pub what: [u8; 32],
    /// When the line was written that says so, in milliseconds of boot time.
    pub began: u64,
    /// The file, the record in it, and where that begins.
    pub at: (u64, u32, u64),
}

impl ReadingKey {
    /// Draws a new one.
    pub fn draw(dice: &mut dyn Dice) -> Self {
        Self(Key32::draw(dice))
    }

    /// What proves that this manager has named the place.
    #[must_use]
    pub fn mark(&self, place: &ReadingPlace) -> Vec<u8> {
        let (file, record, offset) = place.at;
        let fields: [&[u8]; 5] = [
            &place.what,
            &place.began.to_le_bytes(),
            &file.to_le_bytes(),
            &record.to_le_bytes(),
            &offset.to_le_bytes(),
        ];
        derive(&self.0, labels::READING, &fields).expose().iter().take(MARK).copied().collect()
    }

    /// Whether it is the mark of this place.
    #[must_use]
    pub fn is_mark(&self, mark: &[u8], place: &ReadingPlace) -> bool {
        same(mark, &self.mark(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::testing::Seeded;

    #[test]
    fn a_mark_is_of_its_place_and_key_alone() {
        let mut dice = Seeded::new(1);
        let key = ReadingKey::draw(&mut dice);
        let place = ReadingPlace { what: [1; 32], began: 2, at: (3, 4, 5) };
        let mark = key.mark(&place);
        assert_eq!(mark.len(), MARK);
        assert!(key.is_mark(&mark, &place));
        let others = [
            ReadingPlace { what: [9; 32], ..place },
            ReadingPlace { began: 9, ..place },
            ReadingPlace { at: (9, 4, 5), ..place },
            ReadingPlace { at: (3, 9, 5), ..place },
            ReadingPlace { at: (3, 4, 9), ..place },
        ];
        for other in others {
            assert!(!key.is_mark(&mark, &other), "{other:?}");
        }
        assert!(!key.is_mark(&[], &place));
        assert!(!ReadingKey::draw(&mut dice).is_mark(&mark, &place));
    }
}
