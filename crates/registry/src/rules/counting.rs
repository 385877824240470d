//! Dice of tests: each byte is one more than the last.

use skep_core::base::Dice;

pub(crate) struct Counting(pub(crate) u8);

impl Dice for Counting {
    fn fill(&mut self, into: &mut [u8]) {
        for byte in into {
            *byte = self.0;
            self.0 = self.0.wrapping_add(1);
        }
    }
}
