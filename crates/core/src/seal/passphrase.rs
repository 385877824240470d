//! What a passphrase opens: the keys of an operator's identity file (docs/keys.md, 13).

use std::fmt;
use std::str::FromStr;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use data_encoding::HEXLOWER;
use zeroize::Zeroize as _;

use super::construct::{derive, open, seal};
use super::{SealError, labels};
use crate::base::{Dice, Key32, SecretBytes, draw};

/// Bytes of a passphrase.
pub const PASSPHRASE_BYTES: usize = 1024;
/// Bytes of a salt.
const SALT: usize = 16;
/// KiB of memory that a stored text may ask for: the least and the most.
const MEMORY: (u32, u32) = (19 * 1024, 256 * 1024);
/// Passes over it.
const PASSES: (u32, u32) = (1, 16);
/// Lanes of it.
const LANES: (u32, u32) = (1, 4);
/// KiB times passes: what opening may cost, about four seconds of an ordinary processor.
const WORK: u32 = 1024 * 1024;

/// What stands in clear beside what a passphrase opens: how its key is made of it. Written
/// `argon2id m=65536 t=3 p=4 salt=<32 hex digits>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassphraseSpec {
    memory: u32,
    passes: u32,
    lanes: u32,
    salt: [u8; SALT],
}

impl fmt::Display for PassphraseSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { memory, passes, lanes, salt } = self;
        write!(f, "argon2id m={memory} t={passes} p={lanes} salt={}", HEXLOWER.encode(salt))
    }
}

impl FromStr for PassphraseSpec {
    type Err = SealError;

    /// Only what [`fmt::Display`] writes, and only within the bounds: the text may be anybody's.
    fn from_str(text: &str) -> Result<Self, SealError> {
        let mut words = text.split(' ');
        let mut next = |name: &str| words.next().and_then(|word| word.strip_prefix(name));
        let mut read = || -> Option<Self> {
            next("argon2id")?;
            let memory = next("m=")?.parse().ok()?;
            let passes = next("t=")?.parse().ok()?;
            let lanes = next("p=")?.parse().ok()?;
            let salt = HEXLOWER.decode(next("salt=")?.as_bytes()).ok()?;
            Some(Self { memory, passes, lanes, salt: salt.try_into().ok()? })
        };
        let within = |value: u32, (least, most): (u32, u32)| (least..=most).contains(&value);
        read()
            .filter(|read| {
                within(read.memory, MEMORY)
                    && within(read.passes, PASSES)
                    && within(read.lanes, LANES)
                    && read.memory.checked_mul(read.passes).is_some_and(|work| work <= WORK)
                    && read.to_string() == text
            })
            .ok_or(SealError::Malformed)
    }
}

/// The key that was made of a passphrase and of what stands beside it.
pub struct PassphraseLock {
    spec: PassphraseSpec,
    key: Key32,
}

impl fmt::Debug for PassphraseLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PassphraseLock")
    }
}

impl PassphraseLock {
    /// A new one, as RFC 9106 recommends it where memory is short: 64 MiB, three passes, four
    /// lanes, a salt of 128 bits.
    ///
    /// # Errors
    /// An empty passphrase, or one of more than [`PASSPHRASE_BYTES`].
    pub fn draw(dice: &mut dyn Dice, passphrase: &SecretBytes) -> Result<Self, SealError> {
        let spec = PassphraseSpec { memory: 64 * 1024, passes: 3, lanes: 4, salt: draw(dice) };
        Self::of(spec, passphrase)
    }

    /// The one that was drawn, if it is the same passphrase.
    ///
    /// # Errors
    /// As [`Self::draw`].
    pub fn of(spec: PassphraseSpec, passphrase: &SecretBytes) -> Result<Self, SealError> {
        if passphrase.is_empty() || passphrase.len() > PASSPHRASE_BYTES {
            return Err(SealError::Malformed);
        }
        let mut made = [0; 32];
        let params = Params::new(spec.memory, spec.passes, spec.lanes, Some(made.len()));
        let params = params.ok().ok_or(SealError::Malformed)?;
        let mut blocks = vec![Block::default(); params.block_count()];
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let done = argon.hash_password_into_with_memory(
            passphrase.expose(),
            &spec.salt,
            &mut made,
            &mut blocks,
        );
        blocks.zeroize();
        let key = Key32::take(&mut made);
        done.ok().ok_or(SealError::Malformed)?;
        Ok(Self { spec, key })
    }

    /// What stands beside what it seals.
    #[must_use]
    pub fn spec(&self) -> PassphraseSpec {
        self.spec
    }

    /// Of which cluster (fingerprint) and for which public key (its digest): elsewhere it
    /// doesn't open.
    fn key(&self, label: &str, fingerprint: &[u8; 32], public: &[u8; 32]) -> Key32 {
        let PassphraseSpec { memory, passes, lanes, .. } = self.spec;
        let cost = [memory, passes, lanes].map(u32::to_le_bytes).concat();
        derive(&self.key, label, &[fingerprint, public, &cost])
    }

    /// Seals an identity's keys.
    ///
    /// # Errors
    /// None that a caller could cause.
    pub fn seal(
        &self,
        dice: &mut dyn Dice,
        (fingerprint, public): (&[u8; 32], &[u8; 32]),
        keys: &SecretBytes,
    ) -> Result<Vec<u8>, SealError> {
        seal(dice, &self.key(labels::IDENTITY_PASSPHRASE, fingerprint, public), keys.expose())
    }

    /// Opens them.
    ///
    /// # Errors
    /// [`SealError::DoesNotOpen`]: it is another passphrase, or they are another identity's.
    pub fn open(
        &self,
        (fingerprint, public): (&[u8; 32], &[u8; 32]),
        sealed: &[u8],
    ) -> Result<SecretBytes, SealError> {
        open(&self.key(labels::IDENTITY_PASSPHRASE, fingerprint, public), sealed)
    }

    /// Seals the key of a request for an identity: of the cluster (fingerprint) that it is for,
    /// zeros where none was said, and of its public half (its digest).
    ///
    /// # Errors
    /// None that a caller could cause.
    pub fn seal_request(
        &self,
        dice: &mut dyn Dice,
        (fingerprint, public): (&[u8; 32], &[u8; 32]),
        key: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        seal(dice, &self.key(labels::REQUEST_PASSPHRASE, fingerprint, public), key)
    }

    /// Opens it.
    ///
    /// # Errors
    /// [`SealError::DoesNotOpen`]: it is another passphrase, or another request's key.
    pub fn open_request(
        &self,
        (fingerprint, public): (&[u8; 32], &[u8; 32]),
        sealed: &[u8],
    ) -> Result<SecretBytes, SealError> {
        open(&self.key(labels::REQUEST_PASSPHRASE, fingerprint, public), sealed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::testing::Seeded;

    fn of(text: &str) -> SecretBytes {
        SecretBytes::copy_of(text.as_bytes())
    }

    const CHEAP: &str = "argon2id m=19456 t=1 p=1 salt=000102030405060708090a0b0c0d0e0f";

    #[test]
    fn keys_open_with_their_passphrase_for_their_identity() {
        let spec: PassphraseSpec = CHEAP.parse().expect("sound");
        let mut dice = Seeded::new(7);
        let lock = PassphraseLock::of(spec, &of("correct horse")).expect("a key");
        let sealed = lock.seal(&mut dice, (&[1; 32], &[2; 32]), &of("keys")).expect("sealed");
        let open = |lock: &PassphraseLock, fingerprint, public| {
            lock.open((&[fingerprint; 32], &[public; 32]), &sealed)
                .map(|keys| keys.expose().to_vec())
        };
        assert_eq!(open(&lock, 1, 2), Ok(b"keys".to_vec()));
        assert_eq!(open(&lock, 2, 2), Err(SealError::DoesNotOpen), "another cluster");
        assert_eq!(open(&lock, 1, 3), Err(SealError::DoesNotOpen), "another key");
        let again = PassphraseLock::of(spec, &of("correct horse")).expect("a key");
        assert_eq!(open(&again, 1, 2), Ok(b"keys".to_vec()));
        for (text, passphrase) in [
            (CHEAP.to_owned(), "Correct horse"),
            (CHEAP.replace("0e0f", "0e0e"), "correct horse"),
            (CHEAP.replace("t=1", "t=2"), "correct horse"),
        ] {
            let other = PassphraseLock::of(text.parse().expect("sound"), &of(passphrase));
            assert_eq!(open(&other.expect("a key"), 1, 2), Err(SealError::DoesNotOpen), "{text}");
        }
    }

    #[test]
    fn the_key_is_argon2ids() {
        // By argon2-cffi: hash_secret_raw(b"correct horse", bytes(range(16)), 1, 19456, 1, 32, Type.ID).
        let lock = PassphraseLock::of(CHEAP.parse().expect("sound"), &of("correct horse"));
        let key = HEXLOWER.encode(lock.expect("a key").key.expose());
        assert_eq!(key, "8dcc4967b5c8e0ead7886f15b451bd69cb22208a1831694e3970509f448f8893");
    }

    #[test]
    fn what_a_text_may_ask_for_is_bounded() {
        let usual = PassphraseSpec { memory: 65_536, passes: 3, lanes: 4, salt: [9; SALT] };
        assert_eq!(usual.to_string().parse(), Ok(usual));
        for (from, to) in [
            ("m=19456", "m=19455"),
            ("m=19456", "m=262145"),
            ("m=19456", "m=4294967295"),
            ("m=19456", "m=99999999999"),
            ("m=19456", "m=019456"),
            ("m=19456", "m=+19456"),
            ("t=1", "t=0"),
            ("t=1", "t=17"),
            ("p=1", "p=0"),
            ("p=1", "p=5"),
            ("m=19456 t=1", "m=262144 t=5"),
            ("argon2id", "argon2i"),
            ("argon2id", "argon2id2"),
            ("0e0f", "0e0F"),
            ("0e0f", "0e"),
            ("0e0f", "0e0f10"),
            (" t=1", "  t=1"),
            ("0e0f", "0e0f "),
        ] {
            let text = CHEAP.replace(from, to);
            assert_eq!(text.parse::<PassphraseSpec>(), Err(SealError::Malformed), "{text}");
        }
        assert_eq!("".parse::<PassphraseSpec>(), Err(SealError::Malformed));
    }

    #[test]
    fn no_passphrase_and_one_too_long_are_none() {
        let spec: PassphraseSpec = CHEAP.parse().expect("sound");
        for length in [0, PASSPHRASE_BYTES + 1] {
            let made = PassphraseLock::of(spec, &SecretBytes::zeroed(length));
            assert_eq!(made.err(), Some(SealError::Malformed));
        }
    }
}
