//! Every label of docs/registry/keys.md, and how keys are derived: two purposes never share one.

use zeroize::Zeroizing;

/// Names the files of an account.
pub const NAME: &str = "skep 1 registry name";
/// Names the file of a hold.
pub const HOLD: &str = "skep 1 registry hold";
/// The checksum of a robot's password.
pub const ROBOT_PASSWORD: &str = "skep 1 registry robot password";
/// Picks what an unknown name is compared with.
pub const DECOY: &str = "skep 1 registry decoy";
/// A password that was verified.
pub const VERIFIED: &str = "skep 1 registry verified password";
/// The key of refresh tokens.
pub const REFRESH: &str = "skep 1 registry refresh";
/// Names the key of refresh tokens.
pub const REFRESH_COMMITMENT: &str = "skep 1 registry refresh commitment";
/// The chain of a record.
pub const RECORD: &str = "skep 1 registry record";

/// Bytes that are wiped when they are let go.
pub type Secret32 = Zeroizing<[u8; 32]>;

/// `BLAKE3.keyed_hash(key, label ‖ 0 ‖ fields…)`.
#[must_use]
pub fn derive(key: &[u8; 32], label: &str, fields: &[&[u8]]) -> Secret32 {
    let mut hasher = blake3::Hasher::new_keyed(key);
    absorb(&mut hasher, label, fields);
    let derived = Zeroizing::new(*hasher.finalize().as_bytes());
    zeroize::Zeroize::zeroize(&mut hasher);
    derived
}

/// `BLAKE3(label ‖ 0 ‖ fields…)`.
#[must_use]
pub fn hash(label: &str, fields: &[&[u8]]) -> Secret32 {
    let mut hasher = blake3::Hasher::new();
    absorb(&mut hasher, label, fields);
    let hash = Zeroizing::new(*hasher.finalize().as_bytes());
    zeroize::Zeroize::zeroize(&mut hasher);
    hash
}

fn absorb(hasher: &mut blake3::Hasher, label: &str, fields: &[&[u8]]) {
    hasher.update(label.as_bytes());
    hasher.update(&[0]);
    for field in fields {
        hasher.update(field);
    }
}
