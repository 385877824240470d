//! The disk as `store` sees it: blocking, one folder, no abbreviations. The
//! real one is `host::RealDisk`; tests bring one that tears, fails and forgets.

use std::io;
use std::path::Path;

/// An open file.
pub trait DiskFile: Send {
    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// What the system says; how much was written is then unknown.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes what was written last (`fdatasync`).
    ///
    /// # Errors
    /// What the system says; after it nothing is known of the file's content.
    fn sync(&mut self) -> io::Result<()>;

    /// Reserves `length` bytes from the start without writing them.
    ///
    /// # Errors
    /// What the system says, `ENOSPC` above all.
    fn allocate(&mut self, length: u64) -> io::Result<()>;

    /// Cuts or extends the file to `length` bytes.
    ///
    /// # Errors
    /// What the system says.
    fn set_len(&mut self, length: u64) -> io::Result<()>;
}

/// A file that is open for reading. It can be read to its end also when it has been removed.
pub trait DiskReader: Send {
    /// How many bytes there are.
    ///
    /// # Errors
    /// What the system says.
    fn length(&self) -> io::Result<u64>;

    /// Fills `into` from `offset` on; `UnexpectedEof` if there are fewer bytes.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;
}

/// An open folder.
pub trait DiskFolder: Send {
    /// Makes its entries last (`fsync`), without another descriptor.
    ///
    /// # Errors
    /// What the system says.
    fn sync(&self) -> io::Result<()>;
}

/// Whether the system let nobody open anything: this process, or the machine, has as many
/// open files as it may have (`EMFILE`, `ENFILE`). Nothing was done then.
#[must_use]
pub fn is_out_of_files(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
}

/// Files below folders, by path.
pub trait Disk: Send + Sync {
    /// Creates a file with mode 0600; fails if it exists.
    ///
    /// # Errors
    /// What the system says.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens an existing file for writing.
    ///
    /// # Errors
    /// What the system says.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens an existing file for reading.
    ///
    /// # Errors
    /// What the system says.
    fn open_reader(&self, path: &Path) -> io::Result<Box<dyn DiskReader>>;

    /// The whole content of a file of at most `most` bytes.
    ///
    /// # Errors
    /// What the system says; `FileTooLarge` beyond `most`.
    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>>;

    /// `length` bytes from `offset`; `UnexpectedEof` if there are fewer.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, path: &Path, offset: u64, length: usize) -> io::Result<Vec<u8>>;

    /// The names in a folder, sorted.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;

    /// A file's length in bytes.
    ///
    /// # Errors
    /// What the system says.
    fn len(&self, path: &Path) -> io::Result<u64>;

    /// Renames a file over another.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes a folder with mode 0700, and those above it; it may exist.
    ///
    /// # Errors
    /// What the system says.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;

    /// Opens a folder, to sync it later.
    ///
    /// # Errors
    /// What the system says.
    fn open_folder(&self, folder: &Path) -> io::Result<Box<dyn DiskFolder>>;

    /// Makes a folder's entries last (`fsync` of the folder).
    ///
    /// # Errors
    /// What the system says.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// Replaces a file whole: temporary file, fsync, rename, fsync of the folder.
    ///
    /// # Errors
    /// What the system says; the old file then stands unless the very last step failed.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".tmp");
        let temporary = Path::new(&temporary);
        match self.remove(temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = self.create(temporary)?;
        file.write_at(0, bytes)?;
        file.sync()?;
        drop(file);
        self.rename(temporary, path)?;
        path.parent().map_or(Ok(()), |folder| self.sync_folder(folder))
    }
}
