//! What really lies in a service's mount: what an agent tells of a service comes from
//! here, never from what it meant to do.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
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
        let mut lies = Lies::default();
        let mut names = files::entries(&self.at)?;
        // Those two hold no values; others of their names are looked at.
        for record in [MANIFEST, MANIFEST_NEW] {
            if files::look_at(&self.at.join(record))?.is_some_and(|found| found.is_file()) {
                names.retain(|name| name != record);
            }
        }
        lies.collect(&self.at, names, DEEP)?;
        let mark = self.mark_path();
        if self.is_mark(&mark)? {
            lies.remove(&mark);
        }
        let link = files::link_at(&self.live().join(DATA));
        Ok(self.compare(lies, link.as_deref()))
    }

    fn compare(&self, mut lies: Lies, link: Option<&Path>) -> Found {
        let mut found = Found { empty: lies.is_empty(), ..Found::default() };
        let current = self.record.current();
        let secrets = current.map(secrets_of).unwrap_or_default();
        let mut missing = false;
        for generation in &self.record.generations {
            let in_place = generation.replaced.is_none();
            let live = lies.take(self.live_folder(generation.number));
            let old = lies.take(self.old_folder(generation.number));
            let mut places = [live, old];
            for file in &generation.files {
                let name = OsStr::new(file.target.as_str());
                // What is in place is nowhere else.
                let mut searched = places.iter_mut().take(if in_place { 1 } else { 2 });
                let size = u64::from(file.size);
                let there = searched.find(|(_, names)| names.get(name) == Some(&size));
                match there {
                    Some((_, names)) if secrets.contains(&file.secret) => {
                        names.remove(name);
                        if in_place {
                            found.versions.insert(file.version);
                        }
                    }
                    Some(_) | None => missing |= in_place,
                }
            }
            for (folder, names) in places {
                lies.put_back(folder, names);
            }
        }
        found.surplus = lies.first();
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

/// Names in a folder, and how many bytes there are.
type Names = HashMap<OsString, u64>;

/// Every file with bytes in it, and every folder that lies too deep to be looked into, by the
/// folder around it: a set may have thousands of files, in each of its generations.
#[derive(Default)]
struct Lies(BTreeMap<PathBuf, Names>);

impl Lies {
    /// Adds what stands under these names in `folder`.
    fn collect(
        &mut self,
        folder: &Path,
        names: Vec<OsString>,
        deep: usize,
    ) -> Result<(), MountError> {
        let mut here = Names::new();
        for name in names {
            let path = folder.join(&name);
            let Some(found) = files::look_at(&path)? else { continue };
            if found.is_file() {
                if found.len() > 0 {
                    here.insert(name, found.len());
                }
            } else if found.is_dir() {
                match deep.checked_sub(1) {
                    Some(deep) => self.collect(&path, files::entries(&path)?, deep)?,
                    None => drop(here.insert(name, 0)),
                }
            }
        }
        self.put_back(folder.to_owned(), here);
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.0.values().all(HashMap::is_empty)
    }

    fn remove(&mut self, path: &Path) {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return };
        if let Some(names) = self.0.get_mut(folder) {
            names.remove(name);
        }
    }

    /// What lies in a folder, until it is put back.
    fn take(&mut self, folder: PathBuf) -> (PathBuf, Names) {
        let names = self.0.remove(&folder).unwrap_or_default();
        (folder, names)
    }

    fn put_back(&mut self, folder: PathBuf, names: Names) {
        if !names.is_empty() {
            self.0.insert(folder, names);
        }
    }

    /// The first path.
    fn first(&self) -> Option<PathBuf> {
        let (folder, names) = self.0.iter().find(|(_, names)| !names.is_empty())?;
        names.keys().min().map(|name| folder.join(name))
    }
}
