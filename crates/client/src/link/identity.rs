//! The identity file: who an operator or a program is to the managers.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::ca::{Identity, IdentityError};
use crate::machine::read_file;

/// Bytes of an identity file: a few certificates.
const IDENTITY_BYTES: usize = 256 * 1024;

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
    /// Reads an identity file of at most 256 KiB.
    ///
    /// # Errors
    /// [`BadIdentityFile`].
    pub fn read(path: &Path) -> Result<Self, BadIdentityFile> {
        let text = read_file(path, IDENTITY_BYTES)?;
        let identity = Identity::parse(text.expose())?;
        let mode = std::fs::metadata(path)?.permissions().mode();
        Ok(Self { identity, readable_by_others: mode & 0o077 != 0 })
    }
}
