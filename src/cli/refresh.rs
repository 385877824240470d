//! Identity files follow the managers: what a command heard of where they are is written
//! into the file that it used.

use std::path::PathBuf;

use skep_client::ca::Identity;
use skep_client::{IdentityFile, Managers};

/// An identity that was used, and where managers said meanwhile that they are.
#[derive(Debug)]
pub(super) struct Used {
    /// Its file.
    pub(super) path: PathBuf,
    /// What it held.
    pub(super) identity: Identity,
    /// What is heard.
    pub(super) managers: Managers,
}

/// Has the identity files that were used name the managers as they are now. Where that can't
/// be, they stay as they are: they are good without.
pub(super) fn all(used: Vec<Used>) {
    for used in used {
        match IdentityFile::refresh(&used.path, &used.identity, &used.managers) {
            Ok(replaced) => tracing::debug!(event = "identity_refreshed", replaced),
            Err(error) => tracing::debug!(event = "identity_not_refreshed", %error),
        }
    }
}
