//! A hold: a digest that nobody pulls who hasn't a right to see what is held
//! (docs/registry/formats.md).

use data_encoding::BASE32_NOPAD;
use serde::Deserialize;
use serde_json::json;

use super::file::{self, BadFile, VERSION};
use super::labels;
use super::scope::is_repository;

/// Bytes of a reason.
pub const WHY_BYTES: usize = 512;
/// Digits behind each kind of digest.
const DIGITS: [(&str, usize); 2] = [("sha256", 64), ("sha512", 128)];

/// Why something is no hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHold {
    /// Its shape or its version.
    #[error(transparent)]
    File(#[from] BadFile),
    /// The repository.
    #[error("a repository is written team/app")]
    Repository,
    /// The digest.
    #[error("a digest is sha256: and 64 digits of 0-9 a-f")]
    Digest,
    /// The reason.
    #[error("a reason has 1 to {WHY_BYTES} bytes, none of them a control character")]
    Why,
    /// It is called as another one.
    #[error("is the file of another hold")]
    Name,
}

/// What is held, and why. It was checked when it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    repository: String,
    digest: String,
    why: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HoldFile {
    version: u32,
    repository: String,
    digest: String,
    why: String,
}

/// Whether this is a digest, as images are named by it.
#[must_use]
pub fn is_digest(text: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.split_once(':').is_some_and(|(kind, digits)| {
        DIGITS.contains(&(kind, digits.len())) && digits.bytes().all(digit)
    })
}

impl Hold {
    /// One of these parts.
    ///
    /// # Errors
    /// One of them is none.
    pub fn new(repository: &str, digest: &str, why: &str) -> Result<Self, BadHold> {
        if !is_repository(repository) {
            return Err(BadHold::Repository);
        }
        if !is_digest(digest) {
            return Err(BadHold::Digest);
        }
        if !(1..=WHY_BYTES).contains(&why.len()) || why.contains(char::is_control) {
            return Err(BadHold::Why);
        }
        let (repository, digest, why) = (repository.into(), digest.into(), why.into());
        Ok(Self { repository, digest, why })
    }

    /// Reads a `hold.SLUG`.
    ///
    /// # Errors
    /// Where anything in it is not as documented, or its name is another's.
    pub fn read(slug: &str, text: &str) -> Result<Self, BadHold> {
        let file = file::read(text, |file: &HoldFile| file.version)?;
        let hold = Self::new(&file.repository, &file.digest, &file.why)?;
        if hold.slug() == slug { Ok(hold) } else { Err(BadHold::Name) }
    }

    /// The text of a `hold.SLUG`.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { repository, digest, why } = self;
        let file =
            json!({ "version": VERSION, "repository": repository, "digest": digest, "why": why });
        format!("{file}\n")
    }

    /// What its file is called, behind `hold.`: 26 characters of `a-z 2-7`.
    #[must_use]
    pub fn slug(&self) -> String {
        let fields = [self.repository.as_bytes(), b"@", self.digest.as_bytes()];
        let hash = labels::hash(labels::HOLD, &fields);
        let (first, _) = hash.split_at(16);
        BASE32_NOPAD.encode(first).to_ascii_lowercase()
    }

    /// Where it is.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// What is held.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Why.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(digit: &str) -> String {
        format!("sha256:{}", digit.repeat(64))
    }

    #[test]
    fn a_hold_is_read_by_its_own_name_alone() {
        let hold = Hold::new("web/app", &digest("a"), "a leaked key").unwrap();
        assert_eq!(Hold::read(&hold.slug(), &hold.text()), Ok(hold.clone()));
        let other = Hold::new("web/app", &digest("b"), "a leaked key").unwrap();
        assert_ne!(other.slug(), hold.slug());
        assert_eq!(Hold::read(&other.slug(), &hold.text()), Err(BadHold::Name));
        assert_eq!(hold.slug().len(), 26);
        // The reason is no part of its name.
        let again = Hold::new("web/app", &digest("a"), "another reason").unwrap();
        assert_eq!(again.slug(), hold.slug());
    }

    #[test]
    fn what_is_no_hold_is_refused() {
        let new = |repository: &str, digest: &str, why: &str| {
            Hold::new(repository, digest, why).map(|_| ())
        };
        let good = digest("0");
        assert_eq!(new("a", &format!("sha512:{}", "f".repeat(128)), "x"), Ok(()));
        for repository in ["", "../a", "A", "a b"] {
            assert_eq!(new(repository, &good, "x"), Err(BadHold::Repository), "{repository}");
        }
        for bad in [
            "",
            "sha256:",
            "latest",
            &digest("A"),
            good.strip_suffix('0').unwrap(),
            &format!("md5:{}", "0".repeat(32)),
        ] {
            assert_eq!(new("a", bad, "x"), Err(BadHold::Digest), "{bad}");
        }
        for why in ["", "a\nb", &"x".repeat(WHY_BYTES + 1)] {
            assert_eq!(new("a", &good, why), Err(BadHold::Why), "{why:.20}");
        }
        let hold = Hold::new("a", &good, "x").unwrap();
        let read = |text: &str| Hold::read(&hold.slug(), text);
        assert!(matches!(read("{"), Err(BadHold::File(BadFile::Shape { line: 1, .. }))));
        let two = hold.text().replace("\"version\":1", "\"version\":2");
        assert_eq!(read(&two), Err(BadHold::File(BadFile::Version)));
        let more = hold.text().replace("\"version\"", "\"by\":1,\"version\"");
        assert!(matches!(read(&more), Err(BadHold::File(BadFile::Shape { .. }))));
    }
}
