//! One pattern of a rule: a glob, or a regular expression between slashes, with placeholders.
//!
//! What a placeholder stands for is put in as itself: no value that a client brings makes a
//! pattern match more than that value. One that has no value, or an empty one, matches nothing.

use regex::Regex;

use super::glob::{Dialect, Glob};
use super::hole::Hole;
use super::regexp::{self, Piece};

/// Bytes of a pattern.
pub(super) const PATTERN_BYTES: usize = 1024;
/// Combinations of label values that are tried for one glob.
const GLOB_TRIES: usize = 1024;
/// Those for one regular expression, which is compiled for each.
const REGEXP_TRIES: usize = 64;

/// A pattern, read.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    text: String,
    how: How,
    holes: Vec<Hole>,
}

#[derive(Clone, Debug)]
enum How {
    Glob(Glob),
    Regexp(Regex),
    /// One that is compiled when its placeholders have values.
    Open {
        pieces: Vec<Piece>,
        whole: bool,
    },
}

/// What came of matching.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Match {
    Yes,
    No,
    /// A placeholder has no value, or an empty one.
    NoValue(Hole),
    /// More values of labels than are tried, or one that makes the expression too large.
    TooMuch,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// It can't be read, in words that follow the pattern.
    pub(super) fn parse(text: &str, dialect: Dialect) -> Result<Self, String> {
        if text.len() > PATTERN_BYTES {
            return Err(format!("it is longer than {PATTERN_BYTES} bytes"));
        }
        let mut holes: Vec<Hole> = Vec::new();
        let mut hole = |text: &str| {
            let hole = Hole::parse(text)?;
            let number = holes.iter().position(|known| *known == hole);
            Ok(number.unwrap_or_else(|| {
                holes.push(hole);
                holes.len() - 1
            }))
        };
        let inside = text.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
        let how = match inside.filter(|inside| !inside.is_empty()) {
            Some(source) => {
                let whole = dialect == Dialect::Skep;
                let pieces = regexp::parse(source, &mut hole)?;
                if holes.is_empty() {
                    How::Regexp(regexp::compile(&pieces, &[], whole)?)
                } else {
                    How::Open { pieces, whole }
                }
            }
            None => How::Glob(Glob::parse(text, dialect, &mut hole)?),
        };
        Ok(Self { text: text.to_owned(), how, holes })
    }

    /// As it is written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Its placeholders.
    pub(super) fn holes(&self) -> &[Hole] {
        &self.holes
    }

    /// Whether it is an expression that is compiled for each decision.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.how, How::Open { .. })
    }

    /// Groups that placeholders may name; none where it is a glob, or has placeholders itself.
    pub(super) fn groups(&self) -> usize {
        match &self.how {
            How::Regexp(regex) => regex.captures_len().saturating_sub(1),
            How::Glob(_) | How::Open { .. } => 0,
        }
    }

    /// What a group finds in a text.
    pub(super) fn captured<'t>(&self, group: usize, text: &'t str) -> Option<&'t str> {
        match &self.how {
            How::Regexp(regex) => Some(regex.captures(text)?.get(group)?.as_str()),
            How::Glob(_) | How::Open { .. } => None,
        }
    }

    /// Whether it matches this text. `values` says what a placeholder stands for: each of
    /// several values is tried.
    pub(super) fn matches<'v>(&self, text: &str, values: impl Fn(&Hole) -> Vec<&'v str>) -> Match {
        let mut choices = Vec::with_capacity(self.holes.len());
        for hole in &self.holes {
            let mut of_hole = values(hole);
            of_hole.retain(|value| !value.is_empty());
            if of_hole.is_empty() {
                return Match::NoValue(hole.clone());
            }
            choices.push(of_hole);
        }
        let tries = choices.iter().map(Vec::len).try_fold(1_usize, usize::checked_mul);
        let most = if self.is_open() { REGEXP_TRIES } else { GLOB_TRIES };
        if tries.is_none_or(|tries| tries > most) {
            return Match::TooMuch;
        }
        let mut picked = vec![0; choices.len()];
        loop {
            let chosen = choices.iter().zip(&picked).map(|(of_hole, at)| of_hole.get(*at));
            let chosen: Vec<&str> = chosen.flatten().copied().collect();
            match self.matches_one(text, &chosen) {
                Some(true) => return Match::Yes,
                Some(false) => {}
                None => return Match::TooMuch,
            }
            if !advance(&mut picked, &choices) {
                return Match::No;
            }
        }
    }

    fn matches_one(&self, text: &str, values: &[&str]) -> Option<bool> {
        match &self.how {
            How::Glob(glob) => Some(glob.matches(text, values)),
            How::Regexp(regex) => Some(regex.is_match(text)),
            How::Open { pieces, whole } => {
                Some(regexp::compile(pieces, values, *whole).ok()?.is_match(text))
            }
        }
    }
}

/// The next combination; none is left where this is false.
fn advance(picked: &mut [usize], choices: &[Vec<&str>]) -> bool {
    for (at, of_hole) in picked.iter_mut().zip(choices) {
        *at += 1;
        if *at < of_hole.len() {
            return true;
        }
        *at = 0;
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Pattern, String> {
        Pattern::parse(text, Dialect::Skep)
    }

    fn with(pattern: &str, text: &str, values: &[&str]) -> Match {
        read(pattern).expect(pattern).matches(text, |_| values.to_vec())
    }

    #[test]
    fn slashes_make_an_expression() {
        assert_eq!(with("/a+/", "aaa", &[]), Match::Yes);
        assert_eq!(with("/a+/", "baaa", &[]), Match::No);
        assert_eq!(with("//", "//", &[]), Match::Yes);
        assert_eq!(with("/", "/", &[]), Match::Yes);
    }

    #[test]
    fn each_value_is_tried_and_none_matches_nothing() {
        assert_eq!(with("${labels:team}/*", "b/app", &["a", "b"]), Match::Yes);
        assert_eq!(with("/${labels:team}-.*/", "b-app", &["a", "b"]), Match::Yes);
        assert_eq!(with("${labels:team}/*", "c/app", &["a", "b"]), Match::No);
        let nothing = Match::NoValue(Hole::Label("team".to_owned()));
        assert_eq!(with("${labels:team}/*", "/app", &[""]), nothing);
        assert_eq!(with("${labels:team}*", "app", &[]), nothing);
        let two = with("${labels:a}/${labels:b}", "2/3", &["1", "2", "3"]);
        assert_eq!(two, Match::Yes);
        assert_eq!(with("${labels:a}/${labels:a}", "2/3", &["1", "2", "3"]), Match::No);
    }

    #[test]
    fn what_would_take_too_long_is_not_tried() {
        let many: Vec<String> = (0..40).map(|number| number.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(with("${labels:a}/${labels:b}", "x", &many), Match::TooMuch);
        assert_eq!(with("${labels:a}", "39", &many), Match::Yes);
        assert_eq!(with("/${labels:a}${labels:b}/", "x", &many), Match::TooMuch);
        let long = "x".repeat(200_000);
        assert_eq!(with("/${labels:a}/", "x", &[&long]), Match::TooMuch);
    }

    #[test]
    fn placeholders_that_nobody_knows_are_refused() {
        for text in ["${", "${who}", "${account:0}", "${account:x}", "${labels:}", "${ip}"] {
            assert!(read(text).is_err(), "{text}");
            assert!(read(&format!("/{text}/")).is_err(), "{text}");
        }
        assert!(read(&"a".repeat(PATTERN_BYTES + 1)).is_err());
    }

    proptest! {
        #[test]
        fn no_pattern_panics(pattern in ".{0,40}", text in ".{0,20}", value in ".{0,20}") {
            if let Ok(pattern) = read(&pattern) {
                let _: Match = pattern.matches(&text, |_| vec![&value]);
            }
        }
    }
}
