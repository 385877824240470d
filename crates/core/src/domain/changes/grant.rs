//! Which service may have which secret.

use super::bytes::within_service_bytes;
use super::{secret, service};
use crate::base::{SecretId, ServiceId, Target, limits};
use crate::domain::changed::Changed;
use crate::domain::command::Fact;
use crate::domain::draft::Draft;
use crate::domain::lookup::is_pending;
use crate::domain::named::Counted;
use crate::domain::refusal::Refusal;
use crate::domain::spec::{GrantAsked, Owner};

/// Permissions are these bits: no set-uid, set-gid or sticky bit on a secret.
const MODE_BITS: u32 = 0o777;

pub(super) fn grant(
    draft: &mut Draft<'_>,
    id: ServiceId,
    asked: &GrantAsked,
) -> Result<Changed, Refusal> {
    let state = draft.state();
    let found = service::find(state, id)?;
    let secret = secret::find(state, asked.secret)?;
    let there = found.grants.get(&asked.target);
    let grant = asked.over(there);
    if let Some(number) = grant.pin
        && !secret.versions.contains_key(&number)
    {
        return Err(secret::no_version(secret, number));
    }
    // The newest is not the newest for ever, and a pin would keep it in use.
    if grant.pin.is_some() && secret.forward_only {
        return Err(Refusal::ForwardOnly { secret: secret.name.clone() });
    }
    if grant.mode > MODE_BITS {
        return Err(Refusal::Invalid("a file's mode is 0000 to 0777".to_owned()));
    }
    if !(Owner { uid: grant.uid, gid: grant.gid }).can_own() {
        return Err(Refusal::no_one());
    }
    let replaced = there.map(|there| there.secret).filter(|of| *of != asked.secret);
    match there {
        Some(there) if *there == grant => return Ok(Changed::Already),
        Some(there) if replaced.is_some() && !asked.replace => {
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
    draft.put_grant(id, &asked.target, Some(grant));
    within_service_bytes(draft.state(), id)?;
    secret::released(draft, [asked.secret]);
    if let Some(old) = replaced {
        took(draft, id, old);
    }
    Ok(Changed::Service(id))
}

/// A repeated revoke is how one waits for it again: as long as it is pending it stands already.
pub(super) fn revoke(
    draft: &mut Draft<'_>,
    id: ServiceId,
    secret: SecretId,
    target: Option<&Target>,
) -> Result<Changed, Refusal> {
    let state = draft.state();
    let found = service::find(state, id)?;
    let named = secret::find(state, secret)?;
    let of_secret = found.grants.values().filter(|grant| grant.secret == secret);
    let asked = of_secret.filter(|grant| target.is_none_or(|target| *target == grant.target));
    let taken: Vec<Target> = asked.map(|grant| grant.target.clone()).collect();
    if taken.is_empty() {
        if is_pending(state, id, secret) {
            return Ok(Changed::Already);
        }
        return Err(Refusal::NotGranted {
            service: found.name.clone(),
            secret: named.name.clone(),
            target: target.cloned(),
        });
    }
    for target in &taken {
        draft.put_grant(id, target, None);
    }
    took(draft, id, secret);
    Ok(Changed::Service(id))
}

/// A secret was taken from a service, under one target at least.
fn took(draft: &mut Draft<'_>, id: ServiceId, secret: SecretId) {
    secret::released(draft, [secret]);
    draft.fact(Fact::GrantRevoked(id, secret));
    draft.take(id, [secret]);
}
