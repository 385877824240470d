//! The 128 bytes in the clear before every sealed file, and the keys they lead to.

use super::cursor::Cursor;
use super::error::StoreError;
use skep_core::base::{ClusterId, Dice, FORMAT, NodeId, OtherFormat, draw};
use skep_core::seal::{Dek, RecordKey, SegmentPlace};

/// Bytes of a clear header.
pub(super) const HEADER: usize = 128;
const HASHED: usize = 112;

/// Whether a name is that of a file that was never finished: `Disk::replace` and
/// snapshots write under such names first.
pub(super) fn is_temporary(name: &str) -> bool {
    name.strip_suffix(".tmp").is_some()
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    Log,
    Manifest,
    Snapshot,
    Renewal,
    Reached,
    /// Lines of the audit log: what the cluster applied.
    Commands,
    /// The same: what this manager did.
    Acts,
}

impl FileKind {
    fn magic(self) -> [u8; 8] {
        *match self {
            Self::Log => b"SKEPLOG\0",
            Self::Manifest => b"SKEPMAN\0",
            Self::Snapshot => b"SKEPSNP\0",
            Self::Renewal => b"SKEPNEW\0",
            Self::Reached => b"SKEPEND\0",
            Self::Commands => b"SKEPCMD\0",
            Self::Acts => b"SKEPACT\0",
        }
    }

    fn letter(self) -> u8 {
        match self {
            Self::Log => b'L',
            Self::Manifest => b'M',
            Self::Snapshot => b'S',
            Self::Renewal => b'R',
            Self::Reached => b'E',
            Self::Commands => b'C',
            Self::Acts => b'A',
        }
    }
}

/// Whose files these are, and the data-encryption keys, oldest first.
#[derive(Debug)]
pub struct Keys {
    cluster: ClusterId,
    node: NodeId,
    deks: Vec<Dek>,
    newest: Dek,
}

impl Keys {
    /// From the key file's keys, oldest first; `None` if there is none.
    #[must_use]
    pub fn new(cluster: ClusterId, node: NodeId, mut deks: Vec<Dek>) -> Option<Self> {
        let newest = deks.pop()?;
        Some(Self { cluster, node, deks, newest })
    }

    fn dek(&self, id: [u8; 16]) -> Option<&Dek> {
        std::iter::once(&self.newest).chain(self.deks.iter().rev()).find(|dek| dek.id() == id)
    }

    fn place(&self, kind: FileKind, number: u64, salt: [u8; 32]) -> SegmentPlace {
        SegmentPlace { cluster: self.cluster, node: self.node, kind: kind.letter(), number, salt }
    }

    /// A new file's header and the key of its records, under the newest key.
    pub(super) fn begin(
        &self,
        dice: &mut dyn Dice,
        kind: FileKind,
        number: u64,
    ) -> ([u8; HEADER], RecordKey) {
        let salt = draw(dice);
        let mut bytes = Vec::with_capacity(HEADER);
        bytes.extend(kind.magic());
        bytes.extend(FORMAT.to_le_bytes());
        bytes.extend(self.cluster.as_bytes());
        bytes.extend(self.node.as_bytes());
        bytes.extend(number.to_le_bytes());
        bytes.extend(salt);
        bytes.extend(self.newest.id());
        bytes.resize(HASHED, 0);
        let hash = blake3::hash(&bytes);
        let mut header = [0; HEADER];
        for (to, from) in header.iter_mut().zip(bytes.iter().chain(hash.as_bytes())) {
            *to = *from;
        }
        (header, self.newest.segment(&self.place(kind, number, salt)))
    }

    /// The key of the records of the file that begins with `bytes`.
    pub(super) fn open(
        &self,
        kind: FileKind,
        number: u64,
        file: &str,
        bytes: &[u8],
    ) -> Result<RecordKey, StoreError> {
        let damaged = |why: &str| StoreError::damaged(file, 0, why);
        let short = || damaged("the header is cut off");
        let hashed = bytes.get(..HASHED).ok_or_else(short)?;
        let hash = bytes.get(HASHED..HEADER).ok_or_else(short)?;
        if Some(hash) != blake3::hash(hashed).as_bytes().get(..HEADER - HASHED) {
            return Err(damaged("the header is damaged"));
        }
        let mut fields = Cursor(hashed);
        let magic: [u8; 8] = fields.array().ok_or_else(short)?;
        let version = fields.u32().ok_or_else(short)?;
        if magic == kind.magic()
            && version != 0
            && let Err(format) = OtherFormat::check(version)
        {
            return Err(StoreError::Format { file: file.to_owned(), format });
        }
        let cluster: [u8; 16] = fields.array().ok_or_else(short)?;
        let node: [u8; 16] = fields.array().ok_or_else(short)?;
        let found = fields.u64().ok_or_else(short)?;
        let salt = fields.array().ok_or_else(short)?;
        let dek = fields.array().ok_or_else(short)?;
        if magic != kind.magic() || version == 0 {
            return Err(damaged("it is another kind of file"));
        }
        if ClusterId::from_bytes(cluster) != self.cluster {
            return Err(damaged("it belongs to another cluster"));
        }
        if NodeId::from_bytes(node) != self.node {
            return Err(damaged("it belongs to another manager"));
        }
        if found != number {
            return Err(damaged("it stands under another number's name"));
        }
        let dek = self.dek(dek).ok_or_else(|| {
            damaged("it is sealed under a data-encryption key that the key file does not hold")
        })?;
        Ok(dek.segment(&self.place(kind, number, salt)))
    }
}
/// A segment's file name.
pub(super) fn segment_name(number: u64) -> String {
    format!("{number:016}.seg")
}
