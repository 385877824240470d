//! A `.env` file, strictly: `NAME=value`, with quotes as a shell has them.
//!
//! Readers of such files differ in what they make of `$`, of escapes and of quotes inside a
//! word. What they differ about is refused with its line, so that a secret is never another one
//! than it was for the program that read the file before; and nothing is replaced by a variable
//! of the process that reads.

use skep_core::base::SecretBytes;
use zeroize::Zeroizing;

/// A line that is none: its number, and why. It quotes nothing of the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadLine {
    pub(super) line: usize,
    pub(super) why: &'static str,
}

/// One entry.
pub(super) struct EnvEntry {
    /// The line where it begins.
    pub(super) line: usize,
    /// What stands before `=`.
    pub(super) key: String,
    /// Its value.
    pub(super) value: SecretBytes,
}

const NO_ENTRY: &str = "is no NAME=value";
const NOT_CLOSED: &str = "a quote that begins here does not end";
const BEHIND: &str = "something follows the closing quote";
const ESCAPE: &str = "an escape is none of \\n, \\r, \\t, \\\\, \\\", \\$ and \\`";
const PLAIN: &str = "a value with quotes or backslashes in it stands in single quotes";
const REPLACED: &str = "some programs would replace a $NAME: single quotes say that it is meant";

/// Reads a whole file.
pub(super) fn parse(text: &[u8]) -> Result<Vec<EnvEntry>, BadLine> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut reader = Reader { rest: text, line: 1 };
    let mut entries = Vec::new();
    while let Some(entry) = reader.entry()? {
        entries.push(entry);
    }
    Ok(entries)
}

struct Reader<'a> {
    rest: &'a [u8],
    line: usize,
}

impl<'a> Reader<'a> {
    fn bad(&self, why: &'static str) -> BadLine {
        BadLine { line: self.line, why }
    }

    /// Takes so many bytes.
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at_checked(count).unwrap_or((self.rest, &[]));
        self.line += taken.split(|byte| *byte == b'\n').count().saturating_sub(1);
        self.rest = rest;
        taken
    }

    fn take_while(&mut self, fits: impl Fn(u8) -> bool) -> &'a [u8] {
        let count = self.rest.iter().take_while(|byte| fits(**byte)).count();
        self.take(count)
    }

    fn entry(&mut self) -> Result<Option<EnvEntry>, BadLine> {
        loop {
            self.take_while(|byte| byte.is_ascii_whitespace());
            match self.rest.first() {
                None => return Ok(None),
                Some(b'#') => self.take_while(|byte| byte != b'\n'),
                Some(_) => break,
            };
        }
        let line = self.line;
        let mut key = self.take_while(is_key);
        if key == b"export" && self.rest.first().is_some_and(|byte| b" \t".contains(byte)) {
            self.take_while(is_blank);
            key = self.take_while(is_key);
        }
        self.take_while(is_blank);
        let key = str::from_utf8(key).unwrap_or_default().to_owned();
        if key.is_empty() || self.take(1) != b"=" {
            return Err(BadLine { line, why: NO_ENTRY });
        }
        self.take_while(is_blank);
        let value = match self.rest.first() {
            Some(b'\'') => self.single()?,
            Some(b'"') => self.double()?,
            _ => self.plain()?,
        };
        Ok(Some(EnvEntry { line, key, value }))
    }

    /// As it stands, to the next quote of its kind.
    fn single(&mut self) -> Result<SecretBytes, BadLine> {
        let open = self.bad(NOT_CLOSED);
        self.take(1);
        if !self.rest.contains(&b'\'') {
            return Err(open);
        }
        let value = SecretBytes::copy_of(self.take_while(|byte| byte != b'\''));
        self.take(1);
        self.line_end()?;
        Ok(value)
    }

    fn double(&mut self) -> Result<SecretBytes, BadLine> {
        let open = self.bad(NOT_CLOSED);
        self.take(1);
        let length = closing(self.rest).ok_or(open)?;
        // Escapes only make it shorter: it never grows.
        let mut value = Zeroizing::new(Vec::with_capacity(length));
        let end = self.rest.len() - length;
        while self.rest.len() > end {
            match self.take(1) {
                b"\\" => {
                    let meant = match self.rest.first() {
                        Some(b'n') => b'\n',
                        Some(b'r') => b'\r',
                        Some(b't') => b'\t',
                        Some(same @ (b'\\' | b'"' | b'$' | b'`')) => *same,
                        _ => return Err(self.bad(ESCAPE)),
                    };
                    self.take(1);
                    value.push(meant);
                }
                b"$" if names(self.rest) => return Err(self.bad(REPLACED)),
                byte => value.extend_from_slice(byte),
            }
        }
        self.take(1);
        self.line_end()?;
        Ok(SecretBytes::copy_of(&value))
    }

    /// To the end of the line, or to a remark.
    fn plain(&mut self) -> Result<SecretBytes, BadLine> {
        let line = self.take_while(|byte| byte != b'\n');
        let remark =
            line.windows(2).position(|two| matches!(two, [before, b'#'] if is_blank(*before)));
        let value = line.get(..remark.unwrap_or(line.len())).unwrap_or_default().trim_ascii();
        if value.starts_with(b"#") {
            return Ok(SecretBytes::zeroed(0));
        }
        if value.iter().any(|byte| b"'\"\\`".contains(byte)) {
            return Err(self.bad(PLAIN));
        }
        let mut after = value.iter().enumerate().filter(|(_, byte)| **byte == b'$');
        if after.any(|(at, _)| names(value.get(at + 1..).unwrap_or_default())) {
            return Err(self.bad(REPLACED));
        }
        Ok(SecretBytes::copy_of(value))
    }

    /// After a closing quote: blanks, and a remark at most.
    fn line_end(&mut self) -> Result<(), BadLine> {
        let rest = self.take_while(|byte| byte != b'\n');
        let rest_is_remark = rest.first().is_some_and(|byte| is_blank(*byte))
            && rest.trim_ascii().first() == Some(&b'#');
        if rest.trim_ascii().is_empty() || rest_is_remark { Ok(()) } else { Err(self.bad(BEHIND)) }
    }
}

/// Where the closing quote is.
fn closing(text: &[u8]) -> Option<usize> {
    let mut escaped = false;
    text.iter().position(|byte| {
        let closes = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        closes
    })
}

/// Whether what follows a `$` is what a shell would replace.
fn names(rest: &[u8]) -> bool {
    rest.first().is_some_and(|byte| byte.is_ascii_alphabetic() || b"_{(".contains(byte))
}

fn is_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_.-".contains(&byte)
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(usize, String, String)>, BadLine> {
        let shown = |entry: EnvEntry| {
            let value = String::from_utf8_lossy(entry.value.expose()).into_owned();
            (entry.line, entry.key, value)
        };
        parse(text.as_bytes()).map(|all| all.into_iter().map(shown).collect())
    }

    #[test]
    fn values_are_what_was_meant() {
        for (text, value) in [
            ("A=b", "b"),
            ("  export  A = b  ", "b"),
            ("\u{feff}A=b\r\n", "b"),
            ("A=b#c # a remark", "b#c"),
            ("A=", ""),
            ("A= # nothing", ""),
            ("A=a b\n", "a b"),
            ("A=x$1$ y", "x$1$ y"),
            ("A='it is $HOME \\n \"so\"' # yes", "it is $HOME \\n \"so\""),
            ("A='two\nlines'", "two\nlines"),
            (
                "A=\"two\nlines\\nthree \\$HOME \\\\ \\\"q\\\" \\` \\t.\"",
                "two\nlines\nthree $HOME \\ \"q\" ` \t.",
            ),
            ("A=\"pa$$ 5$\"", "pa$$ 5$"),
            ("A=\"\"", ""),
            ("A=postgres://u:p@h/d?x=1&y=2", "postgres://u:p@h/d?x=1&y=2"),
        ] {
            let read = read(text).unwrap_or_else(|bad| panic!("{text}: {bad:?}"));
            assert_eq!(read, [(1, "A".to_owned(), value.to_owned())], "{text}");
        }
        let several = read("# first\n\nA='1\n2'\nB.c-d=3\nA=4").expect("entries");
        let lines: Vec<_> = several.iter().map(|(line, key, _)| (*line, key.as_str())).collect();
        assert_eq!(lines, [(3, "A"), (5, "B.c-d"), (6, "A")]);
        assert_eq!(read("\n# nothing\n").expect("none"), []);
    }

    #[test]
    fn what_readers_differ_about_is_refused_with_its_line() {
        for (text, line, why) in [
            ("A", 1, NO_ENTRY),
            ("A=1\n=2", 2, NO_ENTRY),
            ("A=1\nnot an entry\n", 2, NO_ENTRY),
            ("A=1\n\u{e4}=2", 2, NO_ENTRY),
            ("A: b", 1, NO_ENTRY),
            ("export A", 1, NO_ENTRY),
            ("A='b\nc", 1, NOT_CLOSED),
            ("B=1\nA=\"b\\\"\nc", 2, NOT_CLOSED),
            ("A='b'c", 1, BEHIND),
            ("A='b'#c", 1, BEHIND),
            ("A=\"b\" c", 1, BEHIND),
            ("A=\"\\x\"", 1, ESCAPE),
            ("A=b'c", 1, PLAIN),
            ("A=b\\c", 1, PLAIN),
            ("A=`id`", 1, PLAIN),
            ("A=$HOME", 1, REPLACED),
            ("A=${HOME}", 1, REPLACED),
            ("A=a$(id)", 1, REPLACED),
            ("B=1\nA=\"\n$HOME\"", 3, REPLACED),
        ] {
            assert_eq!(read(text).expect_err(text), BadLine { line, why }, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn single_quotes_keep_any_value(value in "[^']{0,40}") {
            let read = read(&format!("A='{value}'\n")).expect("an entry");
            proptest::prop_assert_eq!(&read[0].2, &value);
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            drop(parse(&bytes));
        }
    }
}
