//! Lines of the audit log of a manager that is locked: sealed to its box key, which it can open
//! once it is unlocked (docs/keys.md, 10).

use super::construct::{context_hash, open_from, seal_to};
use super::{BoxKey, SealError, labels};
use crate::base::{ClusterId, Dice, NodeId, SecretBytes};

/// Seals a line to the box key of a manager, with its place in the file.
///
/// # Errors
/// [`SealError::LowOrder`], [`SealError::Malformed`].
pub fn seal_line(
    dice: &mut dyn Dice,
    public: &[u8; 32],
    place: (ClusterId, NodeId, u64),
    line: &[u8],
) -> Result<Vec<u8>, SealError> {
    seal_to(dice, public, &context(place), line)
}

/// Opens one in its place.
///
/// # Errors
/// [`SealError::DoesNotOpen`], [`SealError::LowOrder`], [`SealError::Malformed`].
pub fn open_line(
    key: &BoxKey,
    place: (ClusterId, NodeId, u64),
    sealed: &[u8],
) -> Result<SecretBytes, SealError> {
    open_from(key.private(), &context(place), sealed)
}

fn context((cluster, node, number): (ClusterId, NodeId, u64)) -> [u8; 32] {
    let fields: [&[u8]; 3] = [cluster.as_bytes(), node.as_bytes(), &number.to_le_bytes()];
    context_hash(labels::SEALED_LINE, &fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Key32;
    use crate::base::testing::Seeded;

    #[test]
    fn a_line_opens_in_its_own_place_with_its_managers_key_alone() {
        let mut dice = Seeded::new(1);
        let key = BoxKey::new(Key32::draw(&mut dice));
        let (cluster, node) = (ClusterId::from_bytes([1; 16]), NodeId::from_bytes([2; 16]));
        let place = (cluster, node, 3);
        let sealed = seal_line(&mut dice, &key.public(), place, b"line").expect("sealed");
        assert_eq!(open_line(&key, place, &sealed).expect("opened").expose(), b"line");
        for other in [(cluster, node, 4), (cluster, NodeId::from_bytes([9; 16]), 3)] {
            assert_eq!(open_line(&key, other, &sealed).err(), Some(SealError::DoesNotOpen));
        }
        let other = BoxKey::new(Key32::draw(&mut dice));
        assert!(open_line(&other, place, &sealed).is_err());
    }
}
