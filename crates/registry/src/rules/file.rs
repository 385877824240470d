//! Files of ours: JSON with a version, and no key that is not known (docs/registry/formats.md).

use serde::de::DeserializeOwned;

/// The number that stands in every file.
pub(crate) const VERSION: u32 = 1;

/// Why text is no file of ours. It holds nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFile {
    /// No JSON, another key, a value of another kind.
    #[error("doesn't read, at line {line}, column {column}")]
    Shape {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// Another version.
    #[error("has another version than {VERSION}")]
    Version,
}

/// Reads a file of this shape, whose version is what `version` says.
///
/// # Errors
/// Where it is of another shape or version.
pub(super) fn read<T: DeserializeOwned>(
    text: &str,
    version: impl Fn(&T) -> u32,
) -> Result<T, BadFile> {
    let file: T = serde_json::from_str(text)
        .map_err(|error| BadFile::Shape { line: error.line(), column: error.column() })?;
    if version(&file) == VERSION { Ok(file) } else { Err(BadFile::Version) }
}
