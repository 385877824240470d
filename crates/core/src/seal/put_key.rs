//! What a workload puts, on its way to the agent (docs/keys.md, 5).

use super::construct::public_of;
use super::{DataKey, IntakeAgreement, SealError, ValueContext, open_value};
use crate::base::{Dice, Key32, SealedValue, SentKey};

/// An agent's key pair, drawn at each start and kept nowhere: workloads seal to its public half
/// what they put, so that no value stands in the buffers of the agent's socket.
#[derive(Debug)]
pub struct PutKey(Key32);

impl PutKey {
    /// Draws a pair.
    pub fn draw(dice: &mut dyn Dice) -> Self {
        Self(Key32::draw(dice))
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        public_of(&self.0)
    }

    /// In the agent: opens the box that [`DataKey::box_to`] made for the public half,
    /// sees that the value opens, and seals the data key for the managers.
    /// The value stays as it was sealed.
    ///
    /// # Errors
    /// [`SealError::DoesNotOpen`], [`SealError::Malformed`].
    pub fn hand_on(
        &self,
        dice: &mut dyn Dice,
        (boxed, value): (&[u8], &SealedValue),
        managers: &IntakeAgreement,
        context: &ValueContext,
    ) -> Result<SentKey, SealError> {
        let key = DataKey::unboxed(&self.0, boxed, context)?;
        drop(open_value(&key, context, &value.0)?);
        managers.seal(dice, &key, context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ClusterId;
    use crate::base::SecretBytes;
    use crate::base::testing::Seeded;
    use crate::seal::tests::context;
    use crate::seal::{ClusterKey, seal_value};

    #[test]
    fn the_managers_open_the_key_that_was_handed_on_and_no_other_context_does() {
        let mut dice = Seeded::new(1);
        let agent = PutKey::draw(&mut dice);
        let managers = ClusterKey::draw(&mut dice, ClusterId::from_bytes([1; 16]), 3);
        let (key, home) = (DataKey::draw(&mut dice), context(5));
        let bytes = SecretBytes::copy_of(b"value");
        let value = seal_value(&mut dice, &key, &home, &bytes).unwrap();
        let boxed = key.box_to(&mut dice, &agent.public(), &home).unwrap();
        let agreed = IntakeAgreement::draw(&mut dice, &managers.intake()).unwrap();
        let handed = agent.hand_on(&mut dice, (&boxed, &value), &agreed, &home).unwrap();
        let wrapped = managers.rewrap(&mut dice, &handed, &home, &mut None).unwrap();
        let opened = managers.wrap_key().open_data_key(&wrapped, &home).unwrap();
        assert_eq!(opened.expose(), key.expose());
        let mut refused = |boxed: &[u8], value: &SealedValue, context: &ValueContext| {
            agent.hand_on(&mut dice, (boxed, value), &agreed, context).err()
        };
        let other = ValueContext { secret: crate::base::SecretId::from_bytes([9; 16]), ..home };
        assert_eq!(refused(&boxed, &value, &other), Some(SealError::DoesNotOpen));
        assert_eq!(refused(&boxed[1..], &value, &home), Some(SealError::DoesNotOpen));
        assert_eq!(refused(&[], &value, &home), Some(SealError::Malformed));
        let mut cut = value.0.to_vec();
        cut[0] ^= 1;
        let changed = SealedValue(cut.into());
        assert_eq!(refused(&boxed, &changed, &home), Some(SealError::DoesNotOpen));
    }
}
