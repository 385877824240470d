//! What repeats.

use super::*;
use crate::daemon::logging::LogFormat;

fn line(level: Level, event: &str) -> Line {
    Line::new(level, event, LogFormat::Text)
}

fn trouble() -> Line {
    line(Level::WARN, "away")
}

fn back() -> Line {
    Line { ends: Some("away".to_owned()), ..line(Level::INFO, "back") }
}

fn told(verdict: Verdict) -> Option<Line> {
    match verdict {
        Verdict::Tell(line) => Some(line),
        Verdict::Hide => None,
    }
}

fn text(line: &Line) -> String {
    let text = line.render(skep_core::base::Stamp(1));
    text.split_once("WARN ").or_else(|| text.split_once("INFO ")).expect("a level").1.trim().into()
}

/// Hears `what` every `step` from `from` on until `to`, ticking each second; what was told.
fn hear(repeats: &mut Repeats, from: u64, to: u64, step: u64, what: &Line) -> Vec<(u64, String)> {
    let mut said = Vec::new();
    for now in (from..to).step_by(100) {
        let mut lines = Vec::new();
        if now % 1_000 == 0 {
            lines = repeats.tick(now);
        }
        if (now - from).is_multiple_of(step) {
            lines.extend(told(repeats.hear(now, what.clone())));
        }
        said.extend(lines.iter().map(|line| (now / 1_000, text(line))));
    }
    said
}

#[test]
fn it_is_told_at_once_then_ever_more_rarely_with_a_count() {
    let mut repeats = Repeats::default();
    let said = hear(&mut repeats, 0, 1_000_000, 500, &trouble());
    let wanted = [
        (0, "away"),
        (60, "away repeated=119"),
        (180, "away repeated=240"),
        (420, "away repeated=480"),
        (900, "away repeated=960"),
    ];
    assert_eq!(said, wanted.map(|(at, text)| (at, text.to_owned())));
    let said = hear(&mut repeats, 1_000_000, 24 * MOST_MS, 500, &trouble());
    assert!(said.len() <= 26, "at most once an hour: {}", said.len());
    assert!(said.len() >= 23, "and not for ever silent: {}", said.len());
}

#[test]
fn its_end_is_told_with_a_count_if_it_was_told() {
    let mut repeats = Repeats::default();
    assert!(told(repeats.hear(0, back())).is_none(), "nothing was away");
    for now in [0, 500, 9_000] {
        assert_eq!(told(repeats.hear(now, trouble())).is_some(), now == 0);
    }
    let over = told(repeats.hear(10_000, back())).expect("told");
    assert_eq!(text(&over), "back times=3 after_s=10");
    assert!(told(repeats.hear(10_500, back())).is_none(), "once");
    assert!(repeats.tick(60_000).is_empty(), "it is over");
}

#[test]
fn what_comes_and_goes_is_told_rarely_and_as_it_stands() {
    let mut repeats = Repeats::default();
    let mut said = Vec::new();
    for now in (0..3_600_000).step_by(1_000) {
        said.extend(repeats.tick(now));
        let what = if now % 2_000 == 0 { trouble() } else { back() };
        said.extend(told(repeats.hear(now, what)));
    }
    assert!(said.len() <= 16, "{said:?}");
    // Away when it ended, and good for long: then it is news.
    assert_eq!(said.last().map(|line| line.event.as_str()), Some("back"));
    let later = 3_600_000 + QUIET_MS;
    repeats.tick(later);
    assert!(told(repeats.hear(later + MOST_MS, trouble())).is_some());
}

#[test]
fn what_comes_now_and_then_is_told_rarely_too() {
    let mut repeats = Repeats::default();
    let said = hear(&mut repeats, 0, 24 * MOST_MS, 150_000, &trouble());
    assert!(said.len() < 40, "{}", said.len());
}

#[test]
fn a_dozen_of_news_is_told_and_a_thousand_is_not() {
    let mut repeats = Repeats::default();
    let news = || line(Level::INFO, "news");
    let count = (0..1_000).filter(|now| told(repeats.hear(*now, news())).is_some()).count();
    assert_eq!(count, 16);
    let debug = || line(Level::DEBUG, "detail");
    assert!((0..1_000).all(|now| told(repeats.hear(now, debug())).is_some()));
}

#[test]
fn what_others_make_many_of_shares_a_place() {
    let mut repeats = Repeats::default();
    let of = |number: u64| line(Level::WARN, "refused").number("uid", number);
    let count = (0..100_000).filter(|n| told(repeats.hear(*n / 100, of(*n))).is_some()).count();
    assert_eq!(count, THINGS + 1);
    assert!(repeats.things.len() <= THINGS + 1);
    assert!(told(repeats.hear(1_000, line(Level::WARN, "another"))).is_some());
    for kind in 0..2_000 {
        repeats.hear(0, line(Level::WARN, &format!("kind-{kind}")).number("uid", 1));
    }
    assert!(repeats.tick(u64::MAX / 2).len() <= IN_ALL + 2_000);
    assert!(repeats.things.is_empty(), "all is forgotten");
}

#[test]
fn what_is_always_told_is_told_without_a_beginning() {
    let mut repeats = Repeats::default();
    let connected = || Line { always: true, ..back() };
    assert_eq!(told(repeats.hear(0, connected())).as_ref().map(text).as_deref(), Some("back"));
    repeats.hear(1, trouble());
    let told = told(repeats.hear(2_000, connected())).expect("told");
    assert_eq!(text(&told), "back times=1 after_s=1");
}
