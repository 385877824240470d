//! The four constructions of docs/keys.md, 0: derive, seal, box, commit.

use crypto_box::aead::AeadInPlace as _;
use crypto_box::{PublicKey, SalsaBox, SecretKey};
use crypto_secretbox::{Key, KeyInit as _, Nonce, Tag, XSalsa20Poly1305};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroize as _;

use super::{SealError, labels};
use crate::base::{Dice, Key32, SecretBytes, draw};

/// Bytes of a nonce.
const NONCE: usize = 24;
/// Bytes of a tag.
const TAG: usize = 16;
/// Bytes that [`seal`] adds.
pub(super) const SEAL_OVERHEAD: usize = NONCE + TAG;
/// Bytes that [`seal_to`] adds: ephemeral public key, nonce, tag, context hash.
pub(super) const BOX_OVERHEAD: usize = 32 + NONCE + TAG + 32;

/// `BLAKE3.keyed_hash(key, label ‖ 0 ‖ fields…)`.
pub(super) fn derive(key: &Key32, label: &str, fields: &[&[u8]]) -> Key32 {
    let mut hasher = blake3::Hasher::new_keyed(key.expose());
    absorb(&mut hasher, label, fields);
    let mut output = [0; 32];
    hasher.finalize_xof().fill(&mut output);
    hasher.zeroize();
    Key32::take(&mut output)
}

/// `BLAKE3(label ‖ 0 ‖ fields…)`, over public fields.
pub(super) fn context_hash(label: &str, fields: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    absorb(&mut hasher, label, fields);
    *hasher.finalize().as_bytes()
}

fn absorb(hasher: &mut blake3::Hasher, label: &str, fields: &[&[u8]]) {
    hasher.update(label.as_bytes());
    hasher.update(&[0]);
    for field in fields {
        hasher.update(field);
    }
}

/// Binds a wrapped key to exactly one key and context.
pub(super) fn commit(key: &Key32, context: &[u8; 32]) -> [u8; 32] {
    *derive(key, labels::COMMITMENT, &[context]).expose()
}

/// Compares in constant time.
pub(super) fn same(one: &[u8], other: &[u8]) -> bool {
    one.ct_eq(other).into()
}

fn cipher(key: &Key32) -> XSalsa20Poly1305 {
    XSalsa20Poly1305::new(Key::from_slice(key.expose()))
}

/// Nonce, tag and what was sealed.
type Parts<'a> = (&'a mut [u8], &'a mut [u8], &'a mut [u8]);

/// Splits `nonce ‖ tag ‖ rest`.
fn parts(buffer: &mut [u8]) -> Result<Parts<'_>, SealError> {
    let (nonce, rest) = buffer.split_at_mut_checked(NONCE).ok_or(SealError::Malformed)?;
    let (tag, body) = rest.split_at_mut_checked(TAG).ok_or(SealError::Malformed)?;
    Ok((nonce, tag, body))
}

/// Seals in place: [`SEAL_OVERHEAD`] free bytes, then the plaintext.
pub(super) fn seal_in_place(
    dice: &mut dyn Dice,
    key: &Key32,
    buffer: &mut [u8],
) -> Result<(), SealError> {
    let (nonce, tag, body) = parts(buffer)?;
    dice.fill(nonce);
    let made = cipher(key)
        .encrypt_in_place_detached(Nonce::from_slice(nonce), b"", body)
        .ok()
        .ok_or(SealError::Malformed)?;
    tag.copy_from_slice(&made);
    Ok(())
}

/// Opens in place and answers the plaintext's part.
pub(super) fn open_in_place<'a>(
    key: &Key32,
    buffer: &'a mut [u8],
) -> Result<&'a mut [u8], SealError> {
    let (nonce, tag, body) = parts(buffer)?;
    cipher(key)
        .decrypt_in_place_detached(Nonce::from_slice(nonce), b"", body, Tag::from_slice(tag))
        .ok()
        .ok_or(SealError::DoesNotOpen)?;
    Ok(body)
}

/// Seals a copy: `nonce ‖ tag ‖ ciphertext`.
pub(super) fn seal(
    dice: &mut dyn Dice,
    key: &Key32,
    plaintext: &[u8],
) -> Result<Vec<u8>, SealError> {
    let mut buffer = vec![0; SEAL_OVERHEAD + plaintext.len()];
    let (_, _, body) = parts(&mut buffer)?;
    body.copy_from_slice(plaintext);
    seal_in_place(dice, key, &mut buffer)?;
    Ok(buffer)
}

/// Opens a copy into a buffer of exactly the plaintext's size.
pub(super) fn open(key: &Key32, sealed: &[u8]) -> Result<SecretBytes, SealError> {
    let (nonce, rest) = sealed.split_at_checked(NONCE).ok_or(SealError::Malformed)?;
    let (tag, body) = rest.split_at_checked(TAG).ok_or(SealError::Malformed)?;
    let mut plaintext = SecretBytes::copy_of(body);
    cipher(key)
        .decrypt_in_place_detached(
            Nonce::from_slice(nonce),
            b"",
            plaintext.expose_mut(),
            Tag::from_slice(tag),
        )
        .ok()
        .ok_or(SealError::DoesNotOpen)?;
    Ok(plaintext)
}

/// Opens a sealed 32-byte key.
pub(super) fn open_key(key: &Key32, sealed: &[u8]) -> Result<Key32, SealError> {
    Key32::copy_of(open(key, sealed)?.expose()).ok_or(SealError::Malformed)
}

/// The X25519 public half.
pub(super) fn public_of(private: &Key32) -> [u8; 32] {
    *SecretKey::from(*private.expose()).public_key().as_bytes()
}

/// X25519, refused where the other half is of low order.
pub(super) fn agree(private: &Key32, public: &[u8; 32]) -> Result<Key32, SealError> {
    let own = x25519_dalek::StaticSecret::from(*private.expose());
    let shared = own.diffie_hellman(&x25519_dalek::PublicKey::from(*public));
    if !shared.was_contributory() {
        return Err(SealError::LowOrder);
    }
    Key32::copy_of(shared.as_bytes()).ok_or(SealError::Malformed)
}

/// Refuses a public key of low order: whoever agrees with it gets zero bytes.
pub(super) fn refuse_low_order(public: &[u8; 32]) -> Result<(), SealError> {
    let mut any = [1; 32];
    agree(&Key32::take(&mut any), public).map(drop)
}

/// `box(public, context, secret)`.
pub(super) fn seal_to(
    dice: &mut dyn Dice,
    public: &[u8; 32],
    context: &[u8; 32],
    secret: &[u8],
) -> Result<Vec<u8>, SealError> {
    refuse_low_order(public)?;
    let ephemeral = SecretKey::from(draw(dice));
    let mut bytes = vec![0; BOX_OVERHEAD + secret.len()];
    let (head, rest) = bytes.split_at_mut_checked(32).ok_or(SealError::Malformed)?;
    head.copy_from_slice(ephemeral.public_key().as_bytes());
    let (nonce, tag, body) = parts(rest)?;
    dice.fill(nonce);
    let (first, last) = body.split_at_mut_checked(secret.len()).ok_or(SealError::Malformed)?;
    first.copy_from_slice(secret);
    last.copy_from_slice(context);
    let made = SalsaBox::new(&PublicKey::from(*public), &ephemeral)
        .encrypt_in_place_detached(Nonce::from_slice(nonce), b"", body)
        .ok()
        .ok_or(SealError::Malformed)?;
    tag.copy_from_slice(&made);
    Ok(bytes)
}

/// Opens what [`seal_to`] made for this private key and context.
pub(super) fn open_from(
    private: &Key32,
    context: &[u8; 32],
    bytes: &[u8],
) -> Result<SecretBytes, SealError> {
    let (ephemeral, rest) = bytes.split_at_checked(32).ok_or(SealError::Malformed)?;
    let ephemeral: [u8; 32] = ephemeral.try_into().ok().ok_or(SealError::Malformed)?;
    refuse_low_order(&ephemeral)?;
    let (nonce, rest) = rest.split_at_checked(NONCE).ok_or(SealError::Malformed)?;
    let (tag, body) = rest.split_at_checked(TAG).ok_or(SealError::Malformed)?;
    let length = body.len().checked_sub(32).ok_or(SealError::Malformed)?;
    let mut plaintext = SecretBytes::copy_of(body);
    SalsaBox::new(&PublicKey::from(ephemeral), &SecretKey::from(*private.expose()))
        .decrypt_in_place_detached(
            Nonce::from_slice(nonce),
            b"",
            plaintext.expose_mut(),
            Tag::from_slice(tag),
        )
        .ok()
        .ok_or(SealError::DoesNotOpen)?;
    let named = plaintext.expose().get(length..).ok_or(SealError::Malformed)?;
    if !same(named, context) {
        return Err(SealError::DoesNotOpen);
    }
    Ok(plaintext.truncated(length))
}

/// Opens a boxed 32-byte key.
pub(super) fn open_key_from(
    private: &Key32,
    context: &[u8; 32],
    bytes: &[u8],
) -> Result<Key32, SealError> {
    Key32::copy_of(open_from(private, context, bytes)?.expose()).ok_or(SealError::Malformed)
}

/// The first 16 bytes.
pub(super) fn head16(bytes: &[u8; 32]) -> [u8; 16] {
    let mut head = [0; 16];
    for (to, from) in head.iter_mut().zip(bytes) {
        *to = *from;
    }
    head
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::testing::Seeded;

    /// The eight points of low order on Curve25519 and its twist, little-endian,
    /// that fit 255 bits (RFC 7748, 6.1; the values are those of libsodium's list).
    pub(in crate::seal) fn low_order_points() -> Vec<[u8; 32]> {
        let mut one = [0; 32];
        one[0] = 1;
        let mut minus_one = [0xff; 32];
        minus_one[0] = 0xec;
        minus_one[31] = 0x7f;
        let mut p = minus_one;
        p[0] = 0xed;
        let mut p_plus_one = minus_one;
        p_plus_one[0] = 0xee;
        let order_8 = "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800";
        let order_8_too = "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157";
        let decode = |hex: &str| {
            <[u8; 32]>::try_from(data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap()).unwrap()
        };
        vec![[0; 32], one, minus_one, p, p_plus_one, decode(order_8), decode(order_8_too)]
    }

    #[test]
    fn points_of_low_order_are_refused() {
        for point in low_order_points() {
            assert_eq!(refuse_low_order(&point), Err(SealError::LowOrder), "{point:?}");
            let boxed = seal_to(&mut Seeded::new(1), &point, &[0; 32], b"secret");
            assert_eq!(boxed, Err(SealError::LowOrder));
        }
    }

    #[test]
    fn a_box_opens_with_its_key_and_context_only() {
        let mut dice = Seeded::new(2);
        let private = Key32::draw(&mut dice);
        let bytes = seal_to(&mut dice, &public_of(&private), &[7; 32], b"secret").unwrap();
        assert_eq!(bytes.len(), BOX_OVERHEAD + 6);
        assert_eq!(open_from(&private, &[7; 32], &bytes).unwrap().expose(), b"secret");
        assert_eq!(open_from(&private, &[8; 32], &bytes).err(), Some(SealError::DoesNotOpen));
        assert_eq!(
            open_from(&Key32::draw(&mut dice), &[7; 32], &bytes).err(),
            Some(SealError::DoesNotOpen)
        );
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            // X25519 ignores the top bit of a public key; every other flip must be noticed.
            assert!(open_from(&private, &[7; 32], &changed).is_err(), "byte {place}");
            assert!(open_from(&private, &[7; 32], &bytes[..place]).is_err(), "cut at {place}");
        }
    }

    #[test]
    fn labels_are_unique_and_hold_no_zero() {
        let source = include_str!("labels.rs");
        let labels: Vec<&str> = source.lines().filter_map(|line| line.split('"').nth(1)).collect();
        assert_eq!(labels.len(), 30);
        let unique: std::collections::BTreeSet<_> = labels.iter().collect();
        assert_eq!(unique.len(), labels.len());
    }
}
