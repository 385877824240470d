//! The real disk.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

use parking_lot::Mutex;

use skep_core::base::{Disk, DiskFile, DiskFolder, DiskReader, is_out_of_files};

/// Descriptors kept for the disk, for when there are no others: a snapshot, a manifest and
/// two reads of the log.
const SPARES: usize = 4;
/// They are given up one by one, and taken again as soon as there are others.
static SPARE: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// What `how` opens; with one of the [`SPARE`] descriptors where there is no other.
fn opened(how: impl Fn() -> io::Result<File>) -> io::Result<File> {
    let first = how();
    // Held until the end: who gives one up is the one that uses it.
    let mut spare = SPARE.lock();
    match first {
        Err(error) if is_out_of_files(&error) => {
            drop(spare.pop().ok_or(error)?);
            how()
        }
        Ok(file) => {
            while spare.len() < SPARES
                && let Ok(another) = File::open("/dev/null")
            {
                spare.push(another);
            }
            Ok(file)
        }
        Err(error) => Err(error),
    }
}

/// Files of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

struct RealFile(File);

struct RealFolder(File);

impl DiskFolder for RealFolder {
    fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}

impl DiskReader for RealFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(into, offset)
    }
}

impl DiskFile for RealFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn allocate(&mut self, length: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.0, rustix::fs::FallocateFlags::empty(), 0, length) {
            // A file system that can't reserve still has to give the file its length.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                self.0.set_len(length)?;
            }
            reserved => reserved?,
        }
        self.0.sync_all()
    }

    fn set_len(&mut self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }
}

/// Whoever opens a pipe waits for its other end, but for this.
fn at_once() -> i32 {
    rustix::fs::OFlags::NONBLOCK.bits().cast_signed()
}

fn to_read(path: &Path) -> io::Result<File> {
    let file = opened(|| OpenOptions::new().read(true).custom_flags(at_once()).open(path))?;
    let about = file.metadata()?;
    if about.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !about.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "is no file"));
    }
    Ok(file)
}

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file =
            opened(|| OpenOptions::new().write(true).create_new(true).mode(0o600).open(path))?;
        Ok(Box::new(RealFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = opened(|| OpenOptions::new().write(true).custom_flags(at_once()).open(path))?;
        Ok(Box::new(RealFile(file)))
    }

    fn open_reader(&self, path: &Path) -> io::Result<Box<dyn DiskReader>> {
        Ok(Box::new(RealFile(to_read(path)?)))
    }

    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        let file = to_read(path)?;
        let length = file.metadata()?.len();
        let mut bytes = Vec::with_capacity(usize::try_from(length.min(most)).unwrap_or(0));
        file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
        if u64::try_from(bytes.len()).is_ok_and(|length| length <= most) {
            Ok(bytes)
        } else {
            Err(io::ErrorKind::FileTooLarge.into())
        }
    }

    fn read_at(&self, path: &Path, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let file = opened(|| OpenOptions::new().read(true).custom_flags(at_once()).open(path))?;
        file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)
    }

    fn open_folder(&self, folder: &Path) -> io::Result<Box<dyn DiskFolder>> {
        Ok(Box::new(RealFolder(opened(|| File::open(folder))?)))
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        opened(|| File::open(folder))?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_made_kept_and_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = RealDisk;
        let inner = folder.path().join("a/b");
        disk.create_folder(&inner).expect("folders");
        disk.create_folder(&inner).expect("the same again");
        let path = inner.join("file");
        let mut file = disk.create(&path).expect("a file");
        let again = disk.create(&path).map(|_| ()).expect_err("it exists");
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        file.allocate(100).expect("room");
        file.write_at(50, b"here").expect("written");
        file.sync().expect("synced");
        assert_eq!(disk.len(&path).expect("a length"), 100);
        assert_eq!(disk.read_at(&path, 50, 4).expect("bytes"), b"here");
        assert_eq!(
            disk.read(&path, 99).expect_err("too large").kind(),
            io::ErrorKind::FileTooLarge
        );
        assert!(disk.read(Path::new("/dev/zero"), 99).is_err(), "no file, and without an end");
        let kind = disk.read(&inner, 99).expect_err("a folder").kind();
        assert_eq!(kind, io::ErrorKind::IsADirectory);
        file.set_len(54).expect("cut");
        assert!(disk.read_at(&path, 52, 4).is_err());
        disk.replace(&path, b"other").expect("replaced");
        assert_eq!(disk.read(&path, 10).expect("bytes"), b"other");
        assert_eq!(disk.list(&inner).expect("names"), ["file"]);
        let reader = disk.open_reader(&path).expect("a reader");
        disk.remove(&path).expect("removed");
        let mut bytes = [0; 3];
        reader.read_at(2, &mut bytes).expect("still there");
        assert_eq!((reader.length().expect("a length"), &bytes), (5, b"her"));
        assert!(reader.read_at(3, &mut bytes).is_err(), "beyond its end");
        assert!(disk.open_reader(&inner).is_err(), "a folder");
    }
}
