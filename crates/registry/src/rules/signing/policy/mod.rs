//! Policies: which signatures an image has to have, as containers-policy.json(5) says it. One is
//! read as strictly as skopeo and podman read it, and decided by; and one is written for a
//! registry, with where its signatures are found (containers-registries.d(5)).
//!
//! | file | what it is about |
//! |---|---|
//! | `read` | the file, key by key |
//! | `reference` | references of images, written out |
//! | `identity` | which reference a signature may be about |
//! | `decide` | whether an image has what is demanded |
//! | `written` | a policy for a registry, from public keys |
//!
//! What is unknown is refused: certificates of Fulcio, transparency logs, `signedBaseLayer`, and
//! kinds of keys that nobody implements.

mod decide;
mod identity;
mod read;
mod reference;
mod written;

use std::collections::BTreeMap;

pub use decide::{Denied, Evidence};
pub use identity::Identity;
pub use read::{BadPolicy, POLICY_BYTES};
pub use reference::Reference;
pub use written::{Written, registries_d};

/// What has to hold of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// Nothing.
    AcceptAnything,
    /// What never does.
    Reject,
    /// A signed message of OpenPGP by one of these keys.
    SignedBy(Keys, Identity),
    /// A signature of cosign's by one of these keys, beside the image.
    SigstoreSigned(Keys, Identity),
}

/// Where the public keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// In these files.
    Paths(Vec<String>),
    /// Here: of OpenPGP a ring, else a key each.
    Data(Vec<Vec<u8>>),
}

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    default: Vec<Requirement>,
    /// By transport and scope.
    transports: BTreeMap<String, BTreeMap<String, Vec<Requirement>>>,
}

impl Policy {
    /// What is demanded of an image in a registry.
    #[must_use]
    pub fn demanded(&self, image: &Reference) -> &[Requirement] {
        let Some(scopes) = self.transports.get("docker") else { return &self.default };
        let mut near = image.scopes();
        near.push(String::new());
        near.iter().find_map(|scope| scopes.get(scope)).unwrap_or(&self.default)
    }

    /// The files whose content has to be there before an image is decided about.
    #[must_use]
    pub fn paths(&self, image: &Reference) -> Vec<&str> {
        let mut paths = Vec::new();
        for requirement in self.demanded(image) {
            match requirement {
                Requirement::SignedBy(Keys::Paths(more), _)
                | Requirement::SigstoreSigned(Keys::Paths(more), _) => {
                    paths.extend(more.iter().map(String::as_str));
                }
                Requirement::SignedBy(Keys::Data(_), _)
                | Requirement::SigstoreSigned(Keys::Data(_), _)
                | Requirement::AcceptAnything
                | Requirement::Reject => {}
            }
        }
        paths
    }
}
