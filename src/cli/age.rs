//! How old what a manager shows may be, in words.

use serde_json::{Value, json};
use skep_core::wire::api::AsOf;

/// `as of revision 1234, 3 minutes old: no leader`
pub(super) fn line(as_of: &AsOf) -> String {
    format!("as of revision {}, {}", as_of.revision, age(as_of))
}

/// `3 minutes old: no leader`
pub(super) fn age(as_of: &AsOf) -> String {
    let span = span(as_of.age_ms);
    match (as_of.led, as_of.since_start) {
        (true, _) => format!("{span} old"),
        (false, false) => format!("{span} old: no leader"),
        (false, true) => {
            format!("at least {span} old: no leader since this manager started")
        }
    }
}

/// The same for programs.
pub(super) fn shown(as_of: &AsOf) -> Value {
    json!({
        "revision": as_of.revision,
        "age_ms": as_of.age_ms,
        "at_least": as_of.since_start,
        "led": as_of.led,
    })
}

fn span(ms: u64) -> String {
    let (count, unit) = match ms / 1_000 {
        0 => return "less than a second".to_owned(),
        seconds @ 1..120 => (seconds, "second"),
        seconds @ 120..7_200 => (seconds / 60, "minute"),
        seconds @ 7_200..172_800 => (seconds / 3_600, "hour"),
        seconds => (seconds / 86_400, "day"),
    };
    if count == 1 { format!("1 {unit}") } else { format!("{count} {unit}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_said_as_short_as_they_can_be_read() {
        let at = |age_ms, led, since_start| AsOf { revision: 1234, age_ms, led, since_start };
        assert_eq!(
            line(&at(180_000, false, false)),
            "as of revision 1234, 3 minutes old: no leader"
        );
        assert_eq!(line(&at(90, true, false)), "as of revision 1234, less than a second old");
        assert_eq!(
            line(&at(1_999, false, true)),
            "as of revision 1234, at least 1 second old: no leader since this manager started"
        );
        assert_eq!(age(&at(119_000, false, false)), "119 seconds old: no leader");
        assert_eq!(age(&at(7_200_000, false, false)), "2 hours old: no leader");
        assert_eq!(age(&at(172_800_000, false, false)), "2 days old: no leader");
    }
}
