//! How commands and the state are stored and carried between managers
//! (`proto/stored.proto`; docs/formats.md, "Commands and state").
//!
//! Reading trusts nothing: whatever the bytes are, the answer is a value or a
//! [`BadStored`]. What was read is checked as if an operator had typed it, and a
//! state against every invariant.

mod command;
mod opened;
mod operator;
mod outcome;
mod parts;
mod put;
mod state;

#[cfg(test)]
mod any_tests;
#[cfg(test)]
mod bounds_tests;
#[cfg(test)]
mod refusals_tests;
#[cfg(test)]
mod tests;

pub use command::{decode_command, encode_command};
pub use state::{StateReader, decode_state, encode_state};

use std::fmt;

use crate::base::OtherFormat;

/// The shapes as generated.
pub mod shape {
    #![allow(
        missing_docs,
        clippy::all,
        clippy::pedantic,
        reason = "generated; the .proto file documents it"
    )]
    include!(concat!(env!("OUT_DIR"), "/skep.stored.v1.rs"));
}

/// Stored bytes that are not what they should be. It names a place, never a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadStored {
    /// Written by a newer version: status 25.
    #[error("stored by a newer version of skep: format {version}, level {level}")]
    Newer {
        /// The format's version.
        version: u32,
        /// The cluster's level; 0 where there is none.
        level: u32,
    },
    /// Written by an unreleased build, which nothing reads any more: status 23.
    #[error("written by an unreleased build of skep (format {version})")]
    Older {
        /// The format's version.
        version: u32,
    },
    /// Anything else: status 20.
    #[error("stored {what} is damaged: {why}")]
    Damaged {
        /// `command` or `state`.
        what: &'static str,
        /// Which field, or which invariant.
        why: String,
    },
}

/// Which field is unsound.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bad(String);

type Read<T> = Result<T, Bad>;

impl Bad {
    fn new(field: &str, why: impl fmt::Display) -> Self {
        Self(format!("{field}: {why}"))
    }

    fn of(self, what: &'static str) -> BadStored {
        BadStored::Damaged { what, why: self.0 }
    }
}

/// Whether `version` is the one that is written; 0 is damage.
fn of_this_format(version: u32, what: &'static str) -> Result<(), BadStored> {
    if version == 0 {
        return Err(Bad::new("version", "missing").of(what));
    }
    OtherFormat::check(version).map_err(|format| match format {
        OtherFormat::Older(version) => BadStored::Older { version },
        OtherFormat::Newer(version) => BadStored::Newer { version, level: 0 },
    })
}
