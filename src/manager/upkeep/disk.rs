//! Looks every second how full the disk is, so that the reserve goes and comes in time.

use std::sync::Arc;
use std::time::Duration;

use crate::manager::running::Running;

/// How often the disk is looked at: the log opens a new segment of 16 MiB less often.
const EVERY: Duration = Duration::from_secs(1);

/// Keeps the reserve as long as the manager runs.
pub(in crate::manager) async fn keep(running: Arc<Running>) {
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut told = false;
    loop {
        tokio::select! {
            () = running.stop.cancelled() => return,
            _ = every.tick() => {}
        }
        let looking = running.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let free = looking.reserve.free_bytes();
            free.map_or(Ok(()), |free| looking.reserve.look(free))
        });
        // A file system without `fallocate` has no reserve; the limits hold.
        let failed = matches!(&looked.await, Ok(Err(_)));
        if failed && !told {
            tracing::warn!(event = "no_reserve", path = %running.reserve.path().display());
        }
        told = failed;
    }
}
