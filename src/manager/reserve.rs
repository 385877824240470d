//! A file that holds place on the manager's disk, and who may use the rest.
//!
//! Where little room is left the leader refuses what makes the state grow and goes
//! on to admit what takes something away and who takes part. Where even less is
//! left the file goes, so that those still find place in the log; it comes back
//! with the room.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::manager::problem;
use skep_client::transport::Problem;
use skep_core::domain::{Act, always_admitted};

/// Bytes that the file holds: four segments of the log.
const HELD: u64 = 64 * 1024 * 1024;
/// Bytes free, those of the file counted in, below which nothing may grow.
const FULL: u64 = 2 * HELD;
/// Below this the file goes.
const LET_GO: u64 = HELD + HELD / 2;
/// From this on all is as it was.
const ENOUGH: u64 = FULL + HELD / 2;
/// Its name in the data folder.
pub(in crate::manager) const NAME: &str = "reserve";

/// What is held back on the disk.
#[derive(Debug)]
pub(in crate::manager) struct Reserve {
    path: PathBuf,
    full: AtomicBool,
}

/// Whether the file is there and whether the disk counts as full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stand {
    held: bool,
    full: bool,
}

/// What should be, with so many bytes free beside the file.
fn next(now: Stand, free: u64) -> Stand {
    let room = free.saturating_add(if now.held { HELD } else { 0 });
    match room {
        ENOUGH.. => Stand { held: true, full: false },
        FULL.. => now,
        LET_GO.. => Stand { full: true, ..now },
        _ => Stand { held: false, full: true },
    }
}

impl Reserve {
    /// In this data folder; nothing is made yet.
    pub(in crate::manager) fn new(folder: &Path) -> Self {
        Self { path: folder.join(NAME), full: AtomicBool::new(false) }
    }
    /// Whether what grows is refused.
    pub(in crate::manager) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }
    /// Whether there is room for an act.
    ///
    /// # Errors
    /// What somebody is told who would need room.
    pub(in crate::manager) fn admits(&self, act: &Act) -> Result<(), Problem> {
        if !self.is_full() || always_admitted(act) {
            return Ok(());
        }
        Err(problem::members::disk_full())
    }
    /// Does what follows from so many bytes free beside the file.
    ///
    /// # Errors
    /// The file was not made, or did not go.
    pub(in crate::manager) fn look(&self, free: u64) -> io::Result<()> {
        let held = std::fs::metadata(&self.path).is_ok_and(|found| found.len() == HELD);
        let before = Stand { held, full: self.is_full() };
        let after = next(before, free);
        self.full.store(after.full, Ordering::Relaxed);
        if before.full != after.full {
            tracing::warn!(event = "disk_room", full = after.full, free_bytes = free);
        }
        match (before.held, after.held) {
            (false, true) => self.take(),
            (true, false) => std::fs::remove_file(&self.path),
            _ => Ok(()),
        }
    }
    fn take(&self) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        // Whoever opens a pipe waits for its other end; so this does not wait.
        options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
        let file = options.open(&self.path)?;
        let made = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, HELD);
        if made.is_err() {
            // Half of it would only be in the way.
            std::fs::remove_file(&self.path)?;
        }
        Ok(made?)
    }
}

impl Reserve {
    /// Bytes free where the file lies or would lie, for this user.
    pub(in crate::manager) fn free_bytes(&self) -> Option<u64> {
        let found = rustix::fs::statvfs(self.path.parent()?).ok()?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }
    /// Where it lies.
    pub(in crate::manager) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_core::base::{Exit, SecretId};
    use skep_core::domain::Change;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn it_goes_when_room_is_short_and_comes_back() {
        let plenty = Stand { held: true, full: false };
        let stand = |held, full| Stand { held, full };
        assert_eq!(next(stand(false, false), 1024 * MIB), plenty);
        assert_eq!(next(plenty, 70 * MIB), plenty, "134 with the file");
        assert_eq!(next(plenty, 63 * MIB), stand(true, true));
        assert_eq!(next(stand(true, true), 70 * MIB), stand(true, true), "not back and forth");
        assert_eq!(next(stand(true, true), 31 * MIB), stand(false, true));
        assert_eq!(next(stand(false, true), 95 * MIB), stand(false, true), "its own place");
        assert_eq!(next(stand(false, true), 159 * MIB), stand(false, true));
        assert_eq!(next(stand(false, true), 160 * MIB), plenty);
        assert_eq!(next(plenty, 0), stand(false, true));
    }

    #[test]
    fn a_full_disk_admits_what_takes_away() {
        let folder = tempfile::tempdir().expect("a folder");
        let reserve = Reserve::new(folder.path());
        let id = SecretId::from_bytes([1; 16]);
        let removal = Act::Change(vec![Change::RemoveSecret { id }]);
        let version = skep_core::domain::testing::version(1);
        let growth = Act::Change(vec![Change::UpdateSecret { id, expect: None, version }]);
        assert!(reserve.admits(&growth).is_ok());
        reserve.look(0).expect("looked");
        assert!(reserve.is_full());
        assert!(reserve.admits(&removal).is_ok());
        assert_eq!(reserve.admits(&growth).expect_err("refused").exit, Exit::Refused);
    }
}
