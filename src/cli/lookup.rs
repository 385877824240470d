//! From what was typed to the one thing meant, and lists page by page.

use skep_core::base::{BadId, Exit, Failure};
use skep_core::wire::api::{
    HolderView, LabelPair, ListHoldersRequest, ListRequest, NodeView, SecretView, ServiceView,
    TokenView,
};

use super::client::{Control, Kind, Link};
use super::problem::{Trouble, usage};
use super::render;

/// Pages of one list before we stop: more than the cluster's limits fill.
const PAGES: usize = 1_000;

/// A thing that managers list.
pub(super) trait Kindred: Sized {
    /// What it is called.
    const WORD: &'static str;
    fn id(&self) -> &[u8];
    fn name(&self) -> &str;
    fn labels(&self) -> &[LabelPair];
    /// One page, and whether there are more.
    async fn page(
        client: Control,
        request: ListRequest,
    ) -> Result<tonic::Response<(Vec<Self>, bool)>, tonic::Status>;
}

macro_rules! kindred {
    ($view:ident, $word:literal, $name:ident, $labels:expr, $call:ident, $list:ident) => {
        impl Kindred for $view {
            const WORD: &'static str = $word;
            fn id(&self) -> &[u8] {
                &self.id
            }
            fn name(&self) -> &str {
                &self.$name
            }
            fn labels(&self) -> &[LabelPair] {
                let of: fn(&Self) -> &[LabelPair] = $labels;
                of(self)
            }
            async fn page(
                mut client: Control,
                request: ListRequest,
            ) -> Result<tonic::Response<(Vec<Self>, bool)>, tonic::Status> {
                let reply = client.$call(request).await?;
                Ok(reply.map(|reply| (reply.$list, reply.more)))
            }
        }
    };
}

kindred!(SecretView, "secret", name, |view| &view.labels, list_secrets, secrets);
kindred!(ServiceView, "service", name, spec_labels, list_services, services);
kindred!(NodeView, "node", name, |view| &view.labels, list_nodes, nodes);
kindred!(TokenView, "join token", name_pattern, |view| &view.labels, list_tokens, tokens);

fn spec_labels(view: &ServiceView) -> &[LabelPair] {
    view.spec.as_ref().map(|spec| spec.labels.as_slice()).unwrap_or_default()
}

/// All of them.
pub(super) async fn all<T: Kindred>(link: &mut Link, stale: bool) -> Result<Vec<T>, Trouble> {
    let mut things: Vec<T> = Vec::new();
    for _ in 0..PAGES {
        let after = things.last().map(|thing| thing.id().to_vec()).unwrap_or_default();
        let request = ListRequest { stale, after, limit: 0, what: String::new() };
        let (page, more) = link.call(Kind::Read, request, T::page).await?;
        let end = page.is_empty() || !more;
        things.extend(page);
        if end {
            return Ok(things);
        }
    }
    Err(Failure::new(Exit::Refused, "the list does not end").into())
}

/// All who hold a secret, or may still.
pub(super) async fn holders(
    link: &mut Link,
    secret: &[u8],
    stale: bool,
) -> Result<Vec<HolderView>, Trouble> {
    let mut holders: Vec<HolderView> = Vec::new();
    for _ in 0..PAGES {
        let after = holders.last().map(|last| [last.node.as_slice(), &last.service].concat());
        let after = after.unwrap_or_default();
        let request = ListHoldersRequest { secret: secret.to_vec(), stale, after, limit: 0 };
        let send = async |mut client: Control, request| client.list_holders(request).await;
        let page = link.call(Kind::Read, request, send).await?;
        let end = page.holders.is_empty() || !page.more;
        holders.extend(page.holders);
        if end {
            return Ok(holders);
        }
    }
    Err(Failure::new(Exit::Refused, "the list does not end").into())
}

/// The one with this full id, this name, or the only one whose id begins so.
pub(super) async fn one<T: Kindred>(
    link: &mut Link,
    what: &str,
    stale: bool,
) -> Result<T, Trouble> {
    let not_found = || {
        let text = format!("{} {what} not found", T::WORD);
        let group = T::WORD.replace(' ', "-");
        Trouble::from(
            Failure::new(Exit::Refused, text).hint(format!("`skep {group} ls` lists all")),
        )
    };
    if what.is_empty() {
        return Err(not_found());
    }
    let request = ListRequest { stale, after: Vec::new(), limit: 0, what: what.to_owned() };
    let (mut found, _more) = link.call(Kind::Read, request, T::page).await?;
    let best = found.iter().position(|thing| is_exactly(thing, what));
    match (best, found.len()) {
        (Some(place), _) => Ok(found.swap_remove(place)),
        (None, 0) => Err(not_found()),
        (None, 1) => Ok(found.swap_remove(0)),
        (None, matches) => {
            let text = format!("{} {what} is ambiguous ({matches} matches found)", T::WORD);
            Err(Failure::new(Exit::Refused, text).hint("give the full name or id").into())
        }
    }
}

/// The one with this full id or name: what changes or destroys takes no prefix.
pub(super) async fn exact<T: Kindred>(link: &mut Link, what: &str) -> Result<T, Trouble> {
    let thing = one::<T>(link, what, false).await?;
    if is_exactly(&thing, what) {
        return Ok(thing);
    }
    let text = format!("{} {what} not found", T::WORD);
    Err(Failure::new(Exit::Refused, text)
        .hint("this takes the full name or id, not the beginning of one")
        .into())
}

fn is_exactly<T: Kindred>(thing: &T, what: &str) -> bool {
    // A token has a pattern for a name, which names nothing.
    let named = T::WORD != TokenView::WORD && thing.name().eq_ignore_ascii_case(what);
    named || render::id(thing.id()) == what
}

/// An id that a manager sent.
pub(super) fn id<T>(bytes: &[u8]) -> Result<T, Trouble>
where
    T: for<'a> TryFrom<&'a [u8], Error = BadId>,
{
    T::try_from(bytes).map_err(|_bad| {
        Failure::new(Exit::Refused, "the manager's answer has a malformed id").into()
    })
}

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
    pub(super) fn fits<T: Kindred>(&self, thing: &T) -> bool {
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
