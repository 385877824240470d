//! The key of a request for an identity as its file holds it: open, or sealed under a passphrase
//! (docs/keys.md, 13). What stands around it is in clear in both forms.

use data_encoding::HEXLOWER;

use super::request::{RequestError, RequestKey, buffer, push_fingerprint, trimmed};
use super::{PrivateKey, key_digest, pem};
use skep_core::base::{Dice, Fingerprint, SecretBytes};
use skep_core::seal::{PassphraseLock, PassphraseSpec, SealError};

const SEALED: &str = "SKEP ENCRYPTED KEY";

/// A key's file as anybody reads it: the key may still be sealed.
#[derive(Debug)]
pub enum RequestKeyText {
    /// It is not.
    Open(RequestKey),
    /// It is.
    Sealed(SealedRequestKey),
}

/// A request's key as a passphrase opens it.
#[derive(Debug)]
pub struct SealedRequestKey {
    fingerprint: Option<Fingerprint>,
    /// The digest of the public half.
    public: [u8; 32],
    spec: PassphraseSpec,
    bytes: Vec<u8>,
}

impl RequestKeyText {
    /// Reads it, as far as it goes without a passphrase.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn parse(text: &[u8]) -> Result<Self, RequestError> {
        let kind = RequestKey::KIND;
        let (head, blocks) = kind.open(text)?;
        let Some(spec) = head.passphrase else { return RequestKey::parse(text).map(Self::Open) };
        let unknown = kind.not("how its passphrase is used is none of the ways known here");
        let spec = spec.parse().map_err(|_| unknown)?;
        let public = head.public_key.unwrap_or_default();
        let public = HEXLOWER.decode(public.as_bytes()).ok().and_then(|of| of.try_into().ok());
        let fingerprint = kind.fingerprint(&head.fingerprint)?;
        let public = public.ok_or(kind.damaged())?;
        let bytes = kind.only(blocks, SEALED)?.expose().to_vec();
        let read = SealedRequestKey { fingerprint, public, spec, bytes };
        kind.is_the_same(text, &read.to_text())?;
        Ok(Self::Sealed(read))
    }

    /// How the key is made that it is sealed under; none: it is not.
    #[must_use]
    pub fn sealed_under(&self) -> Option<PassphraseSpec> {
        match self {
            Self::Open(_) => None,
            Self::Sealed(sealed) => Some(sealed.spec),
        }
    }

    /// The key. One that is not sealed takes no lock.
    ///
    /// # Errors
    /// [`RequestError::Encrypted`] without one; [`RequestError::WrongPassphrase`] with another.
    pub fn open_with(self, lock: Option<&PassphraseLock>) -> Result<RequestKey, RequestError> {
        let SealedRequestKey { fingerprint, public, spec, bytes } = match self {
            Self::Open(key) => return Ok(key),
            Self::Sealed(sealed) => sealed,
        };
        let lock = lock.ok_or(RequestError::Encrypted)?;
        let of = fingerprint.map(|of| of.0).unwrap_or_default();
        let opened = lock.open_request((&of, &public), &bytes);
        let opened = opened.ok().filter(|_| lock.spec() == spec);
        let key = opened.ok_or(RequestError::WrongPassphrase)?;
        let key = PrivateKey::from_pkcs8(key).map_err(|_| RequestKey::KIND.damaged())?;
        if key_digest(&key.public()) != public {
            return Err(RequestKey::KIND.damaged());
        }
        Ok(RequestKey { fingerprint, key })
    }
}

impl SealedRequestKey {
    /// Seals a key under a passphrase.
    ///
    /// # Errors
    /// None that a caller could cause.
    pub fn seal(
        dice: &mut dyn Dice,
        lock: &PassphraseLock,
        key: &RequestKey,
    ) -> Result<Self, SealError> {
        let fingerprint = key.fingerprint;
        let of = fingerprint.map(|of| of.0).unwrap_or_default();
        let public = key_digest(&key.key.public());
        let bytes = lock.seal_request(dice, (&of, &public), key.key.expose())?;
        Ok(Self { fingerprint, public, spec: lock.spec(), bytes })
    }

    /// As it is written.
    #[must_use]
    pub fn to_text(&self) -> SecretBytes {
        let mut text = buffer(&[(SEALED, self.bytes.len())]);
        push_fingerprint(&mut text, self.fingerprint);
        let (spec, public) = (self.spec.to_string(), HEXLOWER.encode(&self.public));
        for part in ["passphrase = \"", &spec, "\"\npublic_key = \"", &public, "\"\n\n"] {
            text.push_str(part);
        }
        pem::push(&mut text, SEALED, &self.bytes);
        trimmed(&mut text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::OsDice;

    fn lock(passphrase: &str) -> PassphraseLock {
        let spec = "argon2id m=19456 t=1 p=1 salt=000102030405060708090a0b0c0d0e0f";
        let passphrase = SecretBytes::copy_of(passphrase.as_bytes());
        PassphraseLock::of(spec.parse().expect("sound"), &passphrase).expect("a key")
    }

    fn sealed(key: &RequestKey) -> SecretBytes {
        let lock = lock("correct horse");
        SealedRequestKey::seal(&mut OsDice, &lock, key).expect("sealed").to_text()
    }

    #[test]
    fn a_sealed_key_opens_with_its_passphrase_alone() {
        for fingerprint in [None, Some(Fingerprint([9; 32]))] {
            let key = RequestKey::generate(fingerprint).expect("a key");
            let text = sealed(&key);
            let read = || RequestKeyText::parse(text.expose()).expect("read");
            assert!(read().sealed_under().is_some());
            let der = key.key.expose();
            assert!(!text.expose().windows(16).any(|part| part == &der[der.len() - 16..]));
            let opened = read().open_with(Some(&lock("correct horse"))).expect("opened");
            assert_eq!(opened.key.expose(), der);
            assert_eq!(opened.fingerprint, fingerprint);
            let error = |lock| read().open_with(lock).expect_err("refused");
            assert_eq!(error(None), RequestError::Encrypted);
            assert_eq!(error(Some(&lock("another"))), RequestError::WrongPassphrase);
            assert!(RequestKey::parse(text.expose()).is_err(), "as an open one");
        }
    }

    #[test]
    fn what_was_sealed_for_another_key_does_not_open_here() {
        let [one, other] = [(); 2].map(|()| RequestKey::generate(None).expect("a key"));
        let lock = lock("correct horse");
        let seal = |key| SealedRequestKey::seal(&mut OsDice, &lock, key).expect("sealed");
        let moved = SealedRequestKey { bytes: seal(&other).bytes, ..seal(&one) };
        let read = RequestKeyText::parse(moved.to_text().expose()).expect("read");
        let error = read.open_with(Some(&lock)).expect_err("refused");
        assert_eq!(error, RequestError::WrongPassphrase);
    }

    #[test]
    fn a_changed_byte_is_found() {
        let key = RequestKey::generate(None).expect("a key");
        let text = sealed(&key).expose().to_vec();
        for at in 0..text.len() - 1 {
            let mut changed = text.clone();
            changed[at] ^= 1;
            assert!(RequestKeyText::parse(&changed).is_err(), "{at}");
        }
        let open = key.to_text();
        assert!(matches!(RequestKeyText::parse(open.expose()), Ok(RequestKeyText::Open(_))));
    }
}
