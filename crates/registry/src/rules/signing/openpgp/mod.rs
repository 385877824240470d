//! OpenPGP, as far as simple signing takes it: keys of version 4 whose primary key signs, and
//! signed messages that carry a payload.
//!
//! | file | what it is about |
//! |---|---|
//! | `secret` | a private key: read, drawn, signing |
//! | `ring` | public keys, and whether a message is one of theirs |
//! | `standing` | what a key says of itself: may it sign, until when |
//! | `artifact` | the manifest that keeps messages in a registry |
//!
//! It deliberately has no subkeys: of a signature by one, older readers of containers/image say
//! that its key is none that they were given.

pub mod artifact;
mod ring;
mod secret;
mod standing;

pub use ring::{BadMessage, Certificate, MESSAGE_BYTES, Ring, Verified};
pub use secret::OpenPgpKey;
