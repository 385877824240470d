//! Placeholders of patterns: `${account}`.

use std::fmt;

/// The patterns of a rule that placeholders may capture from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Field {
    /// Who asks.
    Account,
    /// `repository` or `registry`.
    Type,
    /// The repository.
    Name,
    /// Which registry.
    Service,
}

impl Field {
    /// All of them, in the order in which they are matched.
    pub(super) const ALL: [Self; 4] = [Self::Account, Self::Type, Self::Name, Self::Service];

    /// As it is written.
    #[must_use]
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Type => "type",
            Self::Name => "name",
            Self::Service => "service",
        }
    }

    fn named(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.text() == text)
    }
}

/// What a placeholder stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hole {
    /// `${account}`: what is asked.
    Asked(Field),
    /// `${account:1}`: what a group of the rule's own pattern for it found.
    Captured(Field, usize),
    /// `${labels:team}`: each value of that label.
    Label(String),
}

impl Hole {
    /// Reads what stands between the braces.
    ///
    /// # Errors
    ///
    /// There is no such placeholder, in words.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let unknown = || format!("there is no placeholder ${{{}}}", super::shown(text));
        if let Some(label) = text.strip_prefix("labels:").filter(|label| !label.is_empty()) {
            return Ok(Self::Label(label.to_owned()));
        }
        match text.split_once(':') {
            Some((field, group)) => {
                let field = Field::named(field).ok_or_else(unknown)?;
                let group = group.parse().ok().filter(|group| *group > 0).ok_or_else(unknown)?;
                Ok(Self::Captured(field, group))
            }
            None => Field::named(text).map(Self::Asked).ok_or_else(unknown),
        }
    }
}

/// As it is written.
impl fmt::Display for Hole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked(field) => write!(f, "${{{}}}", field.text()),
            Self::Captured(field, group) => write!(f, "${{{}:{group}}}", field.text()),
            Self::Label(label) => write!(f, "${{labels:{}}}", super::shown(label)),
        }
    }
}

/// The placeholder that a text begins with, by what stands between its braces, and what
/// follows it.
///
/// # Errors
///
/// It has no end.
pub(super) fn placeholder(text: &str) -> Result<Option<(&str, &str)>, String> {
    match text.strip_prefix("${") {
        Some(rest) => rest.split_once('}').map(Some).ok_or_else(|| "a ${ is not closed".to_owned()),
        None => Ok(None),
    }
}
