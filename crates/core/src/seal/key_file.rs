//! A manager's key file (docs/keys.md, 2; bytes in docs/formats.md).

use super::construct::{BOX_OVERHEAD, context_hash, derive, open, seal, seal_to};
use super::{Dek, HelloSecret, RecipientKey, SealError, UnlockKey, labels};
use crate::base::{ClusterId, Dice, Key32, NodeId, OtherFormat, RecipientId, SecretBytes, limits};

/// The key under which one key file's body is sealed.
#[derive(Debug)]
pub struct FileKey(pub Key32);

/// What stands in the clear at the head of a key file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFileHeader {
    /// The cluster.
    pub cluster: ClusterId,
    /// The manager.
    pub node: NodeId,
    /// Grows by one each time the file is replaced.
    pub generation: u64,
    /// The manager's box public key (X25519).
    pub box_public: [u8; 32],
    /// The file key, boxed to each recipient.
    pub boxes: Vec<RecipientBox>,
}

/// The file key for one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipientBox {
    /// For whom.
    pub recipient: RecipientId,
    /// Box of the file key; cluster, node and generation are its context.
    pub bytes: Vec<u8>,
}

/// What a key file holds.
#[derive(Debug)]
pub struct KeyFileBody {
    /// The TLS private key, PKCS#8 DER.
    pub tls_key: SecretBytes,
    /// The certificate chain, DER: leaf, issuing CA, root.
    pub chain: Vec<Vec<u8>>,
    /// The private half of the box key.
    pub box_private: Key32,
    /// By which members are told from strangers; it is here before the state is.
    pub hello: HelloSecret,
    /// Under which the audit log is sealed: it outlives every data-encryption key.
    pub audit: Dek,
    /// The data-encryption keys, oldest first; the last one is in use.
    pub deks: Vec<Dek>,
}

/// A key file as it lies on disk.
#[derive(Debug)]
pub struct KeyFile {
    header: KeyFileHeader,
    sealed_body: Vec<u8>,
}

/// The first bytes: kind and format.
const MAGIC: &[u8; 8] = b"SKEPKEY\x0b";
const BOX: usize = BOX_OVERHEAD + 32;
/// Certificates in a chain, and data-encryption keys, that a file may hold.
const MOST: usize = 255;

impl KeyFile {
    /// Seals a new key file under a fresh file key, boxed to `recipients`.
    ///
    /// # Errors
    /// [`SealError::Malformed`] for no recipients or more than `limits::RECIPIENTS`.
    pub fn seal(
        dice: &mut dyn Dice,
        cluster: ClusterId,
        node: NodeId,
        generation: u64,
        recipients: &[RecipientKey],
        body: &KeyFileBody,
    ) -> Result<Self, SealError> {
        Self::seal_keeping(dice, cluster, node, generation, recipients, body).map(|(file, _)| file)
    }

    /// The same for who will put another body in its place: with the file key.
    ///
    /// # Errors
    /// As [`Self::seal`].
    pub fn seal_keeping(
        dice: &mut dyn Dice,
        cluster: ClusterId,
        node: NodeId,
        generation: u64,
        recipients: &[RecipientKey],
        body: &KeyFileBody,
    ) -> Result<(Self, FileKey), SealError> {
        if !(1..=limits::RECIPIENTS).contains(&recipients.len()) {
            return Err(SealError::Malformed);
        }
        let key = FileKey(Key32::draw(dice));
        let context = box_context(cluster, node, generation);
        let mut boxes = Vec::with_capacity(recipients.len());
        for recipient in recipients {
            let bytes = seal_to(dice, recipient.as_bytes(), &context, key.0.expose())?;
            boxes.push(RecipientBox { recipient: recipient.id(), bytes });
        }
        let box_public = super::BoxKey::new(copy(&body.box_private)?).public();
        let header = KeyFileHeader { cluster, node, generation, box_public, boxes };
        let sealed_body = seal(dice, &header.body_key(&key), body.to_bytes()?.expose())?;
        Ok((Self { header, sealed_body }, key))
    }

    /// The same file with another chain: its head, and with it every recipient's box, stays as
    /// it is, and the body is sealed anew under the same key with a fresh nonce.
    ///
    /// # Errors
    /// [`SealError::DoesNotOpen`], [`SealError::Malformed`].
    pub fn with_chain(
        &self,
        dice: &mut dyn Dice,
        key: &FileKey,
        chain: Vec<Vec<u8>>,
    ) -> Result<Self, SealError> {
        let body = KeyFileBody { chain, ..self.open(key)? };
        let header = self.header.clone();
        let sealed_body = seal(dice, &header.body_key(key), body.to_bytes()?.expose())?;
        Ok(Self { header, sealed_body })
    }

    /// The bytes to write.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.header.to_bytes();
        bytes.extend_from_slice(&self.sealed_body);
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`SealError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, SealError> {
        let (header, body) = KeyFileHeader::split(bytes)?;
        Ok(Self { header, sealed_body: body.to_vec() })
    }

    /// Whether these bytes are of the format that this build reads, as far as they are a key
    /// file at all.
    ///
    /// # Errors
    /// [`OtherFormat`].
    pub fn format(bytes: &[u8]) -> Result<(), OtherFormat> {
        let kind = MAGIC.split_last().map_or(&[][..], |(_, kind)| kind);
        match bytes.strip_prefix(kind).and_then(<[u8]>::first) {
            None | Some(0) => Ok(()),
            Some(number) => OtherFormat::check((*number).into()),
        }
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &KeyFileHeader {
        &self.header
    }

    /// Opens the body. The header is authenticated by it.
    ///
    /// # Errors
    /// [`SealError::DoesNotOpen`], [`SealError::Malformed`].
    pub fn open(&self, key: &FileKey) -> Result<KeyFileBody, SealError> {
        let body = open(&self.header.body_key(key), &self.sealed_body)?;
        KeyFileBody::parse(body.expose())
    }
}

fn copy(key: &Key32) -> Result<Key32, SealError> {
    Key32::copy_of(key.expose()).ok_or(SealError::Malformed)
}

fn box_context(cluster: ClusterId, node: NodeId, generation: u64) -> [u8; 32] {
    let fields: [&[u8]; 3] = [cluster.as_bytes(), node.as_bytes(), &generation.to_le_bytes()];
    context_hash(labels::KEY_FILE_BOX, &fields)
}

impl KeyFileHeader {
    /// The header as bytes: what a locked manager shows to `unlock`.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(self.cluster.as_bytes());
        bytes.extend_from_slice(self.node.as_bytes());
        bytes.extend_from_slice(&self.generation.to_le_bytes());
        bytes.extend_from_slice(&self.box_public);
        // `seal` and `split` keep to limits::RECIPIENTS, which fits a byte.
        bytes.push(u8::try_from(self.boxes.len()).unwrap_or(u8::MAX));
        for one in &self.boxes {
            bytes.extend_from_slice(one.recipient.as_bytes());
            bytes.extend_from_slice(&one.bytes);
        }
        bytes
    }

    /// Reads a header.
    ///
    /// # Errors
    /// [`SealError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, SealError> {
        match Self::split(bytes)? {
            (header, []) => Ok(header),
            _ => Err(SealError::Malformed),
        }
    }

    fn split(bytes: &[u8]) -> Result<(Self, &[u8]), SealError> {
        let mut reader = Reader(bytes);
        if reader.array::<8>()? != *MAGIC {
            return Err(SealError::Malformed);
        }
        let cluster = ClusterId::from_bytes(reader.array()?);
        let node = NodeId::from_bytes(reader.array()?);
        let generation = u64::from_le_bytes(reader.array()?);
        let box_public = reader.array()?;
        let [count] = reader.array()?;
        if !(1..=limits::RECIPIENTS).contains(&usize::from(count)) {
            return Err(SealError::Malformed);
        }
        let mut boxes = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            let recipient = RecipientId::from_bytes(reader.array()?);
            boxes.push(RecipientBox { recipient, bytes: reader.take(BOX)?.to_vec() });
        }
        Ok((Self { cluster, node, generation, box_public, boxes }, reader.0))
    }

    /// In the CLI: opens this manager's file key with an unlock key. The box is
    /// bound to this header's cluster, node and generation, so that one for this very key
    /// which does not open was changed, or the header around it.
    ///
    /// # Errors
    /// [`SealError::NotARecipient`], [`SealError::DoesNotOpen`].
    pub fn open_file_key(&self, key: &UnlockKey) -> Result<FileKey, SealError> {
        let own = key.recipient().id();
        let context = box_context(self.cluster, self.node, self.generation);
        let Some(mine) = self.boxes.iter().find(|one| one.recipient == own) else {
            // A box of this key under another's id: it is the header that is wrong.
            let moved = self.boxes.iter().any(|one| key.open_key(&context, &one.bytes).is_ok());
            return Err(if moved { SealError::DoesNotOpen } else { SealError::NotARecipient });
        };
        key.open_key(&context, &mine.bytes).map(FileKey)
    }

    fn body_key(&self, key: &FileKey) -> Key32 {
        derive(&key.0, labels::KEY_FILE_BODY, &[blake3::hash(&self.to_bytes()).as_bytes()])
    }
}

impl KeyFileBody {
    /// `length 4 ‖ TLS key`, `count 1 ‖ (length 4 ‖ certificate)…`, box key 32,
    /// hello secret 32, audit key 32, `count 1 ‖ DEK 32…`; into one buffer of the right size, which never grows.
    fn to_bytes(&self) -> Result<SecretBytes, SealError> {
        let chain: usize = self.chain.iter().map(|certificate| 4 + certificate.len()).sum();
        let mut bytes =
            SecretBytes::zeroed(4 + self.tls_key.len() + 1 + chain + 96 + 1 + 32 * self.deks.len());
        let mut writer = Writer(bytes.expose_mut());
        writer.sized(self.tls_key.expose())?;
        writer.count(self.chain.len())?;
        for certificate in &self.chain {
            writer.sized(certificate)?;
        }
        writer.put(self.box_private.expose())?;
        writer.put(self.hello.expose())?;
        writer.put(self.audit.expose())?;
        writer.count(self.deks.len())?;
        for dek in &self.deks {
            writer.put(dek.expose())?;
        }
        Ok(bytes)
    }

    fn parse(bytes: &[u8]) -> Result<Self, SealError> {
        let mut reader = Reader(bytes);
        let tls_key = SecretBytes::copy_of(reader.sized()?);
        let [certificates] = reader.array()?;
        let chain = (0..certificates)
            .map(|_| reader.sized().map(<[u8]>::to_vec))
            .collect::<Result<_, _>>()?;
        let box_private = reader.key()?;
        let hello = HelloSecret::new(reader.key()?);
        let audit = Dek::new(reader.key()?);
        let [keys] = reader.array()?;
        let deks: Vec<Dek> =
            (0..keys).map(|_| reader.key().map(Dek::new)).collect::<Result<_, _>>()?;
        if !reader.0.is_empty() || deks.is_empty() {
            return Err(SealError::Malformed);
        }
        Ok(Self { tls_key, chain, box_private, hello, audit, deks })
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], SealError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(SealError::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], SealError> {
        self.take(N)?.try_into().ok().ok_or(SealError::Malformed)
    }

    fn sized(&mut self) -> Result<&'a [u8], SealError> {
        let length =
            usize::try_from(u32::from_le_bytes(self.array()?)).ok().ok_or(SealError::Malformed)?;
        self.take(length)
    }

    fn key(&mut self) -> Result<Key32, SealError> {
        Key32::copy_of(self.take(32)?).ok_or(SealError::Malformed)
    }
}

struct Writer<'a>(&'a mut [u8]);

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), SealError> {
        let (place, rest) = std::mem::take(&mut self.0)
            .split_at_mut_checked(bytes.len())
            .ok_or(SealError::Malformed)?;
        place.copy_from_slice(bytes);
        self.0 = rest;
        Ok(())
    }

    fn sized(&mut self, bytes: &[u8]) -> Result<(), SealError> {
        let length = u32::try_from(bytes.len()).ok().ok_or(SealError::Malformed)?;
        self.put(&length.to_le_bytes())?;
        self.put(bytes)
    }

    fn count(&mut self, count: usize) -> Result<(), SealError> {
        debug_assert!(count <= MOST, "a chain or a ring of keys fits a byte");
        self.put(&[u8::try_from(count).ok().ok_or(SealError::Malformed)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Fingerprint;
    use crate::base::testing::Seeded;

    fn body(dice: &mut Seeded) -> KeyFileBody {
        KeyFileBody {
            tls_key: SecretBytes::copy_of(b"tls key"),
            chain: vec![b"leaf".to_vec(), b"issuing".to_vec(), b"root".to_vec()],
            box_private: Key32::draw(dice),
            hello: HelloSecret::new(Key32::draw(dice)),
            audit: Dek::draw(dice),
            deks: vec![Dek::draw(dice), Dek::draw(dice)],
        }
    }

    fn unlock_key(seed: u64) -> UnlockKey {
        UnlockKey::draw(&mut Seeded::new(seed), Fingerprint([1; 32]))
    }

    fn file(keys: &[&UnlockKey]) -> KeyFile {
        let mut dice = Seeded::new(7);
        let recipients: Vec<_> = keys.iter().map(|key| key.recipient()).collect();
        let body = body(&mut dice);
        KeyFile::seal(
            &mut dice,
            ClusterId::from_bytes([2; 16]),
            NodeId::from_bytes([3; 16]),
            4,
            &recipients,
            &body,
        )
        .unwrap()
    }

    #[test]
    fn the_last_byte_of_the_kind_is_the_format() {
        assert_eq!(MAGIC.last().map(|number| u32::from(*number)), Some(crate::base::FORMAT));
        let of = |number: u8| KeyFile::format(&[b"SKEPKEY", &[number, 7, 7][..]].concat());
        assert_eq!((of(1), of(12)), (Err(OtherFormat::Older(1)), Err(OtherFormat::Newer(12))));
        assert_eq!((of(11), of(0), KeyFile::format(b"SKEP")), (Ok(()), Ok(()), Ok(())));
    }

    #[test]
    fn every_recipient_opens_the_body() {
        let (one, two, other) = (unlock_key(1), unlock_key(2), unlock_key(3));
        let file = KeyFile::parse(&file(&[&one, &two]).to_bytes()).unwrap();
        let header = KeyFileHeader::parse(&file.header().to_bytes()).unwrap();
        assert_eq!(&header, file.header());
        assert_eq!(header.generation, 4);
        for key in [&one, &two] {
            let opened = file.open(&header.open_file_key(key).unwrap()).unwrap();
            assert_eq!(opened.tls_key.expose(), b"tls key");
            assert_eq!(opened.chain.last().unwrap(), b"root");
            assert_eq!(opened.deks.len(), 2);
        }
        assert_eq!(header.open_file_key(&other).err(), Some(SealError::NotARecipient));
    }

    #[test]
    fn another_chain_leaves_the_boxes_and_the_rest_of_the_body_as_they_are() {
        let (key, other) = (unlock_key(1), unlock_key(2));
        let before = file(&[&key, &other]);
        let file_key = before.header().open_file_key(&key).unwrap();
        let dice = &mut Seeded::new(9);
        let after = before.with_chain(dice, &file_key, vec![b"next".to_vec()]).unwrap();
        assert_eq!(after.header(), before.header());
        assert_ne!(after.sealed_body, before.sealed_body);
        let opened = after.open(&after.header().open_file_key(&other).unwrap()).unwrap();
        let old = before.open(&file_key).unwrap();
        assert_eq!(opened.chain, [b"next".to_vec()]);
        assert_eq!(opened.tls_key.expose(), old.tls_key.expose());
        assert_eq!(opened.box_private.expose(), old.box_private.expose());
        let wrong = FileKey(Key32::draw(dice));
        assert!(before.with_chain(dice, &wrong, Vec::new()).is_err());
    }

    #[test]
    fn p6_no_byte_of_a_key_file_can_be_changed() {
        let key = unlock_key(1);
        let bytes = file(&[&key]).to_bytes();
        let open = |bytes: &[u8]| {
            let file = KeyFile::parse(bytes)?;
            file.open(&file.header().open_file_key(&key)?).map(|_| ())
        };
        assert_eq!(open(&bytes), Ok(()));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x80;
            let error = open(&changed).expect_err("changed");
            assert_ne!(error, SealError::NotARecipient, "byte {at}: the key is right");
            assert!(open(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn p6_an_older_box_does_not_serve_a_newer_generation() {
        let key = unlock_key(1);
        let mut header = file(&[&key]).header().clone();
        header.generation += 1;
        assert_eq!(header.open_file_key(&key).err(), Some(SealError::DoesNotOpen));
    }
}
