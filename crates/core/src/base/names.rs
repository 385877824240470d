//! Names, targets and labels: text that was checked once.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::{NodeId, limits};

/// Text that cannot be a name, a target or a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Docker Swarm's rule, and its words.
    #[error(
        "invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]"
    )]
    Name,
    /// A file name below the mount.
    #[error(
        "invalid target: 1 to 255 bytes, one path component, no control characters, not '.' and not starting with '..'"
    )]
    Target,
    /// A label's key or value.
    #[error("invalid label: written key=value, with a key of 1 to 128 characters")]
    Label,
    /// More labels than a thing may carry.
    #[error("too many labels: at most 64, and 4 KiB in all")]
    TooManyLabels,
}

/// The name of a secret, service, node or operator: 1 to 64 characters of
/// `[a-zA-Z0-9-_.]`, first and last `[a-zA-Z0-9]`. Its case is kept.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// A [`Name`] without its case: what is unique.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameKey(String);

impl Name {
    /// The name as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it reads as an id, in whatever case: then it could be taken for another thing,
    /// now or once that is gone.
    #[must_use]
    pub fn reads_as_id(&self) -> bool {
        self.0.to_ascii_lowercase().parse::<NodeId>().is_ok()
    }

    /// The name without its case.
    #[must_use]
    pub fn key(&self) -> NameKey {
        NameKey(self.0.to_ascii_lowercase())
    }
}

impl FromStr for Name {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let bytes = text.as_bytes();
        let inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        let ends = [bytes.first(), bytes.last()];
        let sound = bytes.len() <= limits::NAME_CHARS
            && bytes.iter().all(inner)
            && ends.iter().all(|end| end.is_some_and(u8::is_ascii_alphanumeric));
        if sound { Ok(Self(text.to_owned())) } else { Err(BadName::Name) }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl NameKey {
    /// The lower-case name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The file name under which a service sees a secret: 1 to 255 bytes, one path
/// component, no control characters, not `.` and not starting with `..`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target(String);

impl Target {
    /// The file name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Target {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let sound = (1..=limits::TARGET_BYTES).contains(&text.len())
            && !text.chars().any(|c| c == '/' || c.is_control())
            && text != "."
            && !text.starts_with("..");
        if sound { Ok(Self(text.to_owned())) } else { Err(BadName::Target) }
    }
}

impl From<&Name> for Target {
    fn from(name: &Name) -> Self {
        Self(name.0.clone())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// One label, written `key=value`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label {
    /// 1 to 128 characters of `[a-zA-Z0-9-_./]`.
    pub key: String,
    /// Any text without control characters, also empty.
    pub value: String,
}

impl Label {
    /// Checks a key and its value.
    ///
    /// # Errors
    /// [`BadName::Label`] for a key or value outside the rules of the fields.
    pub fn new(key: &str, value: &str) -> Result<Self, BadName> {
        let sound = (1..=limits::LABEL_KEY_BYTES).contains(&key.len())
            && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b))
            && !value.chars().any(char::is_control);
        if sound {
            Ok(Self { key: key.to_owned(), value: value.to_owned() })
        } else {
            Err(BadName::Label)
        }
    }
}

impl FromStr for Label {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let (key, value) = text.split_once('=').ok_or(BadName::Label)?;
        Self::new(key, value)
    }
}

/// A thing's labels: at most 64, and 4 KiB in all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    /// Collects labels; a key given twice keeps its last value.
    ///
    /// # Errors
    /// [`BadName::TooManyLabels`] beyond the limits.
    pub fn new(labels: impl IntoIterator<Item = Label>) -> Result<Self, BadName> {
        let map: BTreeMap<_, _> = labels.into_iter().map(|l| (l.key, l.value)).collect();
        let bytes: usize = map.iter().map(|(key, value)| key.len() + value.len()).sum();
        if map.len() > limits::LABELS || bytes > limits::LABELS_BYTES {
            return Err(BadName::TooManyLabels);
        }
        Ok(Self(map))
    }

    /// The value of one label.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Keys and values in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// These labels without `gone`, then with `put`.
    ///
    /// # Errors
    /// [`BadName::TooManyLabels`] beyond the limits.
    pub fn changed(&self, put: &[Label], gone: &[String]) -> Result<Self, BadName> {
        let kept = self.0.iter().filter(|(key, _)| !gone.contains(key));
        let kept = kept.map(|(key, value)| Label { key: key.clone(), value: value.clone() });
        Self::new(kept.chain(put.iter().cloned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_swarm() {
        for good in ["a", "db-password", "TLS_key.pem", "9", &"x".repeat(64)] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "a b", "ä", "a/b", ".", &"x".repeat(65)] {
            assert_eq!(bad.parse::<Name>(), Err(BadName::Name), "{bad}");
        }
    }

    #[test]
    fn targets_are_one_path_component() {
        for good in ["a", ".env", "a b", "tls.key", "ä", ".a.."] {
            assert!(good.parse::<Target>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "..data", "a/b", "/a", "a\nb", "a\0", &"x".repeat(256)] {
            assert_eq!(bad.parse::<Target>(), Err(BadName::Target), "{bad}");
        }
    }

    #[test]
    fn labels_are_counted() {
        let label = |n: usize| Label::new(&format!("k{n}"), "v").expect("a label");
        assert!(Labels::new((0..64).map(label)).is_ok());
        assert_eq!(Labels::new((0..65).map(label)), Err(BadName::TooManyLabels));
        assert_eq!("=v".parse::<Label>(), Err(BadName::Label));
        assert_eq!("k".parse::<Label>(), Err(BadName::Label));
        assert!("k=".parse::<Label>().is_ok());
    }
}
