//! Join tokens: `SKEPJOIN-1-<fingerprint>-<id>-<secret>-<checksum>`.
//!
//! The fingerprint stands there as people compare it (64 hexadecimal digits);
//! the other three are lower-case base 32 without padding: 26 characters for
//! the id, 52 for the 32 secret bytes, 13 for the checksum, which is the first
//! 8 bytes of the BLAKE3 hash of all the text before its dash.

use data_encoding::BASE32_NOPAD;
use zeroize::Zeroizing;

use skep_core::base::{Dice, Fingerprint, SecretBytes, TokenId};

const PREFIX: &str = "SKEPJOIN-1-";
const SECRET_BYTES: usize = 32;
const SECRET_CHARS: usize = 52;
const CHECKSUM_BYTES: usize = 8;
const CHECKSUM_CHARS: usize = 13;
const FINGERPRINT_CHARS: usize = 64;
const ID_CHARS: usize = 26;
/// Characters before the checksum's dash.
const BODY_CHARS: usize = PREFIX.len() + FINGERPRINT_CHARS + 1 + ID_CHARS + 1 + SECRET_CHARS;
const TEXT_CHARS: usize = BODY_CHARS + 1 + CHECKSUM_CHARS;

/// Text that is no join token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not of that form at all.
    #[error("is not a join token")]
    Malformed,
    /// It begins as one, and its checksum does not fit: a letter is wrong or missing.
    #[error("is mistyped: its checksum does not fit")]
    Mistyped,
}

/// A join token.
#[derive(Debug)]
pub struct JoinToken {
    /// The cluster's root.
    pub fingerprint: Fingerprint,
    /// Which token.
    pub id: TokenId,
    /// Its secret part, 32 bytes.
    pub secret: SecretBytes,
}

impl JoinToken {
    /// Draws a new one.
    pub fn draw(dice: &mut dyn Dice, fingerprint: Fingerprint) -> Self {
        let id = TokenId::draw(dice);
        let mut secret = SecretBytes::zeroed(SECRET_BYTES);
        dice.fill(secret.expose_mut());
        Self { fingerprint, id, secret }
    }

    /// BLAKE3 of the secret part: what the state keeps.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        *blake3::hash(self.secret.expose()).as_bytes()
    }

    /// The text form.
    #[must_use]
    pub fn text(&self) -> SecretBytes {
        // Sized up front: a buffer that grows leaves copies behind.
        let chars = TEXT_CHARS + BASE32_NOPAD.encode_len(self.secret.len());
        let mut text = Zeroizing::new(String::with_capacity(chars));
        text.push_str(PREFIX);
        text.push_str(&self.fingerprint.to_string());
        text.push('-');
        text.push_str(&self.id.to_string());
        text.push('-');
        push_base32(&mut text, self.secret.expose());
        let checksum = checksum(text.as_bytes());
        text.push('-');
        push_base32(&mut text, &checksum);
        SecretBytes::copy_of(text.as_bytes())
    }

    /// Reads the text form; white space around it is ignored.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn parse(text: &[u8]) -> Result<Self, TokenError> {
        let text = text.trim_ascii();
        if !text.starts_with(PREFIX.as_bytes()) {
            return Err(TokenError::Malformed);
        }
        if text.len() != TEXT_CHARS {
            return Err(TokenError::Mistyped);
        }
        read(text).ok_or(TokenError::Mistyped)
    }
}

fn read(text: &[u8]) -> Option<JoinToken> {
    let (body, check) = text.split_at_checked(BODY_CHARS)?;
    let check = read_base32(check.strip_prefix(b"-")?)?;
    if check.expose() != checksum(body) {
        return None;
    }
    let rest = body.strip_prefix(PREFIX.as_bytes())?;
    let (fingerprint, rest) = rest.split_at_checked(FINGERPRINT_CHARS)?;
    let (id, rest) = rest.strip_prefix(b"-")?.split_at_checked(ID_CHARS)?;
    let secret = read_base32(rest.strip_prefix(b"-")?)?;
    if secret.len() != SECRET_BYTES {
        return None;
    }
    Some(JoinToken {
        fingerprint: str::from_utf8(fingerprint).ok()?.parse().ok()?,
        id: str::from_utf8(id).ok()?.parse().ok()?,
        secret,
    })
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut bytes = [0; CHECKSUM_BYTES];
    blake3::Hasher::new().update(body).finalize_xof().fill(&mut bytes);
    bytes
}

fn push_base32(text: &mut String, bytes: &[u8]) {
    let mut chars = Zeroizing::new(vec![0; BASE32_NOPAD.encode_len(bytes.len())]);
    BASE32_NOPAD.encode_mut(bytes, &mut chars);
    text.extend(chars.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
}

fn read_base32(text: &[u8]) -> Option<SecretBytes> {
    if text.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    let upper = Zeroizing::new(text.to_ascii_uppercase());
    let mut bytes = SecretBytes::zeroed(BASE32_NOPAD.decode_len(upper.len()).ok()?);
    BASE32_NOPAD.decode_mut(&upper, bytes.expose_mut()).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> JoinToken {
        JoinToken {
            fingerprint: Fingerprint([0x5a; 32]),
            id: TokenId::from_bytes([3; 16]),
            secret: SecretBytes::copy_of(&[9; 32]),
        }
    }

    #[test]
    fn tokens_are_written_and_read_alike() {
        let text = token().text();
        assert_eq!(text.len(), TEXT_CHARS);
        let read = JoinToken::parse(text.expose()).expect("a token");
        assert_eq!(read.fingerprint, token().fingerprint);
        assert_eq!(read.id, token().id);
        assert_eq!(read.digest(), token().digest());
        assert_eq!(read.digest(), *blake3::hash(&[9; 32]).as_bytes());
        let spaced = [b"  \n", text.expose(), b"\r\n"].concat();
        assert!(JoinToken::parse(&spaced).is_ok());
    }

    #[test]
    fn the_form_is_as_documented() {
        let text = token().text();
        let text = str::from_utf8(text.expose()).expect("text");
        let fingerprint = "5a".repeat(32);
        let secret = "beeqscijbeeqscijbeeqscijbeeqscijbeeqscijbeeqscijbeeq";
        let expected =
            format!("SKEPJOIN-1-{fingerprint}-ambqgaydambqgaydambqgaydam-{secret}-nhho4mhzqxppc");
        assert_eq!(text, expected);
    }

    #[test]
    fn every_mistake_reads_mistyped() {
        let text = token().text();
        for end in PREFIX.len()..text.len() {
            let cut = JoinToken::parse(&text.expose()[..end]);
            assert_eq!(cut.err(), Some(TokenError::Mistyped), "cut at {end}");
        }
        let upper = text.expose().to_ascii_uppercase();
        assert_eq!(JoinToken::parse(&upper).err(), Some(TokenError::Mistyped));
        for other in ["", "SKEPKEY-1-abc", "SKEPJOIN-2-abc", "hello", "\u{fffd}"] {
            assert_eq!(JoinToken::parse(other.as_bytes()).err(), Some(TokenError::Malformed));
        }
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_found(at in 0..TEXT_CHARS, change in 1_u8..) {
            let mut text = token().text().expose().to_vec();
            text[at] ^= change;
            let error = JoinToken::parse(&text).expect_err("an error");
            let expected = if at < PREFIX.len() { TokenError::Malformed } else { TokenError::Mistyped };
            // White space at the very end is cut off, so that the text is too short.
            prop_assert_eq!(error, expected);
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(JoinToken::parse(&bytes).is_err());
        }
    }
}
