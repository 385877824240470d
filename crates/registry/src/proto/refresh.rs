//! Refresh tokens: sealed, kept nowhere, good on every replica (docs/registry/keys.md, 4).

use crypto_secretbox::aead::AeadInPlace as _;
use crypto_secretbox::{Key, KeyInit as _, Nonce, Tag as SealTag, XSalsa20Poly1305};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use skep_core::base::Dice;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::rules::credential::Tag;
use crate::rules::labels::{self, Secret32};

/// What it begins with.
const MARK: &str = "skt1_";
/// Bytes of the commitment, of the nonce and of the seal's tag.
const COMMITMENT: usize = 32;
const NONCE: usize = 24;
const TAG: usize = 16;
/// Bytes of a text in it.
const TEXT: usize = 255;
/// Characters of the longest one.
const LONGEST: usize = 2_048;
/// Seconds for which one is good: 180 days.
const LIFE_S: u64 = 180 * 86_400;
/// Seconds by which its maker's clock may be ahead.
const AHEAD_S: u64 = 300;

/// One of `refresh.key` and `refresh.old`, ready to use.
pub struct RefreshKey {
    commitment: Secret32,
    seal: Secret32,
}

impl std::fmt::Debug for RefreshKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RefreshKey")
    }
}

/// What a refresh token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refresh {
    /// The account's id.
    pub id: Tag,
    /// The credential that it was given for.
    pub generation: Tag,
    /// Seconds since 1970.
    pub issued_s: u64,
    /// The account's name.
    pub account: String,
    /// The service.
    pub service: String,
    /// What the client called itself.
    pub client: String,
}

impl RefreshKey {
    /// Reads a key file: 64 hexadecimal digits, and perhaps an end of line.
    #[must_use]
    pub fn read(file: &[u8]) -> Option<Self> {
        let digits = file.strip_suffix(b"\n").unwrap_or(file);
        let digits = Zeroizing::new(digits.to_ascii_lowercase());
        let bytes = Zeroizing::new(HEXLOWER.decode(&digits).ok()?);
        let key = Zeroizing::new(<[u8; 32]>::try_from(bytes.as_slice()).ok()?);
        Some(Self {
            commitment: labels::derive(&key, labels::REFRESH_COMMITMENT, &[]),
            seal: labels::derive(&key, labels::REFRESH, &[]),
        })
    }

    fn cipher(&self) -> XSalsa20Poly1305 {
        XSalsa20Poly1305::new(Key::from_slice(self.seal.as_slice()))
    }
}

impl Refresh {
    /// Makes a token; none where a text is too long.
    #[must_use]
    pub fn seal(&self, key: &RefreshKey, dice: &mut dyn Dice) -> Option<String> {
        let mut body = Vec::new();
        body.extend(self.id.bytes());
        body.extend(self.generation.bytes());
        body.extend(self.issued_s.to_le_bytes());
        for text in [&self.account, &self.service, &self.client] {
            let length = u16::try_from(text.len()).ok().filter(|_| text.len() <= TEXT)?;
            body.extend(length.to_le_bytes());
            body.extend(text.as_bytes());
        }
        let mut nonce = [0; NONCE];
        dice.fill(&mut nonce);
        let cipher = key.cipher();
        let tag = cipher.encrypt_in_place_detached(Nonce::from_slice(&nonce), b"", &mut body);
        let parts = [key.commitment.as_slice(), &nonce, tag.ok()?.as_slice(), &body].concat();
        Some(format!("{MARK}{}", BASE64URL_NOPAD.encode(&parts)))
    }

    /// Opens a token with the key that it names. Nothing where it is none of theirs, was changed,
    /// or is of another service or time.
    #[must_use]
    pub fn open<'k>(
        token: &str,
        keys: impl IntoIterator<Item = &'k RefreshKey>,
        now_s: u64,
    ) -> Option<Self> {
        let text = token.strip_prefix(MARK).filter(|text| text.len() <= LONGEST)?;
        let mut bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        let (commitment, rest) = bytes.split_at_mut_checked(COMMITMENT)?;
        let (nonce, rest) = rest.split_at_mut_checked(NONCE)?;
        let (tag, body) = rest.split_at_mut_checked(TAG)?;
        let named = |key: &&RefreshKey| bool::from(key.commitment.as_slice().ct_eq(commitment));
        let cipher = keys.into_iter().find(named)?.cipher();
        let (nonce, tag) = (Nonce::from_slice(nonce), SealTag::from_slice(tag));
        cipher.decrypt_in_place_detached(nonce, b"", body, tag).ok()?;
        let refresh = Self::read(body)?;
        let ahead = refresh.issued_s > now_s.saturating_add(AHEAD_S);
        let over = refresh.issued_s.saturating_add(LIFE_S) < now_s;
        (!ahead && !over).then_some(refresh)
    }

    fn read(body: &[u8]) -> Option<Self> {
        let (id, rest) = body.split_first_chunk::<16>()?;
        let (generation, rest) = rest.split_first_chunk::<16>()?;
        let (issued, mut rest) = rest.split_first_chunk::<8>()?;
        let mut text = || {
            let (length, after) = rest.split_first_chunk::<2>()?;
            let length = usize::from(u16::from_le_bytes(*length));
            let (text, after) = after.split_at_checked(length)?;
            rest = after;
            String::from_utf8(text.to_vec()).ok()
        };
        let refresh = Self {
            id: Tag::from_bytes(*id),
            generation: Tag::from_bytes(*generation),
            issued_s: u64::from_le_bytes(*issued),
            account: text()?,
            service: text()?,
            client: text()?,
        };
        rest.is_empty().then_some(refresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::counting::Counting;

    fn key(digit: &str) -> RefreshKey {
        RefreshKey::read(digit.repeat(64).as_bytes()).unwrap()
    }

    fn refresh() -> Refresh {
        Refresh {
            id: Tag::from_bytes([1; 16]),
            generation: Tag::from_bytes([2; 16]),
            issued_s: 1_000_000,
            account: "alice".into(),
            service: "registry".into(),
            client: String::new(),
        }
    }

    #[test]
    fn a_token_opens_under_the_key_that_it_names() {
        let (own, other) = (key("a"), key("b"));
        let token = refresh().seal(&own, &mut Counting(0)).unwrap();
        assert!(!token.contains("alice"));
        let open = |keys: &[&RefreshKey]| Refresh::open(&token, keys.iter().copied(), 1_000_000);
        assert_eq!(open(&[&own]), Some(refresh()));
        assert_eq!(open(&[&other, &own]), Some(refresh()));
        assert_eq!(open(&[&other]), None);
        assert_eq!(open(&[]), None);
    }

    #[test]
    fn a_changed_token_opens_nowhere() {
        let own = key("a");
        let token = refresh().seal(&own, &mut Counting(0)).unwrap();
        let bytes = BASE64URL_NOPAD.decode(&token.as_bytes()[MARK.len()..]).unwrap();
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            let changed = format!("{MARK}{}", BASE64URL_NOPAD.encode(&changed));
            assert_eq!(Refresh::open(&changed, [&own], 1_000_000), None, "byte {place}");
            let cut = format!("{MARK}{}", BASE64URL_NOPAD.encode(&bytes[..place]));
            assert_eq!(Refresh::open(&cut, [&own], 1_000_000), None, "cut at {place}");
        }
        let longer = format!("{token}AAAA");
        assert_eq!(Refresh::open(&longer, [&own], 1_000_000), None);
        for text in ["", "skt1_", "skt1_!", "skr1_aaaa", &"a".repeat(5_000)] {
            assert_eq!(Refresh::open(text, [&own], 1_000_000), None);
        }
    }

    #[test]
    fn a_token_has_its_time() {
        let own = key("a");
        let token = refresh().seal(&own, &mut Counting(0)).unwrap();
        let good = |now| Refresh::open(&token, [&own], now).is_some();
        assert!(good(1_000_000 - 300) && !good(1_000_000 - 301));
        assert!(good(1_000_000 + LIFE_S) && !good(1_000_000 + LIFE_S + 1));
    }

    #[test]
    fn a_key_file_is_64_digits() {
        assert!(RefreshKey::read(format!("{}\n", "0A".repeat(32)).as_bytes()).is_some());
        for bad in ["", "00", &"0".repeat(63), &"0".repeat(66), &"g".repeat(64)] {
            assert!(RefreshKey::read(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
