//! What really lies in a service's mount: what an agent tells of a service comes from
//! here, never from what it meant to do.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::error::MountError;
use super::files;
use super::service::Mounted;
use crate::agent::vault::layout::{DATA, MANIFEST, MANIFEST_NEW};
use skep_core::base::{SecretId, VersionId};

/// Folders within folders that are looked into; deeper ones are surplus as they stand.
const DEEP: usize = 4;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Of the set in place, if that is whole and there is nothing beside it but former
    /// versions of its own secrets.
    pub(super) digest: Option<[u8; 32]>,
    /// Versions whose values are in place.
    pub(super) versions: BTreeSet<VersionId>,
    /// Something with bytes in it that the set in place doesn't have.
    pub(super) surplus: Option<PathBuf>,
    /// No file with bytes in it is there.
    pub(super) empty: bool,
}

impl Mounted {
    /// Looks at everything that lies in the mount.
    ///
    /// # Errors
    /// It can't all be seen: then nothing is known.
    pub(super) fn look(&self) -> Result<Found, MountError> {
        let mut lies = BTreeMap::new();
        for name in files::entries(&self.at)? {
            // Those two hold no values; others of their names are looked at.
            let path = self.at.join(&name);
            let is_record = name == MANIFEST || name == MANIFEST_NEW;
            if is_record && files::look_at(&path)?.is_some_and(|found| found.is_file()) {
                continue;
            }
            collect(&path, DEEP, &mut lies)?;
        }
        let mark = self.mark_path();
        if self.is_mark(&mark)? {
            lies.remove(&mark);
        }
        let link = files::link_at(&self.live().join(DATA));
        Ok(self.compare(&lies, link.as_deref()))
    }

    fn compare(&self, lies: &BTreeMap<PathBuf, u64>, link: Option<&Path>) -> Found {
        let mut found = Found { empty: lies.is_empty(), ..Found::default() };
        let mut rest = lies.clone();
        let current = self.record.current();
        let secrets = current.map(secrets_of).unwrap_or_default();
        let mut missing = false;
        for generation in &self.record.generations {
            let in_place = generation.replaced.is_none();
            for file in &generation.files {
                let target = file.target.as_str();
                let live = self.live_folder(generation.number).join(target);
                let old = self.old_folder(generation.number).join(target);
                let is_it = |path: &PathBuf| lies.get(path) == Some(&u64::from(file.size));
                let places = if in_place { vec![live] } else { vec![live, old] };
                let there = places.into_iter().find(is_it);
                match there {
                    Some(path) if secrets.contains(&file.secret) => {
                        rest.remove(&path);
                        if in_place {
                            found.versions.insert(file.version);
                        }
                    }
                    Some(_) | None => missing |= in_place,
                }
            }
        }
        found.surplus = rest.into_keys().next();
        let points = current.map(|current| format!("..{}", current.number));
        let flipped = points.is_some_and(|points| link == Some(Path::new(&points)));
        let whole = flipped && !missing && found.surplus.is_none();
        found.digest = current.and_then(|current| current.digest).filter(|_| whole);
        found
    }
}

fn secrets_of(generation: &super::record::Generation) -> BTreeSet<SecretId> {
    generation.files.iter().map(|file| file.secret).collect()
}

/// Every file with bytes in it, and every folder that lies too deep to be looked into.
fn collect(path: &Path, deep: usize, lies: &mut BTreeMap<PathBuf, u64>) -> Result<(), MountError> {
    let Some(found) = files::look_at(path)? else { return Ok(()) };
    if found.is_file() {
        if found.len() > 0 {
            lies.insert(path.to_owned(), found.len());
        }
    } else if found.is_dir() {
        let Some(deep) = deep.checked_sub(1) else {
            lies.insert(path.to_owned(), 0);
            return Ok(());
        };
        for name in files::entries(path)? {
            collect(&path.join(name), deep, lies)?;
        }
    }
    Ok(())
}
