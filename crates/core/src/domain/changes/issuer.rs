//! The issuing CA, replaced.

use std::sync::Arc;

use crate::base::{Stamp, WrappedKey, limits};
use crate::domain::command::{Fact, Outcome};
use crate::domain::draft::Draft;
use crate::domain::refusal::Refusal;
use crate::domain::state::{Cluster, Issuers};

/// Another issuing CA signs from now on; the certificates of the one before are good until
/// they are retired.
pub(in crate::domain) fn rotate(
    draft: &mut Draft<'_>,
    issuing: &Arc<[u8]>,
    issuing_key: &WrappedKey,
    begins: Stamp,
) -> Result<Outcome, Refusal> {
    let Some(found) = draft.state().cluster.as_deref() else { return Err(Refusal::NotInitialised) };
    let invalid = |text: &str| Err(Refusal::Invalid(text.to_owned()));
    if begins <= found.issuers.current {
        return invalid("a later issuing CA is in use already: repeat it");
    }
    if issuing.len() > limits::CA_BYTES || issuing_key.bytes.len() > limits::CA_BYTES {
        return invalid("a certificate or a key is too long");
    }
    let wanted = found.cluster_key.number;
    if issuing_key.number != wanted {
        return Err(Refusal::Retired { found: issuing_key.number, wanted });
    }
    let issuers = Issuers { current: begins, rotating: Some(draft.now()), ..found.issuers };
    let cluster = Cluster {
        issuing: Arc::clone(issuing),
        issuing_key: issuing_key.clone(),
        issuers,
        ..found.clone()
    };
    draft.put_cluster(cluster);
    draft.fact(Fact::ClusterRevised);
    Ok(Outcome::Done)
}

/// The certificates of all others are refused from now on.
pub(in crate::domain) fn retire(draft: &mut Draft<'_>, begins: Stamp) -> Result<Outcome, Refusal> {
    let Some(found) = draft.state().cluster.as_deref() else { return Err(Refusal::NotInitialised) };
    if found.issuers.current != begins {
        return Err(Refusal::Invalid("another issuing CA is in use".to_owned()));
    }
    let issuers = Issuers { current: begins, oldest: begins, rotating: None };
    if found.issuers != issuers {
        let cluster = Cluster { issuers, ..found.clone() };
        draft.put_cluster(cluster);
        draft.fact(Fact::ClusterRevised);
    }
    Ok(Outcome::Done)
}
