//! Chance that can be repeated: a seed that a failing test prints.

use std::fmt;

/// A small generator (splitmix64); `SKEP_SEED` repeats a run.
#[derive(Clone, Debug)]
pub struct Dice {
    seed: u64,
    state: u64,
}

impl Dice {
    /// From `SKEP_SEED`, or else from the system's random bytes.
    ///
    /// # Panics
    /// Where there is neither.
    #[must_use]
    pub fn new() -> Self {
        let given = std::env::var("SKEP_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let mut bytes = [0; 8];
            rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
                .expect("random bytes");
            u64::from_le_bytes(bytes)
        });
        Self { seed, state: seed }
    }

    /// A number below `most`.
    pub fn below(&mut self, most: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % most
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
