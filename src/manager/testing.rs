//! Things for tests.

use crate::base::{Dice, Stamp};

/// The same bytes for the same seed.
pub(crate) struct Seeded(blake3::OutputReader);

impl Seeded {
    /// Dice with this seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof())
    }
}

impl Dice for Seeded {
    fn fill(&mut self, into: &mut [u8]) {
        self.0.fill(into);
    }
}

/// Some time in 2026.
pub(crate) const NOW: Stamp = Stamp(1_780_000_000_000);
