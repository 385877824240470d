//! How many calls of one identity have a line each; those beyond are counted, and told by one
//! line for all that are alike. So nobody who is let in, or refused, fills the log until the oldest
//! lines go.
//!
//! Of what was done those are alike that did the same, to the same things, from the same
//! address: but for its moment nothing of an act is lost (P10). Of what was refused, those of one
//! call and reason.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use parking_lot::Mutex;

use super::act::Act;
use skep_core::audit::{Deed, Doer};
use skep_core::base::BootTime;

/// Calls that were done: so many at once have a line each, and so many in a minute.
const DONE: (u32, u32) = (600, 60);
/// The same of those that were refused or came to nothing.
const UNDONE: (u32, u32) = (60, 12);
/// Milliseconds after which what was counted has its line.
const EVERY: u64 = 10_000;
/// Kinds of calls that are counted apart, of all identities. Beyond it what was done has lines of
/// its own again, and what was refused is told together.
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
struct Counted {
    whose: Whose,
    from: String,
    deeds: Vec<Deed>,
    why: String,
}

impl Counted {
    fn of(whose: Whose, act: &Act) -> Self {
        let (from, deeds) = if act.refused.is_empty() {
            (act.from.clone(), act.deeds.clone())
        } else {
            let called = act.deeds.first().map(|deed| deed.act.as_str()).unwrap_or_default();
            (String::new(), vec![Deed::new(called)])
        };
        Self { whose, from, deeds, why: act.refused.clone() }
    }
}

struct Count {
    last: Act,
    times: u64,
    since: BootTime,
}

/// The shares of all identities.
pub(super) struct Share {
    done: DefaultKeyedRateLimiter<Whose>,
    undone: DefaultKeyedRateLimiter<Whose>,
    counts: Mutex<BTreeMap<Counted, Count>>,
}

impl Default for Share {
    fn default() -> Self {
        let limit = |(at_once, minute): (u32, u32)| {
            let of = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
            RateLimiter::keyed(Quota::per_minute(of(minute)).allow_burst(of(at_once)))
        };
        Self { done: limit(DONE), undone: limit(UNDONE), counts: Mutex::default() }
    }
}

impl Share {
    /// Whether this call has a line of its own; else it is counted.
    pub(super) fn has_line(&self, act: &Act, now: BootTime) -> bool {
        let share = if act.refused.is_empty() { &self.done } else { &self.undone };
        if share.len() > IDENTITIES {
            share.retain_recent();
        }
        let whose = identity(&act.who);
        share.check_key(&whose).is_ok() || !self.count(whose, act, (1, now), KINDS)
    }

    /// Whether it could be counted, where so many kinds may be told apart.
    fn count(&self, whose: Whose, act: &Act, (times, now): (u64, BootTime), most: usize) -> bool {
        let mut kind = Counted::of(whose, act);
        let mut last = Act { deeds: kind.deeds.clone(), ..act.clone() };
        let mut counts = self.counts.lock();
        if counts.len() >= most && !counts.contains_key(&kind) {
            if act.refused.is_empty() {
                return false;
            }
            // So many at once are told together.
            last.who = Doer { kind: "others".to_owned(), ..Doer::default() };
            last.from.clear();
            kind.whose = identity(&last.who);
        }
        let count =
            counts.entry(kind).or_insert(Count { last: Act::default(), times: 0, since: now });
        count.times = count.times.saturating_add(times);
        count.last = last;
        true
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

    /// A line of so many could not be written: it is tried again.
    pub(super) fn give_back(&self, act: &Act, times: u64, now: BootTime) {
        let whose = identity(&act.who);
        // It was counted before: as many again, at the most.
        self.count(whose, act, (times, now), 2 * KINDS);
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
        // Others, and what this one does, have a share of their own.
        assert!(share.has_line(&act("b", "call.put", "too-much"), start));
        assert!(share.has_line(&act("a", "call.session", ""), start));
        assert!(!share.has_line(&act("a", "call.renew", "not-allowed"), start));

        assert!(share.due(BootTime(start.0 + EVERY - 1), false).is_empty());
        let due = share.due(BootTime(start.0 + EVERY), false);
        let told: Vec<_> =
            due.iter().map(|(act, times)| (act.deeds[0].act.as_str(), *times)).collect();
        assert_eq!(told, [("call.put", 940), ("call.renew", 1)]);
        assert_eq!(due[0].0.who.id, "a");
        assert!(share.due(BootTime(start.0 + 2 * EVERY), true).is_empty(), "told once");

        share.give_back(&due[0].0, 940, start);
        assert!(!share.has_line(&refused, start));
        assert_eq!(share.due(start, true)[0].1, 941);
    }

    #[test]
    fn p10_of_what_was_done_nothing_but_the_moment_is_lost() {
        let (share, start) = (Share::default(), BootTime(0));
        let read = |secret: &str, from: &str| {
            let mut read = act("a", "secret.read", "");
            read.deeds[0].secret = secret.to_owned();
            Act { from: from.to_owned(), ..read }
        };
        let lines = (0..1_000).filter(|_| share.has_line(&read("db", "::1"), start)).count();
        assert_eq!(lines, 600);
        assert!(!share.has_line(&read("db", "::2"), start));
        assert!(!share.has_line(&read("tls", "::1"), start));
        let due = share.due(start, true);
        let told: Vec<_> = due
            .iter()
            .map(|(act, times)| (act.deeds[0].secret.as_str(), act.from.as_str(), *times))
            .collect();
        assert_eq!(told, [("db", "::1", 400), ("tls", "::1", 1), ("db", "::2", 1)]);

        let more = (0..KINDS + 10).map(|number| read(&number.to_string(), "::1"));
        let lines = more.filter(|read| share.has_line(read, start)).count();
        assert_eq!(lines, 10, "what can't be counted has its line");
    }

    #[test]
    fn p10_identities_beyond_the_bound_are_told_together() {
        let (share, start) = (Share::default(), BootTime(0));
        for id in 0..KINDS + 10 {
            let act = act(&id.to_string(), "call.put", "too-much");
            assert!(share.count(identity(&act.who), &act, (1, start), KINDS));
        }
        let due = share.due(start, true);
        assert_eq!(due.len(), KINDS + 1);
        let others = due.iter().find(|(act, _)| act.who.kind == "others");
        assert_eq!(others.map(|(_, times)| *times), Some(10));
    }
}
