//! Audit heads at indexes that all members agree on, so that one whose state went
//! another way is found.

use std::collections::BTreeMap;

/// Heads are compared after every so many entries.
const EVERY: u64 = 1024;
/// So many of the last are kept: a follower is seldom further behind, and one that
/// is gets compared at the next.
const KEPT: usize = 8;

/// The last heads of this member.
#[derive(Debug, Default)]
pub(super) struct Audited(BTreeMap<u64, [u8; 32]>);

impl Audited {
    /// The entry `index` is applied, and the head is this now.
    pub(super) fn applied(&mut self, index: u64, head: [u8; 32]) {
        if !index.is_multiple_of(EVERY) || index == 0 {
            return;
        }
        self.0.insert(index, head);
        while self.0.len() > KEPT {
            self.0.pop_first();
        }
    }

    /// The last one; zeros where there is none.
    pub(super) fn newest(&self) -> (u64, [u8; 32]) {
        self.0.last_key_value().map_or((0, [0; 32]), |(index, head)| (*index, *head))
    }

    /// Whether another member's head is ours, as far as ours is known.
    pub(super) fn agrees(&self, index: u64, head: &[u8]) -> bool {
        self.0.get(&index).is_none_or(|own| own == head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_compared_where_both_are_known() {
        let mut audited = Audited::default();
        assert_eq!(audited.newest(), (0, [0; 32]));
        for index in 0..=EVERY * 10 {
            audited.applied(index, [u8::try_from(index / EVERY).expect("small"); 32]);
        }
        assert_eq!(audited.newest(), (EVERY * 10, [10; 32]));
        assert!(audited.agrees(EVERY * 10, &[10; 32]));
        assert!(!audited.agrees(EVERY * 10, &[9; 32]));
        assert!(!audited.agrees(EVERY * 9, &[]), "no head at all");
        assert!(audited.agrees(EVERY, &[7; 32]), "no longer known");
        assert!(audited.agrees(EVERY * 11, &[7; 32]), "not known yet");
    }
}
