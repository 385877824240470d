//! Which of a service's files may stay where its set can't be put in place.

use std::collections::HashSet;

use super::record::{Generation, Record};
use crate::agent::vault::{FileSpec, ServiceFiles};
use skep_core::base::{SecretId, Target};

/// The files of a set, each by its name and the secret that it shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    files: HashSet<(SecretId, Target)>,
    secrets: HashSet<SecretId>,
}

impl Kept {
    /// Those that `set` has.
    pub(super) fn of_set(set: &ServiceFiles) -> Self {
        Self::of(set.files.iter().map(|file| (file.secret, &file.target)))
    }

    /// Those that are in place.
    pub(super) fn in_place(record: &Record) -> Self {
        Self::of(record.current().into_iter().flat_map(files_of))
    }

    fn of<'f>(files: impl Iterator<Item = (SecretId, &'f Target)>) -> Self {
        let files: HashSet<_> = files.map(|(secret, target)| (secret, target.clone())).collect();
        let secrets = files.iter().map(|(secret, _)| *secret).collect();
        Self { files, secrets }
    }

    /// Whether a former generation may still have files of `secret`, whatever their names.
    pub(super) fn has(&self, secret: SecretId) -> bool {
        self.secrets.contains(&secret)
    }

    /// Whether workloads may still see `file`.
    pub(super) fn shows(&self, file: &FileSpec) -> bool {
        self.files.contains(&(file.secret, file.target.clone()))
    }

    /// Whether `generation` has nothing that has to go.
    pub(super) fn allows(&self, generation: &Generation) -> bool {
        generation.files.iter().all(|file| match generation.replaced {
            Some(_) => self.has(file.secret),
            None => self.shows(file),
        })
    }
}

fn files_of(generation: &Generation) -> impl Iterator<Item = (SecretId, &Target)> {
    generation.files.iter().map(|file| (file.secret, &file.target))
}
