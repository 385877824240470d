//! Text from elsewhere, shown so that it does nothing: no escape sequence reaches a
//! terminal, no line is forged, no direction of writing is turned round.

use std::fmt::{self, Write};

/// Whether a character does something other than show itself: control characters (C0,
/// DEL, C1), line and paragraph separators, what turns the direction of writing round,
/// and what is not seen.
#[must_use]
pub fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// How [`Inert`] writes what it may not write as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escapes {
    /// As in Rust: `\n`, `\"`, `\u{1b}`.
    Text,
    /// As in JSON: `\n`, `\"`, `\u001b`.
    Json,
}

/// What marks text that was cut.
pub const CUT: char = '…';

/// Takes text that somebody formats, and keeps at most so many bytes of it, escaped and
/// fit to stand between double quotes. Past those it refuses more, so that whoever formats
/// stops: a long text costs no more than a short one.
#[derive(Clone, Debug)]
pub struct Inert {
    text: String,
    most: usize,
    escapes: Escapes,
    cut: bool,
}

impl Inert {
    /// Nothing yet; never more than `most` bytes and [`CUT`].
    #[must_use]
    pub fn new(most: usize, escapes: Escapes) -> Self {
        Self { text: String::new(), most, escapes, cut: false }
    }

    /// What was kept, with [`CUT`] behind it if there was more.
    #[must_use]
    pub fn into_text(mut self) -> String {
        if self.cut {
            self.text.push(CUT);
        }
        self.text
    }

    fn escaped(&self, c: char) -> Escaped {
        let mut out = Escaped::default();
        // None of these is longer than the buffer: `\u{10ffff}`, two units of UTF-16.
        let written = match (c, self.escapes) {
            ('"' | '\\', _) => write!(out, "\\{c}"),
            ('\n', _) => out.write_str("\\n"),
            ('\r', _) => out.write_str("\\r"),
            ('\t', _) => out.write_str("\\t"),
            (c, Escapes::Text) if steers(c) => write!(out, "\\u{{{:x}}}", u32::from(c)),
            (c, Escapes::Json) if steers(c) => {
                let mut units = [0; 2];
                c.encode_utf16(&mut units).iter().try_for_each(|unit| write!(out, "\\u{unit:04x}"))
            }
            (c, _) => out.write_char(c),
        };
        debug_assert!(written.is_ok(), "{c:?} fits");
        out
    }
}

impl Write for Inert {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            let escaped = self.escaped(c);
            if self.text.len() + escaped.text().len() > self.most {
                self.cut = true;
            }
            if self.cut {
                return Err(fmt::Error);
            }
            self.text.push_str(escaped.text());
        }
        Ok(())
    }
}

/// One character's escape.
#[derive(Default)]
struct Escaped {
    bytes: [u8; 12],
    length: usize,
}

impl Escaped {
    fn text(&self) -> &str {
        let bytes = self.bytes.get(..self.length).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl Write for Escaped {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        let room = self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// `text`, escaped and cut to `most` bytes.
#[must_use]
pub fn inert(text: &str, most: usize, escapes: Escapes) -> String {
    let mut inert = Inert::new(most, escapes);
    // It says no once it has enough.
    let _enough = inert.write_str(text).is_err();
    inert.into_text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_is_escaped_in_both_ways() {
        let hostile = "a\x1b[2J\u{9b}31m\x7f\n\u{2028}\u{202e}\u{e0041}\"\\é";
        assert_eq!(
            inert(hostile, 200, Escapes::Text),
            "a\\u{1b}[2J\\u{9b}31m\\u{7f}\\n\\u{2028}\\u{202e}\\u{e0041}\\\"\\\\é"
        );
        let json = inert(hostile, 200, Escapes::Json);
        assert!(json.chars().all(|c| !steers(c)), "{json}");
        let back: String = serde_json::from_str(&format!("\"{json}\"")).expect("json");
        assert_eq!(back, hostile);
    }

    #[test]
    fn no_character_gets_through_that_steers() {
        for c in '\0'..=char::MAX {
            for escapes in [Escapes::Text, Escapes::Json] {
                let shown = inert(&c.to_string(), 12, escapes);
                assert!(!shown.is_empty() && !shown.chars().any(steers), "{c:?} {shown:?}");
                assert!(!shown.ends_with(CUT) || c == CUT, "{c:?}");
            }
        }
    }

    /// Text without an end.
    struct Endless;

    impl fmt::Display for Endless {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            loop {
                f.write_str("on and on ")?;
            }
        }
    }

    #[test]
    fn long_text_is_cut_and_not_read_further() {
        let cut = inert(&"x\n".repeat(1_000_000), 10, Escapes::Text);
        assert_eq!(cut, "x\\nx\\nx\\nx…");
        let mut inert = Inert::new(32, Escapes::Json);
        assert!(write!(inert, "{Endless}").is_err());
        assert_eq!(inert.into_text(), "on and on on and on on and on on…");
        assert_eq!(super::inert("ää", 3, Escapes::Text), "ä…");
    }
}
