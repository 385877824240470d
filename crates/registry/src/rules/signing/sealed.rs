//! Key files of cosign's, sealed with a password (docs/registry/keys.md, 7).

use crypto_secretbox::aead::AeadInPlace as _;
use crypto_secretbox::{Key, KeyInit as _, Nonce, Tag, XSalsa20Poly1305};
use data_encoding::BASE64;
use serde_json::Value;
use zeroize::Zeroizing;

use super::cosign_key::CosignKey;
use super::json::read;
use super::key::KEY_BYTES;

/// What such a file begins with: older releases of cosign wrote the first one.
const LABELS: [&str; 2] = ["ENCRYPTED COSIGN PRIVATE KEY", "ENCRYPTED SIGSTORE PRIVATE KEY"];
/// The work factors that cosign has written, as powers of two.
const WORK: [(u64, u8); 3] = [(32_768, 15), (65_536, 16), (131_072, 17)];
const BLOCK: u64 = 8;
/// Bytes of a salt.
const SALT: std::ops::RangeInclusive<usize> = 16..=64;
/// Bytes in front of a sealed text.
const TAG: usize = 16;
/// Bytes of a sealed key.
const SEALED: usize = 16 * 1024;

/// Why a file is not opened. It holds nothing of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSealed {
    /// No such file.
    #[error("this is no private key file of cosign's")]
    Shape,
    /// Not as cosign writes it.
    #[error("the key file is damaged, or sealed in a way that is not known")]
    Damaged,
    /// Another work factor.
    #[error(
        "the key file has a work factor that cosign never wrote (scrypt, N = 32768, 65536 or 131072, r = 8, p = 1)"
    )]
    Work,
    /// It doesn't open.
    #[error("the password is wrong, or the key file is damaged")]
    Password,
    /// What is in it is another kind of key.
    #[error("the key in the file is none of ECDSA on P-256")]
    Kind,
}

/// Whether a file begins as those of cosign's.
#[must_use]
pub fn is_sealed(bytes: &[u8]) -> bool {
    let bytes = bytes.trim_ascii_start();
    LABELS.iter().any(|label| bytes.starts_with(format!("-----BEGIN {label}-----").as_bytes()))
}

/// The key in a file of cosign's. It takes up to 128 MiB and a second: each other work factor
/// than cosign's own is refused before.
///
/// # Errors
/// [`BadSealed`].
pub fn open(bytes: &[u8], password: &[u8]) -> Result<CosignKey, BadSealed> {
    if bytes.len() > KEY_BYTES {
        return Err(BadSealed::Shape);
    }
    let sealed = Sealed::read(&body(bytes).ok_or(BadSealed::Shape)?)?;
    let params = scrypt::Params::new(sealed.log_n, 8, 1, 32).map_err(|_| BadSealed::Work)?;
    let mut key = Zeroizing::new([0; 32]);
    scrypt::scrypt(password, &sealed.salt, &params, key.as_mut_slice())
        .map_err(|_| BadSealed::Damaged)?;
    let opener = XSalsa20Poly1305::new(Key::from_slice(key.as_slice()));
    let (tag, text) = sealed.text.split_at_checked(TAG).ok_or(BadSealed::Damaged)?;
    let (tag, mut der) = (Tag::from_slice(tag), Zeroizing::new(text.to_vec()));
    opener
        .decrypt_in_place_detached(Nonce::from_slice(&sealed.nonce), b"", &mut der, tag)
        .map_err(|_| BadSealed::Password)?;
    CosignKey::read_der(&der).map_err(|_| BadSealed::Kind)
}

/// What stands between the lines of a PEM block with one of the labels.
fn body(bytes: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(bytes).ok()?.trim();
    LABELS.iter().find_map(|label| {
        let rest = text.strip_prefix(&format!("-----BEGIN {label}-----"))?;
        let inner = rest.strip_suffix(&format!("-----END {label}-----"))?;
        let inner: String = inner.split_ascii_whitespace().collect();
        BASE64.decode(inner.as_bytes()).ok()
    })
}

struct Sealed {
    log_n: u8,
    salt: Vec<u8>,
    nonce: [u8; 24],
    text: Vec<u8>,
}

impl Sealed {
    fn read(json: &[u8]) -> Result<Self, BadSealed> {
        let value = read(json).map_err(|_| BadSealed::Damaged)?;
        let text = |at: &str| value.pointer(at).and_then(Value::as_str);
        let number = |at: &str| value.pointer(at).and_then(Value::as_u64);
        let bytes = |at: &str| text(at).and_then(|text| BASE64.decode(text.as_bytes()).ok());
        if text("/kdf/name") != Some("scrypt") || text("/cipher/name") != Some("nacl/secretbox") {
            return Err(BadSealed::Damaged);
        }
        let n = number("/kdf/params/N");
        let work = WORK.iter().find(|(known, _)| n == Some(*known));
        let one = number("/kdf/params/r") == Some(BLOCK) && number("/kdf/params/p") == Some(1);
        let (_, log_n) = *work.filter(|_| one).ok_or(BadSealed::Work)?;
        let salt = bytes("/kdf/salt").filter(|salt| SALT.contains(&salt.len()));
        let nonce = bytes("/cipher/nonce").and_then(|nonce| nonce.try_into().ok());
        let text = bytes("/ciphertext").filter(|text| text.len() <= SEALED);
        let parts = salt.zip(nonce).zip(text);
        let ((salt, nonce), text) = parts.ok_or(BadSealed::Damaged)?;
        Ok(Self { log_n, salt, nonce, text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::signing::cosign_key::tests::key;

    /// A file as cosign writes it.
    fn file(label: &str, (n, log_n): (u64, u8), password: &[u8], der: &[u8]) -> String {
        let (salt, nonce) = ([7; 32], [9; 24]);
        let params = scrypt::Params::new(log_n, 8, 1, 32).expect("parameters");
        let mut key = [0; 32];
        scrypt::scrypt(password, &salt, &params, &mut key).expect("a key");
        let mut text = der.to_vec();
        let tag = XSalsa20Poly1305::new(&key.into())
            .encrypt_in_place_detached(&nonce.into(), b"", &mut text)
            .expect("a tag");
        let sealed = [tag.as_slice(), &text].concat();
        let json = serde_json::json!({
            "kdf": { "name": "scrypt", "params": { "N": n, "r": 8, "p": 1 },
                     "salt": BASE64.encode(&salt) },
            "cipher": { "name": "nacl/secretbox", "nonce": BASE64.encode(&nonce) },
            "ciphertext": BASE64.encode(&sealed),
        });
        pem(label, json.to_string().as_bytes())
    }

    fn pem(label: &str, json: &[u8]) -> String {
        let text = BASE64.encode(json);
        let lines: Vec<&str> = text
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).expect("text"))
            .collect();
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
    }

    #[test]
    fn each_label_and_each_work_factor_opens() {
        let key = key(3);
        for (label, work) in
            [(LABELS[0], WORK[0]), (LABELS[1], WORK[0]), (LABELS[1], WORK[1]), (LABELS[1], WORK[2])]
        {
            let text = file(label, work, b"password", &key.der());
            assert!(is_sealed(text.as_bytes()));
            let opened = open(text.as_bytes(), b"password").expect("a key");
            assert_eq!(opened.public(), key.public(), "{label} {work:?}");
            assert_eq!(open(text.as_bytes(), b"Password").err(), Some(BadSealed::Password));
        }
        let text = file(LABELS[1], WORK[0], b"", &key.der());
        assert!(open(text.as_bytes(), b"").is_ok(), "an empty password is one");
        let other = file(LABELS[1], WORK[0], b"", b"no key");
        assert_eq!(open(other.as_bytes(), b"").err(), Some(BadSealed::Kind));
    }

    #[test]
    fn what_cosign_never_wrote_is_refused_before_any_work() {
        let of = |json: serde_json::Value| {
            open(pem(LABELS[1], json.to_string().as_bytes()).as_bytes(), b"").err()
        };
        let whole = |n: serde_json::Value, r: u64, p: u64| {
            serde_json::json!({
                "kdf": { "name": "scrypt", "params": { "N": n, "r": r, "p": p },
                         "salt": BASE64.encode(&[0; 32]) },
                "cipher": { "name": "nacl/secretbox", "nonce": BASE64.encode(&[0; 24]) },
                "ciphertext": BASE64.encode(&[0; 100]),
            })
        };
        for (n, r, p) in [
            (serde_json::json!(1_u64 << 40), 8, 1),
            (serde_json::json!(262_144), 8, 1),
            (serde_json::json!(16_384), 8, 1),
            (serde_json::json!(-1), 8, 1),
            (serde_json::json!("32768"), 8, 1),
            (serde_json::json!(32_768), 1 << 30, 1),
            (serde_json::json!(32_768), 8, 1 << 30),
        ] {
            assert_eq!(of(whole(n.clone(), r, p)), Some(BadSealed::Work), "{n} {r} {p}");
        }
        for (at, value) in [
            ("/kdf/name", "argon2"),
            ("/kdf/salt", ""),
            ("/kdf/salt", "?"),
            ("/cipher/name", "aes"),
            ("/cipher/nonce", "AAAA"),
            ("/ciphertext", "%"),
            ("/ciphertext", &BASE64.encode(&vec![0; SEALED + 1])),
        ] {
            let mut json = whole(serde_json::json!(32_768), 8, 1);
            *json.pointer_mut(at).expect("a part") = value.into();
            assert_eq!(of(json), Some(BadSealed::Damaged), "{at}");
        }
        let good = file(LABELS[1], WORK[0], b"", &key(3).der());
        for end in (0..good.len() - 1).step_by(11) {
            let cut = good.split_at(end).0;
            assert_eq!(open(cut.as_bytes(), b"").err(), Some(BadSealed::Shape), "cut at {end}");
        }
        let crossed = good.replacen("SIGSTORE", "COSIGN", 1);
        assert_eq!(open(crossed.as_bytes(), b"").err(), Some(BadSealed::Shape));
        assert_eq!(open(&vec![b'-'; KEY_BYTES + 1], b"").err(), Some(BadSealed::Shape));
    }
}
