//! Giving up what a log holds and beginning an empty one, in steps that may each
//! be the last before a crash.
//!
//! A sealed file, `renewal`, stands from before the first byte is erased until the
//! empty log has noted with which start it was begun. It is sealed under the
//! manager's own key, so that nobody with the disk alone can have a log erased.

use super::error::StoreError;
use super::header::{FileKind, HEADER};
use super::memory::Incarnation;
use super::options::Options;
use super::reached;
use super::record::Record;
use super::segment::open_framed;

/// In the log's folder.
const FILE: &str = "renewal";
const MOST_BYTES: u64 = 4096;

/// A renewal under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// The start with which the empty log begins.
    pub start: Incarnation,
}

fn failed(doing: &str) -> impl FnOnce(std::io::Error) -> StoreError {
    StoreError::disk(format!("cannot {doing} {FILE}"))
}

impl Renewal {
    /// Decides it: from now on every start erases what is there.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is decided then.
    pub fn decide(options: &Options, start: Incarnation) -> Result<Self, StoreError> {
        let dice = &mut *(options.dice)();
        let (header, key) = options.keys.begin(dice, FileKind::Renewal, start.number);
        let mut bytes = header.to_vec();
        Record::Incarnation(start)
            .seal(&key, dice, 0, 0, &mut bytes)
            .map_err(|why| StoreError::damaged(FILE, 0, why.to_string()))?;
        let path = options.folder.join(FILE);
        options.disk.replace(&path, &bytes).map_err(failed("write"))?;
        Ok(Self { start })
    }

    /// The one under way, if there is one.
    ///
    /// # Errors
    /// [`StoreError`]: one that does not open is damage.
    pub fn find(options: &Options) -> Result<Option<Self>, StoreError> {
        let (disk, folder) = (&options.disk, &options.folder);
        disk.create_folder(folder).map_err(failed("look for"))?;
        let names = disk.list(folder).map_err(failed("look for"))?;
        if !names.iter().any(|name| name == FILE) {
            return Ok(None);
        }
        let bytes = disk.read(&folder.join(FILE), MOST_BYTES).map_err(failed("read"))?;
        // Its header tells the number under which it was sealed.
        let number = bytes.get(44..52).and_then(|field| field.try_into().ok());
        let number = number.map_or(0, u64::from_le_bytes);
        let key = options.keys.open(FileKind::Renewal, number, FILE, &bytes)?;
        let opened = open_framed(&key, &bytes, HEADER, 0);
        match opened.and_then(|(plain, _, end)| Some((Record::parse(&plain)?.1, end))) {
            Some((Record::Incarnation(start), end)) if end == bytes.len() => {
                Ok(Some(Self { start }))
            }
            _ => Err(StoreError::damaged(FILE, 0, "its record does not open")),
        }
    }

    /// Erases the log's files. Snapshots go as well: [`super::Snapshots::erase`].
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    pub fn erase(&self, options: &Options) -> Result<(), StoreError> {
        let (disk, folder) = (&options.disk, &options.folder);
        reached::erase(options).map_err(failed("carry out"))?;
        for name in disk.list(folder).map_err(failed("carry out"))? {
            if name != FILE {
                disk.remove(&folder.join(name)).map_err(failed("carry out"))?;
            }
        }
        disk.sync_folder(folder).map_err(failed("carry out"))
    }

    /// The empty log has noted its start: the renewal is over.
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    pub fn finish(self, options: &Options) -> Result<(), StoreError> {
        options.disk.remove(&options.folder.join(FILE)).map_err(failed("remove"))?;
        options.disk.sync_folder(&options.folder).map_err(failed("remove"))
    }
}
