//! The public part of a secret's version: what belongs to the value and may be seen by everybody,
//! such as the public half of a key.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::base::{limits, shows_itself};

/// Text of 1 byte to [`limits::PUBLIC_BYTES`], in lines that show themselves: it is kept in the
/// state as it is, and printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicPart(Arc<str>);

/// What is no public part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPublicPart {
    /// None, or too much.
    #[error("a public part has 1 to {} bytes", limits::PUBLIC_BYTES)]
    Size,
    /// Not UTF-8, or with characters in it that don't show.
    #[error("a public part is text in lines, without characters that don't show")]
    NoText,
}

impl PublicPart {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PublicPart {
    type Err = BadPublicPart;

    fn from_str(text: &str) -> Result<Self, BadPublicPart> {
        if !(1..=limits::PUBLIC_BYTES).contains(&text.len()) {
            return Err(BadPublicPart::Size);
        }
        if text.chars().all(|c| matches!(c, '\n' | '\t') || shows_itself(c)) {
            Ok(Self(Arc::from(text)))
        } else {
            Err(BadPublicPart::NoText)
        }
    }
}

impl fmt::Display for PublicPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_part_is_some_lines_of_text() {
        let key = "-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n";
        assert_eq!(key.parse::<PublicPart>().map(|part| part.to_string()), Ok(key.to_owned()));
        let most = "x".repeat(limits::PUBLIC_BYTES);
        assert!(most.parse::<PublicPart>().is_ok());
        for (bad, why) in [
            (String::new(), BadPublicPart::Size),
            (format!("{most}x"), BadPublicPart::Size),
            ("a\u{1b}[2Jb".to_owned(), BadPublicPart::NoText),
            ("a\rb".to_owned(), BadPublicPart::NoText),
            ("a\u{202e}b".to_owned(), BadPublicPart::NoText),
        ] {
            assert_eq!(bad.parse::<PublicPart>(), Err(why), "{bad:?}");
        }
    }
}
