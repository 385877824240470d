//! What is done with a repository or a registry, and sets of that.

use std::fmt;

/// What is done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Read images.
    Pull,
    /// Write images.
    Push,
    /// Delete them.
    Delete,
    /// `*` of `registry:catalog`: list all repositories. No other `*` gives it.
    Catalog,
    /// Have an image signed.
    Sign,
    /// Promote an image.
    Promote,
    /// Hold a digest back.
    Hold,
    /// Pull what is held.
    ViewHeld,
}

impl Action {
    /// Every action, in the order in which they are written.
    pub const ALL: [Self; 8] = [
        Self::Pull,
        Self::Push,
        Self::Delete,
        Self::Catalog,
        Self::Sign,
        Self::Promote,
        Self::Hold,
        Self::ViewHeld,
    ];

    /// As it is written.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
            Self::Catalog => "*",
            Self::Sign => "sign",
            Self::Promote => "promote",
            Self::Hold => "hold",
            Self::ViewHeld => "view-held",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Pull => 1,
            Self::Push => 2,
            Self::Delete => 4,
            Self::Catalog => 8,
            Self::Sign => 16,
            Self::Promote => 32,
            Self::Hold => 64,
            Self::ViewHeld => 128,
        }
    }

    /// The action of this name, `*` excepted: what that stands for depends on where it stands.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| *action != Self::Catalog && action.text() == text)
    }
}

/// A set of actions.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Actions(u8);

impl Actions {
    /// None.
    pub const NONE: Self = Self(0);
    /// What `*` means for a repository: pull, push, delete. The others are named or not given.
    pub const EVERYDAY: Self = Self(Action::Pull.bit() | Action::Push.bit() | Action::Delete.bit());
    /// What `*` means for the registry itself.
    pub const CATALOG: Self = Self(Action::Catalog.bit());

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether this one is among them.
    #[must_use]
    pub const fn has(self, action: Action) -> bool {
        self.0 & action.bit() != 0
    }

    /// These and that one.
    #[must_use]
    pub const fn with(self, action: Action) -> Self {
        Self(self.0 | action.bit())
    }

    /// These and those.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What both have.
    #[must_use]
    pub const fn cut_with(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// These without those.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Each, in the order in which they are written.
    pub fn iter(self) -> impl Iterator<Item = Action> {
        Action::ALL.into_iter().filter(move |action| self.has(*action))
    }
}

impl FromIterator<Action> for Actions {
    fn from_iter<I: IntoIterator<Item = Action>>(actions: I) -> Self {
        actions.into_iter().fold(Self::NONE, Self::with)
    }
}

/// `pull,push`
impl fmt::Display for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, action) in self.iter().enumerate() {
            write!(f, "{}{}", if number == 0 { "" } else { "," }, action.text())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{self}]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_means_pull_push_and_delete_alone() {
        let everyday: Vec<_> = Actions::EVERYDAY.iter().collect();
        assert_eq!(everyday, [Action::Pull, Action::Push, Action::Delete]);
        assert_eq!(Action::named("*"), None);
    }
}
