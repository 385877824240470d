//! What an unlock key has to open for an admin to be made: drawn by the leader, kept in its memory
//! for a short time, and good once.

use parking_lot::Mutex;

use skep_core::base::BootTime;

/// Milliseconds for which it is kept: an unlock key is typed meanwhile, and no longer.
const KEPT_MS: u64 = 10 * 60_000;

/// The hash of what was sealed. There is one at most: another takes its place.
#[derive(Debug, Default)]
pub(in crate::manager) struct Challenge(Mutex<Option<(blake3::Hash, BootTime)>>);

impl Challenge {
    /// Keeps what was drawn from now on.
    pub(in crate::manager) fn put(&self, drawn: &[u8], now: BootTime) {
        *self.0.lock() = Some((blake3::hash(drawn), now));
    }
    /// Whether that is what was drawn. It is forgotten, whether it is or not.
    pub(in crate::manager) fn is_met(&self, opened: &[u8], now: BootTime) -> bool {
        // Hashes are compared in constant time.
        self.0.lock().take().is_some_and(|(drawn, since)| {
            now.0.saturating_sub(since.0) < KEPT_MS && drawn == blake3::hash(opened)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_met_once_and_for_a_while() {
        let challenge = Challenge::default();
        assert!(!challenge.is_met(b"", BootTime(1)));
        challenge.put(b"drawn", BootTime(1));
        assert!(challenge.is_met(b"drawn", BootTime(2)));
        assert!(!challenge.is_met(b"drawn", BootTime(3)), "once");
        challenge.put(b"drawn", BootTime(1));
        assert!(!challenge.is_met(b"guessed", BootTime(2)));
        assert!(!challenge.is_met(b"drawn", BootTime(3)), "nobody guesses twice");
        challenge.put(b"drawn", BootTime(1));
        assert!(!challenge.is_met(b"drawn", BootTime(1 + KEPT_MS)), "too late");
    }
}
