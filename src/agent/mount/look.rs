//! What really lies in a service's mount: what an agent tells of a service comes from
//! here, never from what it meant to do.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::error::MountError;
use super::files;
use super::folder::{Folder, FolderEntry};
use super::record::Generation;
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
    /// No file with bytes in it is there, but for former versions of what is in place.
    pub(super) empty: bool,
}

impl Mounted {
    /// Looks at everything that lies in the mount.
    ///
    /// # Errors
    /// It can't all be seen: then nothing is known.
    pub(super) fn look(&self) -> Result<Found, MountError> {
        let secrets = self.record.current().map(secrets_of).unwrap_or_default();
        let mut look = Look { of: self, secrets, lies: Lies::default() };
        look.collect(&self.at, DEEP)?;
        let mut lies = look.lies;
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
        let mut missing = false;
        if let Some(current) = current {
            let (folder, mut names) = lies.take(self.live_folder(current.number));
            for file in &current.files {
                let name = OsStr::new(file.target.as_str());
                if names.get(name) == Some(&u64::from(file.size)) {
                    names.remove(name);
                    found.versions.insert(file.version);
                } else {
                    missing = true;
                }
            }
            lies.put_back(folder, names);
        }
        found.surplus = lies.first();
        let points = current.map(|current| format!("..{}", current.number));
        let flipped = points.is_some_and(|points| link == Some(Path::new(&points)));
        let whole = flipped && !missing && found.surplus.is_none();
        found.digest = current.and_then(|current| current.digest).filter(|_| whole);
        found
    }
}

fn secrets_of(generation: &Generation) -> HashSet<SecretId> {
    generation.files.iter().map(|file| file.secret).collect()
}

/// A look at a mount, while it goes on.
struct Look<'m> {
    of: &'m Mounted,
    /// Those that the set in place has.
    secrets: HashSet<SecretId>,
    lies: Lies,
}

impl<'m> Look<'m> {
    /// Adds what lies in the folder at `path`.
    fn collect(&mut self, path: &Path, deep: usize) -> Result<(), MountError> {
        let Some(folder) = Folder::open(path)? else { return Ok(()) };
        let former = self.former(path);
        let mut here = Names::new();
        for FolderEntry { name, kind } in folder.entries()? {
            match (kind, deep.checked_sub(1)) {
                (FileType::RegularFile, _) if self.may_lie(path, former, &name) => {}
                (FileType::RegularFile, _) => {
                    if let Some(size) = folder.size_of(&name)?.filter(|size| *size > 0) {
                        here.insert(name, size);
                    }
                }
                (FileType::Directory, Some(deep)) => self.collect(&path.join(name), deep)?,
                (FileType::Directory, None) => drop(here.insert(name, 0)),
                // Links and pipes have no bytes.
                (_, _) => {}
            }
        }
        self.lies.put_back(path.to_owned(), here);
        Ok(())
    }

    /// The replaced generation whose folder this is.
    fn former(&self, path: &Path) -> Option<&'m Generation> {
        let name = path.file_name().and_then(OsStr::to_str)?;
        let number = name.strip_prefix("..").unwrap_or(name).parse();
        let mut generations = self.of.record.generations.iter();
        let found = generations.find(|one| Ok(one.number) == number && one.replaced.is_some())?;
        let folders = [self.of.live_folder(found.number), self.of.old_folder(found.number)];
        folders.iter().any(|folder| folder == path).then_some(found)
    }

    /// Whether a file may lie there whatever it holds: the record, which has no values in it,
    /// and what a former generation showed of the secrets that are in place. Nobody is told of
    /// either, so their bytes are not counted.
    fn may_lie(&self, path: &Path, former: Option<&Generation>, name: &OsStr) -> bool {
        match former {
            Some(former) => {
                let file = name.to_str().and_then(|name| former.file(name));
                file.is_some_and(|file| self.secrets.contains(&file.secret))
            }
            None => {
                [MANIFEST, MANIFEST_NEW].iter().any(|record| name == *record) && path == self.of.at
            }
        }
    }
}

/// Names in a folder, and how many bytes there are.
type Names = HashMap<OsString, u64>;

/// Every file with bytes in it, and every folder that lies too deep to be looked into, by the
/// folder around it: a set may have thousands of files, in each of its generations.
#[derive(Default)]
struct Lies(BTreeMap<PathBuf, Names>);

impl Lies {
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
