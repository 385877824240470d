//! The file of the next segment, made ahead and kept open, so that a segment begins without a
//! new descriptor: a process that has none left goes on writing its log.
//!
//! It lies beside the segments under the name of a file that was never finished, so that
//! every start removes what an end left of it.

use std::io;

use super::error::StoreError;
use super::options::Options;
use skep_core::base::{DiskFile, DiskFolder, is_out_of_files};

/// Its name in the log's folder; `is_temporary` knows it.
const FILE: &str = "next.tmp";

/// The file that is ready, and the log's folder, open.
pub(super) struct Ahead {
    folder: Box<dyn DiskFolder>,
    file: Option<Box<dyn DiskFile>>,
    /// There was no place for it: the next one is made when it is needed.
    full: bool,
}

impl Ahead {
    /// Opens the folder; nothing is made ahead yet.
    pub(super) fn begin(options: &Options) -> Result<Self, StoreError> {
        let folder = options.disk.open_folder(&options.folder).map_err(failed("open"))?;
        Ok(Self { folder, file: None, full: false })
    }

    /// Makes one if there is none. Where there is no descriptor for it the next call tries
    /// again; where there is no room on the disk, the next segment finds out.
    pub(super) fn prepare(&mut self, options: &Options) -> Result<(), StoreError> {
        if self.file.is_some() || self.full {
            return Ok(());
        }
        let path = options.folder.join(FILE);
        let mut file = match options.disk.create(&path) {
            Err(error) if is_out_of_files(&error) => return Ok(()),
            Err(error) if is_full(&error) => {
                self.full = true;
                return Ok(());
            }
            made => made.map_err(failed("make"))?,
        };
        let made = file.allocate(options.segment_bytes);
        if made.as_ref().is_err_and(is_full) {
            self.full = true;
            drop(file);
            return options.disk.remove(&path).map_err(failed("remove"));
        }
        made.map_err(failed("make"))?;
        self.file = Some(file);
        Ok(())
    }

    /// A file of `length` zeros, or what else it needs, that begins with `bytes`: under
    /// `name`, durable.
    pub(super) fn take(
        &mut self,
        options: &Options,
        name: &str,
        length: u64,
        bytes: &[u8],
    ) -> Result<Box<dyn DiskFile>, StoreError> {
        let disk = || StoreError::disk(format!("cannot make {name}"));
        self.full = false;
        let path = options.folder.join(FILE);
        let (mut file, room) = match self.file.take() {
            Some(file) => (file, options.segment_bytes),
            None => (options.disk.create(&path).map_err(disk())?, 0),
        };
        if length > room {
            file.allocate(length).map_err(disk())?;
        }
        file.write_at(0, bytes).map_err(disk())?;
        file.sync().map_err(disk())?;
        options.disk.rename(&path, &options.folder.join(name)).map_err(disk())?;
        self.folder.sync().map_err(disk())?;
        Ok(file)
    }

    /// Removes the file: nothing is written any more.
    pub(super) fn end(&mut self, options: &Options) -> Result<(), StoreError> {
        match self.file.take() {
            Some(_) => options.disk.remove(&options.folder.join(FILE)).map_err(failed("remove")),
            None => Ok(()),
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn failed(doing: &str) -> impl FnOnce(io::Error) -> StoreError {
    StoreError::disk(format!("cannot {doing} {FILE}"))
}
