//! The dice of all tests, and the one conversion that a test of another crate needs.

use super::{Dice, NodeId};

/// Dice that throw the same numbers for the same seed.
#[derive(Clone, Debug)]
pub struct Seeded(fastrand::Rng);

impl Seeded {
    /// Dice with this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u8) -> u8 {
        self.0.u8(..bound)
    }

    /// Whether a die of so many sides shows its first one.
    pub fn one_in(&mut self, sides: u8) -> bool {
        self.below(sides) == 0
    }
}

impl Dice for Seeded {
    fn fill(&mut self, into: &mut [u8]) {
        self.0.fill(into);
    }
}

/// Openraft's suite counts its nodes.
impl From<u64> for NodeId {
    fn from(number: u64) -> Self {
        Self::from_bytes(u128::from(number).to_be_bytes())
    }
}
