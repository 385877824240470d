//! The robots that a machine was granted, as they lie in services' folders.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use crate::rules::login::{LOGIN_BYTES, Login};

/// The link to the set in place.
const DATA: &str = "..data";
/// What a file of a robot's credential begins and ends with.
const ROBOT: (&str, &str) = ("robot", ".json");
/// Entries of a folder that are looked at.
const ENTRIES: usize = 16_384;
/// Credentials of a folder that are read.
const ROBOTS: usize = 256;
/// Looks at a folder whose set is replaced meanwhile.
const LOOKS: usize = 8;

/// What was found.
#[derive(Debug, Default)]
pub struct Carried {
    /// In the order of the folders, then of the files' names.
    pub logins: Vec<Login>,
    /// What could not be read, and why. Nothing of a file is in it.
    pub bad: Vec<String>,
    /// Folders without a set.
    pub absent: Vec<PathBuf>,
}

/// Reads what lies in these folders, with the caller's rights.
#[must_use]
pub fn carried(folders: &[PathBuf]) -> Carried {
    let mut all = Carried::default();
    for folder in folders {
        match one_set(folder) {
            Ok(found) => {
                all.logins.extend(found.logins);
                all.bad.extend(found.bad);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                all.absent.push(folder.clone());
            }
            Err(error) => all.bad.push(format!("{}: {error}", folder.display())),
        }
    }
    all
}

/// Reads one generation whole: the link is the same before and after.
fn one_set(folder: &Path) -> io::Result<Carried> {
    let link = folder.join(DATA);
    let mut before = fs::read_link(&link)?;
    for _ in 0..LOOKS {
        let found = in_generation(&folder.join(&before));
        let after = fs::read_link(&link)?;
        if after == before {
            return found;
        }
        before = after;
    }
    Err(io::Error::other("its files are replaced all the time"))
}

/// Reads what lies in this generation.
pub(super) fn in_generation(folder: &Path) -> io::Result<Carried> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)?.take(ENTRIES) {
        let name = entry?.file_name();
        let fits = |name: &str| name.starts_with(ROBOT.0) && name.ends_with(ROBOT.1);
        if name.to_str().is_some_and(fits) {
            names.push(name);
        }
    }
    names.sort_unstable();
    let mut found = Carried::default();
    if names.len() > ROBOTS {
        let folder = folder.display();
        found
            .bad
            .push(format!("{folder}: more than {ROBOTS} credentials; the others are left out"));
    }
    for name in names.into_iter().take(ROBOTS) {
        let path = folder.join(name);
        match read(&path) {
            Ok(login) => found.logins.push(login),
            Err(why) => found.bad.push(format!("{}: {why}", path.display())),
        }
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Login, String> {
    let said = |error: io::Error| error.to_string();
    // What is no file, such as a pipe, is not waited for.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(said)?;
    if !file.metadata().map_err(said)?.is_file() {
        return Err("it is no file".to_owned());
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(LOGIN_BYTES + 1));
    let bound = u64::try_from(LOGIN_BYTES + 1).unwrap_or(u64::MAX);
    let _read = file.take(bound).read_to_end(&mut bytes).map_err(said)?;
    if bytes.len() > LOGIN_BYTES {
        return Err(format!("it is larger than {LOGIN_BYTES} bytes"));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_bad| "it is not UTF-8".to_owned())?;
    Login::read(text).map_err(|bad| bad.to_string())
}
