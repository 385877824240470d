//! A leader's set after it was checked: what it says is then within this product's own
//! limits, whoever the leader is. No file is touched and no value is carried here.

use std::collections::BTreeSet;

use skep_core::base::{Name, SecretId, ServiceId, Target, VersionId, limits};
use skep_core::domain::{MountKind, OfflinePolicy, Owner};
use skep_core::wire::api;

/// The highest mode a file may have: no set-uid, set-gid or sticky bit.
const MODE_MAX: u32 = 0o777;
/// What `chown` takes for "leave it as it is": never a user or a group.
const NOBODY_AT_ALL: u32 = u32::MAX;

/// Everything that is due of one service on this node: one set, shown whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceFiles {
    /// Which service.
    pub service: ServiceId,
    /// Its name: its directory on the host.
    pub name: Name,
    /// How it is shown.
    pub mount: MountKind,
    /// Who owns that directory.
    pub owner: Owner,
    /// How long the files stay without a session.
    pub offline: OfflinePolicy,
    /// The leader's digest of this set; kept and sent back, never computed here.
    pub digest: [u8; 32],
    /// The files in the order of their targets; none of them twice.
    pub files: Vec<FileSpec>,
}

/// One file that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSpec {
    /// Its name.
    pub target: Target,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its permissions, 0000 to 0777.
    pub mode: u32,
    /// Which secret.
    pub secret: SecretId,
    /// The version's number, for people.
    pub number: u32,
    /// The version: what the value is known by.
    pub version: VersionId,
    /// Bytes of the value, 1 to [`limits::VALUE_BYTES`].
    pub size: u32,
}

/// A leader's set that is outside the rules: nothing of it is applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSet {
    /// An id, name, digest or target that isn't one.
    #[error("the leader sent a set with a malformed {0}")]
    Malformed(&'static str),
    /// A way of mounting that this version doesn't know.
    #[error("the leader sent a set to be mounted in a way that this agent does not know")]
    Mount,
    /// More files than a service may have.
    #[error("the leader sent a set of more than {} files", limits::GRANTS)]
    TooManyFiles,
    /// One name for two files.
    #[error("the leader sent a set with the target {0} twice")]
    Twice(Target),
    /// An empty value or one beyond the limit.
    #[error("the leader sent a value of {1} bytes for {0}: 1 to {max} are allowed", max = limits::VALUE_BYTES)]
    Size(Target, u32),
    /// Permissions beyond 0777.
    #[error("the leader sent a mode outside 0000 to 0777 for {0}")]
    Mode(Target),
    /// A user or group that can own nothing.
    #[error("the leader sent a user or group id that can own nothing")]
    Owner,
    /// More bytes than a service may bring to a node.
    #[error("the leader sent a set of more than {} bytes", limits::SERVICE_BYTES)]
    TooLarge,
}

impl ServiceFiles {
    /// Bytes of all values.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| u64::from(file.size)).sum()
    }

    /// The secrets that the service has.
    pub fn secrets(&self) -> BTreeSet<SecretId> {
        self.files.iter().map(|file| file.secret).collect()
    }
}

impl TryFrom<&api::ServiceSet> for ServiceFiles {
    type Error = BadSet;

    fn try_from(set: &api::ServiceSet) -> Result<Self, BadSet> {
        let mount = match set.mount.as_str() {
            "" | "tmpfs" => MountKind::Tmpfs,
            "fuse" => MountKind::Fuse,
            _ => return Err(BadSet::Mount),
        };
        if set.files.len() > limits::GRANTS {
            return Err(BadSet::TooManyFiles);
        }
        let mut files = Vec::with_capacity(set.files.len());
        for file in &set.files {
            files.push(file_spec(file)?);
        }
        files.sort_by(|a, b| a.target.cmp(&b.target));
        let neighbours = files.iter().zip(files.iter().skip(1));
        if let Some((file, _)) = neighbours.into_iter().find(|(a, b)| a.target == b.target) {
            return Err(BadSet::Twice(file.target.clone()));
        }
        let checked = Self {
            service: ServiceId::try_from(set.service.as_slice())
                .map_err(|_| BadSet::Malformed("service id"))?,
            name: set.name.parse().map_err(|_| BadSet::Malformed("service name"))?,
            mount,
            owner: Owner { uid: id_of_owner(set.owner_uid)?, gid: id_of_owner(set.owner_gid)? },
            offline: set.offline_max_age_s.map_or(OfflinePolicy::Keep, OfflinePolicy::MaxAge),
            digest: set.digest.as_slice().try_into().map_err(|_| BadSet::Malformed("digest"))?,
            files,
        };
        if checked.bytes() > limits::SERVICE_BYTES {
            return Err(BadSet::TooLarge);
        }
        Ok(checked)
    }
}

fn file_spec(file: &api::File) -> Result<FileSpec, BadSet> {
    let target: Target = file.target.parse().map_err(|_| BadSet::Malformed("target"))?;
    let in_range = usize::try_from(file.size).is_ok_and(|n| (1..=limits::VALUE_BYTES).contains(&n));
    if !in_range {
        return Err(BadSet::Size(target, file.size));
    }
    if file.mode > MODE_MAX {
        return Err(BadSet::Mode(target));
    }
    Ok(FileSpec {
        uid: id_of_owner(file.uid)?,
        gid: id_of_owner(file.gid)?,
        mode: file.mode,
        secret: SecretId::try_from(file.secret.as_slice())
            .map_err(|_| BadSet::Malformed("secret id"))?,
        number: file.number,
        version: VersionId::try_from(file.version.as_slice())
            .map_err(|_| BadSet::Malformed("version id"))?,
        size: file.size,
        target,
    })
}

fn id_of_owner(id: u32) -> Result<u32, BadSet> {
    if id == NOBODY_AT_ALL { Err(BadSet::Owner) } else { Ok(id) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(target: &str, size: u32) -> api::File {
        api::File {
            target: target.to_owned(),
            uid: 1,
            gid: 2,
            mode: 0o640,
            secret: vec![1; 16],
            number: 3,
            version: vec![2; 16],
            size,
        }
    }

    fn sent() -> api::ServiceSet {
        api::ServiceSet {
            service: vec![9; 16],
            name: "web".to_owned(),
            mount: "tmpfs".to_owned(),
            owner_uid: 10,
            owner_gid: 11,
            offline_max_age_s: Some(60),
            files: vec![file("b", 511_999), file("a", 1)],
            digest: vec![7; 32],
        }
    }

    /// What is made of a set after `change`.
    fn made(change: impl FnOnce(&mut api::ServiceSet)) -> Result<ServiceFiles, BadSet> {
        let mut set = sent();
        change(&mut set);
        ServiceFiles::try_from(&set)
    }

    #[test]
    fn a_sound_set_is_taken_in_the_order_of_its_targets() {
        let set = made(|_| ()).unwrap();
        assert_eq!(set.name.as_str(), "web");
        assert_eq!(set.owner, Owner { uid: 10, gid: 11 });
        assert_eq!(set.offline, OfflinePolicy::MaxAge(60));
        assert_eq!(set.digest, [7; 32]);
        let targets: Vec<_> = set.files.iter().map(|file| file.target.as_str()).collect();
        assert_eq!(targets, ["a", "b"]);
        assert_eq!(set.bytes(), 512_000);
        assert_eq!(set.secrets(), BTreeSet::from([SecretId::from_bytes([1; 16])]));
        assert_eq!(made(|set| set.files.clear()).unwrap().files, []);
        let kept = made(|set| set.offline_max_age_s = None).unwrap();
        assert_eq!(kept.offline, OfflinePolicy::Keep);
    }

    #[test]
    fn nothing_outside_the_rules_is_taken() {
        let target = |name: &str| name.parse::<Target>().unwrap();
        for name in ["", ".", "..", "..data", "a/b", "/etc/shadow", "a\0", "a\nb"] {
            let refused = made(|set| set.files[0].target = name.to_owned());
            assert_eq!(refused, Err(BadSet::Malformed("target")), "{name:?}");
        }
        for size in [0, 512_000, u32::MAX] {
            let refused = made(|set| set.files[1].size = size);
            assert_eq!(refused, Err(BadSet::Size(target("a"), size)));
        }
        assert_eq!(made(|set| set.files[1].mode = 0o1777), Err(BadSet::Mode(target("a"))));
        assert_eq!(
            made(|set| set.files[1].target = "b".to_owned()),
            Err(BadSet::Twice(target("b")))
        );
        assert_eq!(made(|set| set.files[0].uid = u32::MAX), Err(BadSet::Owner));
        assert_eq!(made(|set| set.owner_gid = u32::MAX), Err(BadSet::Owner));
        assert_eq!(made(|set| set.mount = "nfs".to_owned()), Err(BadSet::Mount));
        assert_eq!(made(|set| set.mount = "fuse".to_owned()).unwrap().mount, MountKind::Fuse);
        assert_eq!(
            made(|set| set.name = "../x".to_owned()),
            Err(BadSet::Malformed("service name"))
        );
        assert_eq!(made(|set| set.service.clear()), Err(BadSet::Malformed("service id")));
        assert_eq!(made(|set| set.digest.clear()), Err(BadSet::Malformed("digest")));
        assert_eq!(made(|set| set.files[0].version.clear()), Err(BadSet::Malformed("version id")));
        assert_eq!(made(|set| set.files[0].secret.clear()), Err(BadSet::Malformed("secret id")));
    }

    #[test]
    fn a_set_has_limits() {
        let files = |count: usize, size| {
            made(move |set| set.files = (0..count).map(|n| file(&format!("f{n}"), size)).collect())
        };
        assert_eq!(files(limits::GRANTS, 1).unwrap().files.len(), limits::GRANTS);
        assert_eq!(files(limits::GRANTS + 1, 1), Err(BadSet::TooManyFiles));
        assert!(files(131, 511_999).is_ok());
        assert_eq!(files(132, 511_999), Err(BadSet::TooLarge));
    }
}
