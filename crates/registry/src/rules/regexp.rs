//! Regular expressions as Go's RE2 reads them: `\d`, `\w`, `\s` and `\b` know ASCII alone,
//! and what only this library knows (nested classes, `&&`, `(?x)`) is read as RE2 reads it, or
//! refused. So a rule means here what it meant to `docker_auth`.

use regex::{Regex, RegexBuilder};

/// Bytes that one compiled expression may take.
const COMPILED_BYTES: usize = 256 * 1024;
/// Bytes of the states that are kept while it runs.
const STATE_BYTES: usize = 256 * 1024;

/// A part of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// As the library reads it.
    Text(String),
    /// The value of a placeholder, by its number.
    Hole(usize),
}

/// Reads an expression. `hole` is asked what number a placeholder has.
///
/// # Errors
///
/// It can't be read, in words that follow the expression.
pub(super) fn parse(
    source: &str,
    hole: &mut dyn FnMut(&str) -> Result<usize, String>,
) -> Result<Vec<Piece>, String> {
    let mut reader = Reader { rest: source, out: String::new(), pieces: Vec::new() };
    reader.read(hole)?;
    reader.close();
    // Alone and before it is put between anchors: `a)(b` would become whole there.
    let values: Vec<String> = reader.pieces.iter().map(|_| "x".to_owned()).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    build(&text_of(&reader.pieces, &values))?;
    Ok(reader.pieces)
}

/// The expression with these values in place, each for itself; between anchors where it has to
/// match a whole text.
///
/// # Errors
///
/// It is too large, in words that follow the expression.
pub(super) fn compile(pieces: &[Piece], values: &[&str], whole: bool) -> Result<Regex, String> {
    let text = text_of(pieces, values);
    build(&if whole { format!("\\A(?:{text})\\z") } else { text })
}

fn text_of(pieces: &[Piece], values: &[&str]) -> String {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(part) => text.push_str(part),
            Piece::Hole(number) => {
                let value = values.get(*number).copied().unwrap_or_default();
                // A group, so that what repeats it repeats all of it.
                text.push_str("(?:");
                text.push_str(&regex::escape(value));
                text.push(')');
            }
        }
    }
    text
}

fn build(text: &str) -> Result<Regex, String> {
    let mut builder = RegexBuilder::new(text);
    builder.size_limit(COMPILED_BYTES).dfa_size_limit(STATE_BYTES).nest_limit(64);
    builder.build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => "it is too large".to_owned(),
        other => {
            // The last line says why; those before it draw where.
            let said = other.to_string();
            let why = said.lines().last().unwrap_or_default().trim();
            why.strip_prefix("error: ").unwrap_or(why).to_owned()
        }
    })
}

struct Reader<'s> {
    rest: &'s str,
    out: String,
    pieces: Vec<Piece>,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = self.rest.split_at(c.len_utf8()).1;
        Some(c)
    }

    fn close(&mut self) {
        if !self.out.is_empty() {
            self.pieces.push(Piece::Text(std::mem::take(&mut self.out)));
        }
    }

    fn read(&mut self, hole: &mut dyn FnMut(&str) -> Result<usize, String>) -> Result<(), String> {
        let mut repeated = false;
        loop {
            if self.repetition(repeated)? {
                repeated = true;
                continue;
            }
            repeated = false;
            if let Some((name, after)) = super::hole::placeholder(self.rest)? {
                let number = hole(name)?;
                self.close();
                self.pieces.push(Piece::Hole(number));
                self.rest = after;
                continue;
            }
            let Some(c) = self.next() else { return Ok(()) };
            match c {
                '\\' => self.escape()?,
                '[' => self.class()?,
                '(' => self.group()?,
                '{' => self.out.push_str("\\{"),
                _ => self.out.push(c),
            }
        }
    }

    /// Reads `*`, `+`, `?` or `{2,5}`, and the `?` that makes it a lazy one. What is repeated
    /// already can't be again. A brace that counts nothing stands for itself.
    fn repetition(&mut self, repeated: bool) -> Result<bool, String> {
        let end = match self.rest.chars().next() {
            Some('*' | '+' | '?') => 1,
            Some('{') => self.counted().unwrap_or(0),
            _ => 0,
        };
        if end == 0 {
            return Ok(false);
        }
        if repeated {
            return Err("what is repeated is repeated again".to_owned());
        }
        let (operator, rest) = self.rest.split_at(end);
        self.out.push_str(operator);
        self.rest = rest;
        if let Some(rest) = rest.strip_prefix('?') {
            self.out.push('?');
            self.rest = rest;
        }
        Ok(true)
    }

    /// The bytes of `{2}`, `{2,}` or `{2,5}`.
    fn counted(&self) -> Option<usize> {
        let (inside, _) = self.rest.strip_prefix('{')?.split_once('}')?;
        let number = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
        let counts = match inside.split_once(',') {
            Some((low, high)) => number(low) && (high.is_empty() || number(high)),
            None => number(inside),
        };
        counts.then_some(inside.len() + 2)
    }

    fn escape(&mut self) -> Result<(), String> {
        match self.next().ok_or("it ends with a backslash")? {
            'd' => self.out.push_str("[0-9]"),
            'D' => self.out.push_str("[^0-9]"),
            's' => self.out.push_str("[\\t\\n\\x0C\\r ]"),
            'S' => self.out.push_str("[^\\t\\n\\x0C\\r ]"),
            'w' => self.out.push_str("[0-9A-Za-z_]"),
            'W' => self.out.push_str("[^0-9A-Za-z_]"),
            'b' => self.out.push_str("(?-u:\\b)"),
            'Q' => {
                let (quoted, rest) = self.rest.split_once("\\E").unwrap_or((self.rest, ""));
                self.out.push_str(&regex::escape(quoted));
                self.rest = rest;
            }
            other => self.plain_escape(other)?,
        }
        Ok(())
    }

    /// Escapes that mean the same inside of a class.
    fn plain_escape(&mut self, c: char) -> Result<(), String> {
        match c {
            'a' | 'f' | 't' | 'n' | 'r' | 'v' | 'x' | 'p' | 'P' | 'A' | 'z' => {
                self.out.push('\\');
                self.out.push(c);
            }
            c if c.is_ascii_punctuation() => self.out.push_str(&regex::escape(&c.to_string())),
            c => return Err(format!("there is no \\{}", super::shown(&c.to_string()))),
        }
        Ok(())
    }

    fn group(&mut self) -> Result<(), String> {
        self.out.push('(');
        let Some(rest) = self.rest.strip_prefix('?') else { return Ok(()) };
        let flags = rest.split([':', ')']).next().unwrap_or_default();
        let named = (rest.starts_with("P<") || rest.starts_with('<'))
            && !rest.starts_with("<=")
            && !rest.starts_with("<!");
        if named || flags.chars().all(|c| "imsU-".contains(c)) {
            Ok(())
        } else {
            Err("groups are (…), (?:…), (?P<name>…) and those with the flags i, m, s and U"
                .to_owned())
        }
    }

    fn class(&mut self) -> Result<(), String> {
        self.out.push('[');
        if let Some(rest) = self.rest.strip_prefix('^') {
            self.out.push('^');
            self.rest = rest;
        }
        if let Some(rest) = self.rest.strip_prefix(']') {
            self.out.push_str("\\]");
            self.rest = rest;
        }
        loop {
            if super::hole::placeholder(self.rest)?.is_some() {
                return Err("a placeholder can't stand in a class".to_owned());
            }
            match self.next().ok_or("a [ is not closed")? {
                ']' => break,
                '[' => match posix(self.rest) {
                    Some((name, rest)) => {
                        self.out.push('[');
                        self.out.push_str(name);
                        self.rest = rest;
                    }
                    None => self.out.push_str("\\["),
                },
                c @ ('&' | '~') => {
                    self.out.push('\\');
                    self.out.push(c);
                }
                '-' if self.rest.starts_with('-') => self.out.push_str("\\-"),
                '\\' => match self.next().ok_or("it ends with a backslash")? {
                    'd' => self.out.push_str("0-9"),
                    'D' => self.out.push_str("[^0-9]"),
                    's' => self.out.push_str("\\t\\n\\x0C\\r "),
                    'S' => self.out.push_str("[^\\t\\n\\x0C\\r ]"),
                    'w' => self.out.push_str("0-9A-Za-z_"),
                    'W' => self.out.push_str("[^0-9A-Za-z_]"),
                    other => self.plain_escape(other)?,
                },
                c => self.out.push(c),
            }
        }
        self.out.push(']');
        Ok(())
    }
}

/// `:alpha:]` and what follows it.
fn posix(text: &str) -> Option<(&str, &str)> {
    let end = text.find(":]").filter(|_| text.starts_with(':'))? + 2;
    let (name, rest) = text.split_at(end);
    let inside = name.trim_matches([':', ']', '^']);
    (!inside.is_empty() && inside.chars().all(|c| c.is_ascii_lowercase())).then_some((name, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(source: &str, text: &str, whole: bool) -> bool {
        let pieces = parse(source, &mut |_| Ok(0)).expect(source);
        compile(&pieces, &["v.*"], whole).expect(source).is_match(text)
    }

    #[test]
    fn expressions_mean_what_they_mean_to_go() {
        for (source, text, found) in [
            ("a.c", "xabcx", true),
            ("^a.c$", "xabc", false),
            ("\\d+", "٣", false),
            ("\\w", "é", false),
            ("^\\D$", "é", true),
            ("^[\\d]$", "3", true),
            ("^[\\D]$", "3", false),
            ("^[^\\w]$", "é", true),
            ("\\s", "\u{a0}", false),
            ("\\s", "\u{b}", false),
            ("é\\b", "é", false),
            ("^[[]$", "[", true),
            ("^[]a]$", "]", true),
            ("^[^]a]$", "]", false),
            ("^[a&&b]+$", "&a", true),
            ("^[a~~b]+$", "~", true),
            ("^[+--]+$", "-", true),
            ("^[[:alpha:]]$", "q", true),
            ("^[[:alpha:]]$", "é", false),
            ("^a{$", "a{", true),
            ("^a{,2}$", "a{,2}", true),
            ("^a{2}$", "aa", true),
            ("^\\Qa.b*\\Ec$", "a.b*c", true),
            ("^\\<$", "<", true),
            ("(?i)^ABC$", "abc", true),
            ("^(?P<n>a)(?:b)$", "ab", true),
            ("^${x}$", "v.*", true),
            ("^${x}$", "vxx", false),
            ("^(a${x}?)$", "a", true),
        ] {
            assert_eq!(matches(source, text, false), found, "{source} on {text}");
        }
        assert!(!matches("b", "abc", true) && matches("a|abc", "abc", true));
        assert!(!matches("abc|a", "ab", true), "both ends hold for each alternative");
    }

    #[test]
    fn what_is_no_expression_is_told_in_one_line() {
        for (source, why) in [
            ("foo?*", "repeated again"),
            ("a{2}{3}", "repeated again"),
            ("a+??", "repeated again"),
            ("(", "unclosed"),
            ("a)(b", "unopened"),
            ("[a", "not closed"),
            ("[z-a]", "range"),
            ("a\\", "backslash"),
            ("(?x)a", "groups are"),
            ("(?=a)", "groups are"),
            ("(?<=a)", "groups are"),
            ("\\1", "there is no \\1"),
            ("\\u0041", "there is no \\u"),
            ("\\B", "there is no \\B"),
            ("*", "repetition"),
            ("[${x}]", "in a class"),
            ("((((a{500}){500}){500}){500})", "too large"),
        ] {
            let said = parse(source, &mut |_| Ok(0)).expect_err(source);
            assert!(said.contains(why) && !said.contains('\n'), "{source}: {said}");
        }
    }

    proptest! {
        #[test]
        fn no_expression_panics(source in ".{0,40}", text in ".{0,20}") {
            if let Ok(pieces) = parse(&source, &mut |_| Ok(0))
                && let Ok(regex) = compile(&pieces, &[&text], true)
            {
                let _: bool = regex.is_match(&text);
            }
        }

        #[test]
        fn a_value_stands_for_itself_alone(value in ".{1,12}", text in ".{0,12}") {
            let pieces = parse("${x}/", &mut |_| Ok(0)).expect("an expression");
            let regex = compile(&pieces, &[&value], true).expect("an expression");
            let own = format!("{value}/");
            prop_assert!(regex.is_match(&own));
            prop_assert_eq!(regex.is_match(&format!("{text}/")), text == value);
        }
    }
}
