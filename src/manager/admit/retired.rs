//! Certificates of issuing CAs that are in use no more.
//!
//! Whoever has the key of such a CA could make one for anybody; so it is asked on each call,
//! for a connection may be older than the retirement. What stays open is to ask for another
//! certificate, with the key that the state lists.

use tonic::Extensions;

use crate::manager::core::Core;
use crate::manager::problem;
use skep_client::transport::{Caller, Problem, caller};
use skep_core::base::Stamp;
use skep_core::domain::Method;

/// Whether whoever calls over mTLS shows a certificate of an issuing CA that is in use.
///
/// # Errors
/// What the caller is told.
pub(super) fn refuse(core: &Core, extensions: &Extensions, method: Method) -> Result<(), Problem> {
    if method == Method::Renew {
        return Ok(());
    }
    let Some(Caller::Peer(peer) | Caller::Expired(peer)) = caller(extensions) else {
        return Ok(());
    };
    let oldest = core
        .consensus
        .read(|state| state.cluster.as_ref().map_or(Stamp(0), |cluster| cluster.issuers.oldest));
    core.floor.raise(oldest);
    if core.floor.refuses(peer.issuer()) {
        return Err(problem::issuer::retired());
    }
    Ok(())
}
