//! Files that hold a key: made anew with mode 0600, never over another, and on
//! the disk before anything depends on them.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt};
use std::path::{Path, PathBuf};

use skep_core::base::{Exit, Failure, SecretBytes};

use super::problem::Trouble;

/// A file made for one key. Dropped before [`OutFile::keep`], it is removed again.
#[derive(Debug)]
pub(super) struct OutFile {
    path: PathBuf,
    file: File,
    kept: bool,
}

/// Bytes that [`OutFile::reserve`] takes.
const ROOM: usize = 32 * 1024;

impl OutFile {
    /// Makes the file; one that exists is refused.
    pub(super) fn create(path: &Path) -> Result<Self, Trouble> {
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = made.map_err(|error| cannot(path, &error))?;
        Ok(Self { path: path.to_owned(), file, kept: false })
    }

    /// Takes the room for 32 KiB now, more than a key or an identity has, so that a full disk
    /// is found before anything depends on the file.
    pub(super) fn reserve(&mut self) -> Result<(), Trouble> {
        let reserved = self.file.write_all(&vec![b' '; ROOM]).and_then(|()| self.lasts());
        reserved.map_err(|error| cannot(&self.path, &error))
    }

    /// Writes all of it and makes it last, with the folder's entry.
    pub(super) fn write(&mut self, text: &SecretBytes) -> Result<(), Trouble> {
        let written = self.file.rewind().and_then(|()| {
            self.file.write_all(text.expose())?;
            if !text.expose().ends_with(b"\n") {
                self.file.write_all(b"\n")?;
            }
            let length = self.file.stream_position()?;
            self.file.set_len(length)?;
            self.lasts()
        });
        written.map_err(|error| cannot(&self.path, &error))
    }

    /// Makes it last, with the folder's entry. One that was taken away or replaced meanwhile
    /// would be lost.
    fn lasts(&self) -> io::Result<()> {
        self.file.sync_all()?;
        File::open(folder_of(&self.path))?.sync_all()?;
        if self.is_there()? { Ok(()) } else { Err(io::Error::other("it was replaced meanwhile")) }
    }

    /// Whether the path still names it.
    fn is_there(&self) -> io::Result<bool> {
        let (own, there) = (self.file.metadata()?, std::fs::symlink_metadata(&self.path)?);
        Ok((own.dev(), own.ino()) == (there.dev(), there.ino()))
    }

    /// From now on something depends on it.
    pub(super) fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for OutFile {
    fn drop(&mut self) {
        if self.kept || !self.is_there().unwrap_or(false) {
            return;
        }
        if std::fs::remove_file(&self.path).is_err() {
            tracing::debug!(event = "file_not_removed");
        }
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Nothing depends on the file yet: where something does, the caller has words of its own.
fn cannot(path: &Path, error: &io::Error) -> Trouble {
    let shown = path.display();
    if error.kind() == io::ErrorKind::AlreadyExists {
        return Failure::new(Exit::Refused, format!("{shown} exists; nothing is written over it"))
            .hint("choose another file, or move that one away")
            .into();
    }
    Failure::new(Exit::Refused, format!("{shown}: {error}"))
        .hint("choose a place that can be written to; nothing was changed")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_private_and_never_written_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        let mut file = OutFile::create(&path).expect("made");
        file.write(&SecretBytes::copy_of(b"k")).expect("written");
        file.keep();
        drop(file);
        assert_eq!(std::fs::read(&path).expect("read"), b"k\n");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let Err(Trouble::Failed(failure)) = OutFile::create(&path) else { panic!("made again") };
        assert_eq!(failure.exit, Exit::Refused);
    }

    #[test]
    fn one_that_is_not_there_any_more_is_not_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        let mut file = OutFile::create(&path).expect("made");
        file.reserve().expect("room");
        std::fs::remove_file(&path).expect("removed");
        assert!(file.write(&SecretBytes::copy_of(b"k")).is_err());
        OutFile::create(&path).expect("another").keep();
        assert!(file.write(&SecretBytes::copy_of(b"k")).is_err());
        drop(file);
        assert!(path.exists(), "another's file stays");
    }

    #[test]
    fn what_was_not_kept_is_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        drop(OutFile::create(&path).expect("made"));
        assert!(!path.exists());
    }
}
