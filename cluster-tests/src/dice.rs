//! Chance that can be repeated: a seed that a failing test prints.

use std::fmt;

/// Seeded dice that know how to repeat a run: `SKEP_SEED`.
#[derive(Clone, Debug)]
pub struct Dice {
    seed: u64,
    dice: fastrand::Rng,
}

impl Dice {
    /// From `SKEP_SEED`, or else another one each time.
    #[must_use]
    pub fn new() -> Self {
        let given = std::env::var("SKEP_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| fastrand::u64(..));
        Self { seed, dice: fastrand::Rng::with_seed(seed) }
    }

    /// A number below `most`.
    pub fn below(&mut self, most: u64) -> u64 {
        self.dice.u64(..most)
    }
}

impl Default for Dice {
    fn default() -> Self {
        Self::new()
    }
}

/// How to repeat it.
impl fmt::Display for Dice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SKEP_SEED={}", self.seed)
    }
}
