//! Things for tests.

use skep_core::base::Stamp;

/// Some time in 2026.
pub(crate) const NOW: Stamp = Stamp(1_780_000_000_000);
