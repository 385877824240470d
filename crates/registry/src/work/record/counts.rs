//! What was not authenticated, by source and minute: bounded, and no part of the chain.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use serde_json::json;
use skep_client::machine::SystemClock;
use skep_core::base::Clock as _;

/// Sources of a minute; the others are counted together.
const SOURCES: usize = 1_024;

/// Why something was no decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Uncounted {
    /// It doesn't read.
    Invalid,
    /// Without a name, and decided for.
    Anonymous,
    /// Unknown or wrong.
    Unauthorized,
    /// Too often.
    SlowDown,
    /// Nobody gets any.
    Unavailable,
}

impl Uncounted {
    fn text(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Anonymous => "anonymous",
            Self::Unauthorized => "unauthorized",
            Self::SlowDown => "slow-down",
            Self::Unavailable => "unavailable",
        }
    }
}

/// The counts of one minute and of what is not fetched yet.
#[derive(Debug, Default)]
pub(super) struct Counts(Mutex<BTreeMap<Source, u64>>);

/// A minute since 1970, an address or the others, and what became of it.
type Source = (u64, Option<IpAddr>, Uncounted);

impl Counts {
    /// Counts one.
    pub(super) fn add(&self, address: IpAddr, outcome: Uncounted) {
        self.add_at(SystemClock.now().0 / 60_000, address, outcome);
    }

    fn add_at(&self, minute: u64, address: IpAddr, outcome: Uncounted) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = all.len() >= SOURCES && !all.contains_key(&(minute, Some(address), outcome));
        let source = (!full).then_some(address);
        let count = all.entry((minute, source, outcome)).or_insert(0);
        *count = count.saturating_add(1);
    }

    /// The lines of minutes that are over, or at the end of all.
    pub(super) fn take_before(&self, minute: u64, end: bool) -> String {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = String::new();
        all.retain(|(of, address, outcome), count| {
            let over = end || *of < minute;
            if over {
                let address = address.map_or_else(|| "others".to_owned(), |ip| ip.to_string());
                let at = super::written(skep_core::base::Stamp(of * 60_000));
                let line = json!({
                    "minute": at, "address": address, "outcome": outcome.text(), "count": count,
                });
                lines.push_str(&line.to_string());
                lines.push('\n');
            }
            !over
        });
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_bounded_and_fetched_once() {
        let counts = Counts::default();
        for source in 0..2_000_u32 {
            counts.add_at(7, IpAddr::V4(source.into()), Uncounted::Unauthorized);
        }
        assert_eq!(counts.take_before(7, false), "");
        let lines = counts.take_before(8, false);
        assert_eq!(lines.lines().count(), SOURCES + 1);
        let others = lines.lines().find(|line| line.contains("others")).unwrap();
        assert!(others.contains("\"count\":976"), "{others}");
        assert_eq!(counts.take_before(8, true), "");
    }
}
