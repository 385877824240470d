//! What repeats is told rarely: at once the first time, then at most once a minute, an
//! interval that doubles to an hour, with how often it happened meanwhile; and once more
//! when it is over.
//!
//! Time is an argument, and what is remembered is bounded: things that others can make
//! many of (names, users) share one place once there are too many.

use std::collections::HashMap;

use tracing::Level;

use super::line::Line;

/// Milliseconds between two tellings of the same trouble, at first.
const FIRST_MS: u64 = 60_000;
/// Milliseconds between two tellings of the same trouble, at most.
const MOST_MS: u64 = 3_600_000;
/// Milliseconds without it after which something is news again, unless it is told less
/// often than that anyway.
const QUIET_MS: u64 = 600_000;
/// Milliseconds after which a trouble that did not come again is forgotten.
const FORGET_MS: u64 = 2 * MOST_MS;
/// How often something that is no trouble is told before it counts as repeating: a
/// dozen rotations in a row are news.
const NEWS: u32 = 16;
/// Things told apart for one kind of event; more share a place.
const THINGS: usize = 64;
/// Things told apart in all; they hold a line each.
const IN_ALL: usize = 512;
/// What stands for the things beyond [`THINGS`].
const OTHERS: &str = "others";

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    event: String,
    about: String,
}

/// How a thing stands.
#[derive(Debug)]
struct Thing {
    /// Tellings that are left before it counts as repeating.
    left: u32,
    /// It is not told again before.
    until: u64,
    /// The interval that ends then.
    window: u64,
    /// Times it came and was not told.
    hidden: u64,
    /// Times it came since it began, and when that was.
    times: u64,
    since: u64,
    /// When it came last, or was last over.
    seen: u64,
    /// It was told, and that it is over was not.
    told: bool,
    /// It is not over.
    lasts: bool,
    /// What was not told last.
    last: Option<Line>,
    /// That it is over, where that was not told.
    over: Option<Line>,
}

/// What to do with a line.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It is told.
    Tell(Line),
    /// It is counted.
    Hide,
}

/// Everything that repeats.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    things: HashMap<Key, Thing>,
    /// Things of each kind of event.
    kinds: HashMap<String, usize>,
}

impl Repeats {
    /// Something happened.
    pub(super) fn hear(&mut self, now: u64, line: Line) -> Verdict {
        // Whoever asks for these wants them all.
        if line.level > Level::INFO {
            return Verdict::Tell(line);
        }
        let ended = line.ends.clone().map(|event| Key { event, about: line.about() });
        if let Some(key) = ended
            && let Some(thing) = self.find_mut(&key)
        {
            let told = thing.end(now, &line);
            if told.is_some() || !line.always {
                return told.map_or(Verdict::Hide, Verdict::Tell);
            }
        } else if line.ends.is_some() && !line.always {
            return Verdict::Hide;
        }
        self.thing(now, &line).hear(now, line)
    }

    /// What is due to be told, now that so much time has passed.
    pub(super) fn tick(&mut self, now: u64) -> Vec<Line> {
        let mut due: Vec<Line> =
            self.things.values_mut().flat_map(|thing| thing.tick(now)).collect();
        // In the order of their names: a map has none.
        due.sort_by(|a, b| a.event.cmp(&b.event));
        let old = |thing: &Thing| now.saturating_sub(thing.seen) > FORGET_MS;
        if self.things.values().any(old) {
            self.things.retain(|_, thing| !old(thing));
            self.kinds.clear();
            for key in self.things.keys() {
                *self.kinds.entry(key.event.clone()).or_default() += 1;
            }
        }
        due
    }

    fn find_mut(&mut self, key: &Key) -> Option<&mut Thing> {
        if self.things.contains_key(key) {
            return self.things.get_mut(key);
        }
        let about = OTHERS.to_owned();
        self.things.get_mut(&Key { event: key.event.clone(), about })
    }

    /// The place for a line; beyond the bounds, the one that all others share.
    fn thing(&mut self, now: u64, line: &Line) -> &mut Thing {
        let mut key = Key { event: line.event.clone(), about: line.about() };
        if !self.things.contains_key(&key) {
            let of_kind = self.kinds.get(&key.event).copied().unwrap_or(0);
            if of_kind >= THINGS || self.things.len() >= IN_ALL {
                OTHERS.clone_into(&mut key.about);
            }
            // Names of events are constants, so that all kinds find a place.
            if !self.things.contains_key(&key) {
                *self.kinds.entry(key.event.clone()).or_default() += 1;
            }
        }
        self.things.entry(key).or_insert_with(|| Thing::new(now, line.level))
    }
}

impl Thing {
    fn new(now: u64, level: Level) -> Self {
        Self {
            left: if level <= Level::WARN { 1 } else { NEWS },
            until: now,
            window: FIRST_MS,
            hidden: 0,
            times: 0,
            since: now,
            seen: now,
            told: false,
            lasts: false,
            last: None,
            over: None,
        }
    }

    fn hear(&mut self, now: u64, line: Line) -> Verdict {
        let rare = if self.lasts { self.window.saturating_mul(2).max(QUIET_MS) } else { QUIET_MS };
        if self.hidden == 0 && now.saturating_sub(self.seen) >= rare {
            *self = Self::new(now, line.level);
        }
        self.seen = now;
        if !self.lasts {
            (self.lasts, self.times, self.since) = (true, 0, now);
        }
        self.times = self.times.saturating_add(1);
        self.over = None;
        let news = self.left > 0;
        if self.hidden == 0 && (news || now >= self.until) {
            self.left = self.left.saturating_sub(1);
            self.told = true;
            self.wait(now, !news);
            return Verdict::Tell(line);
        }
        self.hidden = self.hidden.saturating_add(1);
        self.last = Some(line);
        Verdict::Hide
    }

    /// It was told: not again before the interval is over.
    fn wait(&mut self, now: u64, longer: bool) {
        if longer {
            self.window = self.window.saturating_mul(2).min(MOST_MS);
        }
        self.until = now.saturating_add(self.window);
    }

    /// It is over. Answers what is to be told of that.
    fn end(&mut self, now: u64, line: &Line) -> Option<Line> {
        if !self.lasts {
            return None;
        }
        (self.lasts, self.seen) = (false, now);
        let seconds = now.saturating_sub(self.since) / 1000;
        let line = line.clone().number("times", self.times).number("after_s", seconds);
        if self.told {
            self.told = false;
            // What was hidden is in the count.
            (self.hidden, self.last) = (0, None);
            return Some(line);
        }
        self.over = Some(line);
        None
    }

    fn tick(&mut self, now: u64) -> Vec<Line> {
        if self.hidden == 0 || now < self.until {
            return Vec::new();
        }
        let hidden = std::mem::take(&mut self.hidden);
        self.wait(now, true);
        let over = self.over.take();
        self.told = over.is_none();
        let last = self.last.take().map(|line| line.number("repeated", hidden));
        last.into_iter().chain(over).collect()
    }
}

#[cfg(test)]
#[path = "repeats_tests.rs"]
mod tests;
