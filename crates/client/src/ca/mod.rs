//! How identity is issued and checked: root, issuing CA, leaves, join tokens,
//! the operator's identity file and how it is asked for.
//!
//! It deliberately opens no connection (`transport`) and keeps no list of who
//! is a member (`domain`): a chain that ends in the root is necessary, not enough.
//!
//! Every key is Ed25519 and every chain has exactly three certificates: leaf,
//! issuing CA, root. `docs/certificates.md` lists what stands in each.

mod authority;
mod chain;
mod error;
#[cfg(any(test, feature = "testing"))]
pub mod fixtures;
mod floor;
mod identity;
mod key;
mod pem;
mod request;
mod request_key;
mod signature;
mod subject;
#[cfg(test)]
mod tests;
mod token;

pub use authority::{Issuer, Root};
pub use chain::{
    Issued, Leaf, START_TOLERANCE_MS, authority_lasts, certificate_ends, issuer_begins, read_leaf,
    verify_chain, verify_issued,
};
pub use error::CaError;
pub use floor::IssuerFloor;
pub(crate) use identity::{ADDRESSES, is_address};
pub use identity::{Identity, IdentityError, IdentityText, SealedKeys};
pub use key::{PrivateKey, certificate_request, key_digest, public_key_of_request};
pub(crate) use pem::key_block;
pub use request::{OperatorAnswer, OperatorRequest, RequestError, RequestKey};
pub use request_key::{RequestKeyText, SealedRequestKey};
pub use subject::{CertificateRole, Subject};
pub use token::{JoinToken, TokenError};
