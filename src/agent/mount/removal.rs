//! How everything gets out of a service's mount. A removal or wipe doesn't stop at the
//! first failure: what can be emptied is emptied, then the failure is told.

use std::path::Path;

use rustix::fs::FileType;

use super::error::MountError;
use super::folder::{Folder, FolderEntry};
use super::kept::Kept;
use super::record::Generation;
use super::service::Mounted;
use super::{brute, files};
use crate::agent::vault::layout::{DATA, FRESH, HOST, LIVE, MANIFEST, OLD};
use skep_core::base::{BootTime, Target};

impl Mounted {
    /// Takes every other file away, where no set can be put in place.
    pub(super) fn remove_others_than(&mut self, kept: &Kept) -> Result<(), MountError> {
        let from_current = self.take_from_current(kept);
        self.empty_others_than(kept).and(from_current)
    }

    /// Whether some generation has a file that isn't kept.
    pub(super) fn has_others_than(&self, kept: &Kept) -> bool {
        !self.record.generations.iter().all(|generation| kept.allows(generation))
    }

    /// Empties one generation and forgets it.
    pub(super) fn forget(&mut self, number: u64) -> Result<(), MountError> {
        self.empty_generation(number)?;
        self.record.generations.retain(|generation| generation.number != number);
        Ok(())
    }

    /// Empties one generation's files by what is held of them, then whatever else lies in
    /// its folders.
    pub(super) fn empty_generation(&self, number: u64) -> Result<(), MountError> {
        let folder = self.folder_of(number);
        let mut failed = None;
        let listed = self.record.generations.iter().filter(|one| one.number == number);
        for file in listed.flat_map(|one| one.files.iter()) {
            failed = failed.or(self.empty_in(&folder, number, &file.target).err());
        }
        for folder in [self.old_folder(number), self.live_folder(number)] {
            failed = failed.or(self.backend.empty_folder(&folder).err());
        }
        if let Some(error) = failed {
            return Err(error);
        }
        self.holds.drop_generation(number);
        Ok(())
    }

    /// Empties one file and removes its name.
    pub(super) fn empty_file(&self, number: u64, target: &Target) -> Result<(), MountError> {
        self.empty_in(&self.folder_of(number), number, target)
    }

    /// The same where it is known in which folder the generation is.
    fn empty_in(&self, folder: &Path, number: u64, target: &Target) -> Result<(), MountError> {
        let held = self.holds.file(number, target);
        self.backend.empty(&folder.join(target.as_str()), held.as_deref())?;
        self.holds.drop_one(number, target);
        Ok(())
    }

    /// Empties the files of every other secret in every generation that is replaced. One
    /// file that can't be emptied doesn't keep the next one.
    pub(super) fn empty_others_than(&mut self, kept: &Kept) -> Result<(), MountError> {
        let mut failed = None;
        let mut generations = std::mem::take(&mut self.record.generations);
        let has_others = |one: &Generation| one.replaced.is_some() && !kept.allows(one);
        for generation in generations.iter_mut().filter(|one| has_others(one)) {
            let number = generation.number;
            generation.files.retain(|file| {
                if kept.has(file.secret) {
                    return true;
                }
                match self.empty_file(number, &file.target) {
                    Ok(()) => false,
                    Err(error) => {
                        failed.get_or_insert(error);
                        true
                    }
                }
            });
        }
        self.record.generations = generations;
        failed.map_or(Ok(()), Err)
    }

    /// Takes the other files out of the generation in place, where no other can be built.
    fn take_from_current(&mut self, kept: &Kept) -> Result<(), MountError> {
        let (live, host) = (self.live(), self.host());
        let Some(current) = self.record.current_mut() else { return Ok(()) };
        let number = current.number;
        let (stay, go): (Vec<_>, Vec<_>) =
            current.files.iter().cloned().partition(|file| kept.shows(file));
        if go.is_empty() {
            return Ok(());
        }
        current.digest = None;
        current.files = stay.into();
        let mut failed = None;
        for file in go {
            let target = file.target.as_str();
            // A name that stays shows an empty file.
            let gone = [
                files::remove(&live.join(target)),
                files::remove(&host.join(target)),
                self.empty_file(number, &file.target),
            ];
            if let Some(error) = gone.into_iter().find_map(Result::err) {
                failed.get_or_insert(error);
                if let Some(current) = self.record.current_mut() {
                    current.files.add(file);
                }
            }
        }
        // With no room for the record it stays as it was: an agent that starts then finds
        // files missing and takes the set for not whole, which is what it is.
        failed.map_or(Ok(()), Err)
    }

    /// Empties everything. The mount stays, showing an empty set.
    ///
    /// # Errors
    /// When a file with bytes in it may be left.
    pub(super) fn wipe(&mut self) -> Result<(), MountError> {
        // First of all nothing may be taken for whole, also by the next agent.
        let mut generations = std::mem::take(&mut self.record.generations);
        let saved = self.save();
        let number = self.draw_number();
        let empty = self.live_folder(number);
        let flipped = files::folder(&empty, 0o755)
            .and_then(|()| self.flip_to(number))
            .and_then(|()| self.finish_names());
        self.record.generations = generations;
        let emptied = self.empty_all_but(number);
        generations = std::mem::take(&mut self.record.generations);
        let emptied = emptied.and_then(|()| self.is_bare());
        if emptied.is_err() {
            for generation in &mut generations {
                generation.digest = None;
                generation.replaced.get_or_insert(BootTime(0));
            }
            self.record.generations = generations;
        } else {
            self.holds.clear();
        }
        for quiet in [saved, flipped] {
            if let Err(error) = quiet {
                let service = self.record.service;
                tracing::warn!(event = "mount_untidy", %service, %error);
            }
        }
        emptied
    }

    /// Looks whether no file with bytes in it is left.
    fn is_bare(&self) -> Result<(), MountError> {
        let found = self.look()?;
        match (found.surplus, found.empty) {
            (Some(path), false) => Err(MountError::LeftOver(path)),
            (_, empty) => {
                if empty {
                    Ok(())
                } else {
                    Err(MountError::LeftOver(self.at.clone()))
                }
            }
        }
    }

    /// Empties every file and folder but one that is empty already.
    fn empty_all_but(&self, number: u64) -> Result<(), MountError> {
        let mut failed = None;
        for generation in &self.record.generations {
            failed = failed.or(self.empty_generation(generation.number).err());
        }
        failed = failed.or(self.backend.empty_folder(&self.old()).err());
        let spared = format!("..{number}");
        let live = self.live();
        for name in files::entries(&live)? {
            if name == DATA || name == *spared {
                continue;
            }
            failed = failed.or(brute::clear(&live.join(&name), self.backend.wants_zeros()).err());
        }
        failed = failed.or(self.empty_strange().err());
        failed.map_or_else(|| files::folder(&self.old(), 0o700), Err)
    }

    /// Empties what lies in the folders and isn't in the record: an agent died while
    /// building it, or somebody else made it.
    pub(super) fn empty_unknown(&self) -> Result<(), MountError> {
        let mut failed = self.empty_strange().err();
        let known = |name: &str, generation: &Generation| name == generation.number.to_string();
        for (folder, prefix) in [(self.live(), ".."), (self.old(), "")] {
            for FolderEntry { name, kind } in Folder::list_at(&folder)? {
                // Targets' links are put in order by name.
                let is_link = kind == FileType::Symlink;
                if is_link || name == DATA || (name == FRESH && self.record.fresh) {
                    continue;
                }
                let number = name.to_str().and_then(|name| name.strip_prefix(prefix));
                let listed = number.is_some_and(|number| {
                    self.record.generations.iter().any(|one| known(number, one))
                });
                if !listed {
                    failed = failed.or(self.clear(&folder.join(&name)).err());
                }
            }
        }
        for generation in &self.record.generations {
            failed = failed.or(self.empty_unlisted(generation).err());
        }
        failed.map_or(Ok(()), Err)
    }

    /// Empties what lies beside the folders that this agent makes.
    fn empty_strange(&self) -> Result<(), MountError> {
        let mut failed = None;
        for name in files::entries(&self.at)? {
            if [MANIFEST, LIVE, OLD, HOST].iter().any(|own| name == **own) {
                continue;
            }
            failed = failed.or(self.clear(&self.at.join(&name)).err());
        }
        // The host's folder has links and one empty folder.
        let host = self.host();
        for FolderEntry { name, kind } in Folder::list_at(&host)? {
            if kind == FileType::RegularFile {
                failed = failed.or(self.clear(&host.join(&name)).err());
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Empties what lies in a generation's folder and isn't one of its files.
    fn empty_unlisted(&self, generation: &Generation) -> Result<(), MountError> {
        let folder = self.folder_of(generation.number);
        let mut failed = None;
        for name in files::entries(&folder)? {
            if name.to_str().and_then(|name| generation.file(name)).is_none() {
                failed = failed.or(self.clear(&folder.join(&name)).err());
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn clear(&self, path: &Path) -> Result<(), MountError> {
        brute::clear(path, self.backend.wants_zeros())
    }
}
