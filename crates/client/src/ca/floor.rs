//! Which issuing CAs are in use no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use skep_core::base::Stamp;

/// The oldest issuing CA whose certificates are accepted, named by when it begins. It only
/// ever rises. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct IssuerFloor(Arc<AtomicU64>);

impl IssuerFloor {
    /// At this one.
    #[must_use]
    pub fn new(oldest: Stamp) -> Self {
        Self(Arc::new(AtomicU64::new(oldest.0)))
    }

    /// Where it is.
    #[must_use]
    pub fn oldest(&self) -> Stamp {
        Stamp(self.0.load(Ordering::Acquire))
    }

    /// Raises it, if `oldest` is later. Whether it was.
    pub fn raise(&self, oldest: Stamp) -> bool {
        self.0.fetch_max(oldest.0, Ordering::AcqRel) < oldest.0
    }

    /// Whether this issuing CA is in use no more.
    #[must_use]
    pub fn refuses(&self, issuer: Stamp) -> bool {
        issuer < self.oldest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_only_rises() {
        let floor = IssuerFloor::new(Stamp(5));
        let same = floor.clone();
        assert!(!floor.refuses(Stamp(5)) && floor.refuses(Stamp(4)));
        assert!(!same.raise(Stamp(5)) && !same.raise(Stamp(1)));
        assert!(same.raise(Stamp(9)) && floor.refuses(Stamp(8)) && !floor.refuses(Stamp(9)));
    }
}
