//! Accounts' names, and the names of the files that hold them (docs/registry/keys.md, 2).

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;

use super::labels;

/// Bytes of an account's name: what fits every field that a client sends it in.
const NAME_BYTES: usize = 255;
/// Characters of a slug that are for people.
const HEAD: usize = 12;
/// What parts a robot's name from its owner's.
const OWNED: char = '+';

/// The name of an account. With a `+` it is a robot's, and its owner stands before it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account(String);

/// Text that can be no account's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAccount {
    /// Nothing, or too much.
    #[error("an account's name has 1 to {NAME_BYTES} bytes")]
    Length,
    /// What a header or a line of a log can't carry.
    #[error("an account's name has no control characters and no colon")]
    Characters,
    /// Neither a name nor OWNER+ROBOT.
    #[error("an account's name has one '+' at most, between an owner's name and a robot's")]
    Plus,
}

impl Account {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whose robot it is, if the name says so.
    #[must_use]
    pub fn owner(&self) -> Option<Self> {
        self.0.split_once(OWNED).map(|(owner, _)| Self(owner.to_owned()))
    }

    /// What the files of this account are called, behind `user.` and `rights.`: at most
    /// 39 characters of `a-z 0-9 -`.
    #[must_use]
    pub fn slug(&self) -> String {
        let hash = labels::hash(labels::NAME, &[self.0.as_bytes()]);
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        let head: String = self.0.chars().take(HEAD).map(plain).collect();
        let head = match head.trim_matches('-') {
            "" => "x",
            head => head,
        };
        let (first, _) = hash.split_at(16);
        format!("{head}-{}", BASE32_NOPAD.encode(first).to_ascii_lowercase())
    }
}

impl FromStr for Account {
    type Err = BadAccount;

    fn from_str(text: &str) -> Result<Self, BadAccount> {
        if !(1..=NAME_BYTES).contains(&text.len()) {
            return Err(BadAccount::Length);
        }
        if text.contains(|c: char| c.is_control() || c == ':') {
            return Err(BadAccount::Characters);
        }
        if let Some((owner, robot)) = text.split_once(OWNED)
            && (owner.is_empty() || robot.is_empty() || robot.contains(OWNED))
        {
            return Err(BadAccount::Plus);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn account(text: &str) -> Account {
        text.parse().unwrap()
    }

    #[test]
    fn a_slug_is_what_it_was() {
        assert_eq!(account("alice").slug(), "alice-w5kn6mjc24t266u6zvqhpm7ghy");
    }

    #[test]
    fn names_that_look_alike_have_slugs_of_their_own() {
        let names = [
            "alice",
            "Alice",
            "ALICE",
            "alice ",
            " alice",
            "al-ice",
            "al.ice",
            "al_ice",
            "al/ice",
            "al..ice",
            "alice+ci",
            "alice-ci",
            "alicе",
            "..",
            "../x",
            "é",
            "e\u{301}",
            "-",
            "--",
            "averyveryverylongname1",
            "averyveryverylongname2",
        ];
        let slugs: BTreeSet<_> = names.iter().map(|name| account(name).slug()).collect();
        assert_eq!(slugs.len(), names.len());
        for slug in slugs {
            let sound = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(slug.len() <= 39 && slug.chars().all(sound), "{slug}");
            assert!(slug.starts_with(|c: char| c.is_ascii_alphanumeric()), "{slug}");
        }
    }

    #[test]
    fn the_name_says_whose_robot_it_is() {
        assert_eq!(account("alice").owner(), None);
        assert_eq!(account("alice+ci").owner(), Some(account("alice")));
        for (name, why) in [
            ("", BadAccount::Length),
            ("+ci", BadAccount::Plus),
            ("alice+", BadAccount::Plus),
            ("a+b+c", BadAccount::Plus),
            ("a:b", BadAccount::Characters),
            ("a\nb", BadAccount::Characters),
        ] {
            assert_eq!(name.parse::<Account>(), Err(why), "{name:?}");
        }
        assert_eq!("x".repeat(256).parse::<Account>(), Err(BadAccount::Length));
    }
}
