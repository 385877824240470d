//! Files of settings: a file may be absent; a word in it that nobody knows is bad configuration, not
//! ignored, and named with its line.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::link::BadAddress;
use skep_core::base::{Exit, Failure};

const FOLDER: &str = "/etc/skep";
/// Bytes of a settings file: far more than all settings need.
const FILE_BYTES: u64 = 1024 * 1024;

/// Bad configuration.
pub fn bad(text: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Configuration, text)
}

/// Reads `asked`, or the file of this name below `/etc/skep` if there is one.
///
/// # Errors
/// A [`Failure`] of bad configuration or bad input, with its hint.
pub fn load<T: DeserializeOwned + Default>(asked: Option<&Path>, name: &str) -> Result<T, Failure> {
    let usual = Path::new(FOLDER).join(name);
    load_from(asked.unwrap_or(&usual), asked.is_none())
}

/// Reads a file of settings, which may be absent.
///
/// # Errors
/// As [`load`].
pub(crate) fn load_from<T: DeserializeOwned + Default>(
    path: &Path,
    may_be_absent: bool,
) -> Result<T, Failure> {
    let shown = path.display();
    let absent = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
    let not_read = |why: &dyn std::fmt::Display| {
        bad(format!("{shown}: {why}")).hint("settings are a text file, in TOML; --config names it")
    };
    let mut text = String::new();
    let read =
        File::open(path).and_then(|file| file.take(FILE_BYTES + 1).read_to_string(&mut text));
    match read {
        Err(error) if absent(&error) && may_be_absent => return Ok(T::default()),
        Err(error) => return Err(not_read(&error)),
        // It may be a pipe, whose length nobody knows before.
        Ok(length) if u64::try_from(length).is_ok_and(|length| length > FILE_BYTES) => {
            return Err(not_read(&format!("is longer than {FILE_BYTES} bytes")));
        }
        Ok(_) => {}
    }
    toml::from_str(&text).map_err(|error| {
        let line = error.span().and_then(|span| text.get(..span.start));
        let line = line.map_or(1, |before| before.matches('\n').count() + 1);
        bad(format!("{shown}, line {line}: {}", error.message().replace('\n', " ")))
            .hint("the keys are the names of the flags, without the dashes in front")
    })
}

/// What is said of an address that is none.
#[must_use]
pub fn no_address(exit: Exit, error: &BadAddress) -> Failure {
    Failure::new(exit, error).hint("a name or an IP address and a port, such as 10.0.0.1:4440")
}
