//! The session key between leader and agent (docs/keys.md, 6).

use super::construct::{agree, derive, open_key, public_of, seal};
use super::{DataKey, SealError, ValueContext, labels};
use crate::base::{Dice, Key32, NodeId};

/// One side's fresh X25519 half.
#[derive(Debug)]
pub struct SessionHalf(Key32);

impl SessionHalf {
    /// Draws one.
    pub fn draw(dice: &mut dyn Dice) -> Self {
        Self(Key32::draw(dice))
    }

    /// The public half, for the hello.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        public_of(&self.0)
    }

    /// Agrees with the other side; both ids, both halves and their order (leader,
    /// agent) go into the key.
    ///
    /// # Errors
    /// [`SealError::LowOrder`].
    pub fn agree(
        self,
        own_is_leader: bool,
        leader: NodeId,
        agent: NodeId,
        other_public: &[u8; 32],
    ) -> Result<SessionKey, SealError> {
        let shared = agree(&self.0, other_public)?;
        let own = self.public();
        let (leader_half, agent_half) =
            if own_is_leader { (&own, other_public) } else { (other_public, &own) };
        let fields: [&[u8]; 4] = [leader.as_bytes(), agent.as_bytes(), leader_half, agent_half];
        Ok(SessionKey(derive(&shared, labels::SESSION, &fields)))
    }
}

/// Shared by leader and agent for one session.
#[derive(Debug)]
pub struct SessionKey(Key32);

impl SessionKey {
    /// In the leader: seals a data key for the agent.
    ///
    /// # Errors
    /// None today.
    pub fn seal(
        &self,
        dice: &mut dyn Dice,
        key: &DataKey,
        context: &ValueContext,
    ) -> Result<Vec<u8>, SealError> {
        seal(dice, &self.key(context), key.expose())
    }

    /// In the agent: opens it.
    ///
    /// # Errors
    /// [`SealError::DoesNotOpen`], [`SealError::Malformed`].
    pub fn open(&self, sealed: &[u8], context: &ValueContext) -> Result<DataKey, SealError> {
        open_key(&self.key(context), sealed).map(DataKey::new)
    }

    fn key(&self, context: &ValueContext) -> Key32 {
        derive(&self.0, labels::SESSION_DATA_KEY, &[&context.hash()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::testing::Seeded;
    use crate::seal::tests::context;

    #[test]
    fn both_sides_agree_and_only_for_these_two() {
        let mut dice = Seeded::new(1);
        let (leader, agent, other) =
            (NodeId::draw(&mut dice), NodeId::draw(&mut dice), NodeId::draw(&mut dice));
        let (one, two) = (SessionHalf::draw(&mut dice), SessionHalf::draw(&mut dice));
        let (one_public, two_public) = (one.public(), two.public());
        let sending = one.agree(true, leader, agent, &two_public).unwrap();
        let again = SessionHalf(Key32::copy_of(two.0.expose()).unwrap());
        let receiving = two.agree(false, leader, agent, &one_public).unwrap();
        let elsewhere = again.agree(false, leader, other, &one_public).unwrap();
        let key = DataKey::draw(&mut dice);
        let sealed = sending.seal(&mut dice, &key, &context(5)).unwrap();
        assert_eq!(receiving.open(&sealed, &context(5)).unwrap().expose(), key.expose());
        assert_eq!(receiving.open(&sealed, &context(6)).err(), Some(SealError::DoesNotOpen));
        assert_eq!(elsewhere.open(&sealed, &context(5)).err(), Some(SealError::DoesNotOpen));
        let low = SessionHalf::draw(&mut dice).agree(true, leader, agent, &[0; 32]);
        assert_eq!(low.err(), Some(SealError::LowOrder));
    }
}
