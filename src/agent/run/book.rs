//! What an agent keeps in its data directory beside its identity: `state.toml`
//! (epoch, revision, managers, what is placed, what is up by hand),
//! `workloads` (processes that use secrets, for the next start; `notes` writes it) and
//! `volumes.toml` (a container engine's volumes, and which of them are mounted).
//!
//! No value and no key is ever in it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::notes::Notes;
use crate::agent::session::Memory;
use crate::agent::workload::{Record, VolumeList, roster, volume};
use skep_core::base::{Disk, Epoch, FORMAT, OtherFormat, Revision, ServiceId};
use skep_core::wire::delivery::Placed;

/// Bytes of one of these files: 10,000 services with the longest names fit in it, and
/// three lines for each of 16,384 workloads.
const FILE_BYTES: u64 = 8 * 1024 * 1024;

/// A file that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// Something is there, and what it holds the system does not tell.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
    /// Not what this program writes.
    #[error("{} is damaged", .0.display())]
    Damaged(PathBuf),
    /// Of another format than this build reads.
    #[error("{} was {format}", path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// Which one.
        format: OtherFormat,
    },
}

/// The files.
pub struct Book {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
}

impl std::fmt::Debug for Book {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Book({})", self.folder.display())
    }
}

#[derive(Serialize, Deserialize)]
struct State {
    version: u32,
    epoch: u64,
    epoch_tail: String,
    revision: u64,
    #[serde(default)]
    cluster: String,
    #[serde(default)]
    managers: Vec<String>,
    /// By service id.
    #[serde(default)]
    manual: BTreeMap<String, String>,
    /// Absent where no leader ever said.
    placed: Option<Vec<StoredPlaced>>,
}

#[derive(Serialize, Deserialize)]
struct StoredPlaced {
    id: String,
    name: String,
    owner_uid: u32,
    always: bool,
    grants: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    units: Vec<String>,
}

#[derive(Deserialize)]
struct AnyVersion {
    version: u32,
}

impl Book {
    /// The files in this folder.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, folder: &Path) -> Self {
        Self { disk, folder: folder.to_owned() }
    }

    fn state(&self) -> PathBuf {
        self.folder.join("state.toml")
    }

    fn volumes(&self) -> PathBuf {
        self.folder.join("volumes.toml")
    }

    fn roster(&self) -> PathBuf {
        self.folder.join("workloads")
    }

    /// What was kept; nothing on the first start.
    ///
    /// # Errors
    /// [`BookError`]: damaged is never taken for absent.
    pub fn load(&self) -> Result<Memory, BookError> {
        let path = self.state();
        match self.text(&path)? {
            Some(text) => read(&text).ok_or(BookError::Damaged(path)),
            None => Ok(Memory::default()),
        }
    }

    /// Keeps it. What goes wrong is logged: secrets stay in place all the same,
    /// and the leader tells again what could not be kept.
    pub(super) fn save(&self, memory: &Memory) {
        match toml::to_string(&stored(memory)) {
            Ok(text) => self.write(&self.state(), text.as_bytes()),
            Err(error) => tracing::error!(event = "state_not_written", %error),
        }
    }

    /// The workloads that were written down in this boot.
    ///
    /// # Errors
    /// [`BookError`].
    pub fn load_roster(&self, boot_id: &str) -> Result<Vec<Record>, BookError> {
        let path = self.roster();
        let Some(bytes) = self.bytes(&path)? else { return Ok(Vec::new()) };
        roster::read(&bytes, boot_id).map_err(|why| match why {
            roster::NoRoster::Format(format) => BookError::Format { path, format },
            roster::NoRoster::Damaged => BookError::Damaged(path),
        })
    }

    /// The engine's volumes, and those of their mounts that are of this boot.
    ///
    /// # Errors
    /// [`BookError`].
    pub fn load_volumes(&self, boot_id: &str) -> Result<VolumeList, BookError> {
        let path = self.volumes();
        let Some(text) = self.text(&path)? else { return Ok(VolumeList::default()) };
        volume::read(&text, boot_id).ok_or(BookError::Damaged(path))
    }

    /// Keeps them; what goes wrong is logged.
    pub(in crate::agent) fn save_volumes(&self, list: &VolumeList, boot_id: &str) {
        self.write(&self.volumes(), volume::write(list, boot_id).as_bytes());
    }

    /// Where workloads are written down from now on.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn notes(&self, boot_id: &str) -> io::Result<Notes> {
        Notes::start(Arc::clone(&self.disk), self.roster(), boot_id.to_owned())
    }

    fn write(&self, path: &Path, bytes: &[u8]) {
        if let Err(error) = self.disk.replace(path, bytes) {
            tracing::error!(event = "state_not_written", path = %path.display(), %error);
        }
    }

    fn bytes(&self, path: &Path) -> Result<Option<Vec<u8>>, BookError> {
        match self.disk.read(path, FILE_BYTES) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(BookError::Unreadable { path: path.to_owned(), source }),
        }
    }

    fn text(&self, path: &Path) -> Result<Option<String>, BookError> {
        let Some(bytes) = self.bytes(path)? else { return Ok(None) };
        let damaged = || BookError::Damaged(path.to_owned());
        let text = String::from_utf8(bytes).ok().ok_or_else(damaged)?;
        let any: AnyVersion = toml::from_str(&text).ok().ok_or_else(damaged)?;
        if any.version == 0 {
            return Err(damaged());
        }
        OtherFormat::check(any.version)
            .map_err(|format| BookError::Format { path: path.to_owned(), format })?;
        Ok(Some(text))
    }
}

fn stored(memory: &Memory) -> State {
    let placed = memory.placed.as_ref().map(|placed| {
        let one = |placed: &Placed| StoredPlaced {
            id: placed.id.to_string(),
            name: placed.name.to_string(),
            owner_uid: placed.owner_uid,
            always: placed.always,
            grants: placed.grants,
            units: placed.units.iter().map(ToString::to_string).collect(),
        };
        placed.iter().map(one).collect()
    });
    State {
        version: FORMAT,
        epoch: memory.epoch.counter,
        epoch_tail: data_encoding::HEXLOWER.encode(&memory.epoch.tail),
        revision: memory.revision.0,
        cluster: memory.cluster.clone(),
        managers: memory.managers.clone(),
        manual: memory.manual.iter().map(|(id, name)| (id.to_string(), name.to_string())).collect(),
        placed,
    }
}

fn read(text: &str) -> Option<Memory> {
    let state: State = toml::from_str(text).ok()?;
    let tail = data_encoding::HEXLOWER.decode(state.epoch_tail.as_bytes()).ok()?;
    let one = |placed: StoredPlaced| {
        Some(Placed {
            id: placed.id.parse().ok()?,
            name: placed.name.parse().ok()?,
            owner_uid: placed.owner_uid,
            always: placed.always,
            grants: placed.grants,
            units: placed.units.iter().map(|unit| unit.parse().ok()).collect::<Option<_>>()?,
        })
    };
    let placed = match state.placed {
        Some(placed) => Some(placed.into_iter().map(one).collect::<Option<Vec<_>>>()?),
        None => None,
    };
    let manual = state.manual.into_iter();
    Some(Memory {
        epoch: Epoch { counter: state.epoch, tail: tail.try_into().ok()? },
        revision: Revision(state.revision),
        managers: state.managers,
        cluster: state.cluster,
        placed,
        manual: manual
            .map(|(id, name)| Some((id.parse::<ServiceId>().ok()?, name.parse().ok()?)))
            .collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_written_and_read_alike() {
        let id = ServiceId::from_bytes([7; 16]);
        let name: skep_core::base::Name = "web".parse().expect("a name");
        let memory = Memory {
            epoch: Epoch { counter: 3, tail: [9; 16] },
            revision: Revision(77),
            managers: vec!["10.0.0.1:4440".to_owned()],
            cluster: "prod".to_owned(),
            placed: Some(vec![Placed {
                id,
                name: name.clone(),
                owner_uid: 1000,
                always: true,
                grants: 2,
                units: vec!["web@.service".parse().expect("a unit")],
            }]),
            manual: BTreeMap::from([(id, name)]),
        };
        let text = toml::to_string(&stored(&memory)).expect("writes");
        assert_eq!(read(&text), Some(memory));
        let text = toml::to_string(&stored(&Memory::default())).expect("writes");
        assert_eq!(read(&text), Some(Memory::default()));
    }

    #[test]
    fn damaged_and_newer_are_not_absent() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk: Arc<dyn Disk> = Arc::new(crate::host::RealDisk);
        let book = Book::new(disk.clone(), folder.path());
        assert_eq!(book.load().expect("absent"), Memory::default());
        for text in ["version = 11\nepoch = ", "version = 0\n", "version = 11\n"] {
            disk.replace(&book.state(), text.as_bytes()).expect("written");
            assert!(matches!(book.load(), Err(BookError::Damaged(_))), "{text}");
        }
        for (number, format) in [(1, OtherFormat::Older(1)), (12, OtherFormat::Newer(12))] {
            let text = format!("version = {number}\n");
            disk.replace(&book.state(), text.as_bytes()).expect("written");
            let head = roster::head("b").replacen(" 11 ", &format!(" {number} "), 1);
            disk.replace(&book.roster(), head.as_bytes()).expect("written");
            disk.replace(&book.volumes(), text.as_bytes()).expect("written");
            let volumes = book.load_volumes("b").err();
            for error in [book.load().err(), book.load_roster("b").err(), volumes] {
                let same = |found: OtherFormat| found == format;
                assert!(matches!(error, Some(BookError::Format { format, .. }) if same(format)));
            }
        }
    }
}
