//! The ground: the vocabulary of every ring.
//!
//! Ids, names, limits, secret bytes, opaque sealed bytes, and the traits
//! through which everything above reaches the machine: [`Clock`], [`Dice`],
//! [`Disk`]. It deliberately does nothing: no file is opened, no time is read
//! and no random byte is drawn here.

mod descriptors;
mod disk;
mod exit;
mod format;
mod ids;
pub mod inert;
pub mod limits;
mod names;
mod sealed;
mod secret;
mod shown;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod time;

pub use descriptors::{
    AgentPlaces, Descriptors, LEAST_DESCRIPTORS, ManagerPlaces, TooFewDescriptors,
};
pub use disk::{Disk, DiskFile, DiskFolder, DiskReader, is_out_of_files};
pub use exit::{Exit, Failure};
pub use format::{FORMAT, OtherFormat, START_EMPTY};
pub use ids::{
    BadId, ClusterId, NodeId, OperatorId, RecipientId, RequestId, SecretId, ServiceId, TokenId,
    VersionId,
};
pub use names::{BadName, Label, Labels, Name, NameKey, Target};
pub use sealed::{Fingerprint, SealedValue, SentKey, WrappedKey};
pub use secret::{Key32, SecretBytes};
pub use shown::shows_itself;
pub use time::{BootTime, Clock, Epoch, Revision, Stamp};

/// The source of random bytes. The real one is `host::OsDice`; tests bring a
/// seeded one.
pub trait Dice: Send {
    /// Fills `into` with random bytes.
    fn fill(&mut self, into: &mut [u8]);
}

/// Draws `N` random bytes.
pub fn draw<const N: usize>(dice: &mut dyn Dice) -> [u8; N] {
    let mut bytes = [0; N];
    dice.fill(&mut bytes);
    bytes
}
