//! What is asked for: `repository:team/app:pull,push`, as the distribution project's token
//! specification writes it.

use std::fmt;
use std::str::FromStr;

use super::action::{Action, Actions};
use super::shown::shown;

/// Scopes of one request.
pub const SCOPES: usize = 64;
/// Bytes of one scope: a name of the longest kind, and every action with room to spare.
pub const SCOPE_BYTES: usize = 1024;
/// Bytes of a repository's name, as the distribution project bounds it.
pub const NAME_BYTES: usize = 255;

/// What kind of thing is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKind {
    /// `repository`: images.
    Repository,
    /// `repository(plugin)`: plug-ins of an engine. Rules see the type `repository`.
    Plugin,
    /// `registry`: the registry itself, that is its catalog.
    Registry,
}

impl ResourceKind {
    const ALL: [Self; 3] = [Self::Repository, Self::Plugin, Self::Registry];

    /// As it is asked for.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Repository => "repository",
            Self::Plugin => "repository(plugin)",
            Self::Registry => "registry",
        }
    }

    /// The type that rules match and tokens carry.
    #[must_use]
    pub const fn resource_type(self) -> &'static str {
        match self {
            Self::Repository | Self::Plugin => "repository",
            Self::Registry => "registry",
        }
    }

    /// The class that tokens carry, where there is one.
    #[must_use]
    pub const fn class(self) -> Option<&'static str> {
        match self {
            Self::Plugin => Some("plugin"),
            Self::Repository | Self::Registry => None,
        }
    }

    /// All that `*` stands for where it is asked for.
    #[must_use]
    pub const fn all(self) -> Actions {
        match self {
            Self::Repository | Self::Plugin => Actions::EVERYDAY,
            Self::Registry => Actions::CATALOG,
        }
    }
}

/// One scope: a thing, and what is to be done with it. It was checked when it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    kind: ResourceKind,
    name: String,
    asked: Actions,
}

impl Scope {
    /// The kind of thing.
    #[must_use]
    pub const fn kind(&self) -> ResourceKind {
        self.kind
    }

    /// The repository, or `catalog`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is asked for; of `*` what it may stand for. Actions that nobody knows are not
    /// among them: they are never given.
    #[must_use]
    pub const fn asked(&self) -> Actions {
        self.asked
    }

    /// The same thing with other actions.
    #[must_use]
    pub fn with_actions(&self, actions: Actions) -> Self {
        Self { kind: self.kind, name: self.name.clone(), asked: actions }
    }

    /// A scope that a client asks for. An action that is well written and unknown is left out.
    ///
    /// # Errors
    ///
    /// It is no scope.
    pub fn parse(text: &str) -> Result<Self, BadScope> {
        read(text, |_| Ok(()))
    }
}

/// A scope that a person writes: an action that nobody knows is a mistake.
impl FromStr for Scope {
    type Err = BadScope;

    fn from_str(text: &str) -> Result<Self, BadScope> {
        let scope = read(text, |unknown| Err(BadScope::UnknownAction(shown(unknown))))?;
        if scope.asked.is_empty() { Err(BadScope::NoAction) } else { Ok(scope) }
    }
}

/// `repository:team/app:pull,push`
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.kind.text(), self.name, self.asked)
    }
}

fn read(text: &str, unknown: impl Fn(&str) -> Result<(), BadScope>) -> Result<Scope, BadScope> {
    if text.len() > SCOPE_BYTES {
        return Err(BadScope::TooLong);
    }
    let parts = text.split_once(':').and_then(|(kind, rest)| {
        let (name, actions) = rest.rsplit_once(':')?;
        Some((kind, name, actions))
    });
    let (kind, name, actions) = parts.ok_or_else(|| BadScope::NoParts(shown(text)))?;
    let kind = ResourceKind::ALL.into_iter().find(|known| known.text() == kind);
    let kind = kind.ok_or_else(|| BadScope::UnknownKind(shown(text)))?;
    let good = match kind {
        ResourceKind::Repository | ResourceKind::Plugin => is_repository(name),
        ResourceKind::Registry => name == "catalog",
    };
    if !good {
        return Err(match kind {
            ResourceKind::Repository | ResourceKind::Plugin => BadScope::Name(shown(name)),
            ResourceKind::Registry => BadScope::NoCatalog(shown(name)),
        });
    }
    let mut asked = Actions::NONE;
    for action in actions.split(',').filter(|action| !action.is_empty()) {
        match Action::named(action).filter(|_| kind != ResourceKind::Registry) {
            Some(known) => asked = asked.with(known),
            None if action == "*" => asked = asked.and(kind.all()),
            None if is_action(action) => unknown(action)?,
            None => return Err(BadScope::Action(shown(action))),
        }
    }
    Ok(Scope { kind, name: name.to_owned(), asked })
}

/// All scopes of a request: the parameter may be repeated, and each may hold several,
/// separated by spaces. What is asked for twice is asked for once, in the first's place.
///
/// # Errors
///
/// One of them is no scope, or there are too many.
pub fn parse_scopes<'t>(values: impl IntoIterator<Item = &'t str>) -> Result<Vec<Scope>, BadScope> {
    let mut scopes: Vec<Scope> = Vec::new();
    let words = values.into_iter().flat_map(|value| value.split(' '));
    for (number, word) in words.filter(|word| !word.is_empty()).enumerate() {
        if number == SCOPES {
            return Err(BadScope::TooMany);
        }
        let scope = Scope::parse(word)?;
        let same = |other: &&mut Scope| other.kind == scope.kind && other.name == scope.name;
        match scopes.iter_mut().find(same) {
            Some(first) => first.asked = first.asked.and(scope.asked),
            None => scopes.push(scope),
        }
    }
    Ok(scopes)
}

/// Whether this is a repository's name: components of lower-case letters and digits, with
/// `.`, `_`, `__` or dashes inside, separated by slashes; in front of them perhaps a host.
#[must_use]
pub fn is_repository(name: &str) -> bool {
    if name.len() > NAME_BYTES {
        return false;
    }
    let path = match name.split_once('/') {
        Some((first, rest)) if !is_component(first) && is_host(first) => rest,
        _ => name,
    };
    path.split('/').all(is_component)
}

fn is_component(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separator = |run: &str| {
        matches!(run, "." | "_" | "__") || (!run.is_empty() && run.chars().all(|c| c == '-'))
    };
    let ends = text.starts_with(alphanumeric) && text.ends_with(alphanumeric);
    // Between letters and digits stand separators, and between separators letters and digits.
    ends && text.split(alphanumeric).all(|run| run.is_empty() || separator(run))
}

/// `registry.example.com:5000`: it has a dot or a port, or is `localhost`.
fn is_host(text: &str) -> bool {
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let label = |label: &str| {
        let inside = |c: char| c.is_ascii_alphanumeric();
        label.starts_with(inside)
            && label.ends_with(inside)
            && label.chars().all(|c| inside(c) || c == '-')
    };
    let digits =
        |port: &str| (1..=5).contains(&port.len()) && port.chars().all(|c| c.is_ascii_digit());
    host.split('.').all(label)
        && port.is_none_or(digits)
        && (host.contains('.') || port.is_some() || host == "localhost")
}

/// Whether this could be an action's name.
fn is_action(text: &str) -> bool {
    let inside = |c: char| c.is_ascii_lowercase() || c == '-' || c == '_';
    text.len() <= 32
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(inside)
}

/// Why a text is no scope: one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadScope {
    /// More than [`SCOPES`].
    #[error("more than {SCOPES} scopes")]
    TooMany,
    /// More than [`SCOPE_BYTES`].
    #[error("a scope is longer than {SCOPE_BYTES} bytes")]
    TooLong,
    /// No two colons.
    #[error("invalid scope {0}: it is written kind:name:actions")]
    NoParts(String),
    /// Of another kind.
    #[error("invalid scope {0}: the kinds are repository, repository(plugin) and registry")]
    UnknownKind(String),
    /// No repository is called that.
    #[error("invalid repository name {0}")]
    Name(String),
    /// Of the registry itself there is the catalog.
    #[error("invalid scope registry:{0}: there is registry:catalog:*")]
    NoCatalog(String),
    /// No action is called that.
    #[error("invalid action {0}")]
    Action(String),
    /// Well written, and unknown.
    #[error("unknown action {0}")]
    UnknownAction(String),
    /// Nothing is asked for.
    #[error("a scope without an action")]
    NoAction,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asked(text: &str) -> String {
        Scope::parse(text).map_or_else(|bad| bad.to_string(), |scope| scope.to_string())
    }

    #[test]
    fn scopes_are_read_as_the_specification_writes_them() {
        for (text, read) in [
            ("repository:app:pull", "repository:app:pull"),
            ("repository:team/app:push,pull", "repository:team/app:pull,push"),
            ("repository:app:*", "repository:app:pull,push,delete"),
            ("repository:app:*,sign", "repository:app:pull,push,delete,sign"),
            ("repository:app:view-held,hold,promote", "repository:app:promote,hold,view-held"),
            ("repository(plugin):vendor/vol:pull", "repository(plugin):vendor/vol:pull"),
            ("registry:catalog:*", "registry:catalog:*"),
            ("registry:catalog:pull", "registry:catalog:"),
            ("repository:app:", "repository:app:"),
            ("repository:app:pull,,pull", "repository:app:pull"),
            ("repository:app:fly,pull", "repository:app:pull"),
            ("repository:host.example:5000/app:pull", "repository:host.example:5000/app:pull"),
            ("repository:localhost/app:pull", "repository:localhost/app:pull"),
            ("repository:Host.Example/app:pull", "repository:Host.Example/app:pull"),
            ("repository:a.b_c__d-e---f/0:pull", "repository:a.b_c__d-e---f/0:pull"),
        ] {
            assert_eq!(asked(text), read, "{text}");
        }
    }

    #[test]
    fn what_is_no_scope_is_told_in_one_line() {
        for (text, why) in [
            ("", "kind:name:actions"),
            ("pull", "kind:name:actions"),
            ("repository:app", "kind:name:actions"),
            ("artifact:app:pull", "the kinds are"),
            ("Repository:app:pull", "the kinds are"),
            ("repository(image):app:pull", "the kinds are"),
            (":app:pull", "the kinds are"),
            ("repository::pull", "repository name"),
            ("repository:App:pull", "repository name"),
            ("repository:a..b:pull", "repository name"),
            ("repository:a___b:pull", "repository name"),
            ("repository:-a:pull", "repository name"),
            ("repository:a_:pull", "repository name"),
            ("repository:a._b:pull", "repository name"),
            ("repository:/a:pull", "repository name"),
            ("repository:a/:pull", "repository name"),
            ("repository:a//b:pull", "repository name"),
            ("repository:a/../b:pull", "repository name"),
            ("repository:a/*:pull", "repository name"),
            ("repository:größe:pull", "repository name"),
            ("repository:host:99999999/app:pull", "repository name"),
            ("repository:host:5000:pull", "repository name"),
            ("repository:a:b:c:pull", "repository name"),
            ("registry:other:*", "registry:catalog"),
            ("repository:app:PULL", "invalid action"),
            ("repository:app:pull push", "invalid action"),
            ("repository:app:pu\nll", "invalid action"),
            ("repository:app:**", "invalid action"),
        ] {
            let said = asked(text);
            assert!(said.contains(why) && !said.contains('\n'), "{text}: {said}");
        }
        let long = format!("repository:{}:pull", "a".repeat(NAME_BYTES));
        assert!(Scope::parse(&long).is_ok());
        assert!(matches!(Scope::parse(&long.replacen(":a", ":aa", 1)), Err(BadScope::Name(_))));
        let long = format!("repository:app:{}", "pull,".repeat(300));
        assert_eq!(Scope::parse(&long), Err(BadScope::TooLong));
    }

    #[test]
    fn people_write_only_what_there_is() {
        let read = |text: &str| text.parse::<Scope>();
        assert!(read("repository:app:pull,sign").is_ok());
        assert_eq!(read("repository:app:fly"), Err(BadScope::UnknownAction("fly".to_owned())));
        assert_eq!(read("repository:app:"), Err(BadScope::NoAction));
        let unknown = Err(BadScope::UnknownAction("pull".to_owned()));
        assert_eq!(read("registry:catalog:pull"), unknown);
    }

    #[test]
    fn scopes_may_be_joined_and_repeated() {
        let joined = ["repository:a:pull  repository:b:pull", "", "repository:a:push"];
        let scopes = parse_scopes(joined).expect("scopes");
        let shown: Vec<_> = scopes.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["repository:a:pull,push", "repository:b:pull"]);
        let many = |count: usize| parse_scopes(vec!["repository:a:pull"; count]);
        assert!(many(SCOPES).is_ok());
        assert_eq!(many(SCOPES + 1), Err(BadScope::TooMany));
        assert_eq!(
            parse_scopes(["repository:a:pull x"]).map_err(|bad| bad.to_string()).err(),
            Some("invalid scope x: it is written kind:name:actions".to_owned())
        );
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_was_read_is_read_again(text in ".{0,80}") {
            if let Ok(scope) = Scope::parse(&text) {
                prop_assert_eq!(Scope::parse(&scope.to_string()).expect("a scope"), scope);
            }
        }

        #[test]
        fn names_of_the_grammar_are_read(name in "[a-z0-9]{1,8}((\\.|_|__|-{1,3})[a-z0-9]{1,8}){0,3}(/[a-z0-9]{1,8}){0,4}") {
            prop_assert!(is_repository(&name));
        }
    }
}
