//! When something ends: as it is typed, as a label says it, and how far away it is.

use std::time::{Duration, UNIX_EPOCH};

use skep_client::machine::SystemClock;
use skep_client::settings::duration;
use skep_core::base::{Clock as _, Failure};
use skep_core::wire::api::{LabelPair, SecretView};

use super::keys::{BEFORE_S, LEAF_S};
use super::site::{ENDS, LIFE, label};
use super::usage;

const DAY_S: u64 = 24 * 3_600;
/// Days before its end from which that of a key which signs images is warned about: its images
/// have to be signed again by another one.
pub(super) const KEY_DAYS: u64 = 30;
/// The last second that is written with four digits of a year.
const LAST_S: u64 = 253_402_300_799;

/// Seconds since 1970.
pub(in crate::words) fn now_s() -> u64 {
    SystemClock.now().0 / 1_000
}

/// What was typed: a time from now on, a day, to whose end it is meant, or a moment of it.
pub(super) fn end_of(text: &str, now_s: u64) -> Result<u64, Failure> {
    let day = text.len() == 10 && text.matches('-').count() == 2;
    let end = if day {
        seconds(&format!("{text}T23:59:59Z"))
    } else if text.contains('T') {
        seconds(text)
    } else {
        let time = duration(text).ok();
        time.and_then(|time| now_s.checked_add(time.as_secs()))
    };
    let hint = "a time from now such as 90d, a day such as 2027-01-31, or 2027-01-31T12:00:00Z";
    let end = end.filter(|end| *end <= LAST_S);
    let end = end.ok_or_else(|| usage("--expires is no time and no day", hint))?;
    if end > now_s { Ok(end) } else { Err(usage("--expires is in the past", hint)) }
}

/// A moment in UTC, as seconds since 1970.
fn seconds(text: &str) -> Option<u64> {
    let moment = humantime::parse_rfc3339(text).ok()?;
    moment.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// The label's value.
pub(super) fn ends_label(end_s: u64) -> String {
    let moment = UNIX_EPOCH + Duration::from_secs(end_s.min(LAST_S));
    humantime::format_rfc3339_seconds(moment).to_string()
}

/// What the label says, if it is there and reads.
pub(super) fn ends_of(labels: &[LabelPair]) -> Option<u64> {
    label(labels, ENDS).and_then(seconds)
}

/// A signing certificate's life in seconds, as its label says, or as it is unless said.
pub(super) fn life_of(labels: &[LabelPair]) -> u64 {
    label(labels, LIFE).and_then(|text| text.parse().ok()).unwrap_or(LEAF_S)
}

/// When a signing certificate ends: as its label says; or, where a workload wrote the one that is
/// in force, which changes no label, its life after that.
pub(super) fn leaf_ends_of(view: &SecretView) -> Option<u64> {
    let current = view.versions.iter().find(|version| version.number == view.current);
    let written = current.filter(|version| version.writer.is_some());
    let by_life = written.map(|version| {
        let begun_s = (version.created / 1_000).saturating_sub(BEFORE_S);
        begun_s.saturating_add(life_of(&view.labels))
    });
    by_life.or_else(|| ends_of(&view.labels))
}

/// How long it is until then, for people.
pub(super) fn left(end_s: u64, now_s: u64) -> String {
    let left_s = end_s.saturating_sub(now_s);
    match left_s / DAY_S {
        0 => format!("{} hours", left_s / 3_600),
        days => format!("{days} days"),
    }
}

/// That it ends, or has.
pub(super) fn until(end_s: u64, now_s: u64) -> String {
    if end_s > now_s { format!("it ends in {}", left(end_s, now_s)) } else { "it has ended".into() }
}

/// Whole days until then; none where it is past.
pub(super) fn days_left(end_s: u64, now_s: u64) -> Option<u64> {
    end_s.checked_sub(now_s).filter(|left| *left > 0).map(|left| left / DAY_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000; // 2027-01-15T08:00:00Z

    #[test]
    fn ends_are_times_days_and_moments() {
        let end = |text: &str| end_of(text, NOW).map_err(|failure| failure.text);
        assert_eq!(end("90d"), Ok(NOW + 90 * DAY_S));
        assert_eq!(end("3600"), Ok(NOW + 3_600));
        assert_eq!(end("2027-01-15"), Ok(1_800_057_599));
        assert_eq!(end("2027-01-15T08:00:01Z"), Ok(NOW + 1));
        for past in ["2027-01-14", "2027-01-15T08:00:00Z", "1970-01-01", "0s"] {
            assert_eq!(end(past), Err("--expires is in the past".into()), "{past}");
        }
        for bad in [
            "",
            "x",
            "2027-13-01",
            "2027-02-30",
            "15.1.2027",
            "-1d",
            "2027-01-15T08:00:00",
            "99999999999999d",
        ] {
            assert_eq!(end(bad), Err("--expires is no time and no day".into()), "{bad}");
        }
    }

    #[test]
    fn what_is_left_is_told_in_days_and_hours() {
        assert_eq!(until(NOW + 3 * DAY_S - 1, NOW), "it ends in 2 days");
        assert_eq!(until(NOW + 7_200, NOW), "it ends in 2 hours");
        assert_eq!(until(NOW, NOW), "it has ended");
    }

    #[test]
    fn a_label_says_what_was_typed() {
        let label = |text: &str| vec![LabelPair { key: ENDS.into(), value: text.into() }];
        let end = end_of("2028-02-29", NOW).unwrap();
        assert_eq!(ends_label(end), "2028-02-29T23:59:59Z");
        assert_eq!(ends_of(&label(&ends_label(end))), Some(end));
        assert_eq!(ends_of(&label("soon")), None);
        assert_eq!(ends_of(&[]), None);
        assert_eq!(days_left(NOW + 3 * DAY_S, NOW), Some(3));
        assert_eq!(days_left(NOW + 1, NOW), Some(0));
        assert_eq!(days_left(NOW, NOW), None);
    }
}
