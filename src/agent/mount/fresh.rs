//! The mark beside a set: when a leader last confirmed that what is in place is what is due.
//!
//! It is a file in a folder of its own, replaced whole, so that who watches the set's folder
//! is not woken. It is one line: the revision as of which the set was due, the machine's boot
//! id, and the boot time in milliseconds at which this agent asked. The answer can't be older
//! than the question, however long it was under way.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::calls::run;
use super::error::MountError;
use super::service::Mounted;
use super::slot::Keeping;
use super::{Mounts, files};
use crate::agent::vault::Fresh;
use crate::agent::vault::layout::{FRESH, LIVE_VIEW, MARK, MARK_NEW};
use skep_core::base::ServiceId;

/// Bytes of a mark at most: two numbers, a boot id, two spaces and the line's end.
const MOST: u64 = 20 + 1 + 36 + 1 + 20 + 1;

impl Mounts {
    /// Writes down that a leader confirmed a service's set. Nothing is written where another
    /// set is in place by now, or the service is not made to have it written.
    ///
    /// # Errors
    /// The mark that was there stays.
    pub fn confirm(
        &self,
        service: ServiceId,
        digest: [u8; 32],
        fresh: &Fresh,
    ) -> Result<(), MountError> {
        let Some(slot) = self.slot_of(service) else { return Ok(()) };
        let place = slot.place.lock();
        let Keeping::Mounted(mounted) = &place.keeping else { return Ok(()) };
        let in_place = mounted.record.current().is_some_and(|one| one.digest == Some(digest));
        if !in_place || !mounted.record.fresh {
            return Ok(());
        }
        let _acting = self.act();
        mounted.mark(fresh)
    }
}

impl Mounted {
    /// Where the mark is.
    pub(super) fn mark_path(&self) -> PathBuf {
        self.live().join(FRESH).join(MARK)
    }

    /// Whether this is the mark: it holds no value, and is let be.
    pub(super) fn is_mark(&self, path: &std::path::Path) -> Result<bool, MountError> {
        if !self.record.fresh || path != self.mark_path() {
            return Ok(false);
        }
        Ok(files::look_at(path)?.is_some_and(|found| found.is_file() && found.len() <= MOST))
    }

    fn mark(&self, fresh: &Fresh) -> Result<(), MountError> {
        files::folder(&self.live().join(FRESH), 0o755)?;
        let aside = self.at.join(MARK_NEW);
        super::brute::clear(&aside, false)?;
        let line = format!("{} {} {}\n", fresh.revision.0, fresh.boot_id, fresh.asked.0);
        let file = self.backend.write_open(&aside, line.as_bytes())?;
        run("set the mode of", &aside, || file.set_permissions(Permissions::from_mode(0o444)))?;
        files::rename("replace", &aside, &self.mark_path())?;
        let link = self.host().join(FRESH);
        if files::look_at(&link)?.is_none() {
            let to = format!("{LIVE_VIEW}/{FRESH}");
            run("link", &link, || std::os::unix::fs::symlink(to, &link))?;
        }
        Ok(())
    }

    /// Takes the mark away where the service is not made to have one.
    pub(super) fn without_mark(&self) -> Result<(), MountError> {
        if self.record.fresh {
            return Ok(());
        }
        files::remove(&self.host().join(FRESH))?;
        super::brute::clear(&self.live().join(FRESH), self.backend.wants_zeros())
    }
}
