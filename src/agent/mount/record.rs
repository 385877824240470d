//! What the agent knows of one service's mount, and how it is written down in
//! the mount itself (`manifest.json`), so that the next agent knows it too. No
//! value is in it.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::set_files::{SetFiles, StoredFile};
use crate::agent::machine::Workload;
use crate::agent::vault::FileSpec;
use skep_core::base::{BootTime, FORMAT, Name, OtherFormat, ServiceId};
use skep_core::domain::{OfflinePolicy, OnChange, Owner};

/// The second half of what makes a mount ours; the format's number follows.
const MARKER: &str = "skep agent mount ";

/// One service's mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) service: ServiceId,
    pub(super) name: Name,
    pub(super) owner: Owner,
    pub(super) offline: OfflinePolicy,
    pub(super) offline_since: Option<BootTime>,
    /// Whether it is written down when a leader last confirmed the set.
    pub(super) fresh: bool,
    /// What is done once another set is in place.
    pub(super) on_change: OnChange,
    /// The generation for which that was not begun yet.
    pub(super) changed: Option<u64>,
    /// The number that the next generation gets.
    pub(super) next: u64,
    /// From the oldest to the one in place, which is the last; all others are replaced.
    pub(super) generations: Vec<Generation>,
    pub(super) workloads: Vec<Workload>,
}

/// One set of files, in a folder of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Generation {
    pub(super) number: u64,
    /// The leader's digest; `None` once the files are no longer the whole set.
    pub(super) digest: Option<[u8; 32]>,
    /// When another one took its place.
    pub(super) replaced: Option<BootTime>,
    /// In the order of their targets.
    pub(super) files: SetFiles,
}

impl Generation {
    /// The file of this name.
    pub(super) fn file(&self, target: &str) -> Option<&FileSpec> {
        let at = self.files.binary_search_by(|file| file.target.as_str().cmp(target)).ok()?;
        self.files.get(at)
    }
}

impl Record {
    /// The generation in place.
    pub(super) fn current(&self) -> Option<&Generation> {
        self.generations.last().filter(|generation| generation.replaced.is_none())
    }

    /// The generation in place, to be changed.
    pub(super) fn current_mut(&mut self) -> Option<&mut Generation> {
        self.generations.last_mut().filter(|generation| generation.replaced.is_none())
    }

    /// The record as it is stored.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let stored = Stored {
            marker: format!("{MARKER}{FORMAT}"),
            service: self.service.to_string(),
            name: self.name.to_string(),
            owner_uid: self.owner.uid,
            owner_gid: self.owner.gid,
            offline_max_age_s: match self.offline {
                OfflinePolicy::Keep => None,
                OfflinePolicy::MaxAge(seconds) => Some(seconds),
            },
            offline_since_ms: self.offline_since.map(|since| since.0),
            fresh: self.fresh,
            on_change: self.on_change.written(),
            changed: self.changed,
            next: self.next,
            generations: self.generations.iter().map(StoredGeneration::of).collect(),
            workloads: self.workloads.clone(),
        };
        // Strings, numbers and lists: there is nothing here that JSON can't say.
        serde_json::to_vec(&stored).unwrap_or_default()
    }

    /// Whether `json` is of the format that this build reads, as far as it is a record at all.
    pub(super) fn format(json: &[u8]) -> Result<(), OtherFormat> {
        let marked = serde_json::from_slice::<Marked>(json).ok();
        match marked.and_then(|marked| number_of(&marked.marker)) {
            None | Some(0) => Ok(()),
            Some(number) => OtherFormat::check(number),
        }
    }

    /// The record that `json` says; `None`: it isn't one.
    pub(super) fn from_json(json: &[u8]) -> Option<Self> {
        let stored: Stored<Vec<StoredFile>> = serde_json::from_slice(json).ok()?;
        if number_of(&stored.marker) != Some(FORMAT) {
            return None;
        }
        let generations: Option<Vec<_>> =
            stored.generations.into_iter().map(StoredGeneration::checked).collect();
        Some(Self {
            service: stored.service.parse().ok()?,
            name: stored.name.parse().ok()?,
            owner: Owner { uid: stored.owner_uid, gid: stored.owner_gid },
            offline: stored.offline_max_age_s.map_or(OfflinePolicy::Keep, OfflinePolicy::MaxAge),
            offline_since: stored.offline_since_ms.map(BootTime),
            fresh: stored.fresh,
            on_change: OnChange::read(&stored.on_change).ok()?,
            changed: stored.changed,
            next: stored.next,
            generations: generations?,
            workloads: stored.workloads,
        })
    }
}

fn number_of(marker: &str) -> Option<u32> {
    marker.strip_prefix(MARKER)?.parse().ok()
}

#[derive(Deserialize)]
struct Marked {
    marker: String,
}

/// The record; `F` is a generation's files, read or written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored<F> {
    marker: String,
    service: String,
    name: String,
    owner_uid: u32,
    owner_gid: u32,
    offline_max_age_s: Option<u64>,
    offline_since_ms: Option<u64>,
    fresh: bool,
    on_change: String,
    changed: Option<u64>,
    next: u64,
    generations: Vec<StoredGeneration<F>>,
    workloads: Vec<Workload>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredGeneration<F> {
    number: u64,
    digest: Option<String>,
    replaced_ms: Option<u64>,
    files: F,
}

impl<'g> StoredGeneration<&'g RawValue> {
    fn of(generation: &'g Generation) -> Self {
        Self {
            number: generation.number,
            digest: generation.digest.map(|digest| data_encoding::HEXLOWER.encode(&digest)),
            replaced_ms: generation.replaced.map(|time| time.0),
            files: generation.files.written(),
        }
    }
}

impl StoredGeneration<Vec<StoredFile>> {
    fn checked(self) -> Option<Generation> {
        let digest = match self.digest {
            None => None,
            Some(hex) => {
                let bytes = data_encoding::HEXLOWER.decode(hex.as_bytes()).ok()?;
                Some(bytes.try_into().ok()?)
            }
        };
        let files: Vec<_> =
            self.files.into_iter().map(StoredFile::checked).collect::<Option<_>>()?;
        let replaced = self.replaced_ms.map(BootTime);
        Some(Generation { number: self.number, digest, replaced, files: files.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_core::base::{SecretId, VersionId};

    fn record() -> Record {
        Record {
            service: ServiceId::from_bytes([1; 16]),
            name: "web".parse().unwrap(),
            owner: Owner { uid: 10, gid: 20 },
            offline: OfflinePolicy::MaxAge(60),
            offline_since: Some(BootTime(5)),
            fresh: true,
            on_change: "signal:HUP".parse().unwrap(),
            changed: Some(3),
            next: 4,
            generations: vec![Generation {
                number: 3,
                digest: Some([7; 32]),
                replaced: None,
                files: SetFiles::from(vec![FileSpec {
                    target: "password".parse().unwrap(),
                    uid: 1,
                    gid: 2,
                    mode: 0o440,
                    secret: SecretId::from_bytes([2; 16]),
                    number: 9,
                    version: VersionId::from_bytes([3; 16]),
                    size: 12,
                }]),
            }],
            workloads: vec![Workload { pid: 17, started: 18 }],
        }
    }

    /// What stands in a mount.
    const FIRST: &str = concat!(
        r#"{"marker":"skep agent mount 11","service":"aeaqcaibaeaqcaibaeaqcaibae","name":"web","#,
        r#""owner_uid":10,"owner_gid":20,"offline_max_age_s":60,"offline_since_ms":5,"fresh":true,"on_change":"signal:HUP","changed":3,"next":4,"#,
        r#""generations":[{"number":3,"digest":"07070707070707070707070707070707"#,
        r#"07070707070707070707070707070707","replaced_ms":null,"files":[{"target":"password","#,
        r#""uid":1,"gid":2,"mode":288,"secret":"aibaeaqcaibaeaqcaibaeaqcai","number":9,"#,
        r#""version":"ambqgaydambqgaydambqgaydam","size":12}]}],"workloads":[{"pid":17,"started":18}]}"#,
    );

    #[test]
    fn a_record_is_read_and_written() {
        assert_eq!(String::from_utf8(record().to_json()).unwrap(), FIRST);
        assert_eq!(Record::from_json(FIRST.as_bytes()), Some(record()));
    }

    #[test]
    fn another_marker_or_a_bad_target_is_no_record() {
        let json = String::from_utf8(record().to_json()).unwrap();
        for (ours, theirs) in [
            ("skep agent mount 11", "skep agent mount 12"),
            ("skep agent mount 11", "skep agent mount 1"),
            ("\"password\"", "\"../../etc/shadow\""),
            ("\"next\"", "\"more\":1,\"next\""),
            ("0707", "07"),
        ] {
            let changed = json.replacen(ours, theirs, 1);
            assert_ne!(changed, json);
            assert_eq!(Record::from_json(changed.as_bytes()), None, "{theirs}");
        }
        assert_eq!(Record::from_json(b""), None);
        let of = |number| Record::format(json.replacen("mount 11", number, 1).as_bytes());
        assert_eq!(of("mount 1"), Err(OtherFormat::Older(1)));
        assert_eq!(of("mount 12"), Err(OtherFormat::Newer(12)));
        assert_eq!((of("mount 11"), of("mount x"), Record::format(b"{")), (Ok(()), Ok(()), Ok(())));
    }
}
