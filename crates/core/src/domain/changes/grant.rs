//! Which service may have which secret.

use super::bytes::within_service_bytes;
use super::{secret, service};
use crate::base::{SecretId, ServiceId, limits};
use crate::domain::command::{Changed, Fact};
use crate::domain::draft::Draft;
use crate::domain::named::Counted;
use crate::domain::refusal::Refusal;
use crate::domain::spec::Grant;
use crate::domain::state::Service;

/// Permissions are these bits: no set-uid, set-gid or sticky bit on a secret.
const MODE_BITS: u32 = 0o777;

pub(super) fn grant(
    draft: &mut Draft<'_>,
    id: ServiceId,
    grant: &Grant,
) -> Result<Changed, Refusal> {
    let state = draft.state();
    let found = service::find(state, id)?;
    let secret = secret::find(state, grant.secret)?;
    if let Some(number) = grant.pin
        && !secret.versions.contains_key(&number)
    {
        return Err(secret::no_version(secret, number));
    }
    if grant.mode > MODE_BITS {
        return Err(Refusal::Invalid("a file's mode is 0000 to 0777".to_owned()));
    }
    match found.grants.get(&grant.target) {
        Some(there) if there == grant => return Ok(Changed::Already),
        Some(there) if there.secret != grant.secret => {
            let holder = secret::find(state, there.secret)?;
            return Err(Refusal::TargetTaken {
                service: found.name.clone(),
                target: grant.target.clone(),
                secret: holder.name.clone(),
            });
        }
        None if found.grants.len() >= limits::GRANTS => {
            return Err(Refusal::limit(Counted::Grants, limits::GRANTS));
        }
        Some(_) | None => {}
    }
    let mut changed = revised(draft, found);
    changed.grants.insert(grant.target.clone(), grant.clone());
    draft.put_service(id, Some(changed));
    within_service_bytes(draft.state(), id)?;
    secret::released(draft, [grant.secret]);
    Ok(Changed::Service(id))
}

pub(super) fn revoke(
    draft: &mut Draft<'_>,
    id: ServiceId,
    secret: SecretId,
) -> Result<Changed, Refusal> {
    let state = draft.state();
    let found = service::find(state, id)?;
    secret::find(state, secret)?;
    let mut changed = revised(draft, found);
    changed.grants.retain(|_, grant| grant.secret != secret);
    if changed.grants.len() == found.grants.len() {
        return Ok(Changed::Already);
    }
    draft.put_service(id, Some(changed));
    secret::released(draft, [secret]);
    draft.fact(Fact::GrantRevoked(id, secret));
    draft.take(id, [secret]);
    Ok(Changed::Service(id))
}

fn revised(draft: &Draft<'_>, found: &Service) -> Service {
    Service { updated: draft.now(), revision: draft.revision(), ..found.clone() }
}
