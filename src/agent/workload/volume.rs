//! The volumes of a container engine as they are written down for the next start: which were
//! made, and which are mounted, with the engine's id for each mount. A mount means something
//! within one boot of the machine only: no container outlives that.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use skep_core::base::{FORMAT, Name, ServiceId, Stamp};

/// Characters of an engine's id for a mount: Docker's have 64.
const ID_CHARACTERS: usize = 128;
/// Volumes of one node, and mounts of all of them: more than a machine runs containers.
pub const VOLUMES: usize = 4_096;

/// What an engine calls one mount of a volume: graphic ASCII, 128 characters at most.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MountId(String);

/// Text that is no [`MountId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a mount's id has 1 to {ID_CHARACTERS} graphic ASCII characters")]
pub struct BadMountId;

/// One mount of a volume.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VolumeMount {
    /// The volume, which is called as its service.
    pub volume: Name,
    /// What the engine calls the mount.
    pub id: MountId,
}

/// What one mount of a volume shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mounting {
    /// The service, whose name the volume had then.
    pub service: ServiceId,
    /// How often the engine has it mounted under this id.
    pub times: u32,
}

/// All that is written down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeList {
    /// The volumes, and when each was made.
    pub volumes: BTreeMap<Name, Stamp>,
    /// The mounts of this boot.
    pub mounts: BTreeMap<VolumeMount, Mounting>,
}

impl FromStr for MountId {
    type Err = BadMountId;

    fn from_str(text: &str) -> Result<Self, BadMountId> {
        let graphic = text.bytes().all(|byte| byte.is_ascii_graphic());
        let fits = !text.is_empty() && text.len() <= ID_CHARACTERS && graphic;
        if fits { Ok(Self(text.to_owned())) } else { Err(BadMountId) }
    }
}

impl fmt::Display for MountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredVolumes {
    version: u32,
    boot: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    volume: Vec<StoredVolume>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    mount: Vec<StoredMounting>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredVolume {
    name: String,
    created: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredMounting {
    volume: String,
    id: String,
    service: String,
    times: u32,
}

/// The list as it is stored.
pub(in crate::agent) fn write(list: &VolumeList, boot_id: &str) -> String {
    let volume = |(name, created): (&Name, &Stamp)| StoredVolume {
        name: name.to_string(),
        created: created.0,
    };
    let mount = |(mount, mounting): (&VolumeMount, &Mounting)| StoredMounting {
        volume: mount.volume.to_string(),
        id: mount.id.to_string(),
        service: mounting.service.to_string(),
        times: mounting.times,
    };
    let stored = StoredVolumes {
        version: FORMAT,
        boot: boot_id.to_owned(),
        volume: list.volumes.iter().map(volume).collect(),
        mount: list.mounts.iter().map(mount).collect(),
    };
    // Strings and numbers: there is nothing here that TOML can't say.
    toml::to_string(&stored).unwrap_or_default()
}

/// The list that `text` says, whose version was looked at; `None`: it is damaged.
pub(in crate::agent) fn read(text: &str, boot_id: &str) -> Option<VolumeList> {
    let stored: StoredVolumes = toml::from_str(text).ok()?;
    if stored.volume.len() > VOLUMES || stored.mount.len() > VOLUMES {
        return None;
    }
    let volume = |volume: StoredVolume| Some((volume.name.parse().ok()?, Stamp(volume.created)));
    let mount = |stored: StoredMounting| {
        let id = stored.id.parse().ok()?;
        let mount = VolumeMount { volume: stored.volume.parse().ok()?, id };
        let service = stored.service.parse().ok()?;
        let times = Some(stored.times).filter(|times| *times > 0)?;
        Some((mount, Mounting { service, times }))
    };
    let mut list = VolumeList {
        volumes: stored.volume.into_iter().map(volume).collect::<Option<_>>()?,
        mounts: stored.mount.into_iter().map(mount).collect::<Option<_>>()?,
    };
    if stored.boot != boot_id {
        list.mounts.clear();
    }
    Some(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORED: &str = r#"version = 11
boot = "b"

[[volume]]
name = "web"
created = 7

[[mount]]
volume = "web"
id = "abc"
service = "aeaqcaibaeaqcaibaeaqcaibae"
times = 2
"#;

    fn list() -> VolumeList {
        let volume: Name = "web".parse().expect("a name");
        let mount = VolumeMount { volume: volume.clone(), id: "abc".parse().expect("an id") };
        let mounting = Mounting { service: ServiceId::from_bytes([1; 16]), times: 2 };
        VolumeList {
            volumes: BTreeMap::from([(volume, Stamp(7))]),
            mounts: BTreeMap::from([(mount, mounting)]),
        }
    }

    #[test]
    fn a_list_is_written_and_read_alike_and_mounts_end_with_the_boot() {
        assert_eq!(write(&list(), "b"), STORED);
        assert_eq!(read(STORED, "b"), Some(list()));
        let later = read(STORED, "c").expect("a list");
        assert_eq!(later.volumes, list().volumes);
        assert!(later.mounts.is_empty());
    }

    #[test]
    fn what_is_no_list_is_damaged() {
        for (ours, theirs) in [
            ("\"web\"", "\"../web\""),
            ("\"abc\"", "\"a b\""),
            ("times = 2", "times = 0"),
            ("times = 2", "times = -1"),
            ("aeaqcaib", "?"),
            ("created", "made"),
            ("boot", "boots"),
        ] {
            let changed = STORED.replacen(ours, theirs, 1);
            assert_ne!(changed, STORED);
            assert_eq!(read(&changed, "b"), None, "{theirs}");
        }
    }

    #[test]
    fn ids_are_short_and_plain() {
        for good in ["a", &"f".repeat(ID_CHARACTERS)] {
            assert_eq!(good.parse::<MountId>().map(|id| id.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "a b", "a\n", "\u{e4}", &"f".repeat(ID_CHARACTERS + 1)] {
            assert_eq!(bad.parse::<MountId>(), Err(BadMountId), "{bad:?}");
        }
    }
}
