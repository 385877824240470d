//! A folder that is open: what lies in it is looked at by its name there, which costs a
//! fraction of the whole way to it. A set may have thousands of files in each of its generations.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Stat, Timespec, Timestamps, open, openat, statat,
    utimensat,
};
use rustix::io::Errno;

use super::calls::{run, run_io};
use super::error::MountError;

/// An open folder.
#[derive(Debug)]
pub(super) struct Folder {
    folder: OwnedFd,
    path: PathBuf,
}

/// A name in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FolderEntry {
    /// Whatever its bytes.
    pub(super) name: OsString,
    /// What stands there itself: a link is a link.
    pub(super) kind: FileType,
}

impl Folder {
    /// Opens what stands at `path`; `None`: nothing does.
    ///
    /// # Errors
    /// What stands there is no folder. A link to one is none: what lies behind it is not ours.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, MountError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match run_io("list", path, || open(path, flags, Mode::empty())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(MountError::Io { what: "list", path: path.to_owned(), source }),
            Ok(folder) => Ok(Some(Self { folder, path: path.to_owned() })),
        }
    }

    /// The same of one that must be there.
    pub(super) fn made(path: &Path) -> Result<Self, MountError> {
        let missing = || MountError::Io {
            what: "open",
            path: path.to_owned(),
            source: io::ErrorKind::NotFound.into(),
        };
        Self::open(path)?.ok_or_else(missing)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a file in it that nobody but root can open yet, with `value` in it: see
    /// [`super::files::make`].
    pub(super) fn make(&self, name: &OsStr, value: &[u8]) -> Result<File, MountError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let path = self.path.join(name);
        let file = run("make the file", &path, || openat(&self.folder, name, flags, Mode::empty()));
        let mut file = File::from(file?);
        run("write", &path, || file.write_all(value))?;
        Ok(file)
    }

    /// What lies in the folder at `path`; nothing if there is none.
    ///
    /// # Errors
    /// See [`Self::open`].
    pub(super) fn list_at(path: &Path) -> Result<Vec<FolderEntry>, MountError> {
        Self::open(path)?.map_or_else(|| Ok(Vec::new()), |folder| folder.entries())
    }

    /// What lies in it.
    pub(super) fn entries(&self) -> Result<Vec<FolderEntry>, MountError> {
        let mut entries = run("list", &self.path, || self.list())?;
        // A file system that doesn't say at once what a name is.
        for entry in entries.iter_mut().filter(|entry| entry.kind == FileType::Unknown) {
            if let Some(found) = self.look_at(&entry.name)? {
                entry.kind = FileType::from_raw_mode(found.st_mode);
            }
        }
        Ok(entries)
    }

    fn list(&self) -> io::Result<Vec<FolderEntry>> {
        let mut entries = Vec::new();
        for entry in Dir::read_from(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                let name = OsString::from_vec(name.to_vec());
                entries.push(FolderEntry { name, kind: entry.file_type() });
            }
        }
        Ok(entries)
    }

    /// What stands under this name itself; `None`: nothing does.
    pub(super) fn look_at(&self, name: &OsStr) -> Result<Option<Stat>, MountError> {
        // The folder is named instead of the file: a path for each would cost as much.
        let look = || match statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(None),
            found => found.map(Some),
        };
        run("look at what lies in", &self.path, look)
    }

    /// Bytes of the file of this name; `None`: there is no file.
    pub(super) fn size_of(&self, name: &OsStr) -> Result<Option<u64>, MountError> {
        let file = |found: &Stat| FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
        let found = self.look_at(name)?.filter(file);
        Ok(found.map(|found| u64::try_from(found.st_size).unwrap_or(u64::MAX)))
    }

    /// Sets when what stands under this name itself was read and when it changed.
    pub(super) fn set_times(
        &self,
        name: &OsStr,
        accessed: Timespec,
        modified: Timespec,
    ) -> Result<(), MountError> {
        let times = Timestamps { last_access: accessed, last_modification: modified };
        run("set the times of what lies in", &self.path, || {
            utimensat(&self.folder, name, &times, AtFlags::SYMLINK_NOFOLLOW)
        })
    }
}
