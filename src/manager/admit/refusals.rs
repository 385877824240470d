//! Calls that were refused: counted by who asked for what, and written down seldom.
//!
//! There are as many counts as kinds of callers times methods, so no number of refusals
//! fills memory or the log.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// After a line about one kind of caller and one method, how long others like it are
/// only counted.
const EVERY: Duration = Duration::from_mins(1);

/// All that were refused since the start.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<BTreeMap<(&'static str, &'static str), Count>>);

#[derive(Clone, Copy, Debug)]
struct Count {
    all: u64,
    unsaid: u64,
    said: Instant,
}

impl Refusals {
    /// One more. Who it was is said where it is somebody.
    pub(super) fn count(&self, who: &'static str, what: &'static str, id: &str) {
        if let Some(count) = self.due(who, what, Instant::now()) {
            tracing::warn!(event = "call_refused", who, what, last = id, count);
        }
    }

    /// How many there were since the start.
    #[cfg(test)]
    pub(super) fn all(&self) -> u64 {
        self.0.lock().values().map(|count| count.all).sum()
    }

    /// How many there were since the last line, where it is time for one.
    fn due(&self, who: &'static str, what: &'static str, now: Instant) -> Option<u64> {
        let mut counts = self.0.lock();
        let first = !counts.contains_key(&(who, what));
        let count = counts.entry((who, what)).or_insert(Count { all: 0, unsaid: 0, said: now });
        count.all += 1;
        count.unsaid += 1;
        if !first && now.duration_since(count.said) < EVERY {
            return None;
        }
        count.said = now;
        Some(std::mem::take(&mut count.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_said_and_then_a_count_now_and_then() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        assert_eq!(refusals.due("a worker", "join", start), Some(1));
        for _ in 0..1000 {
            assert_eq!(refusals.due("a worker", "join", start), None);
        }
        assert_eq!(refusals.due("a viewer", "join", start), Some(1), "somebody else");
        assert_eq!(refusals.due("a worker", "join", start + EVERY), Some(1001));
        let counts = refusals.0.lock();
        assert_eq!(counts.get(&("a worker", "join")).map(|count| count.all), Some(1002));
    }
}
