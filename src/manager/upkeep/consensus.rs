//! What follows when consensus stops by itself, or takes no part.

use std::sync::Arc;

use crate::consensus::Standing;
use crate::manager::end::End;
use crate::manager::running::Running;

/// Consensus that stops by itself ends the manager: what it wrote last is not
/// known to be there.
pub(in crate::manager) async fn watch(running: Arc<Running>) {
    tokio::select! {
        () = running.stop.cancelled() => {}
        error = running.core.consensus.stopped() => {
            tracing::error!(event = "consensus_stopped", why = %error);
            running.ends.say(End::from(&error));
        }
    }
}

/// A manager whose disk is behind stops serving: agents and operators go elsewhere.
pub(in crate::manager) async fn watch_standing(running: Arc<Running>) {
    let mut standing = running.core.consensus.standing();
    let behind = standing.wait_for(|standing| matches!(standing, Standing::Behind(_)));
    tokio::select! {
        () = running.stop.cancelled() => {}
        Ok(_) = behind => running.stop.cancel(),
    }
}
