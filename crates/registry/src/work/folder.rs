//! A generation's folder: files of bounded size, and the certificate that may be among them.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

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

/// The files of one folder.
pub(super) struct Folder<'f>(&'f Path);

impl<'f> Folder<'f> {
    /// The folder of a generation.
    pub(super) fn of(path: &'f Path) -> Self {
        Self(path)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        self.0
    }

    /// A file's bytes; nothing where there is none.
    pub(super) fn read(
        &self,
        name: &str,
        most: usize,
    ) -> io::Result<Option<Result<Zeroizing<Vec<u8>>, Unready>>> {
        let file = match File::open(self.0.join(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let size = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        // Room from the start, more than the end of a file is looked for in: a buffer that grows
        // leaves a copy behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(most.min(size).saturating_add(SPARE)));
        let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
        file.take(limit).read_to_end(&mut bytes)?;
        if bytes.len() > most {
            return Ok(Some(Err(Unready::damaged(name, format!("more than {most} bytes")))));
        }
        Ok(Some(Ok(bytes)))
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
