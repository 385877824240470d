//! From what was typed to the one thing meant, and lists page by page.

use skep_core::base::{BadId, Exit, NodeId};
use skep_core::wire::api::{
    HolderView, LabelPair, ListHoldersRequest, ListRequest, NodeView, OperatorView, SecretView,
    ServiceView, TokenView,
};

use crate::error::CallError;
use crate::link::{CallKind, Control, Link};

/// Pages of one list before we stop: more than the cluster's limits fill.
const PAGES: usize = 1_000;

/// A thing that managers list.
pub trait Listed: Sized {
    /// What it is called.
    const WORD: &'static str;
    /// Its id, 16 bytes.
    fn id(&self) -> &[u8];
    /// Its name; of a join token, the pattern of names that it is for.
    fn name(&self) -> &str;
    /// Its labels.
    fn labels(&self) -> &[LabelPair];
    /// One page, and whether there are more.
    fn page(
        client: Control,
        request: ListRequest,
    ) -> impl Future<Output = Result<tonic::Response<(Vec<Self>, bool)>, tonic::Status>>;
}

macro_rules! listed {
    ($view:ident, $word:literal, $name:ident, $labels:expr, $call:ident, $list:ident) => {
        impl Listed for $view {
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

listed!(SecretView, "secret", name, |view| &view.labels, list_secrets, secrets);
listed!(ServiceView, "service", name, spec_labels, list_services, services);
listed!(NodeView, "node", name, |view| &view.labels, list_nodes, nodes);
listed!(OperatorView, "operator", name, |_| &[], list_operators, operators);
listed!(TokenView, "join token", name_pattern, |view| &view.labels, list_tokens, tokens);

fn spec_labels(view: &ServiceView) -> &[LabelPair] {
    view.spec.as_ref().map(|spec| spec.labels.as_slice()).unwrap_or_default()
}

/// All of them.
///
/// # Errors
/// [`CallError`].
pub async fn all<T: Listed>(link: &mut Link, stale: bool) -> Result<Vec<T>, CallError> {
    let mut things: Vec<T> = Vec::new();
    for _ in 0..PAGES {
        let after = things.last().map(|thing| thing.id().to_vec()).unwrap_or_default();
        let request = ListRequest { stale, after, limit: 0, what: String::new() };
        let (page, more) = link.call(CallKind::Read, request, T::page).await?;
        let end = page.is_empty() || !more;
        things.extend(page);
        if end {
            return Ok(things);
        }
    }
    Err(CallError::EndlessList)
}

/// All who hold a secret, or may still, and how many pairs beside them lie outside of the scope
/// of whoever asks.
///
/// # Errors
/// [`CallError`].
pub async fn holders(
    link: &mut Link,
    secret: &[u8],
    stale: bool,
) -> Result<(Vec<HolderView>, u64), CallError> {
    let mut holders: Vec<HolderView> = Vec::new();
    for _ in 0..PAGES {
        let after = holders.last().map(|last| [last.node.as_slice(), &last.service].concat());
        let after = after.unwrap_or_default();
        let request = ListHoldersRequest { secret: secret.to_vec(), stale, after, limit: 0 };
        let send = async |mut client: Control, request| client.list_holders(request).await;
        let page = link.call(CallKind::Read, request, send).await?;
        let end = page.holders.is_empty() || !page.more;
        holders.extend(page.holders);
        if end {
            return Ok((holders, page.outside));
        }
    }
    Err(CallError::EndlessList)
}

/// The one with this full id, this name, or the only one whose id begins so.
///
/// # Errors
/// [`CallError`].
pub async fn one<T: Listed>(link: &mut Link, what: &str, stale: bool) -> Result<T, CallError> {
    let kind = T::WORD;
    let not_found = || CallError::NotFound { kind, what: what.to_owned() };
    if what.is_empty() {
        return Err(not_found());
    }
    let request = ListRequest { stale, after: Vec::new(), limit: 0, what: what.to_owned() };
    let (mut found, _more) = link.call(CallKind::Read, request, T::page).await?;
    let best = found.iter().position(|thing| is_exactly(thing, what));
    match (best, found.len()) {
        (Some(place), _) => Ok(found.swap_remove(place)),
        (None, 0) => Err(not_found()),
        (None, 1) => Ok(found.swap_remove(0)),
        (None, matches) => Err(CallError::Ambiguous { kind, what: what.to_owned(), matches }),
    }
}

/// The one with this full id or name: what changes or destroys takes no prefix.
///
/// # Errors
/// [`CallError`].
pub async fn exact<T: Listed>(link: &mut Link, what: &str) -> Result<T, CallError> {
    let thing = one::<T>(link, what, false).await?;
    if is_exactly(&thing, what) {
        return Ok(thing);
    }
    Err(CallError::NotExact { kind: T::WORD, what: what.to_owned() })
}

/// The one with this full id or name, if there is one.
///
/// # Errors
/// [`CallError`].
pub async fn maybe<T: Listed>(link: &mut Link, what: &str) -> Result<Option<T>, CallError> {
    match exact::<T>(link, what).await {
        Ok(thing) => Ok(Some(thing)),
        Err(CallError::NotFound { .. } | CallError::NotExact { .. }) => Ok(None),
        // So a manager says it.
        Err(CallError::Answered(failure))
            if failure.exit == Exit::Refused
                && failure.text == format!("{} {what} not found", T::WORD) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn is_exactly<T: Listed>(thing: &T, what: &str) -> bool {
    // A token has a pattern for a name, which names nothing.
    let named = T::WORD != TokenView::WORD && thing.name().eq_ignore_ascii_case(what);
    named || NodeId::try_from(thing.id()).is_ok_and(|id| id.to_string() == what)
}

/// An id that a manager sent.
///
/// # Errors
/// [`CallError`].
pub fn id<T>(bytes: &[u8]) -> Result<T, CallError>
where
    T: for<'a> TryFrom<&'a [u8], Error = BadId>,
{
    T::try_from(bytes).map_err(|_bad| CallError::Malformed("id"))
}
