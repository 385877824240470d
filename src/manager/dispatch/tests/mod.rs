//! A model of an agent and of the cluster's records, against which the pure parts run.

mod frames;
mod ledger;
mod property;
mod simulation;
mod step;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::known::Has;
use super::step::Delta;
use super::wanted::{Due, Wanted};
use skep_core::base::{Revision, SealedValue, SecretId, ServiceId, Stamp, VersionId, WrappedKey};
use skep_core::domain::{
    Activation, FileAssignment, MountKind, OfflinePolicy, Owner, ServiceSet, Version,
};

fn service(number: u8) -> ServiceId {
    ServiceId::from_bytes([number; 16])
}

fn version_id(number: u8) -> VersionId {
    VersionId::from_bytes([number; 16])
}

fn version(number: u8, size: u32) -> Arc<Version> {
    let bytes = vec![number; usize::try_from(size).expect("a size")];
    Arc::new(Version {
        id: version_id(number),
        size,
        value: SealedValue(bytes.into()),
        data_key: WrappedKey { number: 1, bytes: vec![number] },
        created: Stamp(1),
        repeats: None,
        public: None,
        written_by: None,
    })
}

fn file(number: u8, size: u32) -> FileAssignment {
    FileAssignment {
        target: format!("file-{number}").parse().expect("a target"),
        uid: 0,
        gid: 0,
        mode: 0o444,
        secret: SecretId::from_bytes([number; 16]),
        number: 1,
        version: version(number, size),
    }
}

fn due_of(id: u8, files: Vec<FileAssignment>) -> Arc<Due> {
    Arc::new(Due::new(ServiceSet {
        service: service(id),
        name: format!("service-{id}").parse().expect("a name"),
        mount: MountKind::Tmpfs,
        activation: Activation::Running,
        owner: Owner::default(),
        offline: OfflinePolicy::Keep,
        fresh: false,
        on_change: skep_core::domain::OnChange::Nothing,
        files,
    }))
}

/// The set of service `id` with these versions.
fn due(id: u8, versions: &[u8]) -> Arc<Due> {
    due_of(id, versions.iter().map(|number| file(*number, 4)).collect())
}

fn wanted(revision: u64, sets: &[Arc<Due>]) -> Wanted {
    Wanted {
        revision: Revision(revision),
        placed: Arc::default(),
        sets: sets.iter().map(|due| (due.set.service, Arc::clone(due))).collect(),
    }
}

fn has(due: &Due) -> Has {
    Has { digest: Some(due.digest), versions: due.versions.clone() }
}

/// What an agent does with pushes, and what it insists on.
#[derive(Clone, Debug, Default)]
struct Agent {
    sets: BTreeMap<ServiceId, Has>,
}

impl Agent {
    /// Carries a push out, but for `failing`.
    fn apply(&mut self, delta: &Delta, failing: &BTreeSet<ServiceId>) {
        let before = self.sets.clone();
        for gone in &delta.gone {
            assert!(before.contains_key(gone), "nothing is there of {gone}");
            self.sets.remove(gone);
        }
        for due in &delta.sets {
            self.sets.insert(due.set.service, has(due));
        }
        let kept: BTreeSet<_> = before
            .iter()
            .filter_map(|(service, had)| Some((had, self.sets.get(service)?)))
            .flat_map(|(had, has)| had.versions.intersection(&has.versions))
            .copied()
            .collect();
        let mut usable = kept.clone();
        for (_, version) in &delta.values {
            assert!(!kept.contains(&version.id), "{} is there already", version.id);
            assert!(usable.insert(version.id), "{} came twice", version.id);
        }
        for due in &delta.sets {
            assert!(due.versions.is_subset(&usable), "a value of {} is missing", due.set.service);
        }
        for service in failing {
            if delta.sets.iter().any(|due| due.set.service == *service) {
                self.sets.insert(*service, Has::default());
            }
        }
    }
}
