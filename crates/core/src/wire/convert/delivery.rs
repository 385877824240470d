//! What the leader sends to a node about its services, and what the node answers: both are
//! written and read here.

use std::collections::{BTreeMap, BTreeSet};

use super::count;
use super::parts::{max_age, write_activation, write_mount};
use crate::base::{
    BootTime, Epoch, NodeId, Revision, SecretId, ServiceId, Target, VersionId, limits,
};
use crate::domain::{
    FileAssignment, MountKind, NO_ONE, OfflinePolicy, OnChange, Owner, ServiceSet, State, UnitName,
};
use crate::wire::api;
use crate::wire::delivery::{
    Ack, BadSet, Confirmed, FAILED_FILES, FailedFile, FileSpec, HOOK_WHY_CHARS, HOOKS_TOLD,
    HookStand, Malformed, Placed, Push, SentValue, ServiceFiles, Unreadable, Welcome,
};

/// A set as it is pushed, with its digest.
#[must_use]
pub fn write_set(set: &ServiceSet) -> api::ServiceSet {
    api::ServiceSet {
        service: set.service.as_bytes().to_vec(),
        name: set.name.to_string(),
        mount: write_mount(set.mount).into(),
        owner_uid: set.owner.uid,
        owner_gid: set.owner.gid,
        offline_max_age_s: max_age(set.offline),
        files: set.files.iter().map(write_file).collect(),
        digest: set.digest().to_vec(),
        fresh: set.fresh,
        on_change: set.on_change.written(),
    }
}

fn write_file(file: &FileAssignment) -> api::File {
    api::File {
        target: file.target.to_string(),
        uid: file.uid,
        gid: file.gid,
        mode: file.mode,
        secret: file.secret.as_bytes().to_vec(),
        number: file.number,
        version: file.version.id.as_bytes().to_vec(),
        size: file.version.size,
    }
}

/// A service as a node that it is placed on learns of it; `None` for one that
/// does not exist.
#[must_use]
pub fn write_placed(state: &State, id: ServiceId) -> Option<api::PlacedService> {
    let service = state.services.get(&id)?;
    Some(api::PlacedService {
        id: id.as_bytes().to_vec(),
        name: service.name.to_string(),
        owner_uid: service.spec.owner.uid,
        owner_gid: service.spec.owner.gid,
        activation: write_activation(service.spec.activation).into(),
        grants: count(service.grants.len()),
        units: service.spec.units.iter().map(ToString::to_string).collect(),
    })
}

/// The highest mode a file may have: no set-uid, set-gid or sticky bit.
const MODE_MAX: u32 = 0o777;

/// Checks a welcome.
///
/// # Errors
/// [`Malformed`].
pub fn read_welcome(welcome: api::Welcome) -> Result<Welcome, Malformed> {
    let tail: [u8; 16] = welcome.epoch_tail.as_slice().try_into().ok().ok_or(Malformed("epoch"))?;
    let session_public =
        welcome.session_public.as_slice().try_into().ok().ok_or(Malformed("session key"))?;
    Ok(Welcome {
        session_public,
        leader: NodeId::try_from(welcome.leader.as_slice()).ok().ok_or(Malformed("leader id"))?,
        cluster: welcome.cluster_name.chars().take(limits::NAME_CHARS).collect(),
        addresses: read_managers(welcome.addresses),
        epoch: Epoch { counter: welcome.epoch_counter, tail },
        revision: Revision(welcome.revision),
    })
}

/// Where the managers are, as far as these can be addresses: 4 for each manager at most.
#[must_use]
pub fn read_managers(mut addresses: Vec<String>) -> Vec<String> {
    addresses.retain(|address| !address.is_empty() && address.len() <= limits::ADDRESS_BYTES);
    addresses.truncate(limits::MANAGERS.saturating_mul(4));
    addresses
}

/// Checks a push.
///
/// # Errors
/// [`Malformed`].
pub fn read_push(push: api::Push) -> Result<Push, Malformed> {
    let placed = if push.placed_changed {
        if push.placed.len() > limits::SERVICES {
            return Err(Malformed("too many services"));
        }
        Some(push.placed.iter().map(read_placed).collect::<Result<Vec<_>, _>>()?)
    } else {
        None
    };
    let gone = push.gone.iter().map(|id| service(id)).collect::<Result<Vec<_>, _>>()?;
    let (mut sets, mut unreadable) = (Vec::new(), Vec::new());
    for set in &push.sets {
        match read_set(set) {
            Ok(set) => sets.push(set),
            Err(why) => unreadable.push(Unreadable { service: service(&set.service)?, why }),
        }
    }
    let mut named = BTreeSet::new();
    let all = sets.iter().map(|set| set.service).chain(unreadable.iter().map(|bad| bad.service));
    if !gone.iter().copied().chain(all).all(|id| named.insert(id)) {
        return Err(Malformed("a service is named twice"));
    }
    let (number, revision) = (push.number, Revision(push.revision));
    let values = read_values(push.values)?;
    let drained = push.drained;
    Ok(Push { number, revision, placed, drained, gone, sets, unreadable, values })
}

fn units(sent: &[String]) -> Result<Vec<UnitName>, Malformed> {
    if sent.len() > limits::UNITS_OF_ONE {
        return Err(Malformed("more units of a service than there may be"));
    }
    let unit = |name: &String| name.parse().ok().ok_or(Malformed("unit"));
    sent.iter().map(unit).collect()
}

fn read_placed(placed: &api::PlacedService) -> Result<Placed, Malformed> {
    Ok(Placed {
        id: service(&placed.id)?,
        name: placed.name.parse().ok().ok_or(Malformed("service name"))?,
        owner_uid: placed.owner_uid,
        always: placed.activation() == api::Activation::Placed,
        grants: placed.grants,
        units: units(&placed.units)?,
    })
}

fn service(id: &[u8]) -> Result<ServiceId, Malformed> {
    ServiceId::try_from(id).ok().ok_or(Malformed("service id"))
}

/// Checks values that come with a push or ahead of it.
///
/// # Errors
/// [`Malformed`].
pub fn read_values(values: Vec<api::Value>) -> Result<Vec<SentValue>, Malformed> {
    let value = |value: api::Value| {
        let version = VersionId::try_from(value.version.as_slice());
        let version = version.ok().ok_or(Malformed("version id"))?;
        let (sealed_value, sealed_key) = (value.sealed_value, value.sealed_key);
        Ok(SentValue { version, sealed_value, sealed_key })
    };
    values.into_iter().map(value).collect()
}

/// What a node has of a service, as it tells it to a leader. Without a digest the set is not
/// whole.
#[must_use]
pub fn write_held(
    service: ServiceId,
    digest: Option<[u8; 32]>,
    versions: &BTreeSet<VersionId>,
) -> api::Held {
    api::Held {
        service: service.as_bytes().to_vec(),
        digest: digest.map(|digest| digest.to_vec()).unwrap_or_default(),
        versions: versions.iter().map(|id| id.as_bytes().to_vec()).collect(),
    }
}

/// The answer to a push.
#[must_use]
pub fn write_ack(ack: Ack) -> api::Ack {
    let file =
        |file: FailedFile| api::FailedFile { target: file.target.to_string(), why: file.why };
    let failed = ack.failed.into_iter().map(|failed| api::Failed {
        service: failed.service.as_bytes().to_vec(),
        has: failed.has.map(|versions| write_held(failed.service, None, &versions)),
        why: failed.why,
        r#final: failed.last,
        files: failed.files.into_iter().take(FAILED_FILES).map(file).collect(),
    });
    let unchanged = ack.unchanged.iter().map(|service| service.as_bytes().to_vec());
    api::Ack { push: ack.push, failed: failed.collect(), unchanged: unchanged.collect() }
}

/// How hooks stand, as a leader is told.
#[must_use]
pub fn write_hooks(stands: &BTreeMap<ServiceId, HookStand>) -> api::Hooks {
    let hook = |(service, stand): (&ServiceId, &HookStand)| api::Hook {
        service: service.as_bytes().to_vec(),
        failed: match stand {
            HookStand::Running => String::new(),
            HookStand::Failed(why) => why.chars().take(HOOK_WHY_CHARS).collect(),
        },
    };
    let (running, failed): (Vec<_>, Vec<_>) =
        stands.iter().partition(|(_, stand)| **stand == HookStand::Running);
    let all = running.into_iter().chain(failed).take(HOOKS_TOLD);
    api::Hooks { hooks: all.map(hook).collect() }
}

/// Checks what a leader confirmed.
///
/// # Errors
/// [`Malformed`]: more services than there may be, an id or a digest that isn't one.
pub fn read_confirmed(sent: &api::Confirmed) -> Result<Confirmed, Malformed> {
    if sent.sets.len() > limits::SERVICES {
        return Err(Malformed("confirmed more services than there may be"));
    }
    let set = |set: &api::ConfirmedSet| {
        let service = ServiceId::try_from(set.service.as_slice()).ok()?;
        Some((service, set.digest.as_slice().try_into().ok()?))
    };
    let sets: Option<Vec<_>> = sent.sets.iter().map(set).collect();
    Ok(Confirmed {
        asked: BootTime(sent.at_ms),
        revision: Revision(sent.revision),
        sets: sets.ok_or(Malformed("confirmed a malformed service"))?,
    })
}

/// Checks a set, as [`write_set`] writes it.
///
/// # Errors
/// [`BadSet`].
pub fn read_set(set: &api::ServiceSet) -> Result<ServiceFiles, BadSet> {
    let mount = match api::Mount::try_from(set.mount) {
        Ok(api::Mount::Unspecified | api::Mount::Tmpfs) => MountKind::Tmpfs,
        Ok(api::Mount::Fuse) => MountKind::Fuse,
        Err(_newer) => return Err(BadSet::Mount),
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
    let checked = ServiceFiles {
        service: ServiceId::try_from(set.service.as_slice())
            .map_err(|_| BadSet::Malformed("service id"))?,
        name: set.name.parse().map_err(|_| BadSet::Malformed("service name"))?,
        mount,
        owner: Owner { uid: id_of_owner(set.owner_uid)?, gid: id_of_owner(set.owner_gid)? },
        offline: set.offline_max_age_s.map_or(OfflinePolicy::Keep, OfflinePolicy::MaxAge),
        fresh: set.fresh,
        on_change: OnChange::read(&set.on_change).map_err(|_| BadSet::Hook)?,
        digest: set.digest.as_slice().try_into().map_err(|_| BadSet::Malformed("digest"))?,
        files,
    };
    if checked.bytes() > limits::SERVICE_BYTES {
        return Err(BadSet::TooLarge);
    }
    Ok(checked)
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
    if id == NO_ONE { Err(BadSet::Owner) } else { Ok(id) }
}

#[cfg(test)]
#[path = "delivery_tests.rs"]
mod tests;
