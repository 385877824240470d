//! How the keys of a connection are agreed on: X25519 with ML-KEM-768 where both ends have it,
//! so that what is recorded today isn't read by a quantum computer of later years.
//!
//! A process may require it of every connection it makes or takes; it decides once, before its
//! first connection.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::NamedGroup;
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::kx_group;

/// Groups, the preferred one first.
pub(super) type Groups = &'static [&'static dyn SupportedKxGroup];

/// What both ends of this product speak.
const PREFERRED: Groups = &[kx_group::X25519MLKEM768, kx_group::X25519];
/// What is left where it is required.
pub(super) const REQUIRED: Groups = &[kx_group::X25519MLKEM768];
/// Of a peer that doesn't know ML-KEM.
#[cfg(test)]
pub(super) const CLASSICAL: Groups = &[kx_group::X25519];

static REQUIRES: AtomicBool = AtomicBool::new(false);

/// From here on no connection of this process is made or taken without ML-KEM-768; those that
/// are configured already go on as they are.
pub fn require_post_quantum() {
    REQUIRES.store(true, Ordering::Relaxed);
}

/// What this process speaks.
pub(super) fn groups() -> Groups {
    if REQUIRES.load(Ordering::Relaxed) { REQUIRED } else { PREFERRED }
}

/// How the keys of one connection were agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyExchange {
    /// X25519 and ML-KEM-768: both would have to be broken.
    Hybrid,
    /// X25519 alone.
    Classical,
}

impl KeyExchange {
    pub(super) fn of(group: Option<&'static dyn SupportedKxGroup>) -> Option<Self> {
        match group?.name() {
            NamedGroup::X25519MLKEM768 => Some(Self::Hybrid),
            NamedGroup::X25519 => Some(Self::Classical),
            // No configuration of ours has another one.
            _ => None,
        }
    }

    /// The group's name, as TLS has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hybrid => "X25519MLKEM768",
            Self::Classical => "X25519",
        }
    }
}

impl fmt::Display for KeyExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
