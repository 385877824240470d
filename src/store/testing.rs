//! A disk in memory that tears, fails, fills up and forgets; seeded dice.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Keys, Options};
use skep_core::base::testing::Seeded;
use skep_core::base::{ClusterId, Dice, Disk, DiskFile, DiskFolder, DiskReader, NodeId};
use skep_core::seal::Dek;

/// One write that no sync has made durable.
#[derive(Clone, Debug)]
struct Pending {
    offset: usize,
    bytes: Vec<u8>,
}

/// A file: what is durable, and what came after.
#[derive(Clone, Debug, Default)]
struct Content {
    durable: Vec<u8>,
    pending: Vec<Pending>,
}

impl Content {
    fn now(&self) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        for write in &self.pending {
            overwrite(&mut bytes, write.offset, &write.bytes);
        }
        bytes
    }
}

fn overwrite(bytes: &mut Vec<u8>, offset: usize, with: &[u8]) {
    let end = offset + with.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(with);
}

#[derive(Clone, Debug, Default)]
struct Inner {
    /// Contents by number, so that a rename moves a name and not bytes.
    contents: BTreeMap<u64, Content>,
    /// Names as a running system sees them, and as a crash would leave them.
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    next: u64,
    /// Fails every act that changes something once so many have succeeded.
    fail_after: Option<u64>,
    changes: u64,
    /// Fails syncs only, once so many have succeeded.
    fail_syncs_after: Option<u64>,
    syncs: u64,
    /// Nothing can be opened.
    out_of_files: bool,
    /// Bytes that all files together may have.
    capacity: Option<usize>,
}

/// The disk. Clones share it; [`FaultyDisk::crash`] makes another.
#[derive(Clone, Debug, Default)]
pub(crate) struct FaultyDisk(Arc<Mutex<Inner>>);

fn failure() -> io::Error {
    io::Error::other("injected failure")
}

impl Inner {
    fn change(&mut self) -> io::Result<()> {
        if self.fail_after.is_some_and(|after| self.changes >= after) {
            return Err(failure());
        }
        self.changes += 1;
        Ok(())
    }

    fn opens(&self) -> io::Result<()> {
        // EMFILE
        if self.out_of_files { Err(io::Error::from_raw_os_error(24)) } else { Ok(()) }
    }

    fn sync_entries(&mut self, folder: &Path) -> io::Result<()> {
        self.change()?;
        let inside = |path: &PathBuf| path.parent() == Some(folder);
        self.durable_names.retain(|path, _| !inside(path));
        let here: Vec<_> =
            self.names.iter().filter(|(p, _)| inside(p)).map(|(p, n)| (p.clone(), *n)).collect();
        self.durable_names.extend(here);
        Ok(())
    }

    fn grow(&self, more: usize) -> io::Result<()> {
        let Some(capacity) = self.capacity else { return Ok(()) };
        let used: usize = self.contents.values().map(|content| content.now().len()).sum();
        if used + more > capacity { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn find(&self, path: &Path) -> io::Result<u64> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// What a crash leaves of writes that no sync has made durable.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lost {
    /// All of them go.
    All,
    /// None: the process was killed, the machine lives.
    Nothing,
    /// The first so many bytes stay.
    After(usize),
    /// Blocks of this size stay or go by the bits of the mask, in no order.
    Blocks(usize, u64),
}

impl FaultyDisk {
    /// Nothing on it is answered until what this gives is dropped.
    pub(crate) fn hang(&self) -> std::sync::mpsc::Sender<()> {
        let (goes_on, waits) = std::sync::mpsc::channel::<()>();
        let (hangs, begun) = std::sync::mpsc::channel::<()>();
        let disk = Arc::clone(&self.0);
        std::thread::spawn(move || {
            let held = disk.lock();
            drop(hangs);
            // It ends where the other half is dropped.
            waits.recv().ok();
            drop(held);
        });
        begun.recv().ok();
        goes_on
    }

    /// The disk that a crash leaves behind.
    pub(crate) fn crash(&self, lost: Lost) -> Self {
        let before = self.0.lock().clone();
        let names = match lost {
            Lost::Nothing => before.names,
            Lost::All | Lost::After(_) | Lost::Blocks(..) => before.durable_names,
        };
        let mut contents = BTreeMap::new();
        for (number, content) in before.contents {
            let mut bytes = content.durable;
            let mut position = 0;
            for write in content.pending {
                for (at, byte) in write.bytes.iter().enumerate() {
                    let stays = match lost {
                        Lost::All => false,
                        Lost::Nothing => true,
                        Lost::After(kept) => position < kept,
                        Lost::Blocks(size, mask) => mask >> ((position / size) % 64) & 1 == 1,
                    };
                    if stays {
                        overwrite(&mut bytes, write.offset + at, &[*byte]);
                    }
                    position += 1;
                }
            }
            contents.insert(number, Content { durable: bytes, pending: Vec::new() });
        }
        let durable_names = names.clone();
        let next = before.next;
        Self(Arc::new(Mutex::new(Inner {
            contents,
            names,
            durable_names,
            next,
            ..Inner::default()
        })))
    }

    /// Bytes written to any file that no sync has made durable.
    pub(crate) fn pending(&self) -> usize {
        let inner = self.0.lock();
        inner.contents.values().flat_map(|c| &c.pending).map(|write| write.bytes.len()).sum()
    }

    /// Every act that changes something fails after `more`.
    pub(crate) fn fail_after(&self, more: u64) {
        let mut inner = self.0.lock();
        inner.fail_after = Some(inner.changes + more);
    }

    /// Every sync fails after `more`.
    pub(crate) fn fail_syncs_after(&self, more: u64) {
        let mut inner = self.0.lock();
        inner.fail_syncs_after = Some(inner.syncs + more);
    }

    /// Nothing can be opened any more, or again.
    pub(crate) fn set_out_of_files(&self, out: bool) {
        self.0.lock().out_of_files = out;
    }

    /// All files together may have so many bytes.
    pub(crate) fn set_capacity(&self, bytes: usize) {
        self.0.lock().capacity = Some(bytes);
    }

    /// Bytes of all files.
    pub(crate) fn used(&self) -> usize {
        self.0.lock().contents.values().map(|content| content.now().len()).sum()
    }

    /// How many acts changed something.
    pub(crate) fn changes(&self) -> u64 {
        self.0.lock().changes
    }

    /// The names below `folder`.
    pub(crate) fn files(&self, folder: &str) -> Vec<String> {
        self.list(Path::new(folder)).expect("a folder")
    }

    /// Changes a file behind everybody's back.
    pub(crate) fn tamper(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut inner = self.0.lock();
        let number = inner.find(Path::new(path)).expect("a file");
        let content = inner.contents.get_mut(&number).expect("its content");
        let mut bytes = content.now();
        change(&mut bytes);
        *content = Content { durable: bytes, pending: Vec::new() };
    }

    /// A file's bytes.
    pub(crate) fn bytes(&self, path: &str) -> Vec<u8> {
        self.read(Path::new(path), u64::MAX).expect("a file")
    }

    /// Puts a file there, whatever stood there.
    pub(crate) fn put(&self, path: &str, bytes: Vec<u8>) {
        let mut inner = self.0.lock();
        inner.next += 1;
        let number = inner.next;
        inner.contents.insert(number, Content { durable: bytes, pending: Vec::new() });
        inner.names.insert(path.into(), number);
        inner.durable_names.insert(path.into(), number);
    }

    /// Takes a file away.
    pub(crate) fn take(&self, path: &str) {
        let mut inner = self.0.lock();
        inner.names.remove(Path::new(path));
        inner.durable_names.remove(Path::new(path));
    }
}

struct FaultyFile {
    disk: Arc<Mutex<Inner>>,
    number: u64,
}

impl FaultyFile {
    fn change<T>(&self, act: impl FnOnce(&mut Inner, u64) -> io::Result<T>) -> io::Result<T> {
        let mut inner = self.disk.lock();
        inner.change()?;
        act(&mut inner, self.number)
    }
}

fn content(inner: &mut Inner, number: u64) -> io::Result<&mut Content> {
    inner.contents.get_mut(&number).ok_or_else(|| io::ErrorKind::NotFound.into())
}

impl DiskFile for FaultyFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.change(|inner, number| {
            let offset = usize::try_from(offset).expect("an offset");
            let length = content(inner, number)?.now().len();
            inner.grow((offset + bytes.len()).saturating_sub(length))?;
            content(inner, number)?.pending.push(Pending { offset, bytes: bytes.to_vec() });
            Ok(())
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        self.change(|inner, number| {
            if inner.fail_syncs_after.is_some_and(|after| inner.syncs >= after) {
                return Err(failure());
            }
            inner.syncs += 1;
            let content = content(inner, number)?;
            content.durable = content.now();
            content.pending.clear();
            Ok(())
        })
    }

    fn allocate(&mut self, length: u64) -> io::Result<()> {
        self.change(|inner, number| {
            let length = usize::try_from(length).expect("a length");
            let now = content(inner, number)?.now().len();
            inner.grow(length.saturating_sub(now))?;
            content(inner, number)?.durable.resize(length, 0);
            Ok(())
        })
    }

    fn set_len(&mut self, length: u64) -> io::Result<()> {
        self.change(|inner, number| {
            let content = content(inner, number)?;
            content.durable = content.now();
            content.durable.resize(usize::try_from(length).expect("a length"), 0);
            content.pending.clear();
            Ok(())
        })
    }
}

impl DiskReader for FaultyFile {
    fn length(&self) -> io::Result<u64> {
        let mut inner = self.disk.lock();
        Ok(u64::try_from(content(&mut inner, self.number)?.now().len()).expect("a length"))
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let mut inner = self.disk.lock();
        let bytes = content(&mut inner, self.number)?.now();
        let offset = usize::try_from(offset).expect("an offset");
        let part = bytes.get(offset..offset + into.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        into.copy_from_slice(part);
        Ok(())
    }
}

impl Disk for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut inner = self.0.lock();
        inner.opens()?;
        inner.change()?;
        if inner.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        inner.next += 1;
        let number = inner.next;
        inner.contents.insert(number, Content::default());
        inner.names.insert(path.to_owned(), number);
        Ok(Box::new(FaultyFile { disk: Arc::clone(&self.0), number }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let inner = self.0.lock();
        inner.opens()?;
        let number = inner.find(path)?;
        Ok(Box::new(FaultyFile { disk: Arc::clone(&self.0), number }))
    }

    fn open_reader(&self, path: &Path) -> io::Result<Box<dyn DiskReader>> {
        let inner = self.0.lock();
        inner.opens()?;
        let number = inner.find(path)?;
        Ok(Box::new(FaultyFile { disk: Arc::clone(&self.0), number }))
    }

    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        let inner = self.0.lock();
        inner.opens()?;
        let bytes = inner.contents[&inner.find(path)?].now();
        if u64::try_from(bytes.len()).expect("a length") > most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes)
    }

    fn read_at(&self, path: &Path, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let bytes = self.read(path, u64::MAX)?;
        let offset = usize::try_from(offset).expect("an offset");
        let part = bytes.get(offset..offset + length);
        part.map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let inner = self.0.lock();
        let here = inner.names.keys().filter(|path| path.parent() == Some(folder));
        Ok(here.filter_map(|p| Some(p.file_name()?.to_str()?.to_owned())).collect())
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        Ok(u64::try_from(self.read(path, u64::MAX)?.len()).expect("a length"))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.0.lock();
        inner.change()?;
        let number = inner.find(from)?;
        inner.names.remove(from);
        inner.names.insert(to.to_owned(), number);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.0.lock();
        inner.find(path)?;
        inner.change()?;
        inner.names.remove(path);
        Ok(())
    }

    fn create_folder(&self, _folder: &Path) -> io::Result<()> {
        Ok(())
    }

    fn open_folder(&self, folder: &Path) -> io::Result<Box<dyn DiskFolder>> {
        self.0.lock().opens()?;
        Ok(Box::new(FaultyFolder { disk: Arc::clone(&self.0), path: folder.to_owned() }))
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut inner = self.0.lock();
        inner.opens()?;
        inner.sync_entries(folder)
    }
}

struct FaultyFolder {
    disk: Arc<Mutex<Inner>>,
    path: PathBuf,
}

impl DiskFolder for FaultyFolder {
    fn sync(&self) -> io::Result<()> {
        self.disk.lock().sync_entries(&self.path)
    }
}

/// Other dice with every call: nonces differ between starts as they should.
pub(crate) fn dice() -> Box<dyn Dice> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static SEED: AtomicU64 = AtomicU64::new(1);
    Box::new(Seeded::new(SEED.fetch_add(1, Ordering::Relaxed)))
}

/// The same key every time, so that a log can be opened again.
pub(crate) fn dek() -> Dek {
    Dek::draw(&mut Seeded::new(7))
}

/// Options over `disk` for the log in `/d/log`, with small segments.
pub(crate) fn options(disk: &FaultyDisk) -> Options {
    let cluster = ClusterId::from_bytes(*b"0123456789abcdef");
    let node = NodeId::from_bytes(*b"fedcba9876543210");
    let keys = Keys::new(cluster, node, vec![dek()]).expect("a key");
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut options = Options::new(disk, "/d/log".into(), Arc::new(keys), dice);
    options.segment_bytes = 4096;
    options.cache_bytes = 1024;
    options
}
