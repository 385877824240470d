//! What a thread of the worker does with one service's files: opens values, puts sets in
//! place, takes them away.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::lanes::{Part, Putting};
use crate::agent::machine::{Process, Workload, show_again};
use crate::agent::mount::{Applied, Lacking, MountError, Mounts};
use crate::agent::vault::layout::SECRETS;
use crate::agent::vault::{FileSpec, HookDue, ServiceFiles};
use skep_core::base::{Clock, ClusterId, SecretBytes, ServiceId, VersionId};
use skep_core::seal::{SessionKey, ValueContext, open_value};
use skep_core::wire::delivery::{FAILED_FILES, Failed, FailedFile, SentValue};

/// How a part ended.
#[derive(Debug)]
pub(super) enum End {
    /// It is done, or nobody needs to hear of it.
    Done,
    /// A set brought nothing but what its files show already.
    Unchanged,
    /// A leader is to hear that it wasn't carried out.
    Failed(Failed),
}

/// What all threads share.
pub(super) struct Hands {
    pub(super) mounts: Mounts,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) cluster: ClusterId,
}

impl Hands {
    /// Does one part.
    pub(super) fn part(&self, service: ServiceId, part: Part) -> End {
        match part {
            Part::Wipe => return self.wipe(service),
            Part::Remove => {
                let end = self.wipe(service);
                if matches!(end, End::Failed(_)) {
                    return end;
                }
                if let Err(error) = self.mounts.remove(service) {
                    tracing::warn!(event = "mount_not_removed", %service, %error);
                }
            }
            Part::Put(putting) => return self.put(&putting),
            Part::Workloads(using) => {
                if let Err(error) = self.mounts.set_workloads(service, using) {
                    tracing::warn!(event = "workloads_not_noted", %service, %error);
                }
            }
            Part::Offline(since) => {
                if let Err(error) = self.mounts.set_offline_of(service, since) {
                    tracing::warn!(event = "offline_not_noted", %service, %error);
                }
            }
            Part::Confirm(digest, fresh) => {
                if let Err(error) = self.mounts.confirm(service, digest, &fresh) {
                    tracing::warn!(event = "confirmation_not_noted", %service, %error);
                }
            }
            Part::Tick => {
                if self.mounts.tick_one(service, self.clock.boot()) {
                    tracing::warn!(event = "offline_time_over", %service, "wiped");
                }
            }
        }
        End::Done
    }

    /// What is to be done once another set is in place.
    pub(super) fn change_of(&self, service: ServiceId) -> Option<HookDue> {
        self.mounts.take_change(service).unwrap_or_else(|error| {
            tracing::warn!(event = "hook_not_begun", %service, %error);
            None
        })
    }

    fn wipe(&self, service: ServiceId) -> End {
        match self.mounts.wipe(service) {
            Ok(()) => {
                tracing::info!(event = "wiped", ends = "not_wiped", always = true, %service);
                End::Done
            }
            Err(error) => {
                tracing::error!(event = "not_wiped", %service, %error);
                End::Failed(Failed::whole(service, said(&error), false))
            }
        }
    }

    fn put(&self, Putting { set, values, key }: &Putting) -> End {
        match self.try_put(set, values, key.as_deref()) {
            Ok(Applied::Unchanged) => {
                let service = &set.name;
                tracing::info!(event = "set_unchanged", ends = "set_not_in_place", always = true, %service);
                End::Unchanged
            }
            Ok(Applied::InPlace) => {
                tracing::info!(
                    event = "set_in_place",
                    ends = "set_not_in_place",
                    always = true,
                    service = %set.name,
                    files = set.files.len()
                );
                End::Done
            }
            Err(failed) => {
                tracing::error!(event = "set_not_in_place", service = %set.name, why = %failed.why);
                End::Failed(failed)
            }
        }
    }

    fn try_put(
        &self,
        set: &ServiceFiles,
        values: &BTreeMap<VersionId, SentValue>,
        key: Option<&SessionKey>,
    ) -> Result<Applied, Failed> {
        let cluster = self.cluster;
        let files: BTreeMap<_, _> = set.files.iter().map(|file| (file.version, file)).collect();
        let mut unopened = BTreeSet::new();
        let mut fresh = |version: VersionId| {
            let value = values.get(&version)?;
            let opened = open(files.get(&version)?, value, cluster, key);
            if opened.is_none() {
                unopened.insert(version);
            }
            opened
        };
        let applied = self.mounts.apply(set, &mut fresh, self.clock.boot());
        applied.map_err(|error| {
            let lacking = match &error {
                MountError::Files(lacking) => lacking.as_slice(),
                _ => &[],
            };
            let sealed = |one: &Lacking| match one.error {
                MountError::Missing(version) => unopened.contains(&version),
                _ => false,
            };
            let final_ones = lacking.iter().filter(|one| sealed(one) || one.error.is_final());
            let last = if lacking.is_empty() {
                error.is_final()
            } else {
                final_ones.count() == lacking.len()
            };
            let file = |one: &Lacking| FailedFile {
                target: one.target.clone(),
                why: if sealed(one) {
                    "its value does not open".to_owned()
                } else {
                    one.error.of_file()
                },
            };
            let files: Vec<_> = lacking.iter().take(FAILED_FILES).map(file).collect();
            let why = match (files.as_slice(), lacking.len()) {
                ([], _) => said(&error),
                ([only], 1) => format!("{}: {}", only.target, only.why),
                ([first, ..], count) => {
                    format!("{} files, first of all {}: {}", count, first.target, first.why)
                }
            };
            let has = self.mounts.nothing_but(set);
            Failed { service: set.service, why, last, files, has }
        })
    }

    /// A workload that was there before has a dead view where it was served by an agent that
    /// is gone, or over a connection that was cut. This goes into namespaces that workloads
    /// control, and may hang there.
    pub(super) fn show_again(&self, service: ServiceId, using: &[Workload]) {
        let Some(files) = self.mounts.live_of(service) else { return };
        for workload in using {
            // Another process may have its number by now.
            if Process::again(*workload).is_none() {
                continue;
            }
            let pid = workload.pid;
            match show_again(&files, Path::new(SECRETS), pid) {
                Ok(true) => tracing::info!(event = "shown_again", %service, pid),
                Ok(false) => {}
                Err(error) => tracing::warn!(event = "not_shown_again", %service, pid, %error),
            }
        }
    }
}

/// Opens one value; what binds it comes from the set, not from the message.
fn open(
    file: &FileSpec,
    value: &SentValue,
    cluster: ClusterId,
    key: Option<&SessionKey>,
) -> Option<SecretBytes> {
    let (secret, version, size) = (file.secret, file.version, file.size);
    let context = ValueContext { cluster, secret, version, size };
    let data_key = key?.open(&value.sealed_key, &context).ok()?;
    open_value(&data_key, &context, &value.sealed_value).ok()
}

pub(super) fn said(error: &MountError) -> String {
    match error.hint() {
        Some(hint) => format!("{error} ({hint})"),
        None => error.to_string(),
    }
}
