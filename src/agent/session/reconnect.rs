//! Where to connect next, and when.

use skep_core::base::limits;

/// Milliseconds before the next try after a failed round through all managers; doubled each round.
const FIRST_MS: u64 = 100;
/// Milliseconds at most.
const MOST_MS: u64 = 5_000;
/// Milliseconds between two managers of one round.
const STEP_MS: u64 = 20;
/// Times in a row that a manager's word on the leader is followed at once: two
/// managers that point at each other must not be asked in a circle.
const HINTS: u32 = 3;
/// Addresses kept: several for each manager.
const ADDRESSES: usize = limits::MANAGERS * 4;

/// Known managers and how often none of them would have us.
#[derive(Clone, Debug, Default)]
pub(super) struct Reconnect {
    /// What the agent was started with: it may reach managers where their own addresses don't.
    given: Vec<String>,
    addresses: Vec<String>,
    next: usize,
    tried: usize,
    rounds: u32,
    hints: u32,
}

impl Reconnect {
    pub(super) fn new(addresses: impl IntoIterator<Item = String>) -> Self {
        let mut known = Self::default();
        known.learn(addresses);
        known.given.clone_from(&known.addresses);
        known
    }

    /// Adds addresses that are not known yet.
    pub(super) fn learn(&mut self, addresses: impl IntoIterator<Item = String>) {
        for address in addresses {
            if self.addresses.len() < ADDRESSES && !self.addresses.contains(&address) {
                self.addresses.push(address);
            }
        }
    }

    /// The leader's own list comes before what the agent was started with; the rest is forgotten.
    pub(super) fn replace(&mut self, addresses: Vec<String>) {
        if addresses.is_empty() {
            return;
        }
        self.addresses.clear();
        self.learn(addresses);
        self.learn(self.given.clone());
        self.next = 0;
    }

    /// A session stands: the next loss starts from the beginning.
    pub(super) fn succeeded(&mut self, address: &str) {
        self.tried = 0;
        self.rounds = 0;
        self.hints = 0;
        if let Some(at) = self.addresses.iter().position(|known| known == address) {
            self.next = at;
        }
    }

    /// Whom to try next, and after how many milliseconds.
    pub(super) fn next(&mut self, jitter: u16) -> Option<(String, u64)> {
        let count = self.addresses.len();
        if count == 0 {
            return None;
        }
        let address = self.addresses.get(self.next % count)?.clone();
        self.next = (self.next % count).saturating_add(1);
        let delay = if self.tried == 0 && self.rounds == 0 {
            0
        } else if self.tried > 0 && self.tried < count {
            STEP_MS
        } else {
            self.tried = 0;
            let whole = FIRST_MS.saturating_mul(1 << self.rounds.min(10)).min(MOST_MS);
            self.rounds = self.rounds.saturating_add(1);
            // Between a half and the whole of it.
            whole / 2 + (whole / 2).saturating_mul(u64::from(jitter)) / u64::from(u16::MAX)
        };
        self.tried = self.tried.saturating_add(1);
        Some((address, delay))
    }

    /// A manager said where the leader is.
    pub(super) fn pointed(&mut self, leader: Vec<String>, jitter: u16) -> Option<(String, u64)> {
        let first = leader.first().cloned();
        self.learn(leader);
        match first {
            Some(address) if self.hints < HINTS => {
                self.hints = self.hints.saturating_add(1);
                Some((address, 0))
            }
            _ => {
                self.hints = 0;
                self.tried = self.tried.max(self.addresses.len());
                self.next(jitter)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Reconnect {
        Reconnect::new(["a", "b", "c"].map(str::to_owned))
    }

    #[test]
    fn a_round_is_quick_and_rounds_slow_down_to_five_seconds() {
        let mut reconnect = known();
        let tries: Vec<_> = (0..40).filter_map(|_| reconnect.next(u16::MAX)).collect();
        let names: Vec<_> = tries.iter().take(4).map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c", "a"]);
        let delays: Vec<_> = tries.iter().map(|(_, delay)| *delay).collect();
        assert_eq!(delays[..7], [0, 20, 20, 100, 20, 20, 200]);
        assert_eq!(delays.iter().max(), Some(&5_000));
        assert_eq!(delays[39], 5_000);
    }

    #[test]
    fn jitter_halves_at_most() {
        let mut reconnect = known();
        let delays: Vec<_> = (0..4).filter_map(|_| reconnect.next(0)).map(|(_, d)| d).collect();
        assert_eq!(delays[3], 50);
    }

    #[test]
    fn a_success_starts_from_the_beginning_and_at_the_same_manager() {
        let mut reconnect = known();
        for _ in 0..20 {
            reconnect.next(7);
        }
        reconnect.succeeded("b");
        assert_eq!(reconnect.next(7), Some(("b".to_owned(), 0)));
    }

    #[test]
    fn two_managers_that_point_at_each_other_are_not_followed_forever() {
        let mut reconnect = known();
        let delays: Vec<_> = (0..4)
            .filter_map(|_| reconnect.pointed(vec!["d".to_owned()], u16::MAX))
            .map(|(_, delay)| delay)
            .collect();
        assert_eq!(delays[..3], [0, 0, 0]);
        assert!(delays[3] >= 50);
        assert!(reconnect.addresses.contains(&"d".to_owned()));
    }

    #[test]
    fn what_was_given_stays_behind_what_the_leader_says() {
        let mut reconnect = known();
        reconnect.learn(["z".to_owned()]);
        reconnect.replace(vec!["l".to_owned(), "a".to_owned()]);
        assert_eq!(reconnect.addresses, ["l", "a", "b", "c"]);
    }

    #[test]
    fn nobody_known_is_nobody_tried() {
        assert_eq!(Reconnect::default().next(1), None);
    }
}
