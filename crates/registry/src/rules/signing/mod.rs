//! Signatures of images: keys, what is signed, and the forms in which it lies in a registry
//! (docs/registry/formats.md). Pure as all rules are: times and dice are arguments, and what has
//! to be fetched or pushed is said, and done elsewhere.
//!
//! | file | what it is about |
//! |---|---|
//! | `key` | a key of either kind, as it lies in a secret or beside one |
//! | `cosign_key` | ECDSA on P-256: reading, signing, verifying |
//! | `sealed` | key files of cosign's, which take a password |
//! | `openpgp` | keys and signed messages of OpenPGP, and the manifest that keeps them |
//! | `payload` | what is signed in simple signing |
//! | `cosign` | the manifest `sha256-<digits>.sig` |
//! | `bundle` | sigstore's bundle, as an artifact of OCI 1.1, and the index that stands in |
//! | `policy` | which signatures an image has to have |
//! | `oci` | manifests and indexes, read within bounds |
//! | `json` | JSON without keys that stand twice, and with sorted ones |
//!
//! It deliberately has no certificates, no transparency log and no notary v1: a key here is one
//! that somebody holds.

mod bad_key;
pub mod bundle;
pub mod cosign;
pub mod cosign_key;
mod json;
pub mod key;
pub mod oci;
pub mod openpgp;
pub mod payload;
pub mod policy;
pub mod sealed;
