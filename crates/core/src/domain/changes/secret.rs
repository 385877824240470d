//! Secrets and their versions.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bytes::within_service_bytes;
use super::names::{is_free, relabelled};
use crate::base::{Label, Labels, Name, SecretId, Stamp, limits};
use crate::domain::changed::Changed;
use crate::domain::command::NewVersion;
use crate::domain::draft::Draft;
use crate::domain::named::{Counted, Stays, Thing};
use crate::domain::put::WrittenBy;
use crate::domain::refusal::{Few, Refusal};
use crate::domain::state::{Secret, State, Version};

/// Bytes that sealing may add to a value: nonce, tag and room for a header.
const SEALING_BYTES: usize = 256;

/// What is said of a secret when it is created.
pub(super) struct New<'n> {
    pub(super) name: &'n Name,
    pub(super) labels: Labels,
    pub(super) forward_only: bool,
}

pub(super) fn create(
    draft: &mut Draft<'_>,
    id: SecretId,
    New { name, labels, forward_only }: New<'_>,
    version: &NewVersion,
) -> Result<Changed, Refusal> {
    let state = draft.state();
    let there = state.indexes.secrets.get(&name.key()).and_then(|id| state.secrets.get(id));
    is_free(Thing::Secret, name, there.map(|there| &there.name))?;
    if state.secrets.contains_key(&id) {
        return Err(Refusal::id_taken());
    }
    if state.secrets.len() >= limits::SECRETS {
        return Err(Refusal::limit(Counted::Secrets, limits::SECRETS));
    }
    let now = draft.now();
    let secret = Secret {
        name: name.clone(),
        labels,
        forward_only,
        created: now,
        updated: now,
        revision: draft.revision(),
        current: 1,
        versions: BTreeMap::from([(1, Arc::new(checked(state, version, now, None)?))]),
    };
    draft.put_secret(id, Some(secret));
    Ok(Changed::Version { secret: id, number: 1 })
}

pub(super) fn label(
    draft: &mut Draft<'_>,
    id: SecretId,
    put: &[Label],
    gone: &[String],
) -> Result<Changed, Refusal> {
    let found = find(draft.state(), id)?;
    let labels = relabelled(&found.labels, put, gone)?;
    if labels == found.labels {
        return Ok(Changed::Already);
    }
    let secret =
        Secret { labels, updated: draft.now(), revision: draft.revision(), ..found.clone() };
    draft.put_secret(id, Some(secret));
    Ok(Changed::Done)
}

pub(super) fn update(
    draft: &mut Draft<'_>,
    id: SecretId,
    expect: Option<u32>,
    version: &NewVersion,
    writer: Option<WrittenBy>,
) -> Result<Changed, Refusal> {
    let state = draft.state();
    let found = find(state, id)?;
    expected(found, expect)?;
    if found.versions.values().any(|kept| kept.id == version.id) {
        return Err(Refusal::id_taken());
    }
    let version = checked(state, version, draft.now(), writer)?;
    add(draft, id, version)
}

/// The version `to` is current again, under the next number: numbers only grow, so that whoever
/// expects one never meets another value under it.
pub(super) fn roll_back(
    draft: &mut Draft<'_>,
    id: SecretId,
    expect: Option<u32>,
    to: u32,
) -> Result<Changed, Refusal> {
    let found = find(draft.state(), id)?;
    expected(found, expect)?;
    if found.forward_only {
        return Err(Refusal::ForwardOnly { secret: found.name.clone() });
    }
    let repeated = found.versions.get(&to).ok_or_else(|| no_version(found, to))?;
    if found.versions.get(&found.current).is_some_and(|current| current.id == repeated.id) {
        return Ok(Changed::Already);
    }
    let mut version = Version::clone(repeated);
    version.created = draft.now();
    version.written_by = None;
    version.repeats = Some(repeated.repeats.unwrap_or(to));
    add(draft, id, version)
}

fn expected(found: &Secret, expect: Option<u32>) -> Result<(), Refusal> {
    match expect.filter(|expected| *expected != found.current) {
        None => Ok(()),
        Some(expected) => Err(Refusal::Conflict {
            what: format!("secret {}", found.name),
            expected: expected.into(),
            found: found.current.into(),
        }),
    }
}

/// Adds a version, which becomes current.
fn add(draft: &mut Draft<'_>, id: SecretId, version: Version) -> Result<Changed, Refusal> {
    let state = draft.state();
    let found = find(state, id)?;
    let newest = found.versions.last_key_value().map_or(0, |(number, _)| *number);
    let number = newest
        .max(found.current)
        .checked_add(1)
        .ok_or(Refusal::Limit { what: Counted::Versions, limit: u32::MAX.into() })?;
    if found.versions.len() >= limits::PINNED_VERSIONS {
        return Err(Refusal::limit(Counted::Pinned, limits::PINNED_VERSIONS));
    }
    let mut secret = Secret::clone(found);
    let grew = found.versions.get(&found.current).is_none_or(|old| old.size < version.size);
    secret.versions.insert(number, Arc::new(version));
    secret.current = number;
    secret.updated = draft.now();
    secret.revision = draft.revision();
    prune(state, id, &mut secret);
    draft.put_secret(id, Some(secret));
    if grew {
        let state = draft.state();
        for service in state.indexes.granted.get(&id).into_iter().flat_map(BTreeMap::keys) {
            within_service_bytes(state, *service)?;
        }
    }
    Ok(Changed::Version { secret: id, number })
}

/// Prunes where pins went.
pub(super) fn released(draft: &mut Draft<'_>, secrets: impl IntoIterator<Item = SecretId>) {
    for id in secrets {
        let state = draft.state();
        let Some(found) = state.secrets.get(&id) else { continue };
        if found.versions.len() > limits::VERSIONS {
            let mut secret = Secret::clone(found);
            prune(state, id, &mut secret);
            draft.put_secret(id, Some(secret));
        }
    }
}

/// Keeps the newest `limits::VERSIONS`, the current one and those pinned.
fn prune(state: &State, id: SecretId, secret: &mut Secret) {
    if secret.versions.len() <= limits::VERSIONS {
        return;
    }
    let spare: Vec<u32> = secret
        .versions
        .keys()
        .copied()
        .filter(|number| *number != secret.current && state.indexes.pinning(id, *number).is_none())
        .take(secret.versions.len() - limits::VERSIONS)
        .collect();
    for number in spare {
        secret.versions.remove(&number);
    }
}

pub(super) fn remove(draft: &mut Draft<'_>, id: SecretId) -> Result<Changed, Refusal> {
    let state = draft.state();
    let found = find(state, id)?;
    if let Some(services) = state.indexes.granted.get(&id) {
        let name = |service| Some(state.services.get(service)?.name.clone());
        let few = Few::of(services.keys().filter_map(name), services.len());
        return Err(Refusal::InUse { secret: found.name.clone(), services: few });
    }
    draft.put_secret(id, None);
    Ok(Changed::Done)
}

pub(super) fn remove_version(
    draft: &mut Draft<'_>,
    id: SecretId,
    number: u32,
) -> Result<Changed, Refusal> {
    let state = draft.state();
    let found = find(state, id)?;
    if !found.versions.contains_key(&number) {
        return Err(no_version(found, number));
    }
    let in_use = |why| Err(Refusal::VersionInUse { secret: found.name.clone(), number, why });
    if number == found.current {
        return in_use(Stays::Current);
    }
    let pinning = state.indexes.pinning(id, number);
    if let Some(service) = pinning.and_then(|service| state.services.get(&service)) {
        return in_use(Stays::PinnedBy(service.name.clone()));
    }
    let mut secret = Secret::clone(found);
    secret.versions.remove(&number);
    secret.updated = draft.now();
    secret.revision = draft.revision();
    draft.put_secret(id, Some(secret));
    Ok(Changed::Done)
}

fn checked(
    state: &State,
    version: &NewVersion,
    now: Stamp,
    written_by: Option<WrittenBy>,
) -> Result<Version, Refusal> {
    let wanted = state.cluster.as_deref().map_or(0, |cluster| cluster.cluster_key.number);
    let found = version.data_key.number;
    if found != wanted {
        return Err(Refusal::Retired { found, wanted });
    }
    let size = usize::try_from(version.size).unwrap_or(usize::MAX);
    if !(1..=limits::VALUE_BYTES).contains(&size) {
        return Err(Refusal::Invalid("a value has 1 to 511999 bytes".to_owned()));
    }
    let sealed = size..=size.saturating_add(SEALING_BYTES);
    let key = 1..=limits::BOX_BYTES;
    if !sealed.contains(&version.value.0.len()) || !key.contains(&version.data_key.bytes.len()) {
        return Err(Refusal::Invalid("the sealed value is not of its size".to_owned()));
    }
    Ok(Version {
        id: version.id,
        size: version.size,
        value: version.value.clone(),
        data_key: version.data_key.clone(),
        created: now,
        repeats: None,
        public: version.public.clone(),
        written_by,
    })
}

pub(super) fn find(state: &State, id: SecretId) -> Result<&Secret, Refusal> {
    let found = state.secrets.get(&id).map(|secret| &**secret);
    found.ok_or_else(|| Refusal::not_found(Thing::Secret, id))
}

/// That version of that secret is not there.
pub(super) fn no_version(secret: &Secret, number: u32) -> Refusal {
    Refusal::not_found(Thing::Version, format_args!("{number} of secret {}", secret.name))
}
