//! The key of the next issuing CA: made by the leader, kept in its memory while whoever has
//! the root's key signs its public half, and in one piece for a short time only.

use parking_lot::Mutex;

use skep_client::ca::PrivateKey;
use skep_core::base::BootTime;

/// Milliseconds for which a key is kept: an unlock key is typed meanwhile, and no longer.
const KEPT_MS: u64 = 10 * 60_000;

/// A key that waits for its certificate. There is one at most: another takes its place.
#[derive(Debug, Default)]
pub(in crate::manager) struct Offer(Mutex<Option<(PrivateKey, BootTime)>>);

impl Offer {
    /// Keeps a key from now on.
    pub(in crate::manager) fn put(&self, key: PrivateKey, now: BootTime) {
        *self.0.lock() = Some((key, now));
    }
    /// Takes the key with this public half (SPKI DER), if that is the one that is kept.
    pub(in crate::manager) fn take(&self, public: &[u8], now: BootTime) -> Option<PrivateKey> {
        self.let_go(now);
        self.0.lock().take_if(|(key, _)| key.public() == public).map(|(key, _)| key)
    }
    /// Wipes a key that was kept for too long.
    pub(in crate::manager) fn let_go(&self, now: BootTime) {
        let late = |since: &BootTime| now.0.saturating_sub(since.0) >= KEPT_MS;
        drop(self.0.lock().take_if(|(_, since)| late(since)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_is_kept_for_a_while() {
        let offer = Offer::default();
        let key = || PrivateKey::generate().expect("a key");
        let (first, second) = (key(), key());
        let (public, other) = (first.public(), second.public());
        offer.put(first, BootTime(5));
        assert!(offer.take(&other, BootTime(6)).is_none(), "another one");
        offer.put(second, BootTime(7));
        assert!(offer.take(&public, BootTime(8)).is_none(), "its place was taken");
        assert!(offer.take(&other, BootTime(7 + KEPT_MS - 1)).is_some());
        assert!(offer.take(&other, BootTime(8)).is_none(), "once");
        offer.put(key(), BootTime(9));
        offer.let_go(BootTime(9 + KEPT_MS));
        assert!(offer.0.lock().is_none());
    }
}
