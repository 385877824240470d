//! Looking for a canary: a random value, searched for in the forms in which a
//! leak would show, in files, in what the kernel tells of processes, and in their memory.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use memchr::memmem::{Finder, find};

/// Bytes of memory read at a time.
const STEP: usize = 1 << 20;

/// A value that stands nowhere else, and what it is searched for as.
#[derive(Debug)]
pub struct Canary {
    value: String,
    forms: Vec<(&'static str, Vec<u8>)>,
}

/// What a look at one process's memory found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copies {
    /// Places where the raw value stands.
    pub found: usize,
    /// Ranges that the kernel doesn't let anybody read.
    pub unreadable: usize,
    /// Those of them that are `memfd_secret`'s.
    pub lent: usize,
}

impl Canary {
    /// Draws one: 32 letters.
    #[must_use]
    pub fn draw() -> Self {
        let mut bytes = [0_u8; 32];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
            .expect("random bytes");
        Self::of(bytes.iter().map(|byte| char::from(b'a' + byte % 26)).collect())
    }

    /// Of a value that is there.
    #[must_use]
    pub fn of(value: String) -> Self {
        let bytes = value.as_bytes();
        let mut forms = vec![
            ("raw", bytes.to_vec()),
            ("hex", HEXLOWER.encode(bytes).into_bytes()),
            ("HEX", HEXUPPER.encode(bytes).into_bytes()),
        ];
        // Base64 of a text that holds the value reads differently by where the value
        // begins in it; the characters that its neighbours share are left out.
        for lead in 0..3 {
            let text = [&vec![0; lead], bytes].concat();
            for (name, encoding) in [("base64", &BASE64_NOPAD), ("base64url", &BASE64URL_NOPAD)] {
                let encoded = encoding.encode(&text).into_bytes();
                let shared = (lead * 8).div_ceil(6);
                let own = encoded.get(shared..encoded.len() - 2);
                forms.push((name, own.unwrap_or_default().to_vec()));
            }
        }
        Self { value, forms }
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// In which form it stands in `bytes`, if it does.
    #[must_use]
    pub fn in_bytes(&self, bytes: &[u8]) -> Option<&'static str> {
        self.forms.iter().find(|(_, form)| find(bytes, form).is_some()).map(|(name, _)| *name)
    }

    /// The files below `folder` that hold it, without what is mounted there.
    ///
    /// # Panics
    /// Where the folder can't be read.
    #[must_use]
    pub fn in_files(&self, folder: &Path) -> Vec<String> {
        let device = fs::metadata(folder).expect("a folder").dev();
        let mut found = Vec::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(next) = folders.pop() {
            for entry in fs::read_dir(&next).into_iter().flatten().flatten() {
                let path = entry.path();
                // What goes while it is looked at holds nothing any more.
                let Ok(about) = fs::symlink_metadata(&path) else { continue };
                if about.dev() != device {
                } else if about.is_dir() {
                    folders.push(path);
                } else if about.is_file()
                    && let Ok(bytes) = fs::read(&path)
                    && let Some(form) = self.in_bytes(&bytes)
                {
                    found.push(format!("{} ({form})", path.display()));
                }
            }
        }
        found
    }

    /// What of the process's arguments, environment and open files' names holds it.
    #[must_use]
    pub fn in_words(&self, pid: u32) -> Vec<String> {
        let mut found = Vec::new();
        for name in ["cmdline", "environ", "comm", "maps", "stack"] {
            if let Ok(bytes) = fs::read(format!("/proc/{pid}/{name}"))
                && let Some(form) = self.in_bytes(&bytes)
            {
                found.push(format!("/proc/{pid}/{name} ({form})"));
            }
        }
        found
    }

    /// Copies of the raw value in the memory of a process; `None` where it is gone.
    #[must_use]
    pub fn in_memory(&self, pid: u32) -> Option<Copies> {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
        let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
        let finder = Finder::new(self.value.as_bytes());
        let mut copies = Copies::default();
        let mut buffer = vec![0; STEP + self.value.len()];
        for line in maps.lines() {
            let Some((from, to)) = readable(line) else { continue };
            let mut at = from;
            while at < to {
                let most = usize::try_from(to - at).unwrap_or(usize::MAX).min(buffer.len());
                let part = buffer.get_mut(..most).unwrap_or_default();
                match memory.read_at(part, at) {
                    Ok(0) => break,
                    Ok(read) => {
                        copies.found +=
                            finder.find_iter(part.get(..read).unwrap_or_default()).count();
                        // The next part begins early enough for a value on the border.
                        let step = if read == most && most > STEP { STEP } else { read };
                        at += u64::try_from(step).unwrap_or(u64::MAX);
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    // A thread that ended meanwhile has given it back.
                    Err(_) if !is_mapped(pid, at) => break,
                    Err(_) => {
                        copies.unreadable += 1;
                        copies.lent += usize::from(line.contains("/secretmem"));
                        break;
                    }
                }
            }
        }
        // A copy across a border is seen twice at most, which no zero hides.
        buffer.fill(0);
        Some(copies)
    }
}

/// Whether a process has something at this address now.
fn is_mapped(pid: u32, at: u64) -> bool {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    maps.lines().filter_map(readable).any(|(from, to)| (from..to).contains(&at))
}

/// The range of a line of `maps`, if its pages can be read.
fn readable(line: &str) -> Option<(u64, u64)> {
    let mut fields = line.split_ascii_whitespace();
    let (from, to) = fields.next()?.split_once('-')?;
    let range = (u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?);
    let kernel =
        line.ends_with("[vvar]") || line.ends_with("[vsyscall]") || line.contains("[vvar_");
    (fields.next()?.starts_with('r') && !kernel).then_some(range)
}

/// The processes whose arguments name something below `folder`.
#[must_use]
pub fn processes_of(folder: &Path) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if pid != std::process::id() && find(&words, folder.as_os_str().as_bytes()).is_some() {
            let words: Vec<_> = words.split(|byte| *byte == 0).take(3).collect();
            let text = OsString::from_vec(words.join(&b' ')).to_string_lossy().into_owned();
            let name = PathBuf::from(&text);
            let short = name
                .file_name()
                .map_or_else(|| text.clone(), |name| name.to_string_lossy().into_owned());
            found.push((pid, short));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_found_wherever_it_begins() {
        let canary = Canary::draw();
        for lead in 0..7_u8 {
            let text = [vec![b'x'; lead.into()], canary.value().into(), b"tail".to_vec()].concat();
            for encoded in [
                text.clone(),
                HEXLOWER.encode(&text).into_bytes(),
                HEXUPPER.encode(&text).into_bytes(),
                BASE64_NOPAD.encode(&text).into_bytes(),
                BASE64URL_NOPAD.encode(&text).into_bytes(),
            ] {
                assert!(canary.in_bytes(&encoded).is_some(), "{lead}");
            }
        }
        assert_eq!(canary.in_bytes(Canary::draw().value().as_bytes()), None);
    }

    #[test]
    fn copies_in_memory_are_counted() {
        let canary = Canary::draw();
        let before = canary.in_memory(std::process::id()).expect("this process").found;
        assert!(before > 0);
        let copies: Vec<String> = (0..5).map(|_| canary.value().to_owned()).collect();
        let after = canary.in_memory(std::process::id()).expect("this process").found;
        assert!(after >= before + copies.len() - 1, "{before} {after}");
    }
}
