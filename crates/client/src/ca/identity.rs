//! The operator's identity file (`*.skepid`, 0600): all that a client needs.
//!
//! The text is a TOML head and five PEM blocks, and has exactly one form: what
//! is read is written again and compared, so that nothing in a file is ever
//! passed over. The head's `checksum` covers all that comes after its line
//! but the last line's end (the first 16 bytes of BLAKE3, in base 32).

use data_encoding::BASE32_NOPAD;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{CaError, PrivateKey, pem, read_leaf, verify_chain};
use skep_core::base::{FORMAT, Fingerprint, Name, OtherFormat, SecretBytes, Stamp};
use skep_core::seal::HelloKey;

/// Bytes of a file that are read: three certificates, a key and
/// [`ADDRESSES`] take about 10 KiB.
const TEXT_BYTES: usize = 64 * 1024;
/// Addresses in a file; a cluster has seven managers, each may have a few.
pub(crate) const ADDRESSES: usize = 32;
/// Bytes of an address: a DNS name, a colon, a port.
const ADDRESS_BYTES: usize = 255 + 6;
const CHECKSUM_BYTES: usize = 16;
const CERTIFICATE: &str = "CERTIFICATE";
const KEY: &str = "PRIVATE KEY";
const HELLO: &str = "SKEP HELLO KEY";
/// Bytes of a hello key.
const HELLO_BYTES: usize = 64;

/// Text that is no identity file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// It is none.
    #[error("is not an identity file: {0}")]
    Not(&'static str),
    /// Of another format than this build reads.
    #[error("the identity file was {0}")]
    Format(OtherFormat),
}

const DAMAGED: IdentityError =
    IdentityError::Not("its checksum does not fit: it was edited or damaged");

/// A client's identity.
#[derive(Debug)]
pub struct Identity {
    /// The cluster's name, for people.
    pub cluster: Name,
    /// The cluster's fingerprint.
    pub fingerprint: Fingerprint,
    /// Managers (`host:port`).
    pub addresses: Vec<String>,
    /// The oldest issuing CA (by when it begins) that a manager's certificate may be of.
    pub oldest_issuer: Stamp,
    /// Leaf, issuing CA, root, DER.
    pub chain: Vec<Vec<u8>>,
    /// The private key.
    pub key: PrivateKey,
    /// By which managers tell its connections from strangers'.
    pub hello: HelloKey,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    version: u32,
    checksum: String,
    cluster: String,
    fingerprint: String,
    oldest_issuer: u64,
    addresses: Vec<String>,
}

impl Identity {
    /// The file's text: a TOML head (version, checksum, cluster, fingerprint,
    /// the oldest issuing CA, addresses) and PEM blocks. Of the addresses the first 32 that can be
    /// one (`host:port`) are written.
    #[must_use]
    pub fn to_text(&self) -> SecretBytes {
        // Sized up front: a buffer that grows leaves copies of the key behind.
        let blocks: usize = self.chain.iter().map(|der| pem::size(CERTIFICATE, der.len())).sum();
        let key = self.key.expose();
        let size = 512 + ADDRESSES * (ADDRESS_BYTES + 8) + blocks + pem::size(KEY, key.len());
        let size = size + pem::size(HELLO, HELLO_BYTES);
        let mut rest = Zeroizing::new(String::with_capacity(size));
        self.push_rest(&mut rest);
        let mut text = Zeroizing::new(String::with_capacity(size + 64));
        text.push_str("version = ");
        text.push_str(&FORMAT.to_string());
        text.push_str("\nchecksum = \"");
        text.push_str(&checksum(&rest));
        text.push_str("\"\n");
        text.push_str(&rest);
        text.push('\n');
        SecretBytes::copy_of(text.as_bytes())
    }

    fn push_rest(&self, text: &mut String) {
        let fingerprint = self.fingerprint.to_string();
        let head = ["cluster = \"", self.cluster.as_str(), "\"\nfingerprint = \"", &fingerprint];
        text.extend(head);
        text.push_str("\"\noldest_issuer = ");
        text.push_str(&self.oldest_issuer.0.to_string());
        text.push_str("\naddresses = [\n");
        for address in self.addresses.iter().filter(|text| is_address(text)).take(ADDRESSES) {
            text.push_str("    \"");
            text.push_str(address);
            text.push_str("\",\n");
        }
        text.push_str("]\n\n");
        for certificate in &self.chain {
            pem::push(text, CERTIFICATE, certificate);
        }
        pem::push(text, KEY, self.key.expose());
        pem::push(text, HELLO, self.hello.to_bytes().expose());
        text.truncate(text.trim_ascii_end().len()); // the checksum leaves out the last line's end
    }

    /// Reads the text. The chain must verify (but for the time) and the key be
    /// the leaf's. White space around the text is ignored.
    ///
    /// # Errors
    /// [`IdentityError`], which never quotes the text.
    pub fn parse(text: &[u8]) -> Result<Self, IdentityError> {
        if text.len() > TEXT_BYTES {
            return Err(IdentityError::Not("it is longer than 64 KiB"));
        }
        let text =
            str::from_utf8(text).map_err(|_| IdentityError::Not("it is not text"))?.trim_ascii();
        let identity = Self::read(text)?;
        let again = identity.to_text();
        if again.expose().trim_ascii() == text.as_bytes() { Ok(identity) } else { Err(DAMAGED) }
    }

    fn read(text: &str) -> Result<Self, IdentityError> {
        let (head, blocks) = text.split_once("\n\n").ok_or(IdentityError::Not("it has no head"))?;
        let Head { checksum: found, cluster, fingerprint, addresses, oldest_issuer, .. } =
            read_head(head)?;
        let oldest_issuer = Stamp(oldest_issuer);
        let cluster = cluster.parse().map_err(|_| DAMAGED)?;
        let fingerprint = fingerprint.parse().map_err(|_| DAMAGED)?;
        let rest = text.splitn(3, '\n').nth(2).ok_or(DAMAGED)?;
        if checksum(rest) != found {
            return Err(DAMAGED);
        }
        let mut lines = blocks.split('\n');
        let mut chain = Vec::with_capacity(3);
        for _ in 0..3 {
            let der = pem::take(&mut lines, CERTIFICATE)
                .ok_or(IdentityError::Not("a certificate is missing or damaged"))?;
            chain.push(der.expose().to_vec());
        }
        let key = pem::take(&mut lines, KEY)
            .and_then(|der| PrivateKey::from_pkcs8(der).ok())
            .ok_or(IdentityError::Not("the private key is missing or damaged"))?;
        let hello = pem::take(&mut lines, HELLO)
            .and_then(|bytes| HelloKey::parse(&bytes).ok())
            .ok_or(IdentityError::Not("the hello key is missing or damaged"))?;
        if lines.next().is_some() {
            return Err(IdentityError::Not("something follows the hello key"));
        }
        let identity = Self { cluster, fingerprint, addresses, oldest_issuer, chain, key, hello };
        identity.check()?;
        Ok(identity)
    }

    /// Whether chain, fingerprint and key belong together. The time is left to
    /// who uses the identity: an expired one is still an identity file.
    fn check(&self) -> Result<(), IdentityError> {
        let leaf = self.chain.first().and_then(|der| read_leaf(der).ok());
        let leaf = leaf.ok_or(IdentityError::Not("a certificate is missing or damaged"))?;
        verify_chain(&self.chain, self.fingerprint, leaf.starts).map_err(|error| match error {
            CaError::OtherCluster { .. } => IdentityError::Not(
                "its certificates belong to another cluster than its fingerprint",
            ),
            _ => IdentityError::Not("its certificates do not form a chain"),
        })?;
        if leaf.key == super::key_digest(&self.key.public()) {
            Ok(())
        } else {
            Err(IdentityError::Not("the private key is not its certificate's"))
        }
    }
}

fn read_head(text: &str) -> Result<Head, IdentityError> {
    let head: Head = toml::from_str(text).map_err(|_| IdentityError::Not("its head is damaged"))?;
    if head.version == 0 {
        return Err(IdentityError::Not("its head is damaged"));
    }
    OtherFormat::check(head.version).map_err(IdentityError::Format)?;
    let sound = head.addresses.len() <= ADDRESSES && head.addresses.iter().all(|a| is_address(a));
    if sound { Ok(head) } else { Err(IdentityError::Not("its addresses are not host:port")) }
}

/// `host:port`: a name, an IPv4 address or an IPv6 address in brackets.
pub(crate) fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:[]%".contains(&byte);
    text.len() <= ADDRESS_BYTES
        && !host.is_empty()
        && host.bytes().all(sound)
        && port.parse::<u16>().is_ok_and(|port| port > 0)
}

pub(super) fn checksum(rest: &str) -> String {
    let mut bytes = [0; CHECKSUM_BYTES];
    blake3::Hasher::new().update(rest.as_bytes()).finalize_xof().fill(&mut bytes);
    BASE32_NOPAD.encode(&bytes).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::ca::{CertificateRole, Issuer, Root, Subject};
    use skep_core::base::{ClusterId, OperatorId};

    const NOW: Stamp = Stamp(1_800_000_000_000);

    fn identity() -> Identity {
        let name: Name = "prod".parse().expect("a name");
        let cluster = ClusterId::from_bytes([1; 16]);
        let root = Root::generate(cluster, &name, NOW).expect("a root");
        let key = PrivateKey::generate().expect("a key");
        let issuing = root.sign_issuing(&key.public(), cluster, NOW).expect("an issuing CA");
        let issuer = Issuer::new(issuing.clone(), key).expect("an issuer");
        let key = PrivateKey::generate().expect("a key");
        let role = CertificateRole::Operator(OperatorId::from_bytes([2; 16]));
        let subject = Subject { cluster, role, name: "admin".parse().expect("a name") };
        let leaf = issuer.sign_leaf(&key.public(), &subject, NOW, NOW.plus_ms(90_000));
        Identity {
            cluster: name,
            fingerprint: Fingerprint::of_root(&root.certificate),
            addresses: vec!["manager-1:4440".to_owned(), "[2001:db8::1]:4440".to_owned()],
            oldest_issuer: Stamp(1_700_000_000_000),
            chain: vec![leaf.expect("a leaf"), issuing, root.certificate],
            key,
            hello: hello(),
        }
    }

    fn hello() -> HelloKey {
        HelloKey::parse(&SecretBytes::copy_of(&[7; HELLO_BYTES])).expect("a hello key")
    }

    static TEXT: LazyLock<Vec<u8>> = LazyLock::new(|| identity().to_text().expose().to_vec());

    #[test]
    fn identities_are_written_and_read_alike() {
        let made = identity();
        let text = made.to_text();
        let read = Identity::parse(text.expose()).expect("an identity");
        assert_eq!(read.cluster, made.cluster);
        assert_eq!(read.fingerprint, made.fingerprint);
        assert_eq!(read.addresses, made.addresses);
        assert_eq!(read.oldest_issuer, made.oldest_issuer);
        assert_eq!(read.chain, made.chain);
        assert_eq!(read.key.public(), made.key.public());
        assert_eq!(read.hello.to_bytes().expose(), made.hello.to_bytes().expose());
        assert!(Identity::parse(text.expose().trim_ascii()).is_ok(), "a last line without its end");
    }

    #[test]
    fn the_head_is_toml() {
        let text = str::from_utf8(&TEXT).expect("text");
        let (head, blocks) = text.split_once("\n\n").expect("a head");
        let head: toml::Table = head.parse().expect("TOML");
        assert_eq!(head["version"].as_integer(), Some(i64::from(FORMAT)));
        assert_eq!(head["cluster"].as_str(), Some("prod"));
        assert_eq!(head["addresses"].as_array().map(Vec::len), Some(2));
        assert_eq!(blocks.matches("-----BEGIN CERTIFICATE-----").count(), 3);
        assert!(blocks.ends_with("-----END SKEP HELLO KEY-----\n"));
    }

    #[test]
    fn parts_that_do_not_belong_together_are_refused() {
        let reason = |made: &Identity| Identity::parse(made.to_text().expose()).err();
        let mut made = identity();
        made.key = PrivateKey::generate().expect("a key");
        let expected = IdentityError::Not("the private key is not its certificate's");
        assert_eq!(reason(&made), Some(expected));
        let mut made = identity();
        made.fingerprint = Fingerprint([0; 32]);
        let expected =
            IdentityError::Not("its certificates belong to another cluster than its fingerprint");
        assert_eq!(reason(&made), Some(expected));
        let mut made = identity();
        made.chain.swap(0, 1);
        assert!(reason(&made).is_some());
        let mut made = identity();
        made.chain.truncate(2);
        assert!(reason(&made).is_some());
    }

    #[test]
    fn every_byte_counts() {
        for at in 0..TEXT.len() - 1 {
            for change in [0x01, 0x20, 0x80] {
                let mut text = TEXT.clone();
                text[at] ^= change;
                assert!(Identity::parse(&text).is_err(), "byte {at}");
            }
            assert!(Identity::parse(&TEXT[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn hostile_texts_are_refused() {
        assert!(Identity::parse(&vec![b'a'; TEXT_BYTES + 1]).is_err());
        assert!(Identity::parse(b"").is_err());
        let nested = ["version = 10\nx = ", &"[".repeat(30_000)].concat();
        assert!(Identity::parse([nested.as_bytes(), b"\n\n"].concat().as_slice()).is_err());
        let twice = [&TEXT[..], &TEXT[..]].concat();
        assert!(Identity::parse(&twice).is_err());
        let windows = str::from_utf8(&TEXT).expect("text").replace('\n', "\r\n");
        assert!(Identity::parse(windows.as_bytes()).is_err());
    }

    #[test]
    fn only_addresses_are_written() {
        for bad in ["", "host", ":4440", "host:0", "host:99999", "a\"b:1", "a b:1", "a\n:1"] {
            assert!(!is_address(bad), "{bad}");
        }
        let mut made = identity();
        made.addresses.push("bad\"\n:1".to_owned());
        let read = Identity::parse(made.to_text().expose()).expect("an identity");
        assert_eq!(read.addresses.len(), 2);
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_found(at in 0..TEXT.len() - 1, change in 1_u8..) {
            let mut text = TEXT.clone();
            text[at] ^= change;
            prop_assert!(Identity::parse(&text).is_err());
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert!(Identity::parse(&bytes).is_err());
        }
    }
}
