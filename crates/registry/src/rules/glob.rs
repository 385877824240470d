//! Globs: shell patterns without a shell.
//!
//! Two dialects. Ours: `*` and `?` stop at a slash, `**` does not, `{a,b}` is one of several,
//! `[a-z]` and `[!a-z]` are classes. Go's `path.Match`, for rules that `docker_auth` had: `**` is
//! `*`, braces stand for themselves, only `[^` negates, and a class may match a slash.
//!
//! A pattern runs over a text by following all its states at once, so that no pattern takes
//! longer than its length times the text's.

/// A pattern of one dialect, read.
#[derive(Clone, Debug)]
pub(super) struct Glob {
    /// Each is tried.
    alternatives: Vec<Vec<Part>>,
}

/// How globs are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Ours.
    Skep,
    /// Go's `path.Match`.
    Go,
}

/// Alternatives that braces make of one pattern, at most.
const ALTERNATIVES: usize = 64;

#[derive(Clone, Debug)]
enum Part {
    One(char),
    /// `?`: one character, no slash.
    Any,
    /// `*`: any number of characters, no slash.
    Run,
    /// `**`: any number of characters.
    DeepRun,
    Class(Class),
    /// The value of a placeholder, by its number.
    Hole(usize),
}

#[derive(Clone, Debug)]
struct Class {
    negated: bool,
    slash: bool,
    ranges: Vec<(char, char)>,
}

impl Class {
    fn has(&self, c: char) -> bool {
        let inside = self.ranges.iter().any(|(low, high)| (*low..=*high).contains(&c));
        inside != self.negated && (self.slash || c != '/')
    }
}

/// A part with its values in place.
#[derive(Clone, Copy, Debug)]
enum Step<'g> {
    One(char),
    Any,
    Run,
    DeepRun,
    Class(&'g Class),
}

impl Step<'_> {
    fn repeats(self) -> bool {
        matches!(self, Self::Run | Self::DeepRun)
    }

    fn takes(self, c: char) -> bool {
        match self {
            Self::One(one) => one == c,
            Self::Any | Self::Run => c != '/',
            Self::DeepRun => true,
            Self::Class(class) => class.has(c),
        }
    }
}

impl Glob {
    /// Reads a pattern. `hole` is asked what number a placeholder has, by what stands
    /// between its braces.
    ///
    /// # Errors
    ///
    /// It can't be read, in words that follow the pattern.
    pub(super) fn parse(
        text: &str,
        dialect: Dialect,
        hole: &mut dyn FnMut(&str) -> Result<usize, String>,
    ) -> Result<Self, String> {
        let texts = match dialect {
            Dialect::Skep => unfold(text)?,
            Dialect::Go => vec![text.to_owned()],
        };
        let alternatives = texts.iter().map(|text| read(text, dialect, hole));
        Ok(Self { alternatives: alternatives.collect::<Result<_, _>>()? })
    }

    /// Whether it matches the whole text, with these values for its placeholders: they stand
    /// for themselves, whatever they hold.
    pub(super) fn matches(&self, text: &str, values: &[&str]) -> bool {
        self.alternatives.iter().any(|parts| run(&steps(parts, values), text))
    }
}

fn steps<'g>(parts: &'g [Part], values: &[&str]) -> Vec<Step<'g>> {
    let mut steps = Vec::with_capacity(parts.len());
    for part in parts {
        match part {
            Part::One(c) => steps.push(Step::One(*c)),
            Part::Any => steps.push(Step::Any),
            Part::Run => steps.push(Step::Run),
            Part::DeepRun => steps.push(Step::DeepRun),
            Part::Class(class) => steps.push(Step::Class(class)),
            Part::Hole(number) => {
                let value = values.get(*number).copied().unwrap_or_default();
                steps.extend(value.chars().map(Step::One));
            }
        }
    }
    steps
}

fn run(steps: &[Step<'_>], text: &str) -> bool {
    // Which steps come next: all that may, at once. A run may also be passed over.
    let arrive = |at: &mut Vec<bool>, from: usize| {
        let mut number = from;
        loop {
            match at.get_mut(number) {
                Some(there) if !*there => *there = true,
                _ => return,
            }
            if !steps.get(number).is_some_and(|step| step.repeats()) {
                return;
            }
            number += 1;
        }
    };
    let mut now = vec![false; steps.len() + 1];
    arrive(&mut now, 0);
    for c in text.chars() {
        let mut next = vec![false; steps.len() + 1];
        let mut some = false;
        for (number, step) in steps.iter().enumerate() {
            if now.get(number) == Some(&true) && step.takes(c) {
                arrive(&mut next, if step.repeats() { number } else { number + 1 });
                some = true;
            }
        }
        if !some {
            return false;
        }
        now = next;
    }
    now.last() == Some(&true)
}

/// `a{b,c}` is `ab` and `ac`. Placeholders, escaped characters and classes stay as they are.
pub(super) fn unfold(text: &str) -> Result<Vec<String>, String> {
    let mut done = vec![String::new()];
    let mut group: Option<Vec<String>> = None;
    let mut chars = text.chars().peekable();
    let mut class = false;
    while let Some(c) = chars.next() {
        let mut piece = String::from(c);
        match c {
            '\\' => piece.extend(chars.next()),
            '$' if chars.peek() == Some(&'{') => {
                for inner in chars.by_ref() {
                    piece.push(inner);
                    if inner == '}' {
                        break;
                    }
                }
            }
            '[' if !class => class = true,
            ']' if class => class = false,
            '{' if !class => {
                if group.replace(vec![String::new()]).is_some() {
                    return Err("braces stand inside of braces".to_owned());
                }
                continue;
            }
            ',' if !class && group.is_some() => {
                group.get_or_insert_default().push(String::new());
                continue;
            }
            '}' if !class => {
                let Some(ends) = group.take() else {
                    return Err("a } has no { before it".to_owned());
                };
                if done.len() * ends.len() > ALTERNATIVES {
                    return Err(format!("its braces make more than {ALTERNATIVES} patterns"));
                }
                let starts = std::mem::take(&mut done);
                for start in &starts {
                    done.extend(ends.iter().map(|end| format!("{start}{end}")));
                }
                continue;
            }
            _ => {}
        }
        match &mut group {
            Some(ends) => ends.iter_mut().last().into_iter().for_each(|end| end.push_str(&piece)),
            None => done.iter_mut().for_each(|start| start.push_str(&piece)),
        }
    }
    if group.is_some() { Err("a { is not closed".to_owned()) } else { Ok(done) }
}

fn read(
    text: &str,
    dialect: Dialect,
    hole: &mut dyn FnMut(&str) -> Result<usize, String>,
) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some((name, after)) = super::hole::placeholder(rest)? {
            parts.push(Part::Hole(hole(name)?));
            rest = after;
            continue;
        }
        let after = rest.split_at(c.len_utf8()).1;
        rest = match c {
            '?' => {
                parts.push(Part::Any);
                after
            }
            '*' => {
                let after_all = after.trim_start_matches('*');
                let deep = dialect == Dialect::Skep && after_all.len() < after.len();
                parts.push(if deep { Part::DeepRun } else { Part::Run });
                after_all
            }
            '[' => {
                let (class, after) = class(after, dialect)?;
                parts.push(Part::Class(class));
                after
            }
            '\\' => {
                let (escaped, after) = first(after).ok_or("it ends with a backslash")?;
                parts.push(Part::One(escaped));
                after
            }
            _ => {
                parts.push(Part::One(c));
                after
            }
        };
    }
    Ok(parts)
}

fn first(text: &str) -> Option<(char, &str)> {
    let c = text.chars().next()?;
    Some((c, text.split_at(c.len_utf8()).1))
}

/// What follows a `[`, and what follows its `]`.
fn class(text: &str, dialect: Dialect) -> Result<(Class, &str), String> {
    const OPEN: &str = "a [ is not closed";
    let negation: &[char] = if dialect == Dialect::Skep { &['^', '!'] } else { &['^'] };
    let (negated, mut rest) = match text.strip_prefix(negation) {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut ranges = Vec::new();
    loop {
        if let Some(after) = rest.strip_prefix(']').filter(|_| !ranges.is_empty()) {
            let slash = dialect == Dialect::Go;
            return Ok((Class { negated, slash, ranges }, after));
        }
        let (low, after) = member(rest)?.ok_or(OPEN)?;
        let (high, after) = match after.strip_prefix('-') {
            Some(after) => member(after)?.ok_or(OPEN)?,
            None => (low, after),
        };
        if low > high {
            return Err(format!("the range {low}-{high} is empty"));
        }
        ranges.push((low, high));
        rest = after;
    }
}

/// One character of a class; `]` and `-` are written with a backslash.
fn member(text: &str) -> Result<Option<(char, &str)>, String> {
    match first(text) {
        Some(('\\', rest)) => Ok(first(rest)),
        Some((c @ ('-' | ']'), _)) => Err(format!("in a class, {c} is written \\{c}")),
        Some(('$', rest)) if rest.starts_with('{') => {
            Err("a placeholder can't stand in a class".to_owned())
        }
        other => Ok(other),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn glob(text: &str, dialect: Dialect) -> Result<Glob, String> {
        Glob::parse(text, dialect, &mut |_| Ok(0))
    }

    fn both(pattern: &str, text: &str) -> (bool, bool) {
        let one = |dialect| glob(pattern, dialect).expect(pattern).matches(text, &["v*"]);
        (one(Dialect::Skep), one(Dialect::Go))
    }

    #[test]
    fn what_matches_in_ours_and_in_gos() {
        for (pattern, text, ours, gos) in [
            ("abc", "abc", true, true),
            ("abc", "abcd", false, false),
            ("", "", true, true),
            ("", "a", false, false),
            ("*", "", true, true),
            ("*", "abc", true, true),
            ("*c", "abc", true, true),
            ("a*", "ab/c", false, false),
            ("a*/b", "abc/b", true, true),
            ("a*/b", "a/c/b", false, false),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", true, true),
            ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", false, false),
            ("a*b?c*x", "abxbbxdbxebxczzx", true, true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false, false),
            ("**", "a/b", true, false),
            ("a/**", "a/b/c", true, false),
            ("a/**", "a", false, false),
            ("a/***", "a/b", true, true),
            ("**/c", "a/b/c", true, false),
            ("ab[c]", "abc", true, true),
            ("ab[b-d]", "abc", true, true),
            ("ab[e-g]", "abc", false, false),
            ("ab[^c]", "abc", false, false),
            ("ab[^e-g]", "abc", true, true),
            ("ab[!c]", "abd", true, false),
            ("ab[!c]", "abc", false, true),
            ("a[^b]c", "a/c", false, true),
            ("a?c", "a/c", false, false),
            ("a?b", "aéb", true, true),
            ("a\\*b", "a*b", true, true),
            ("a\\*b", "axb", false, false),
            ("[\\-x]", "-", true, true),
            ("[\\]a]", "]", true, true),
            ("{a,b}/c", "b/c", true, false),
            ("{a,b}/c", "{a,b}/c", false, true),
            ("x{,-dev}", "x", true, false),
            ("x{,-dev}", "x-dev", true, false),
            ("{a,b}{c,d}", "bd", true, false),
            ("a\\{b", "a{b", true, true),
            ("${x}/a", "v*/a", true, true),
            ("${x}/a", "vv/a", false, false),
        ] {
            assert_eq!(both(pattern, text), (ours, gos), "{pattern} on {text}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_told() {
        for (pattern, why) in [
            ("[", "not closed"),
            ("[a", "not closed"),
            ("[^", "not closed"),
            ("[a-", "not closed"),
            ("[]", "is written"),
            ("[]a]", "is written"),
            ("[-a]", "is written"),
            ("[z-a]", "is empty"),
            ("a\\", "backslash"),
            ("${", "not closed"),
            ("[${x}]", "in a class"),
        ] {
            for dialect in [Dialect::Skep, Dialect::Go] {
                let said = glob(pattern, dialect).expect_err(pattern);
                assert!(said.contains(why), "{pattern}: {said}");
            }
        }
        for (pattern, why) in [
            ("{a", "not closed"),
            ("a}", "has no {"),
            ("{a{b}}", "inside of braces"),
            ("{a,b,c,d}{a,b,c,d}{a,b,c,d}{a,b}", "more than 64"),
        ] {
            let said = glob(pattern, Dialect::Skep).expect_err(pattern);
            assert!(said.contains(why), "{pattern}: {said}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_takes_no_time() {
        let pattern = "a*".repeat(200) + "b";
        let text = "a".repeat(2000);
        assert!(!glob(&pattern, Dialect::Skep).expect("a pattern").matches(&text, &[]));
    }

    proptest! {
        #[test]
        fn no_pattern_panics(pattern in ".{0,40}", text in ".{0,40}", value in ".{0,9}") {
            for dialect in [Dialect::Skep, Dialect::Go] {
                if let Ok(glob) = glob(&pattern, dialect) {
                    let _: bool = glob.matches(&text, &[&value]);
                }
            }
        }

        #[test]
        fn a_value_stands_for_itself_alone(value in ".{1,12}", text in ".{0,12}") {
            for dialect in [Dialect::Skep, Dialect::Go] {
                let glob = glob("${x}/", dialect).expect("a pattern");
                let own = format!("{value}/");
                prop_assert!(glob.matches(&own, &[&value]));
                prop_assert_eq!(glob.matches(&format!("{text}/"), &[&value]), text == value);
            }
        }
    }
}
