//! How everything gets out of a service's mount. A removal or wipe doesn't stop at the
//! first failure: what can be emptied is emptied, then the failure is told.

use std::collections::BTreeSet;

use super::error::MountError;
use super::files;
use super::record::Generation;
use super::service::{DATA, Mounted};
use crate::base::{BootTime, SecretId};

impl Mounted {
    /// Takes every other secret out of every generation, where no set can be put in place.
    pub(super) fn remove_others_than(
        &mut self,
        kept: &BTreeSet<SecretId>,
    ) -> Result<(), MountError> {
        let from_current = self.take_from_current(kept);
        self.empty_others_than(kept).and(from_current)
    }

    /// Whether some generation has a file of a secret that isn't kept.
    pub(super) fn has_others_than(&self, kept: &BTreeSet<SecretId>) -> bool {
        let mut all = self.record.generations.iter().flat_map(|generation| &generation.files);
        all.any(|file| !kept.contains(&file.secret))
    }

    /// Empties one generation and forgets it.
    pub(super) fn forget(&mut self, number: u64) -> Result<(), MountError> {
        self.backend.empty_folder(&self.old_folder(number))?;
        self.backend.empty_folder(&self.live_folder(number))?;
        self.record.generations.retain(|generation| generation.number != number);
        Ok(())
    }

    /// Empties the files of every other secret in every generation that is replaced. One
    /// file that can't be emptied doesn't keep the next one.
    pub(super) fn empty_others_than(
        &mut self,
        kept: &BTreeSet<SecretId>,
    ) -> Result<(), MountError> {
        let mut failed = None;
        let mut generations = std::mem::take(&mut self.record.generations);
        for generation in generations.iter_mut().filter(|one| one.replaced.is_some()) {
            let folder = self.folder_of(generation.number);
            generation.files.retain(|file| {
                if kept.contains(&file.secret) {
                    return true;
                }
                match self.backend.empty(&folder.join(file.target.as_str())) {
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

    /// Takes the other secrets out of the generation in place, where no other can be built.
    fn take_from_current(&mut self, kept: &BTreeSet<SecretId>) -> Result<(), MountError> {
        let (live, host) = (self.live(), self.host());
        let Some(current) = self.record.current_mut() else { return Ok(()) };
        let folder = live.join(format!("..{}", current.number));
        let (stay, go): (Vec<_>, Vec<_>) =
            std::mem::take(&mut current.files).into_iter().partition(|f| kept.contains(&f.secret));
        if !go.is_empty() {
            current.digest = None;
        }
        current.files = stay;
        let mut failed = None;
        for file in go {
            let target = file.target.as_str();
            let gone = files::remove(&live.join(target))
                .and_then(|()| files::remove(&host.join(target)))
                .and_then(|()| self.backend.empty(&folder.join(target)));
            if let Err(error) = gone {
                failed.get_or_insert(error);
                current.files.push(file);
            }
        }
        // With no room for the record it stays as it was: an agent that starts then finds
        // files missing and takes the set for not whole, which is what it is.
        failed.map_or(Ok(()), Err)
    }

    /// Empties everything. The mount stays, showing an empty set.
    pub(super) fn wipe(&mut self) -> Result<(), MountError> {
        // First of all nothing may be taken for whole, also by the next agent.
        let mut generations = std::mem::take(&mut self.record.generations);
        let saved = self.save();
        let number = self.draw_number();
        let empty = self.live_folder(number);
        let flipped = files::folder(&empty, 0o755)
            .and_then(|()| self.flip_to(number))
            .and_then(|()| self.finish_names());
        let emptied = self.empty_all_but(number);
        if emptied.is_err() {
            for generation in &mut generations {
                generation.digest = None;
                generation.replaced.get_or_insert(BootTime(0));
            }
            self.record.generations = generations;
        }
        for quiet in [saved, flipped] {
            if let Err(error) = quiet {
                tracing::warn!(%error, "an emptied mount is not in order");
            }
        }
        emptied
    }

    /// Empties every folder of files but one.
    fn empty_all_but(&self, number: u64) -> Result<(), MountError> {
        let mut failed = self.backend.empty_folder(&self.old()).err();
        let spared = format!("..{number}");
        let live = self.live();
        for name in files::entries(&live)? {
            if name == DATA || name == spared {
                continue;
            }
            let path = live.join(&name);
            let gone = if path.is_dir() && !path.is_symlink() {
                self.backend.empty_folder(&path)
            } else {
                files::remove(&path)
            };
            failed = failed.or(gone.err());
        }
        failed.map_or_else(|| files::folder(&self.old(), 0o700), Err)
    }

    /// Empties what lies in the folders and isn't in the record: an agent died while
    /// building it.
    pub(super) fn empty_unknown(&self) -> Result<(), MountError> {
        let known = |name: &str, generation: &Generation| name == generation.number.to_string();
        for (folder, prefix) in [(self.live(), ".."), (self.old(), "")] {
            for name in files::entries(&folder)? {
                let Some(number) = name.strip_prefix(prefix).filter(|_| name != DATA) else {
                    continue;
                };
                let path = folder.join(&name);
                let listed = self.record.generations.iter().any(|one| known(number, one));
                if !listed && path.is_dir() && !path.is_symlink() {
                    self.backend.empty_folder(&path)?;
                }
            }
        }
        Ok(())
    }
}
