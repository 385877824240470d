//! What the changes of an act came to.

use crate::base::{SecretId, ServiceId, limits};

/// What each change of an act came to, in order. Neighbours that came to the same stand once,
/// with how many they are: the answer to an act that changed nothing is as small as the act.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangedList(Vec<(Changed, u32)>);

impl ChangedList {
    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = &Changed> {
        self.0.iter().flat_map(|(changed, times)| (0..*times).map(move |_| changed))
    }

    /// How many in a row came to what.
    #[must_use]
    pub fn runs(&self) -> &[(Changed, u32)] {
        &self.0
    }

    /// From what [`Self::runs`] gave; `None` for what it never gives.
    #[must_use]
    pub fn from_runs(runs: Vec<(Changed, u32)>) -> Option<Self> {
        let most = u64::try_from(limits::CHANGES).unwrap_or(u64::MAX);
        let count: u64 = runs.iter().map(|(_, times)| u64::from(*times)).sum();
        let same = |pair: &[(Changed, u32)]| matches!(pair, [(one, _), (two, _)] if one == two);
        let sound = (1..=most).contains(&count)
            && runs.iter().all(|(_, times)| *times > 0)
            && !runs.windows(2).any(same);
        sound.then_some(Self(runs))
    }
}

impl FromIterator<Changed> for ChangedList {
    fn from_iter<T: IntoIterator<Item = Changed>>(list: T) -> Self {
        let mut runs: Vec<(Changed, u32)> = Vec::new();
        for changed in list {
            match runs.last_mut() {
                Some((last, times)) if *last == changed => *times = times.saturating_add(1),
                _ => runs.push((changed, 1)),
            }
        }
        Self(runs)
    }
}

/// What one change came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// A version was added.
    Version {
        /// Of which secret.
        secret: SecretId,
        /// Its number.
        number: u32,
    },
    /// A service was created, changed or removed, granted or revoked.
    Service(ServiceId),
    /// The change had nothing to do; what it asks for stood already.
    Already,
    /// Done.
    Done,
}
