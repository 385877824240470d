//! The files of one generation, and how they are written down: a set may have thousands, and
//! the record is written several times for each change, so what didn't change is kept as it
//! was written.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::agent::vault::FileSpec;

/// Files in the order of their targets. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct SetFiles {
    list: Arc<Vec<FileSpec>>,
    /// Empty since the last change.
    written: OnceLock<Arc<RawValue>>,
}

impl SetFiles {
    /// As they stand in the record: see [`StoredFile`].
    pub(super) fn written(&self) -> &RawValue {
        self.written.get_or_init(|| {
            let files: Vec<StoredFile> = self.list.iter().map(StoredFile::of).collect();
            // Strings and numbers: there is nothing here that JSON can't say.
            to_raw_value(&files).unwrap_or_else(|_| RawValue::NULL.to_owned()).into()
        })
    }

    /// Keeps those for which `stays` says so.
    pub(super) fn retain(&mut self, stays: impl FnMut(&FileSpec) -> bool) {
        self.written.take();
        Arc::make_mut(&mut self.list).retain(stays);
    }

    /// Adds one in its place.
    pub(super) fn add(&mut self, file: FileSpec) {
        self.written.take();
        let list = Arc::make_mut(&mut self.list);
        let at = list.partition_point(|other| other.target < file.target);
        list.insert(at, file);
    }
}

impl Deref for SetFiles {
    type Target = [FileSpec];

    fn deref(&self) -> &[FileSpec] {
        &self.list
    }
}

impl<'f> IntoIterator for &'f SetFiles {
    type Item = &'f FileSpec;
    type IntoIter = std::slice::Iter<'f, FileSpec>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}

impl From<Vec<FileSpec>> for SetFiles {
    fn from(mut files: Vec<FileSpec>) -> Self {
        files.sort_by(|a, b| a.target.cmp(&b.target));
        Self { list: Arc::new(files), written: OnceLock::new() }
    }
}

impl PartialEq for SetFiles {
    fn eq(&self, other: &Self) -> bool {
        self.list == other.list
    }
}

impl Eq for SetFiles {}

/// A file as it stands in the record.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredFile {
    target: String,
    uid: u32,
    gid: u32,
    mode: u32,
    secret: String,
    number: u32,
    version: String,
    size: u32,
}

impl StoredFile {
    fn of(file: &FileSpec) -> Self {
        Self {
            target: file.target.to_string(),
            uid: file.uid,
            gid: file.gid,
            mode: file.mode,
            secret: file.secret.to_string(),
            number: file.number,
            version: file.version.to_string(),
            size: file.size,
        }
    }

    /// The file that this says; `None`: it says none.
    pub(super) fn checked(self) -> Option<FileSpec> {
        Some(FileSpec {
            target: self.target.parse().ok()?,
            uid: self.uid,
            gid: self.gid,
            mode: self.mode,
            secret: self.secret.parse().ok()?,
            number: self.number,
            version: self.version.parse().ok()?,
            size: self.size,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_core::base::{SecretId, VersionId};

    fn file(target: &str) -> FileSpec {
        FileSpec {
            target: target.parse().unwrap(),
            uid: 1,
            gid: 2,
            mode: 0o440,
            secret: SecretId::from_bytes([2; 16]),
            number: 9,
            version: VersionId::from_bytes([3; 16]),
            size: 12,
        }
    }

    #[test]
    fn what_is_written_down_follows_every_change() {
        let fresh = |files: &SetFiles| SetFiles::from(files.to_vec()).written().get().to_owned();
        let mut files = SetFiles::from(vec![file("b"), file("a")]);
        let before = files.clone();
        let first = before.written();
        assert!(first.get().find("\"a\"") < first.get().find("\"b\""));
        files.add(file("aa"));
        assert_eq!(files.written().get(), fresh(&files));
        assert!(files.written().get().contains("\"aa\""));
        files.retain(|file| file.target.as_str() != "a");
        assert_eq!(files.written().get(), fresh(&files));
        assert_eq!(files.len(), 2);
        assert_eq!((before.len(), before.written().get()), (2, first.get()));
    }
}
