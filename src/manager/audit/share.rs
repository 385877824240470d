//! How many refused calls of one identity have a line each; those beyond are counted, and told by
//! one line for all that are alike: the same call, of the same things, from the same address, for
//! the same reason. So nobody who is known and refused fills the log until the oldest lines go.
//! What was done has its line always, before it is answered (P10).

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use parking_lot::Mutex;

use super::act::Act;
use skep_core::audit::{Deed, Doer};
use skep_core::base::BootTime;

/// Calls of one identity that were refused or came to nothing: so many have a line each at once,
const AT_ONCE: NonZeroU32 = NonZeroU32::MIN.saturating_add(59);
/// and so many in each minute after that.
const A_MINUTE: NonZeroU32 = NonZeroU32::MIN.saturating_add(11);
/// Milliseconds after which what was counted has its line.
const EVERY: u64 = 10_000;
/// Kinds of calls that are counted apart, of all identities; beyond it they are told together.
const KINDS: usize = 4_096;
/// Identities that are remembered, before those that rest are forgotten.
const IDENTITIES: usize = 8_192;

/// Which identity: its kind and id, and its name, by which users of several managers' sockets are
/// told apart.
type Whose = (String, String, String);

fn identity(of: &Doer) -> Whose {
    (of.kind.clone(), of.id.clone(), of.name.clone())
}

/// What is counted together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Alike {
    whose: Whose,
    from: String,
    deeds: Vec<Deed>,
    why: String,
}

impl Alike {
    fn of(act: &Act) -> Self {
        let Act { who, from, deeds, refused, .. } = act.clone();
        Self { whose: identity(&who), from, deeds, why: refused }
    }
}

struct Count {
    last: Act,
    times: u64,
    since: BootTime,
}

/// The shares of all identities.
pub(super) struct Share {
    undone: DefaultKeyedRateLimiter<Whose>,
    counts: Mutex<BTreeMap<Alike, Count>>,
}

impl Default for Share {
    fn default() -> Self {
        let undone = RateLimiter::keyed(Quota::per_minute(A_MINUTE).allow_burst(AT_ONCE));
        Self { undone, counts: Mutex::default() }
    }
}

impl Share {
    /// Whether this call has a line of its own; else it is counted.
    pub(super) fn has_line(&self, act: &Act, now: BootTime) -> bool {
        if act.refused.is_empty() {
            return true;
        }
        if self.undone.len() > IDENTITIES {
            self.undone.retain_recent();
        }
        if self.undone.check_key(&identity(&act.who)).is_ok() {
            return true;
        }
        self.count(act, 1, now);
        false
    }

    /// Counts it, or that so many like it could not be written: it is tried again.
    pub(super) fn count(&self, act: &Act, times: u64, now: BootTime) {
        let mut last = act.clone();
        let mut counts = self.counts.lock();
        if counts.len() >= KINDS && !counts.contains_key(&Alike::of(act)) {
            // So many at once are told together: which call it was, and why it was refused.
            let called = last.deeds.first().map(|deed| deed.act.as_str()).unwrap_or_default();
            last.deeds = vec![Deed::new(called)];
            last.who = Doer { kind: "others".to_owned(), ..Doer::default() };
            last.from.clear();
        }
        let none = Count { last: Act::default(), times: 0, since: now };
        let count = counts.entry(Alike::of(&last)).or_insert(none);
        count.times = count.times.saturating_add(times);
        count.last = last;
    }

    /// What was counted and is to have its line now, or at the end of all.
    pub(super) fn due(&self, now: BootTime, end: bool) -> Vec<(Act, u64)> {
        let mut due = Vec::new();
        self.counts.lock().retain(|_, count| {
            let over = end || now.0.saturating_sub(count.since.0) >= EVERY;
            if over {
                due.push((count.last.clone(), count.times));
            }
            !over
        });
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn act(id: &str, call: &str, refused: &str) -> Act {
        let who = Doer { kind: "node".into(), id: id.into(), name: id.into() };
        Act { refused: refused.into(), ..Act::of(who, None, Deed::new(call)) }
    }

    #[test]
    fn p10_what_one_identity_has_no_line_for_is_counted_and_told() {
        let (share, start) = (Share::default(), BootTime(1_000));
        let refused = act("a", "call.put", "too-much");
        let lines = (0..1_000).filter(|_| share.has_line(&refused, start)).count();
        assert_eq!(lines, 60);
        // Others have a share of their own.
        assert!(share.has_line(&act("b", "call.put", "too-much"), start));
        assert!(!share.has_line(&act("a", "call.renew", "not-allowed"), start));
        let elsewhere = Act { from: "::1".into(), ..refused.clone() };
        assert!(!share.has_line(&elsewhere, start));

        assert!(share.due(BootTime(start.0 + EVERY - 1), false).is_empty());
        let due = share.due(BootTime(start.0 + EVERY), false);
        let told = due.iter().map(|(act, times)| (act.deeds[0].act.as_str(), &*act.from, *times));
        let told: Vec<_> = told.collect();
        assert_eq!(told, [("call.put", "", 940), ("call.renew", "", 1), ("call.put", "::1", 1)]);
        assert_eq!(due[0].0.who.id, "a");
        assert!(share.due(BootTime(start.0 + 2 * EVERY), true).is_empty(), "told once");

        share.count(&due[0].0, 940, start);
        assert!(!share.has_line(&refused, start));
        assert_eq!(share.due(start, true)[0].1, 941);
    }

    #[test]
    fn p10_what_was_done_has_its_line_however_often() {
        let (share, start) = (Share::default(), BootTime(0));
        let read = act("a", "call.get-secret", "");
        assert!((0..10_000).all(|_| share.has_line(&read, start)));
        assert!(share.due(start, true).is_empty());
    }

    #[test]
    fn p10_identities_beyond_the_bound_are_told_together() {
        let (share, start) = (Share::default(), BootTime(0));
        for id in 0..KINDS + 10 {
            share.count(&act(&id.to_string(), "call.put", "too-much"), 1, start);
        }
        let due = share.due(start, true);
        assert_eq!(due.len(), KINDS + 1);
        let others = due.iter().find(|(act, _)| act.who.kind == "others");
        assert_eq!(others.map(|(_, times)| *times), Some(10));
    }
}
