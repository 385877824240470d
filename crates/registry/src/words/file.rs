//! Files that a command is given: bounded, text, and named in what is said of them.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use skep_core::base::{Exit, Failure};

/// The text of a file of at most so many bytes.
pub(super) fn read_text(path: &Path, most: usize) -> Result<String, Failure> {
    let shown = path.display();
    let bad = |text: String| Failure::new(Exit::Usage, format!("{shown}: {text}"));
    let file = File::open(path).map_err(|error| {
        let text = match error.kind() {
            std::io::ErrorKind::NotFound => "it does not exist".to_owned(),
            _ => error.to_string(),
        };
        bad(text).hint("name a file that you may read")
    })?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(bad("it is a folder".to_owned()).hint("name a file in it"));
    }
    let mut bytes = Vec::new();
    let bound = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    file.take(bound)
        .read_to_end(&mut bytes)
        .map_err(|error| bad(error.to_string()).hint("name a file that you may read"))?;
    if bytes.len() > most {
        return Err(bad(format!("it is larger than {most} bytes")).hint("is it the right file?"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = before.split(|byte| *byte == b'\n').count();
        bad(format!("line {line} is not UTF-8")).hint("is it the right file?")
    })
}
