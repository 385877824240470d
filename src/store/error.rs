//! Why stored data cannot be used any more. Each is the end of the process.

use std::fmt;
use std::io;
use std::sync::Arc;

use skep_core::base::{Exit, OtherFormat};

/// Where in a file something is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// The file's name below its folder.
    pub file: String,
    /// Which record or chunk, where one is meant.
    pub record: Option<u64>,
    /// Bytes from the file's start.
    pub offset: u64,
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.record {
            Some(record) => {
                write!(f, "{}, record {record} at offset {}", self.file, self.offset)
            }
            None => write!(f, "{}, offset {}", self.file, self.offset),
        }
    }
}

/// Stored data that cannot be used, or a disk that cannot be written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Damaged or tampered with.
    #[error("stored data is damaged or was tampered with: {spot}: {why}")]
    Damaged {
        /// Where.
        spot: Spot,
        /// What is wrong there.
        why: String,
    },
    /// A write, sync or read failed.
    #[error("{doing}: {source}")]
    Disk {
        /// What was tried.
        doing: String,
        /// What the system says.
        source: Arc<io::Error>,
    },
    /// Of another format than this build reads.
    #[error("{file} was {format}")]
    Format {
        /// The file.
        file: String,
        /// Which one.
        format: OtherFormat,
    },
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

impl StoreError {
    /// The daemon's exit status.
    #[must_use]
    pub fn exit_status(&self) -> Exit {
        match self {
            Self::Damaged { .. } => Exit::Damaged,
            // Something else stands in a file's place.
            Self::Disk { source, .. }
                if matches!(
                    source.kind(),
                    io::ErrorKind::IsADirectory | io::ErrorKind::InvalidData
                ) =>
            {
                Exit::Damaged
            }
            Self::Disk { .. } | Self::Closed => Exit::WriteFailed,
            Self::Format { format: OtherFormat::Older(_), .. } => Exit::Configuration,
            Self::Format { format: OtherFormat::Newer(_), .. } => Exit::NewerData,
        }
    }

    pub(super) fn damaged(file: &str, offset: u64, why: impl Into<String>) -> Self {
        let spot = Spot { file: file.to_owned(), record: None, offset };
        Self::Damaged { spot, why: why.into() }
    }

    pub(super) fn record(file: &str, record: u64, offset: u64, why: impl Into<String>) -> Self {
        let spot = Spot { file: file.to_owned(), record: Some(record), offset };
        Self::Damaged { spot, why: why.into() }
    }

    pub(super) fn disk(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Disk { doing, source: Arc::new(source) }
    }
}

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        Self::other(error)
    }
}
