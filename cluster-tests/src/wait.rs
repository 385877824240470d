//! Waiting for a condition, with a deadline.

use std::time::{Duration, Instant};

/// How long a test waits for something that takes milliseconds on an idle machine.
pub const DEADLINE: Duration = Duration::from_secs(40);

/// Waits until `look` answers something, or fails the test at the deadline.
///
/// # Panics
/// At the deadline, naming `what` was waited for.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < DEADLINE, "waited {DEADLINE:?} for {what}");
        // The pause between two looks; the condition decides, not the pause.
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
