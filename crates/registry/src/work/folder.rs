//! A generation's folder: files of bounded size, and the certificate that may be among them.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Dir, Mode, OFlags, openat};
use rustix::io::Errno;
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::tls;

/// Bytes of a large file: a secret's limit.
pub(super) const FILE_BYTES: usize = 511_999;
/// Bytes of a private key.
pub(super) const KEY_BYTES: usize = 16 * 1024;
/// Bytes of a chain of certificates.
const CHAIN_BYTES: usize = 64 * 1024;
/// Bytes of a buffer beyond what is read into it.
const SPARE: usize = 64;

/// Why nothing is given or signed. The first text is for everybody, the second for the log; neither
/// holds anything of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unready {
    /// Which file, or what else.
    pub what: String,
    /// The rest.
    pub why: String,
}

impl Unready {
    pub(super) fn new(what: impl Into<String>, why: impl Display) -> Self {
        Self { what: what.into(), why: format!("{why}") }
    }

    pub(super) fn damaged(file: &str, why: impl Display) -> Self {
        Self::new(format!("{file} is damaged"), why)
    }
}

/// The files of one folder. It is held open: what lies in it is opened by its name there, which
/// costs a fraction of the whole way to it.
pub(super) struct Folder<'f> {
    path: &'f Path,
    /// `None`: there is no such folder, and so none of its files.
    open: Option<OwnedFd>,
}

/// Where one file after the other is read into, and nothing stays: with thousands of them a
/// buffer for each costs as much as reading it.
pub(super) struct Buffer(Zeroizing<Vec<u8>>);

impl Buffer {
    /// Room for files of so many bytes.
    pub(super) fn of(most: usize) -> Self {
        // One more says that there is more.
        Self(Zeroizing::new(vec![0; most.saturating_add(1)]))
    }
}

impl<'f> Folder<'f> {
    /// The folder of a generation.
    pub(super) fn of(path: &'f Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(open) => Some(open),
            Err(Errno::NOENT) => None,
            Err(error) => return Err(error.into()),
        };
        Ok(Self { path, open })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        self.path
    }

    /// The names in it that are text, `most` at most, in no order.
    pub(super) fn names(&self, most: usize) -> io::Result<Vec<String>> {
        let Some(open) = &self.open else { return Err(io::ErrorKind::NotFound.into()) };
        let mut names = Vec::new();
        for entry in Dir::read_from(open)?.take(most) {
            names.extend(entry?.file_name().to_str().map(str::to_owned));
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Option<File>> {
        let Some(open) = &self.open else { return Ok(None) };
        match openat(open, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(file) => Ok(Some(File::from(file))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A file's bytes; nothing where there is none.
    pub(super) fn read(
        &self,
        name: &str,
        most: usize,
    ) -> io::Result<Option<Result<Zeroizing<Vec<u8>>, Unready>>> {
        let Some(file) = self.open(name)? else { return Ok(None) };
        let size = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        // Room from the start, more than the end of a file is looked for in: a buffer that grows
        // leaves a copy behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(most.min(size).saturating_add(SPARE)));
        let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
        file.take(limit).read_to_end(&mut bytes)?;
        if bytes.len() > most {
            return Ok(Some(Err(too_long(name, most))));
        }
        Ok(Some(Ok(bytes)))
    }

    /// The same of a small file, whose bytes lie in `buffer` until the next one's do.
    pub(super) fn read_into<'b>(
        &self,
        name: &str,
        buffer: &'b mut Buffer,
    ) -> io::Result<Option<Result<&'b [u8], Unready>>> {
        let Some(mut file) = self.open(name)? else { return Ok(None) };
        let room = &mut buffer.0;
        let mut length = 0;
        loop {
            let rest = room.get_mut(length..).unwrap_or_default();
            match file.read(rest) {
                Ok(0) => break,
                Ok(more) => length = length.saturating_add(more),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let most = room.len().saturating_sub(1);
        let read = room.get(..length).filter(|_| length <= most);
        Ok(Some(read.ok_or_else(|| too_long(name, most))))
    }

    /// A file's bytes; where there is none, that is said.
    pub(super) fn needed(
        &self,
        name: &str,
        most: usize,
    ) -> io::Result<Result<Zeroizing<Vec<u8>>, Unready>> {
        let absent = || Err(Unready::new(format!("{name} is missing"), "no such file"));
        Ok(self.read(name, most)?.unwrap_or_else(absent))
    }
}

fn too_long(name: &str, most: usize) -> Unready {
    Unready::damaged(name, format!("more than {most} bytes"))
}

/// A file's text.
pub(super) fn text<'b>(name: &str, bytes: &'b [u8]) -> Result<&'b str, Unready> {
    std::str::from_utf8(bytes).map_err(|_| Unready::damaged(name, "not UTF-8"))
}

/// The certificate that the server shows, where there is one.
pub(super) fn tls_pair(
    folder: &Folder<'_>,
) -> io::Result<Result<Option<Arc<CertifiedKey>>, Unready>> {
    let key = folder.read(tls::KEY, KEY_BYTES)?.transpose();
    let chain = folder.read(tls::CHAIN, CHAIN_BYTES)?.transpose();
    Ok(match (key, chain) {
        (Err(bad), _) | (_, Err(bad)) => Err(bad),
        (Ok(None), Ok(None)) => Ok(None),
        (Ok(None), _) => Err(Unready::new("tls.key is missing", "tls.crt is there")),
        (_, Ok(None)) => Err(Unready::new("tls.crt is missing", "tls.key is there")),
        (Ok(Some(key)), Ok(Some(chain))) => match tls::certified(&key, &chain) {
            Ok(pair) => Ok(Some(Arc::new(pair))),
            Err(bad) => Err(Unready::damaged(bad.file(), bad)),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "files of a test are lost with it")]
    fn small_files_are_read_one_after_the_other() {
        let at = tempfile::tempdir().unwrap();
        for (name, bytes) in [("long", &b"12345"[..]), ("most", b"1234"), ("none", b"")] {
            fs::write(at.path().join(name), bytes).unwrap();
        }
        let folder = Folder::of(at.path()).unwrap();
        let mut buffer = Buffer::of(4);
        let mut read = |name| {
            let read = folder.read_into(name, &mut buffer).unwrap();
            read.map(|read| read.map(<[u8]>::to_vec).map_err(|bad| bad.what))
        };
        assert_eq!(read("most"), Some(Ok(b"1234".to_vec())));
        assert_eq!(read("long"), Some(Err("long is damaged".to_owned())));
        // Nothing of the one before it is left.
        assert_eq!(read("none"), Some(Ok(Vec::new())));
        assert_eq!(read("absent"), None);
        let names = folder.names(16).unwrap();
        assert!(["long", "most", "none"].iter().all(|name| names.iter().any(|one| one == name)));
        assert_eq!(folder.names(2).unwrap().len(), 2);
    }

    #[test]
    fn a_folder_that_is_absent_has_no_files() {
        let at = tempfile::tempdir().unwrap();
        let path = at.path().join("absent");
        let folder = Folder::of(&path).unwrap();
        assert!(folder.read("a", 1).unwrap().is_none());
        assert!(folder.read_into("a", &mut Buffer::of(1)).unwrap().is_none());
        assert_eq!(folder.names(1).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
