//! `--filter`: which things of a list are shown.

use super::problem::{Trouble, usage};
use super::render;
use skep_client::Listed;

/// One `--filter`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    /// The name has this in it, ignoring case.
    Name(String),
    /// The id begins so.
    Id(String),
    /// It has this label (with this value).
    Label(String, Option<String>),
}

impl Filter {
    /// Reads all of them.
    pub(super) fn parse_all(typed: &[String]) -> Result<Vec<Self>, Trouble> {
        typed.iter().map(|text| Self::parse(text)).collect()
    }

    fn parse(text: &str) -> Result<Self, Trouble> {
        let wrong = || {
            usage(
                "--filter: is none of name=TEXT, id=PREFIX and label=KEY[=VALUE]",
                "for example --filter label=team=db",
            )
        };
        match text.split_once('=').ok_or_else(wrong)? {
            ("name", name) => Ok(Self::Name(name.to_ascii_lowercase())),
            ("id", id) => Ok(Self::Id(id.to_owned())),
            ("label", label) => Ok(match label.split_once('=') {
                Some((key, value)) => Self::Label(key.to_owned(), Some(value.to_owned())),
                None => Self::Label(label.to_owned(), None),
            }),
            _ => Err(wrong()),
        }
    }

    /// Whether a thing fits.
    pub(super) fn fits<T: Listed>(&self, thing: &T) -> bool {
        match self {
            Self::Name(part) => thing.name().to_ascii_lowercase().contains(part),
            Self::Id(start) => render::id(thing.id()).starts_with(start),
            Self::Label(key, value) => thing.labels().iter().any(|label| {
                label.key == *key && value.as_ref().is_none_or(|value| label.value == *value)
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_core::wire::api::{LabelPair, SecretView};

    fn fits(filter: &str) -> bool {
        let labels = vec![LabelPair { key: "team".into(), value: "db".into() }];
        let secret = SecretView {
            id: vec![0; 16],
            name: "DB-Password".into(),
            labels,
            ..Default::default()
        };
        let filters = Filter::parse_all(&[filter.to_owned()]).expect("a filter");
        filters.iter().all(|filter| filter.fits(&secret))
    }

    #[test]
    fn filters_are_dockers() {
        for yes in ["name=password", "name=", "id=aaaa", "label=team", "label=team=db"] {
            assert!(fits(yes), "{yes}");
        }
        for no in ["name=x", "id=b", "label=te", "label=team=d", "label=other=db"] {
            assert!(!fits(no), "{no}");
        }
        for bad in ["", "password", "driver=x"] {
            assert!(Filter::parse_all(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
