//! What the leader sends to a node about its services.

use super::count;
use super::parts::{activation_text, max_age, mount_text};
use crate::base::ServiceId;
use crate::domain::{FileAssignment, ServiceSet, State};
use crate::wire::api;

/// A set as it is pushed, with its digest.
#[must_use]
pub fn write_set(set: &ServiceSet) -> api::ServiceSet {
    api::ServiceSet {
        service: set.service.as_bytes().to_vec(),
        name: set.name.to_string(),
        mount: mount_text(set.mount).to_owned(),
        owner_uid: set.owner.uid,
        owner_gid: set.owner.gid,
        offline_max_age_s: max_age(set.offline),
        files: set.files.iter().map(write_file).collect(),
        digest: set.digest().to_vec(),
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
        activation: activation_text(service.spec.activation).to_owned(),
        grants: count(service.grants.len()),
    })
}
