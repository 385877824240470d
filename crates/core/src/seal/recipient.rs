//! Recipients (public) and unlock keys (private) (docs/keys.md, 1).

use zeroize::Zeroizing;

use super::construct::{
    BOX_OVERHEAD, context_hash, derive, head16, open, open_key_from, public_of, refuse_low_order,
    same, seal, seal_to,
};
use super::{SealError, labels};
use crate::base::{Dice, Fingerprint, Key32, RecipientId, SecretBytes, limits};

/// A recipient's public key, checked not to be of low order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecipientKey([u8; 32]);

impl RecipientKey {
    /// Checks an X25519 public key.
    ///
    /// # Errors
    /// [`SealError::LowOrder`].
    pub fn new(public: [u8; 32]) -> Result<Self, SealError> {
        refuse_low_order(&public)?;
        Ok(Self(public))
    }

    /// The public key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Its id, derived from it.
    #[must_use]
    pub fn id(&self) -> RecipientId {
        RecipientId::from_bytes(head16(&context_hash(labels::RECIPIENT_ID, &[&self.0])))
    }
}

const PREFIX: &[u8] = b"SKEPKEY-1-";
const CHECKSUM: usize = 4;
/// Characters of 32 bytes, and of 36, in base 32 without padding.
const FINGERPRINT_CHARS: usize = 52;
const PRIVATE_CHARS: usize = 58;
const TEXT: usize = PREFIX.len() + FINGERPRINT_CHARS + 1 + PRIVATE_CHARS;

/// An unlock key: the private half, and the fingerprint of the cluster it is for.
/// Its text is `SKEPKEY-1-<fingerprint>-<private, checksum>`.
#[derive(Debug)]
pub struct UnlockKey {
    fingerprint: Fingerprint,
    private: Key32,
}

impl UnlockKey {
    /// Draws a new one for the cluster with this root.
    pub fn draw(dice: &mut dyn Dice, fingerprint: Fingerprint) -> Self {
        Self { fingerprint, private: Key32::draw(dice) }
    }

    /// Reads the text form; white space around it and the case of its letters are ignored.
    ///
    /// # Errors
    /// [`SealError::Malformed`] where it is no unlock key at all,
    /// [`SealError::Mistyped`] where the checksum does not fit.
    pub fn parse(text: &[u8]) -> Result<Self, SealError> {
        let text = text.trim_ascii();
        let (prefix, rest) = text.split_at_checked(PREFIX.len()).ok_or(SealError::Malformed)?;
        if !prefix.eq_ignore_ascii_case(PREFIX) {
            return Err(SealError::Malformed);
        }
        // It is meant to be an unlock key: what is wrong from here on is a typing error.
        let (fingerprint, rest) =
            rest.split_at_checked(FINGERPRINT_CHARS).ok_or(SealError::Mistyped)?;
        let private = rest.strip_prefix(b"-").ok_or(SealError::Mistyped)?;
        let mut decoded = [0; 32];
        from_base32(fingerprint, &mut decoded)?;
        let mut bytes = Zeroizing::new([0; 32 + CHECKSUM]);
        from_base32(private, bytes.as_mut_slice())?;
        let (key, checksum) = bytes.split_at_checked(32).ok_or(SealError::Mistyped)?;
        let key = Self {
            fingerprint: Fingerprint(decoded),
            private: Key32::copy_of(key).ok_or(SealError::Mistyped)?,
        };
        if same(checksum, &key.checksum()) { Ok(key) } else { Err(SealError::Mistyped) }
    }

    /// The text form (ASCII), without a line end.
    #[must_use]
    pub fn text(&self) -> SecretBytes {
        let mut bytes = Zeroizing::new([0; 32 + CHECKSUM]);
        for (to, from) in bytes.iter_mut().zip(self.private.expose().iter().chain(&self.checksum()))
        {
            *to = *from;
        }
        let mut text = SecretBytes::zeroed(TEXT);
        let (prefix, rest) = text.expose_mut().split_at_mut(PREFIX.len());
        prefix.copy_from_slice(PREFIX);
        let (fingerprint, rest) = rest.split_at_mut(FINGERPRINT_CHARS);
        let (dash, private) = rest.split_at_mut(1);
        dash.copy_from_slice(b"-");
        data_encoding::BASE32_NOPAD.encode_mut(&self.fingerprint.0, fingerprint);
        fingerprint.make_ascii_lowercase();
        data_encoding::BASE32_NOPAD.encode_mut(bytes.as_slice(), private);
        private.make_ascii_lowercase();
        text
    }

    fn checksum(&self) -> [u8; CHECKSUM] {
        let hash = context_hash(
            labels::UNLOCK_KEY_CHECKSUM,
            &[&self.fingerprint.0, self.private.expose()],
        );
        let [a, b, c, d, ..] = hash;
        [a, b, c, d]
    }

    /// The cluster it is for.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The public half.
    #[must_use]
    pub fn recipient(&self) -> RecipientKey {
        RecipientKey(public_of(&self.private))
    }

    /// Opens a boxed 32-byte key.
    pub(super) fn open_key(&self, context: &[u8; 32], bytes: &[u8]) -> Result<Key32, SealError> {
        open_key_from(&self.private, context, bytes)
    }
}

/// Decodes base 32 of exactly the length that fills `into`.
fn from_base32(text: &[u8], into: &mut [u8]) -> Result<(), SealError> {
    if data_encoding::BASE32_NOPAD.decode_len(text.len()) != Ok(into.len()) {
        return Err(SealError::Mistyped);
    }
    let upper = Zeroizing::new(text.to_ascii_uppercase());
    match data_encoding::BASE32_NOPAD.decode_mut(&upper, into) {
        Ok(length) if length == into.len() => Ok(()),
        _ => Err(SealError::Mistyped),
    }
}

/// Bytes of a recipient id and a boxed 32-byte key.
const BOXED: usize = 16 + BOX_OVERHEAD + 32;

/// Bytes sealed so that any one of several unlock keys opens them: used for the
/// root's private key. The bytes: version 1, count, boxes, sealed secret.
#[derive(Clone, Copy, Debug)]
pub struct SealedToRecipients;

impl SealedToRecipients {
    /// Seals `secret` to every recipient; `context` is authenticated.
    ///
    /// # Errors
    /// [`SealError::Malformed`] for no recipients, or more than `limits::RECIPIENTS`.
    pub fn seal(
        dice: &mut dyn Dice,
        recipients: &[RecipientKey],
        context: &[u8],
        secret: &SecretBytes,
    ) -> Result<Vec<u8>, SealError> {
        let count = u8::try_from(recipients.len()).ok().ok_or(SealError::Malformed)?;
        if !(1..=limits::RECIPIENTS).contains(&recipients.len()) {
            return Err(SealError::Malformed);
        }
        let context = context_hash(labels::SEALED_TO_RECIPIENTS, &[context]);
        let key = Key32::draw(dice);
        let mut bytes = vec![1, count];
        for recipient in recipients {
            bytes.extend_from_slice(recipient.id().as_bytes());
            bytes.extend_from_slice(&seal_to(dice, recipient.as_bytes(), &context, key.expose())?);
        }
        let body = derive(&key, labels::SEALED_TO_RECIPIENTS, &[&context]);
        bytes.extend_from_slice(&seal(dice, &body, secret.expose())?);
        Ok(bytes)
    }

    /// Opens with one unlock key.
    ///
    /// # Errors
    /// [`SealError::NotARecipient`], [`SealError::DoesNotOpen`], [`SealError::Malformed`].
    pub fn open(bytes: &[u8], context: &[u8], key: &UnlockKey) -> Result<SecretBytes, SealError> {
        let context = context_hash(labels::SEALED_TO_RECIPIENTS, &[context]);
        let Some((&[1, count], rest)) = bytes.split_first_chunk::<2>() else {
            return Err(SealError::Malformed);
        };
        let length = usize::from(count) * BOXED;
        let (boxes, body) = rest.split_at_checked(length).ok_or(SealError::Malformed)?;
        let own = key.recipient().id();
        let mine = boxes.chunks_exact(BOXED).filter_map(|one| one.split_first_chunk::<16>());
        let (_, sealed_key) = mine
            .into_iter()
            .find(|(id, _)| *id == own.as_bytes())
            .ok_or(SealError::NotARecipient)?;
        let key = key.open_key(&context, sealed_key)?;
        open(&derive(&key, labels::SEALED_TO_RECIPIENTS, &[&context]), body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::testing::Seeded;

    fn key(seed: u64) -> UnlockKey {
        UnlockKey::draw(&mut Seeded::new(seed), Fingerprint([9; 32]))
    }

    #[test]
    fn an_unlock_key_is_written_and_read_alike() {
        let key = key(1);
        let text = key.text();
        assert!(text.expose().starts_with(b"SKEPKEY-1-"));
        let read = UnlockKey::parse(&[b" \n", text.expose(), b"\r\n"].concat()).unwrap();
        assert_eq!(read.recipient(), key.recipient());
        assert_eq!(read.fingerprint(), key.fingerprint());
        assert!(UnlockKey::parse(&text.expose().to_ascii_uppercase()).is_ok());
    }

    #[test]
    fn a_typing_error_reads_mistyped_and_anything_else_malformed() {
        let text = key(2).text();
        for place in b"SKEPKEY-1-".len()..text.len() {
            let mut typed = text.expose().to_vec();
            typed[place] = if typed[place] == b'a' { b'b' } else { b'a' };
            assert_eq!(UnlockKey::parse(&typed).err(), Some(SealError::Mistyped), "{place}");
            assert_eq!(UnlockKey::parse(&text.expose()[..place]).err(), Some(SealError::Mistyped));
        }
        for text in [&b""[..], b"SKEPJOIN-1-x", b"\xff\xff", b"SWMKEY-1-abc"] {
            assert_eq!(UnlockKey::parse(text).err(), Some(SealError::Malformed));
        }
    }

    #[test]
    fn each_recipient_opens_and_nobody_else() {
        let (one, two, other) = (key(3), key(4), key(5));
        let secret = SecretBytes::copy_of(b"root key");
        let mut dice = Seeded::new(6);
        let bytes = SealedToRecipients::seal(
            &mut dice,
            &[one.recipient(), two.recipient()],
            b"context",
            &secret,
        )
        .unwrap();
        for key in [&one, &two] {
            assert_eq!(
                SealedToRecipients::open(&bytes, b"context", key).unwrap().expose(),
                b"root key"
            );
            assert_eq!(
                SealedToRecipients::open(&bytes, b"other", key).err(),
                Some(SealError::DoesNotOpen)
            );
        }
        assert_eq!(
            SealedToRecipients::open(&bytes, b"context", &other).err(),
            Some(SealError::NotARecipient)
        );
        for cut in 0..bytes.len() {
            assert!(SealedToRecipients::open(&bytes[..cut], b"context", &one).is_err());
        }
        assert_eq!(
            SealedToRecipients::seal(&mut dice, &[], b"", &secret).err(),
            Some(SealError::Malformed)
        );
    }
}
