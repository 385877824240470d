//! Which segment is the first that counts.

use std::path::Path;

use super::error::StoreError;
use super::header::{FileKind, HEADER, Keys};
use super::log_id::LogId;
use super::options::Options;
use super::record::Record;
use super::segment::open_framed;
use skep_core::base::{Dice, Disk};

const PREFIX: &str = "manifest.";
const MOST_BYTES: u64 = 4096;

/// The manifest in force; the default is that of a log never purged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) number: u64,
    pub(super) first: u64,
    pub(super) purged: Option<LogId>,
}

impl Default for Manifest {
    fn default() -> Self {
        Self { number: 0, first: 1, purged: None }
    }
}

fn name(number: u64) -> String {
    format!("{PREFIX}{number:016}")
}

/// The numbers of the manifests among these names.
fn numbers(names: &[String]) -> impl Iterator<Item = u64> {
    let number = |text: &String| {
        let number = text.strip_prefix(PREFIX)?.parse().ok()?;
        (name(number) == *text).then_some(number)
    };
    names.iter().filter_map(number)
}

impl Manifest {
    /// The newest one among `names`; older ones are removed.
    pub(super) fn load(
        disk: &dyn Disk,
        folder: &Path,
        names: &[String],
        keys: &Keys,
    ) -> Result<Self, StoreError> {
        let Some(number) = numbers(names).max() else { return Ok(Self::default()) };
        let file = name(number);
        let bytes = disk
            .read(&folder.join(&file), MOST_BYTES)
            .map_err(StoreError::disk(format!("cannot read {file}")))?;
        let key = keys.open(FileKind::Manifest, number, &file, &bytes)?;
        let damaged = |why| StoreError::damaged(&file, 0, why);
        let (plain, _, end) = open_framed(&key, &bytes, HEADER, 0)
            .ok_or_else(|| damaged("its record does not open"))?;
        if end != bytes.len() {
            return Err(damaged("something follows its record"));
        }
        let Some((_, Record::Manifest { first, purged })) = Record::parse(&plain) else {
            return Err(damaged("its record says something else"));
        };
        for old in numbers(names).filter(|old| *old < number) {
            let file = name(old);
            disk.remove(&folder.join(&file))
                .map_err(StoreError::disk(format!("cannot remove {file}")))?;
        }
        Ok(Self { number, first, purged: Some(purged) })
    }

    /// Puts the next one in force: `first` is the first segment that counts.
    pub(super) fn advance(
        &mut self,
        options: &Options,
        dice: &mut dyn Dice,
        first: u64,
        purged: LogId,
    ) -> Result<(), StoreError> {
        let (disk, folder) = (&options.disk, &options.folder);
        let number = self.number + 1;
        let file = name(number);
        let (header, key) = options.keys.begin(dice, FileKind::Manifest, number);
        let mut bytes = header.to_vec();
        Record::Manifest { first, purged }
            .seal(&key, dice, 0, 0, &mut bytes)
            .map_err(|why| StoreError::damaged(&file, 0, why.to_string()))?;
        disk.replace(&folder.join(&file), &bytes)
            .map_err(StoreError::disk(format!("cannot write {file}")))?;
        if self.number > 0 {
            let file = name(self.number);
            disk.remove(&folder.join(&file))
                .map_err(StoreError::disk(format!("cannot remove {file}")))?;
        }
        *self = Self { number, first, purged: Some(purged) };
        Ok(())
    }
}
