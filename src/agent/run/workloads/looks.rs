//! Looks at all processes, shared by all who wait for the last ones of a workload: however
//! many wait, one look at a time is under way, and most of the time none is.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::agent::machine::{Process, Workload};
use crate::agent::workload::{Census, Enclosure};

/// A look takes at most one of so many parts of the time.
const PART: u32 = 5;
/// Least and longest rest between two looks.
const REST: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));

/// The looks.
#[derive(Debug, Default)]
pub(super) struct Looks {
    wanted: Arc<Mutex<HashMap<u64, Enclosure>>>,
    number: AtomicU64,
    /// Looks that were begun.
    begun: AtomicU64,
    last: tokio::sync::Mutex<Option<Last>>,
}

#[derive(Debug)]
struct Last {
    number: u64,
    census: Arc<Census>,
    rest_until: Instant,
}

/// While it lives, looks tell who lives in an enclosure.
#[derive(Debug)]
pub(super) struct Wanted {
    number: u64,
    of: Arc<Mutex<HashMap<u64, Enclosure>>>,
}

impl Drop for Wanted {
    fn drop(&mut self) {
        self.of.lock().remove(&self.number);
    }
}

impl Looks {
    /// From here on looks tell who lives in this one.
    pub(super) fn want(&self, enclosure: Enclosure) -> Wanted {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        self.wanted.lock().insert(number, enclosure);
        Wanted { number, of: Arc::clone(&self.wanted) }
    }

    /// Who lives in it, as a look finds that begins after this call; one of them is held.
    pub(super) async fn members(
        &self,
        enclosure: Enclosure,
    ) -> io::Result<(Vec<Workload>, Option<Process>)> {
        let census = self.look().await?;
        let members = tokio::task::spawn_blocking(move || census.members(enclosure));
        members.await.map_err(io::Error::other)
    }

    async fn look(&self) -> io::Result<Arc<Census>> {
        let before = self.begun.load(Ordering::SeqCst);
        let mut last = self.last.lock().await;
        if let Some(last) = &*last {
            if last.number > before {
                return Ok(Arc::clone(&last.census));
            }
            tokio::time::sleep_until(last.rest_until).await;
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst).saturating_add(1);
        let wanted: Vec<Enclosure> = self.wanted.lock().values().copied().collect();
        let start = Instant::now();
        let census = tokio::task::spawn_blocking(move || Census::look(&wanted));
        let census = Arc::new(census.await.map_err(io::Error::other)??);
        let end = Instant::now();
        let rest = (end - start).saturating_mul(PART - 1).clamp(REST.0, REST.1);
        *last = Some(Last { number, census: Arc::clone(&census), rest_until: end + rest });
        Ok(census)
    }
}
