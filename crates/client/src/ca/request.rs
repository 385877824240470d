//! How somebody becomes an operator whose private key never leaves its machine: three texts.
//!
//! The one who is to become one makes a key and a request for it; an admin answers the request
//! with a certificate; key and answer together are the identity. Each text is a TOML head and PEM
//! blocks, and has exactly one form, as the identity file has (`identity`).

use serde::Deserialize;
use zeroize::Zeroizing;

use super::identity::{ADDRESSES, checksum, is_address};
use super::{
    CaError, Identity, PrivateKey, certificate_request, key_digest, pem, public_key_of_request,
    read_leaf, verify_chain,
};
use skep_core::base::{FORMAT, Fingerprint, Name, OtherFormat, SecretBytes, Stamp};
use skep_core::seal::HelloKey;

/// Bytes of a text that are read: an answer takes about 5 KiB.
const TEXT_BYTES: usize = 64 * 1024;
const REQUEST: &str = "CERTIFICATE REQUEST";
const KEY: &str = "PRIVATE KEY";
const CERTIFICATE: &str = "CERTIFICATE";
const HELLO: &str = "SKEP HELLO KEY";

/// Text that is none of these. It is never quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It is something else, or was changed.
    #[error("is not {what}: {why}")]
    Not {
        /// What it should be.
        what: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Of another format than this build reads.
    #[error("it was {0}")]
    Format(OtherFormat),
    /// A key that is sealed under a passphrase, and there is none.
    #[error("the key is encrypted with a passphrase")]
    Encrypted,
    /// It is sealed under another one.
    #[error("wrong passphrase")]
    WrongPassphrase,
    /// An answer to another request.
    #[error("the answer is for another key: it was made for another request")]
    OtherKey,
    /// An answer by another cluster than the request was for.
    #[error("the answer is of another cluster than the request was made for")]
    OtherCluster,
}

/// The private half of a request, which stays where it was made.
#[derive(Debug)]
pub struct RequestKey {
    /// The cluster that it is for, where that was said.
    pub fingerprint: Option<Fingerprint>,
    /// The key.
    pub key: PrivateKey,
}

/// What an admin is handed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorRequest {
    /// The cluster that it is for, where that was said.
    pub fingerprint: Option<Fingerprint>,
    /// PKCS#10: proves possession of the key, and says nothing else.
    pub proof: Vec<u8>,
}

/// What an admin hands back: all of an identity but its key.
#[derive(Debug)]
pub struct OperatorAnswer {
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
    /// By which managers tell its connections from strangers'.
    pub hello: HelloKey,
}

/// What every text of these begins with, and what an answer has beside.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    version: u32,
    checksum: String,
    #[serde(default)]
    pub(super) fingerprint: String,
    #[serde(default)]
    pub(super) passphrase: Option<String>,
    #[serde(default)]
    pub(super) public_key: Option<String>,
    #[serde(default)]
    cluster: String,
    #[serde(default)]
    oldest_issuer: u64,
    #[serde(default)]
    addresses: Vec<String>,
}

/// What a text is, for its errors.
#[derive(Clone, Copy)]
pub(super) struct RequestText(&'static str);

impl RequestText {
    pub(super) const fn not(self, why: &'static str) -> RequestError {
        RequestError::Not { what: self.0, why }
    }

    pub(super) const fn damaged(self) -> RequestError {
        self.not("its checksum does not fit: it was edited or damaged")
    }

    /// Head and blocks of a text, where its checksum fits.
    pub(super) fn open(self, text: &[u8]) -> Result<(Head, &str), RequestError> {
        if text.len() > TEXT_BYTES {
            return Err(self.not("it is longer than 64 KiB"));
        }
        let text = str::from_utf8(text).map_err(|_| self.not("it is not text"))?.trim_ascii();
        let (head, blocks) = text.split_once("\n\n").ok_or(self.not("it has no head"))?;
        let head: Head = toml::from_str(head).map_err(|_| self.not("its head is damaged"))?;
        if head.version == 0 {
            return Err(self.not("its head is damaged"));
        }
        OtherFormat::check(head.version).map_err(RequestError::Format)?;
        let rest = text.splitn(3, '\n').nth(2).ok_or(self.damaged())?;
        if checksum(rest) != head.checksum {
            return Err(self.damaged());
        }
        Ok((head, blocks))
    }

    pub(super) fn fingerprint(self, text: &str) -> Result<Option<Fingerprint>, RequestError> {
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| self.damaged())
    }

    /// The one block of a text that has no other.
    pub(super) fn only(self, blocks: &str, label: &str) -> Result<SecretBytes, RequestError> {
        let mut lines = blocks.split('\n');
        let block = pem::take(&mut lines, label).ok_or(self.not("a part of it is missing"))?;
        if lines.next().is_some() {
            return Err(self.not("something follows its end"));
        }
        Ok(block)
    }

    /// Whether a text is written as what was read of it is.
    pub(super) fn is_the_same(self, text: &[u8], again: &SecretBytes) -> Result<(), RequestError> {
        if again.expose().trim_ascii() == text.trim_ascii() { Ok(()) } else { Err(self.damaged()) }
    }
}

/// A text with its head's first lines before the rest.
fn closed(rest: &str) -> SecretBytes {
    let mut text = Zeroizing::new(String::with_capacity(rest.len() + 96));
    for part in
        ["version = ", &FORMAT.to_string(), "\nchecksum = \"", &checksum(rest), "\"\n", rest]
    {
        text.push_str(part);
    }
    text.push('\n');
    SecretBytes::copy_of(text.as_bytes())
}

/// A buffer for a text of these blocks: one that grows would leave copies of a key behind.
pub(super) fn buffer(blocks: &[(&str, usize)]) -> Zeroizing<String> {
    let blocks: usize = blocks.iter().map(|(label, bytes)| pem::size(label, *bytes)).sum();
    Zeroizing::new(String::with_capacity(16 * 1024 + blocks))
}

pub(super) fn push_fingerprint(text: &mut String, fingerprint: Option<Fingerprint>) {
    text.push_str("fingerprint = \"");
    text.push_str(&fingerprint.map(|of| of.to_string()).unwrap_or_default());
    text.push_str("\"\n");
}

pub(super) fn trimmed(text: &mut String) -> SecretBytes {
    text.truncate(text.trim_ascii_end().len());
    closed(text)
}

impl RequestKey {
    pub(super) const KIND: RequestText = RequestText("the key of a request for an identity");

    /// Makes a key, for the cluster of this fingerprint if one is known.
    ///
    /// # Errors
    /// None in practice.
    pub fn generate(fingerprint: Option<Fingerprint>) -> Result<Self, CaError> {
        Ok(Self { fingerprint, key: PrivateKey::generate()? })
    }

    /// The request for it.
    ///
    /// # Errors
    /// None in practice.
    pub fn request(&self) -> Result<OperatorRequest, CaError> {
        let proof = certificate_request(&self.key)?;
        Ok(OperatorRequest { fingerprint: self.fingerprint, proof })
    }

    /// As it is written into a file of its owner's alone.
    #[must_use]
    pub fn to_text(&self) -> SecretBytes {
        let key = self.key.expose();
        let mut text = buffer(&[(KEY, key.len())]);
        push_fingerprint(&mut text, self.fingerprint);
        text.push('\n');
        pem::push(&mut text, KEY, key);
        trimmed(&mut text)
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn parse(text: &[u8]) -> Result<Self, RequestError> {
        let kind = Self::KIND;
        let (head, blocks) = kind.open(text)?;
        let key = PrivateKey::from_pkcs8(kind.only(blocks, KEY)?).map_err(|_| kind.damaged())?;
        let read = Self { fingerprint: kind.fingerprint(&head.fingerprint)?, key };
        kind.is_the_same(text, &read.to_text())?;
        Ok(read)
    }

    /// The identity that comes of this key and the answer to its request.
    ///
    /// # Errors
    /// [`RequestError`]: the answer is for another key, or of another cluster.
    pub fn accept(self, answer: OperatorAnswer) -> Result<Identity, RequestError> {
        if self.fingerprint.is_some_and(|wanted| wanted != answer.fingerprint) {
            return Err(RequestError::OtherCluster);
        }
        let leaf = answer.chain.first().and_then(|der| read_leaf(der).ok());
        if leaf.is_none_or(|leaf| leaf.key != key_digest(&self.key.public())) {
            return Err(RequestError::OtherKey);
        }
        let OperatorAnswer { cluster, fingerprint, addresses, oldest_issuer, chain, hello } =
            answer;
        let (key, sealed) = (self.key, None);
        Ok(Identity { cluster, fingerprint, addresses, oldest_issuer, chain, key, hello, sealed })
    }
}

impl OperatorRequest {
    const KIND: RequestText = RequestText("a request for an identity");

    /// The public key (SPKI DER) that it is for.
    ///
    /// # Errors
    /// [`CaError`]: it proves nothing.
    pub fn public_key(&self) -> Result<Vec<u8>, CaError> {
        public_key_of_request(&self.proof)
    }

    /// As it is handed to an admin. Nothing in it is secret.
    #[must_use]
    pub fn to_text(&self) -> SecretBytes {
        let mut text = buffer(&[(REQUEST, self.proof.len())]);
        push_fingerprint(&mut text, self.fingerprint);
        text.push('\n');
        pem::push(&mut text, REQUEST, &self.proof);
        trimmed(&mut text)
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn parse(text: &[u8]) -> Result<Self, RequestError> {
        let kind = Self::KIND;
        let (head, blocks) = kind.open(text)?;
        let proof = kind.only(blocks, REQUEST)?.expose().to_vec();
        let read = Self { fingerprint: kind.fingerprint(&head.fingerprint)?, proof };
        if read.public_key().is_err() {
            return Err(kind.not("it does not prove that anybody has its key"));
        }
        kind.is_the_same(text, &read.to_text())?;
        Ok(read)
    }
}

impl OperatorAnswer {
    const KIND: RequestText = RequestText("an answer to a request for an identity");

    /// As it is handed back. Whoever else has it can do nothing with it but be taken for a member
    /// before it has shown a certificate.
    #[must_use]
    pub fn to_text(&self) -> SecretBytes {
        let hello = self.hello.to_bytes();
        let mut sizes: Vec<_> = self.chain.iter().map(|der| (CERTIFICATE, der.len())).collect();
        sizes.push((HELLO, hello.len()));
        let mut text = buffer(&sizes);
        push_fingerprint(&mut text, Some(self.fingerprint));
        for part in ["cluster = \"", self.cluster.as_str(), "\"\noldest_issuer = "] {
            text.push_str(part);
        }
        text.push_str(&self.oldest_issuer.0.to_string());
        text.push_str("\naddresses = [\n");
        for address in self.addresses.iter().filter(|text| is_address(text)).take(ADDRESSES) {
            for part in ["    \"", address, "\",\n"] {
                text.push_str(part);
            }
        }
        text.push_str("]\n\n");
        for certificate in &self.chain {
            pem::push(&mut text, CERTIFICATE, certificate);
        }
        pem::push(&mut text, HELLO, hello.expose());
        trimmed(&mut text)
    }

    /// Reads it. Its chain must verify, but for the time.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn parse(text: &[u8]) -> Result<Self, RequestError> {
        let kind = Self::KIND;
        let (head, blocks) = kind.open(text)?;
        let fingerprint = kind.fingerprint(&head.fingerprint)?.ok_or(kind.damaged())?;
        let cluster = head.cluster.parse().map_err(|_| kind.damaged())?;
        let mut lines = blocks.split('\n');
        let missing = kind.not("a part of it is missing");
        let mut chain = Vec::with_capacity(3);
        for _ in 0..3 {
            let der = pem::take(&mut lines, CERTIFICATE).ok_or(missing)?;
            chain.push(der.expose().to_vec());
        }
        let hello = pem::take(&mut lines, HELLO).and_then(|bytes| HelloKey::parse(&bytes).ok());
        let hello = hello.ok_or(missing)?;
        if lines.next().is_some() {
            return Err(kind.not("something follows its end"));
        }
        let leaf = chain.first().and_then(|der| read_leaf(der).ok()).ok_or(missing)?;
        verify_chain(&chain, fingerprint, leaf.starts)
            .map_err(|_| kind.not("its certificates do not form a chain to its fingerprint"))?;
        let (addresses, oldest_issuer) = (head.addresses, Stamp(head.oldest_issuer));
        let read = Self { cluster, fingerprint, addresses, oldest_issuer, chain, hello };
        kind.is_the_same(text, &read.to_text())?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    use crate::ca::{CertificateRole, Issuer, Root, Subject};
    use skep_core::base::{ClusterId, OperatorId};

    const NOW: Stamp = Stamp(1_800_000_000_000);

    /// The answer of a cluster to a request.
    fn answer(request: &OperatorRequest) -> OperatorAnswer {
        let name: Name = "prod".parse().expect("a name");
        let cluster = ClusterId::from_bytes([1; 16]);
        let root = Root::generate(cluster, &name, NOW).expect("a root");
        let fingerprint = Fingerprint::of_root(&root.certificate);
        let key = PrivateKey::generate().expect("a key");
        let issuing = root.sign_issuing(&key.public(), cluster, NOW).expect("an issuing CA");
        let issuer = Issuer::new(issuing.clone(), key).expect("an issuer");
        let role = CertificateRole::Operator(OperatorId::from_bytes([2; 16]));
        let subject = Subject { cluster, role, name: name.clone() };
        let public = request.public_key().expect("a public key");
        let leaf = issuer.sign_leaf(&public, &subject, NOW, NOW.plus_ms(1_000_000));
        OperatorAnswer {
            cluster: name,
            fingerprint,
            addresses: vec!["m1:4440".to_owned()],
            oldest_issuer: Stamp(5),
            chain: vec![leaf.expect("a leaf"), issuing, root.certificate],
            hello: HelloKey::parse(&SecretBytes::copy_of(&[7; 64])).expect("a hello key"),
        }
    }

    #[test]
    fn key_and_answer_make_an_identity_and_nothing_else_does() {
        let made = RequestKey::generate(None).expect("a key");
        let key = RequestKey::parse(made.to_text().expose()).expect("read");
        let request = made.request().expect("a request");
        assert_eq!(OperatorRequest::parse(request.to_text().expose()), Ok(request.clone()));
        let text = answer(&request).to_text();
        let read = || OperatorAnswer::parse(text.expose()).expect("read");
        let identity = key.accept(read()).expect("an identity");
        assert!(Identity::parse(identity.to_text().expose()).is_ok());

        let other = RequestKey::generate(None).expect("a key");
        assert_eq!(other.accept(read()).expect_err("refused"), RequestError::OtherKey);
        let elsewhere = Some(Fingerprint([9; 32]));
        let bound = RequestKey { fingerprint: elsewhere, key: made.key };
        assert_eq!(bound.accept(read()).expect_err("refused"), RequestError::OtherCluster);
    }

    #[test]
    fn one_is_not_taken_for_another() {
        let key = RequestKey::generate(Some(Fingerprint([9; 32]))).expect("a key");
        let request = key.request().expect("a request");
        let answer = answer(&request);
        let texts = [key.to_text(), request.to_text(), answer.to_text()];
        for (n, text) in texts.iter().enumerate() {
            let text = text.expose();
            assert_eq!(RequestKey::parse(text).is_ok(), n == 0);
            assert_eq!(OperatorRequest::parse(text).is_ok(), n == 1);
            assert_eq!(OperatorAnswer::parse(text).is_ok(), n == 2);
            assert!(Identity::parse(text).is_err());
        }
        let read = OperatorRequest::parse(texts[1].expose()).expect("a request");
        assert_eq!(read.fingerprint, Some(Fingerprint([9; 32])));
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_found(at in any::<prop::sample::Index>(), change in 1_u8..) {
            let key = RequestKey::generate(None).expect("a key");
            let request = key.request().expect("a request");
            let mut text = request.to_text().expose().to_vec();
            let at = at.index(text.len() - 1);
            text[at] ^= change;
            prop_assert!(OperatorRequest::parse(&text).is_err());
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert!(RequestKey::parse(&bytes).is_err());
            prop_assert!(OperatorRequest::parse(&bytes).is_err());
            prop_assert!(OperatorAnswer::parse(&bytes).is_err());
        }
    }
}
