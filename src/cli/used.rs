//! The identities that a command has used.

use std::path::PathBuf;

use skep_client::ca::Identity;
use skep_client::{IdentityFile, Managers, is_due, leaf_of};

/// An identity that was used, and where managers said meanwhile that they are.
#[derive(Debug)]
pub(super) struct Used {
    /// Its file.
    pub(super) path: PathBuf,
    /// What it held.
    pub(super) identity: Identity,
    /// Managers that were asked for by hand; else the identity's.
    pub(super) hosts: Vec<String>,
    /// What is heard.
    pub(super) managers: Managers,
}

impl Used {
    /// Whether managers elsewhere answered, and its certificate is good and due.
    pub(super) fn is_due(&self) -> bool {
        !self.managers.addresses().is_empty() && is_due(&self.identity, self.managers.issuer())
    }

    /// Whether another command has renewed the file since it was read.
    pub(super) fn is_renewed(&self) -> bool {
        let now = IdentityFile::look(&self.path).ok().map(|text| text.leaf);
        let (Some(now), Ok(before)) = (now, leaf_of(&self.identity)) else { return false };
        now.ends > before.ends || now.key != before.key
    }
}
