//! Values that nobody has to think of: drawn here, sealed, and never shown.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use zeroize::Zeroizing;

use crate::ca::{CaError, key_block};
use skep_core::base::{Dice, SecretBytes};
use skep_core::domain::PublicPart;

/// What a password is made of: what no shell, URL or configuration file takes for a sign.
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// Bytes from here on would make the first characters of the alphabet likelier than the others.
const FAIR: u8 = 248;
/// Characters of a password, or random bytes of hex, if nobody says.
const LENGTH: usize = 32;
/// An Ed25519 private key as PKCS#8 DER is these bytes, then the key's 32.
const ED25519_HEAD: [u8; 16] =
    [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
/// The fewest: 71 bits of a password.
const LEAST: usize = 12;
/// The most.
const MOST: usize = 4096;

/// What kind of value is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generate {
    /// So many letters and digits.
    Password(usize),
    /// So many random bytes, written as twice as many hexadecimal digits.
    Hex(usize),
    /// An ECDSA key on P-256, PKCS#8 in PEM.
    P256,
    /// An Ed25519 key, PKCS#8 in PEM.
    Ed25519,
    /// The same as [`Self::P256`] for one that signs images, its public half with it.
    Cosign,
}

/// What was drawn.
#[derive(Debug)]
pub struct Drawn {
    /// The value.
    pub value: SecretBytes,
    /// What is public of it: the public half of a signing key (SPKI in PEM).
    pub public: Option<PublicPart>,
}

impl From<SecretBytes> for Drawn {
    fn from(value: SecretBytes) -> Self {
        Self { value, public: None }
    }
}

/// A word that names no kind of value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKind {
    /// No such kind.
    #[error("is none of password, hex, p256, ed25519 and cosign")]
    Unknown,
    /// A key has a length of its own.
    #[error("takes no length")]
    NoLength,
    /// Not a number, or out of bounds.
    #[error("has a length of {LEAST} to {MOST}, for example password:24")]
    Length,
}

impl FromStr for Generate {
    type Err = BadKind;

    fn from_str(text: &str) -> Result<Self, BadKind> {
        let (kind, length) = match text.split_once(':') {
            Some((kind, length)) => (kind, Some(length)),
            None => (text, None),
        };
        let number = |length: Option<&str>| match length {
            None => Ok(LENGTH),
            Some(length) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
                let number = length.parse().map_err(|_| BadKind::Length)?;
                if (LEAST..=MOST).contains(&number) { Ok(number) } else { Err(BadKind::Length) }
            }
            Some(_) => Err(BadKind::Length),
        };
        match (kind, length) {
            ("password", length) => Ok(Self::Password(number(length)?)),
            ("hex", length) => Ok(Self::Hex(number(length)?)),
            ("p256", None) => Ok(Self::P256),
            ("ed25519", None) => Ok(Self::Ed25519),
            ("cosign", None) => Ok(Self::Cosign),
            ("p256" | "ed25519" | "cosign", Some(_)) => Err(BadKind::NoLength),
            _ => Err(BadKind::Unknown),
        }
    }
}

impl fmt::Display for Generate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password(length) => write!(f, "password:{length}"),
            Self::Hex(length) => write!(f, "hex:{length}"),
            Self::P256 => f.write_str("p256"),
            Self::Ed25519 => f.write_str("ed25519"),
            Self::Cosign => f.write_str("cosign"),
        }
    }
}

impl Generate {
    /// Draws a value. Keys on P-256 are made from the system's random source, all else from `dice`.
    ///
    /// # Errors
    /// [`CaError`] where no key could be made: none in practice.
    pub fn draw(self, dice: &mut dyn Dice) -> Result<Drawn, CaError> {
        match self {
            Self::Password(length) => Ok(password(dice, length).into()),
            Self::Hex(length) => {
                let mut bytes = SecretBytes::zeroed(length);
                dice.fill(bytes.expose_mut());
                let mut digits = SecretBytes::zeroed(HEXLOWER.encode_len(length));
                HEXLOWER.encode_mut(bytes.expose(), digits.expose_mut());
                Ok(digits.into())
            }
            Self::P256 => Ok(p256()?.value.into()),
            Self::Cosign => p256(),
            Self::Ed25519 => Ok(ed25519(dice).into()),
        }
    }
}

/// Each character is as likely as the others: a byte that would favour some is drawn again.
fn password(dice: &mut dyn Dice, length: usize) -> SecretBytes {
    let mut password = SecretBytes::zeroed(length);
    let mut drawn = SecretBytes::zeroed(1);
    for place in password.expose_mut() {
        *place = loop {
            dice.fill(drawn.expose_mut());
            let [byte] = *drawn.expose() else { continue };
            if byte < FAIR
                && let Some(letter) = ALPHABET.get(usize::from(byte) % ALPHABET.len())
            {
                break *letter;
            }
        };
    }
    password
}

/// The key in the form without its public half (RFC 8410, section 7), which every OpenSSL reads:
/// a private key of Ed25519 is 32 random bytes.
fn ed25519(dice: &mut dyn Dice) -> SecretBytes {
    let mut der = SecretBytes::zeroed(ED25519_HEAD.len() + 32);
    let (head, seed) = der.expose_mut().split_at_mut(ED25519_HEAD.len());
    head.copy_from_slice(&ED25519_HEAD);
    dice.fill(seed);
    key_block(der.expose())
}

fn p256() -> Result<Drawn, CaError> {
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256);
    let pair = pair.map_err(|_| CaError::Malformed("key"))?;
    let pair = Zeroizing::new(pair);
    let public = pair.public_key_pem().replace("\r\n", "\n").parse();
    let public = public.map_err(|_| CaError::Malformed("public key"))?;
    Ok(Drawn { value: key_block(pair.serialized_der()), public: Some(public) })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use rcgen::PKCS_ED25519;

    use super::*;
    use skep_core::base::testing::Seeded;

    fn drawn(kind: &str) -> SecretBytes {
        let kind: Generate = kind.parse().expect("a kind");
        kind.draw(&mut Seeded::new(1)).expect("a value").value
    }

    #[test]
    fn kinds_are_read_as_they_are_shown() {
        for kind in ["password:12", "password:32", "hex:4096", "p256", "ed25519", "cosign"] {
            assert_eq!(kind.parse::<Generate>().expect("a kind").to_string(), kind);
        }
        assert_eq!("password".parse(), Ok(Generate::Password(32)));
        assert_eq!("hex".parse(), Ok(Generate::Hex(32)));
        for (text, why) in [
            ("", BadKind::Unknown),
            ("Password", BadKind::Unknown),
            ("rsa:2048", BadKind::Unknown),
            ("password:", BadKind::Length),
            ("password:11", BadKind::Length),
            ("password:4097", BadKind::Length),
            ("hex:+32", BadKind::Length),
            ("hex:99999999999999999999999", BadKind::Length),
            ("p256:32", BadKind::NoLength),
            ("cosign:2", BadKind::NoLength),
        ] {
            assert_eq!(text.parse::<Generate>(), Err(why), "{text}");
        }
    }

    #[test]
    fn passwords_have_every_letter_alike() {
        let text = drawn("password:4096");
        let mut counts = BTreeMap::new();
        for letter in text.expose() {
            *counts.entry(*letter).or_insert(0) += 1;
        }
        assert!(counts.keys().eq(&BTreeSet::from(*ALPHABET)));
        // 66 are to be expected; eight standard deviations from it is never seen.
        assert!(counts.values().all(|count| (2..=130).contains(count)), "{counts:?}");
    }

    #[test]
    fn hex_has_two_digits_a_byte() {
        let text = drawn("hex:16");
        assert_eq!(text.len(), 32);
        assert!(text.expose().iter().all(|byte| b"0123456789abcdef".contains(byte)));
    }

    #[test]
    fn a_signing_keys_public_half_comes_with_it() {
        let drawn = Generate::Cosign.draw(&mut Seeded::new(1)).expect("a key");
        let pair = KeyPair::from_pem(str::from_utf8(drawn.value.expose()).expect("text"));
        let public = drawn.public.expect("a public half");
        assert!(public.as_str().starts_with("-----BEGIN PUBLIC KEY-----\n"), "{public}");
        let half = pair.expect("a key").public_key_pem().replace("\r\n", "\n");
        assert_eq!(public.as_str(), half);
        for kind in [Generate::P256, Generate::Ed25519, Generate::Hex(32)] {
            let drawn = kind.draw(&mut Seeded::new(1)).expect("a value");
            assert_eq!(drawn.public, None, "{kind}");
        }
    }

    #[test]
    fn keys_are_pkcs8_in_pem() {
        for (kind, algorithm) in [("p256", &PKCS_ECDSA_P256_SHA256), ("ed25519", &PKCS_ED25519)] {
            let text = drawn(kind);
            let text = str::from_utf8(text.expose()).expect("text");
            assert!(text.starts_with("-----BEGIN PRIVATE KEY-----\n"), "{kind}");
            assert!(text.ends_with("-----END PRIVATE KEY-----\n"), "{kind}");
            let read = KeyPair::from_pem(text).expect("a key");
            assert!(read.is_compatible(algorithm), "{kind}");
        }
    }
}
