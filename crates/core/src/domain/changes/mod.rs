//! What each act does, by subject. Every function checks and then writes; one
//! that refuses may have written, for its draft is undone then.

mod anchor;
mod bytes;
mod founding;
mod grant;
mod issuer;
mod names;
mod node;
mod opened;
mod operator;
mod pair;
mod put;
mod recover;
mod renewal;
mod secret;
mod service;
mod time;
mod token;

pub(super) use anchor::anchor;
pub(super) use founding::genesis;
pub(super) use issuer::{retire, rotate};
pub(super) use names::are_within;
pub(super) use node::{join, moved};
pub(super) use opened::opened;
pub(super) use pair::{confirm, expose};
pub(super) use put::put;
pub(super) use recover::{recover, resume};
pub(super) use renewal::{renew, renewed};
pub(super) use time::reset as reset_time;
pub use token::{Bid, admitting};

use super::changed::Changed;
use super::command::Change;
use super::draft::Draft;
use super::refusal::Refusal;

/// One change of an act.
pub(super) fn change(draft: &mut Draft<'_>, change: &Change) -> Result<Changed, Refusal> {
    match change {
        Change::CreateSecret { id, name, labels, forward_only, version } => {
            let (labels, forward_only) = (labels.clone(), *forward_only);
            secret::create(draft, *id, secret::New { name, labels, forward_only }, version)
        }
        Change::UpdateSecret { id, expect, version } => {
            secret::update(draft, *id, *expect, version, None)
        }
        Change::RollBackSecret { id, expect, to } => secret::roll_back(draft, *id, *expect, *to),
        Change::LabelSecret { id, put, gone } => secret::label(draft, *id, put, gone),
        Change::RemoveSecret { id } => secret::remove(draft, *id),
        Change::RemoveVersion { id, number } => secret::remove_version(draft, *id, *number),
        Change::CreateService { id, name, spec } => service::create(draft, *id, name, spec),
        Change::UpdateService { id, expect, spec } => service::update(draft, *id, *expect, spec),
        Change::RemoveService { id } => service::remove(draft, *id),
        Change::Grant { service, grant } => grant::grant(draft, *service, grant),
        Change::Revoke { service, secret, target } => {
            grant::revoke(draft, *service, *secret, target.as_ref())
        }
        Change::CreateToken { id, token } => token::create(draft, *id, token),
        Change::RemoveToken { id } => token::remove(draft, *id),
        Change::UpdateNode { id, put, gone, availability } => {
            node::update(draft, *id, put, gone, *availability)
        }
        Change::RemoveNode { id, force } => node::remove(draft, *id, *force),
        Change::RemoveManager { id, rekey } => node::remove_manager(draft, *id, rekey),
        Change::Readmit { member } => renewal::readmit(draft, *member),
        Change::CreateOperator { id, operator: made } => operator::create(draft, *id, made),
        Change::RemoveOperator { id } => operator::remove(draft, *id),
    }
}
