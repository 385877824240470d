//! Images as they are named: a digest, a tag, a repository, and all of it as one reference.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::login::Host;
use super::scope::is_repository;

/// Bytes of a tag.
const TAG_BYTES: usize = 128;
/// What a digest's text begins with: no other hash is signed or verified.
const ALGORITHM: &str = "sha256:";

/// What is none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadImage {
    /// A digest.
    #[error("is no digest, which is written sha256: and 64 digits of 0-9 a-f")]
    Digest,
    /// A tag.
    #[error("is no tag, which has 1 to {TAG_BYTES} characters of a-z A-Z 0-9 _ . -")]
    Tag,
    /// A repository.
    #[error("is no repository, for example team/app")]
    Repository,
    /// A reference.
    #[error("names no image, for example team/app:1.0")]
    Reference,
    /// A host in a reference.
    #[error("names a host that is none")]
    Host,
}

/// The SHA-256 of some bytes, by which a registry names them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The 64 digits alone.
    #[must_use]
    pub fn hex(&self) -> String {
        HEXLOWER.encode(&self.0)
    }

    /// The tag below which what belongs to this digest is kept: `sha256-HEX` and an ending.
    #[must_use]
    pub fn tag(&self, ending: &str) -> String {
        format!("sha256-{}{ending}", self.hex())
    }
}

impl FromStr for Digest {
    type Err = BadImage;

    fn from_str(text: &str) -> Result<Self, BadImage> {
        let digits = text.strip_prefix(ALGORITHM).ok_or(BadImage::Digest)?;
        let bytes = HEXLOWER.decode(digits.as_bytes()).map_err(|_| BadImage::Digest)?;
        bytes.try_into().map(Self).map_err(|_| BadImage::Digest)
    }
}

/// `sha256:HEX`
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ALGORITHM}{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether this is a tag, as the distribution project writes them.
#[must_use]
pub fn is_tag(text: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    (1..=TAG_BYTES).contains(&text.len())
        && text.chars().all(inside)
        && !text.starts_with(['.', '-'])
}

/// Whether a tag is one of those below which signatures are kept.
#[must_use]
pub fn is_of_digest(tag: &str) -> bool {
    let digits = tag.strip_prefix("sha256-").and_then(|rest| rest.get(..64));
    digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// An image in a repository, by a tag, a digest or both; in a registry that may be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRef {
    /// The registry, where one is named.
    pub host: Option<Host>,
    /// Which repository.
    pub repository: String,
    /// The tag, where one is named.
    pub tag: Option<String>,
    /// The digest, where one is named.
    pub digest: Option<Digest>,
}

impl FromStr for ImageRef {
    type Err = BadImage;

    /// `[HOST[:PORT]/]REPOSITORY[:TAG][@DIGEST]`. What stands before the first slash is a host
    /// where it has a dot or a colon, or is `localhost`: so engines read it.
    fn from_str(text: &str) -> Result<Self, BadImage> {
        let (text, digest) = match text.split_once('@') {
            Some((text, digest)) => (text, Some(digest.parse()?)),
            None => (text, None),
        };
        let (host, rest) = match text.split_once('/') {
            Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => {
                (Some(host.parse().map_err(|_| BadImage::Host)?), rest)
            }
            _ => (None, text),
        };
        let (repository, tag) = match rest.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest, None),
        };
        if !is_repository(repository) {
            return Err(BadImage::Reference);
        }
        if !tag.is_none_or(is_tag) {
            return Err(BadImage::Tag);
        }
        Ok(Self { host, repository: repository.to_owned(), tag: tag.map(str::to_owned), digest })
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(host) = &self.host {
            write!(f, "{host}/")?;
        }
        f.write_str(&self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_sha256_in_lower_case() {
        let digest = Digest::of(b"");
        let text = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse(), Ok(digest));
        let digits = text.strip_prefix("sha256:").unwrap();
        assert_eq!(digest.tag(".sig"), format!("sha256-{digits}.sig"));
        assert!(is_of_digest(&digest.tag(".sig")) && is_of_digest(&digest.tag("")));
        assert!(!is_of_digest("sha256-1") && !is_of_digest("1.0"));
        let upper = text.to_uppercase().replace("SHA", "sha");
        let short = format!("sha256:{}", "0".repeat(63));
        for bad in ["", "sha256:", digits, &short, &upper, &text.replace("256", "512")] {
            assert_eq!(bad.parse::<Digest>(), Err(BadImage::Digest), "{bad}");
        }
    }

    #[test]
    fn references_are_read_as_engines_read_them() {
        let digest = Digest::of(b"x");
        for text in [
            "team/app",
            "app:1.0",
            "localhost/app:1.0",
            "registry.example.com:5000/team/app:1.0",
            "[::1]:5000/app:1.0",
            &format!("r.example/app@{digest}"),
            &format!("r.example/app:1@{digest}"),
        ] {
            let read: ImageRef = text.parse().unwrap();
            assert_eq!(read.to_string(), text);
        }
        let read: ImageRef = "web/app:1".parse().unwrap();
        assert_eq!((read.host, read.repository.as_str()), (None, "web/app"));
        for (text, bad) in [
            ("", BadImage::Reference),
            ("App:1", BadImage::Reference),
            ("app:", BadImage::Tag),
            ("app:.x", BadImage::Tag),
            ("a b", BadImage::Reference),
            ("app@sha256:12", BadImage::Digest),
            ("r.example:0/app", BadImage::Host),
            ("r.example/", BadImage::Reference),
            ("app:1:2", BadImage::Tag),
        ] {
            assert_eq!(text.parse::<ImageRef>(), Err(bad), "{text}");
        }
    }
}
