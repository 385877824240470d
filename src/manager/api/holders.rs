//! Who holds a secret: which version is where, and which should be.

use std::collections::BTreeMap;

use crate::manager::dispatch::{Known, newest};
use crate::manager::problem::{self, Explain};
use crate::manager::running::Running;
use skep_client::transport::Problem;
use skep_core::base::{NodeId, SecretId, ServiceId, VersionId};
use skep_core::domain::{Grant, NotOne, Scope, State, Thing};
use skep_core::wire::api;
use skep_core::wire::convert::{self, read_id};

use super::reads::PAGE;

/// Files on a page: those of one pair are never parted.
const FILES: usize = 10_000;

/// A file that a service has of the secret.
struct Wanted {
    target: String,
    number: u32,
    version: Option<VersionId>,
}

pub(super) async fn holders(
    running: &Running,
    scope: &Scope,
    request: &api::ListHoldersRequest,
) -> Result<api::ListHoldersReply, Problem> {
    let secret = read_id("secret", &request.secret).map_err(Explain::explain)?;
    let after = match request.after.split_at_checked(16) {
        None if request.after.is_empty() => None,
        Some((node, service)) => Some((
            read_id("after", node).map_err(Explain::explain)?,
            read_id("after", service).map_err(Explain::explain)?,
        )),
        None => return Err(problem::request::bad_page()),
    };
    let limit = usize::try_from(request.limit).unwrap_or(PAGE);
    let limit = if limit == 0 { PAGE } else { limit.min(PAGE) };
    running.settle(request.stale).await?;
    let (revision, found, wanted) = running.core.consensus.read(|state| {
        if state.secrets.get(&secret).is_none_or(|of| !scope.holds(&of.name)) {
            let what = secret.to_string();
            return Err(NotOne::NotFound { thing: Thing::Secret, what }.explain());
        }
        let found = convert::holders(state, scope, secret, after, limit);
        Ok((state.revision, found, wanted(state, secret)))
    })?;
    let convert::Holders { page, mut more, outside } = found;
    let mut holders = Vec::new();
    for pair in page {
        let (Ok(node), Ok(service)) =
            (NodeId::try_from(pair.node.as_slice()), ServiceId::try_from(pair.service.as_slice()))
        else {
            continue;
        };
        let files = wanted.get(&service).map(Vec::as_slice).unwrap_or_default();
        if !holders.is_empty() && holders.len().saturating_add(files.len()) > FILES {
            more = true;
            break;
        }
        let known = running.dispatch.known_of(node, service);
        let versions = known.versions.clone().unwrap_or_default();
        let there = running.core.consensus.read(|state| newest(state, secret, &versions));
        let mut row = api::HolderView { version: there, ..pair };
        if row.state() == api::HolderState::Pending || files.is_empty() {
            row.why = running.dispatch.why_pending(node, service);
            holders.push(row);
        } else {
            holders.extend(files.iter().map(|file| view(&row, file, &known)));
        }
    }
    Ok(api::ListHoldersReply { revision: revision.0, holders, more, outside })
}

/// A file of a pair: what is there of it, what should be, and why it isn't.
fn view(pair: &api::HolderView, wanted: &Wanted, known: &Known) -> api::HolderView {
    let mut view =
        api::HolderView { file: wanted.target.clone(), wanted: wanted.number, ..pair.clone() };
    let versions = known.versions.as_ref();
    let there = wanted.version.zip(versions).is_some_and(|(id, versions)| versions.contains(&id));
    let failed = known.files.get(&wanted.target);
    if there && failed.is_none() {
        view.version = wanted.number;
        view.why.clone_from(&known.hook);
        return view;
    }
    if known.failed {
        view.set_state(api::HolderState::Failed);
    }
    view.why.clone_from(failed.unwrap_or(&known.why));
    view
}

/// The files that services have of a secret.
fn wanted(state: &State, secret: SecretId) -> BTreeMap<ServiceId, Vec<Wanted>> {
    let services = state.indexes.granted.get(&secret).into_iter().flatten();
    let found = state.secrets.get(&secret);
    let of = |grant: &Grant| {
        let number = grant.pin.or_else(|| found.map(|found| found.current)).unwrap_or_default();
        let version = found.and_then(|found| found.versions.get(&number));
        Wanted {
            target: grant.target.to_string(),
            number,
            version: version.map(|version| version.id),
        }
    };
    let files = services.filter_map(|(service, _)| {
        let grants = state.services.get(service)?.grants.values();
        Some((*service, grants.filter(|grant| grant.secret == secret).map(of).collect()))
    });
    files.collect()
}
