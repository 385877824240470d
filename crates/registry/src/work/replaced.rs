//! Credentials that others took the place of: one that comes back is refused, for whoever knew
//! its password was to be kept out.
//!
//! It is known from memory, as long as this process runs. What a service is granted of an
//! account in an old version is said by `skep registry status`.

use std::collections::{HashMap, VecDeque};

use crate::rules::credential::{Credential, Tag};

/// Accounts that are remembered: twice as many as a set may have.
const ACCOUNTS: usize = 8_192;
/// Credentials of each that are: a secret has no more versions.
const GENERATIONS: usize = 200;

/// What stood before, of each account.
#[derive(Debug, Default)]
pub(super) struct Replaced {
    /// By the slug of the account, which its file's name says, and not its content.
    of: HashMap<String, Generations>,
    look: u64,
}

#[derive(Debug)]
struct Generations {
    last: Tag,
    older: VecDeque<Tag>,
    /// When it was there last.
    look: u64,
}

impl Replaced {
    /// A whole set is looked at from here on.
    pub(super) fn begin(&mut self) {
        self.look += 1;
    }

    /// Whether another one took its place before. What is not older is the last one from now on.
    pub(super) fn is_older(&mut self, slug: &str, own: &Credential) -> bool {
        let (look, generation) = (self.look, own.generation);
        let Some(known) = self.of.get_mut(slug) else {
            if self.of.len() >= ACCOUNTS {
                // Those that are there come first.
                self.of.retain(|_, known| known.look == look);
            }
            let new = Generations { last: generation, older: VecDeque::new(), look };
            self.of.insert(slug.to_owned(), new);
            return false;
        };
        known.look = look;
        if known.last == generation {
            return false;
        }
        if known.older.contains(&generation) {
            return true;
        }
        if known.older.len() == GENERATIONS {
            let _forgotten = known.older.pop_front();
        }
        known.older.push_back(known.last);
        known.last = generation;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::credential::Verifier;

    fn credential(generation: u16) -> Credential {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&generation.to_le_bytes());
        let (id, generation) = (Tag::from_bytes([0; 16]), Tag::from_bytes(bytes));
        let verifier = Verifier::read("sha256", "0".repeat(64)).unwrap();
        Credential { id, generation, verifier, overlap_s: 0 }
    }

    #[test]
    fn what_was_replaced_does_not_come_back() {
        let mut replaced = Replaced::default();
        let mut is_older = |slug, generation| {
            replaced.begin();
            replaced.is_older(slug, &credential(generation))
        };
        assert!(!is_older("a", 1) && !is_older("a", 1) && !is_older("a", 2));
        assert!(is_older("a", 1) && is_older("a", 1));
        // The one that took its place stays good, and so does another account's.
        assert!(!is_older("a", 2) && !is_older("b", 1) && !is_older("a", 3));
        assert!(is_older("a", 1) && is_older("a", 2));
    }

    #[test]
    fn memory_has_bounds() {
        let mut replaced = Replaced::default();
        for generation in 0..1_000 {
            assert!(!replaced.is_older("a", &credential(generation)));
        }
        assert_eq!(replaced.of["a"].older.len(), GENERATIONS);
        assert!(replaced.is_older("a", &credential(998)));
        // Others come and go, and it is there all the time.
        for number in 0..20_000 {
            if number % 1_000 == 0 {
                replaced.begin();
                assert!(replaced.is_older("a", &credential(998)), "{number}");
            }
            assert!(!replaced.is_older(&format!("b{number}"), &credential(1)), "{number}");
            assert!(replaced.of.len() <= ACCOUNTS, "{number}");
        }
    }
}
