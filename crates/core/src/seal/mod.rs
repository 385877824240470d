//! How bytes are locked, unlocked and re-keyed (docs/keys.md).
//!
//! Every construction is XSalsa20-Poly1305 (`crypto_secretbox`, `crypto_box`)
//! with keys derived by BLAKE3 under the labels of one file, `labels`, and where a
//! passphrase opens something by argon2id before that. Random
//! bytes are arguments. It deliberately writes nothing and knows no state.

mod cluster_key;
mod construct;
mod error;
mod hello;
mod intake;
mod key_file;
mod labels;
mod passphrase;
mod put_key;
mod reading;
mod recipient;
mod record;
mod sealed_line;
mod session;
mod shelf;
mod value;

pub use cluster_key::{BoxKey, ClusterKey, WrapKey, box_cluster_key};
pub use error::SealError;
pub use hello::{Hello, HelloKey, HelloPlace, HelloSecret, HelloTo, SeenHellos};
pub use intake::{IntakeAgreement, IntakePublic};
pub use key_file::{FileKey, KeyFile, KeyFileBody, KeyFileHeader, RecipientBox};
pub use passphrase::{PASSPHRASE_BYTES, PassphraseLock, PassphraseSpec};
pub use put_key::PutKey;
pub use reading::{ReadingKey, ReadingPlace};
pub use recipient::{RecipientKey, SealedToRecipients, UnlockKey};
pub use record::{Dek, RecordKey, SegmentPlace, TAG_AND_NONCE};
pub use sealed_line::{open_line, seal_line};
pub use session::{SessionHalf, SessionKey};
pub use shelf::{ShelfKey, ShelfPiece};
pub use value::{DataKey, ValueContext, open_value, seal_value};

#[cfg(test)]
mod tests {
    use super::ValueContext;
    use crate::base::{ClusterId, SecretId, VersionId};

    pub(super) fn context(size: u32) -> ValueContext {
        ValueContext {
            cluster: ClusterId::from_bytes([1; 16]),
            secret: SecretId::from_bytes([2; 16]),
            version: VersionId::from_bytes([3; 16]),
            size,
        }
    }
}
