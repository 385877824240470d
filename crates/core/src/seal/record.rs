//! Records of the log and chunks of snapshots (docs/keys.md, 3).

use super::construct::{SEAL_OVERHEAD, derive, head16, open_in_place, seal_in_place};
use super::{SealError, labels};
use crate::base::{ClusterId, Dice, Key32, NodeId};

/// Bytes that sealing adds to a record: a 24-byte nonce and a 16-byte tag.
pub const TAG_AND_NONCE: usize = SEAL_OVERHEAD;

/// A data-encryption key. Its id is derived from it.
#[derive(Debug)]
pub struct Dek(Key32);

impl Dek {
    /// Draws a new one.
    pub fn draw(dice: &mut dyn Dice) -> Self {
        Self(Key32::draw(dice))
    }

    /// The one with these bytes.
    #[must_use]
    pub fn new(key: Key32) -> Self {
        Self(key)
    }

    /// The key's bytes, for the key file's body.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    /// Its id: derived from it, stands in the clear in each file.
    #[must_use]
    pub fn id(&self) -> [u8; 16] {
        head16(derive(&self.0, labels::DEK_ID, &[]).expose())
    }

    /// The key from which the records of one file derive theirs.
    #[must_use]
    pub fn segment(&self, place: &SegmentPlace) -> RecordKey {
        let SegmentPlace { cluster, node, kind, number, salt } = place;
        let fields: [&[u8]; 5] =
            [cluster.as_bytes(), node.as_bytes(), &[*kind], &number.to_le_bytes(), salt];
        RecordKey(derive(&self.0, labels::FILE, &fields))
    }
}

/// Where a file's records stand: part of every record's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentPlace {
    /// The cluster.
    pub cluster: ClusterId,
    /// The manager whose file it is.
    pub node: NodeId,
    /// What kind of file: `b'L'` log segment, `b'M'` manifest, `b'S'` snapshot.
    pub kind: u8,
    /// The file's number; never used twice for a kind.
    pub number: u64,
    /// Drawn when the file was created.
    pub salt: [u8; 32],
}

/// Seals and opens the records of one file.
#[derive(Debug)]
pub struct RecordKey(Key32);

impl RecordKey {
    /// Seals record `number` in place: `buffer` is `TAG_AND_NONCE` free bytes, then
    /// the plaintext; afterwards nonce, tag and ciphertext.
    ///
    /// # Errors
    /// [`SealError::Malformed`] for a buffer shorter than [`TAG_AND_NONCE`].
    pub fn seal(
        &self,
        dice: &mut dyn Dice,
        number: u64,
        buffer: &mut [u8],
    ) -> Result<(), SealError> {
        seal_in_place(dice, &self.key(number), buffer)
    }

    /// Opens record `number` in place and answers the plaintext's part of `buffer`.
    ///
    /// # Errors
    /// [`SealError::DoesNotOpen`], [`SealError::Malformed`].
    pub fn open<'a>(&self, number: u64, buffer: &'a mut [u8]) -> Result<&'a mut [u8], SealError> {
        open_in_place(&self.key(number), buffer)
    }

    fn key(&self, number: u64) -> Key32 {
        derive(&self.0, labels::RECORD, &[&number.to_le_bytes()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::testing::Seeded;

    fn place() -> SegmentPlace {
        SegmentPlace {
            cluster: ClusterId::from_bytes([1; 16]),
            node: NodeId::from_bytes([2; 16]),
            kind: b'L',
            number: 3,
            salt: [4; 32],
        }
    }

    fn record(key: &RecordKey, number: u64) -> Vec<u8> {
        let mut buffer = [&[0; TAG_AND_NONCE], b"plaintext".as_slice()].concat();
        key.seal(&mut Seeded::new(1), number, &mut buffer).unwrap();
        buffer
    }

    #[test]
    fn p6_a_record_opens_in_its_own_place_only() {
        let dek = Dek::draw(&mut Seeded::new(2));
        let home = place();
        let sealed = record(&dek.segment(&home), 7);
        assert_eq!(dek.segment(&home).open(7, &mut sealed.clone()).unwrap(), b"plaintext");
        let elsewhere = [
            SegmentPlace { cluster: ClusterId::from_bytes([9; 16]), ..home },
            SegmentPlace { node: NodeId::from_bytes([9; 16]), ..home },
            SegmentPlace { kind: b'S', ..home },
            SegmentPlace { number: 4, ..home },
            SegmentPlace { salt: [5; 32], ..home },
        ];
        for other in elsewhere {
            let opened = dek.segment(&other).open(7, &mut sealed.clone()).map(|_| ());
            assert_eq!(opened, Err(SealError::DoesNotOpen), "{other:?}");
        }
        assert!(dek.segment(&home).open(8, &mut sealed.clone()).is_err());
        assert!(
            Dek::draw(&mut Seeded::new(3)).segment(&home).open(7, &mut sealed.clone()).is_err()
        );
    }

    #[test]
    fn p6_a_flip_of_any_byte_is_noticed() {
        let key = Dek::draw(&mut Seeded::new(2)).segment(&place());
        let sealed = record(&key, 0);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(key.open(0, &mut changed).is_err(), "byte {at}");
            assert!(key.open(0, &mut sealed[..at].to_vec()).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn equal_plaintexts_are_sealed_differently() {
        let key = Dek::draw(&mut Seeded::new(2)).segment(&place());
        let mut dice = Seeded::new(5);
        let mut seal = || {
            let mut buffer = vec![0; TAG_AND_NONCE + 32];
            key.seal(&mut dice, 0, &mut buffer).unwrap();
            buffer
        };
        assert_ne!(seal(), seal());
    }
}
