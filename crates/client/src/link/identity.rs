//! The identity file: who an operator or a program is to the managers.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::Managers;
use super::refresh::{IDENTITY_BYTES, exchange, is_replaceable, refresh, says_all};
use crate::ca::{Identity, IdentityError, IdentityText};
use crate::machine::read_file;
use skep_core::base::SecretBytes;

/// An identity as it was read from its file.
#[derive(Debug)]
pub struct IdentityFile {
    /// What it holds.
    pub identity: Identity,
    /// Others than its owner can read it.
    pub readable_by_others: bool,
}

/// Why a file is no identity.
#[derive(Debug, thiserror::Error)]
pub enum BadIdentityFile {
    /// It can't be read.
    #[error(transparent)]
    Unread(#[from] io::Error),
    /// It holds something else.
    #[error(transparent)]
    Unsound(#[from] IdentityError),
}

impl IdentityFile {
    /// Reads an identity file of at most 256 KiB whose keys are not encrypted.
    ///
    /// # Errors
    /// [`BadIdentityFile`].
    pub fn read(path: &Path) -> Result<Self, BadIdentityFile> {
        let identity = Self::look(path)?.open()?;
        Ok(Self { identity, readable_by_others: Self::is_readable_by_others(path)? })
    }

    /// Reads an identity file of at most 256 KiB as far as it goes without a passphrase.
    ///
    /// # Errors
    /// [`BadIdentityFile`].
    pub fn look(path: &Path) -> Result<IdentityText, BadIdentityFile> {
        let text = read_file(path, IDENTITY_BYTES)?;
        Ok(IdentityText::parse(text.expose())?)
    }

    /// Whether others than its owner can read a file.
    ///
    /// # Errors
    /// What the system says.
    pub fn is_readable_by_others(path: &Path) -> io::Result<bool> {
        Ok(std::fs::metadata(path)?.permissions().mode() & 0o077 != 0)
    }

    /// Whether a file is plainly its owner's to write, and ours: one that is not stays as it is.
    #[must_use]
    pub fn is_replaceable(path: &Path) -> bool {
        is_replaceable(path)
    }

    /// Writes what [`super::Link::managers`] says (where they are, the oldest issuing CA of which
    /// a manager's certificate may be, and what was renewed) into the identity file that
    /// `identity` was read from. A file that is not plainly somebody's own to write
    /// stays as it is, and one that is replaced is whole at every moment. Keys that are encrypted
    /// stay so. Whether it was.
    ///
    /// # Errors
    /// What the system says: the file is as it was.
    pub fn refresh(path: &Path, identity: &Identity, managers: &Managers) -> io::Result<bool> {
        if says_all(identity, managers) {
            return Ok(false);
        }
        let lock = identity.sealed.as_ref().map(crate::ca::SealedKeys::lock);
        refresh(path, lock, managers)
    }

    /// Writes another identity in the place of `before`, if the file holds that one and is
    /// plainly somebody's own to write. Whether it was.
    ///
    /// # Errors
    /// What the system says: the file is as it was.
    pub fn exchange(path: &Path, before: &SecretBytes, after: Identity) -> io::Result<bool> {
        exchange(path, before, after)
    }
}
