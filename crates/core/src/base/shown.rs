//! Characters that show themselves.

/// Whether a character is seen where it stands, and alone there: no control character, none
/// that breaks a line, reorders or hides what stands beside it. A table of its own, for that
/// of the standard library grows with its version, and replicas must agree.
#[must_use]
pub const fn shows_itself(c: char) -> bool {
    !matches!(c,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' // control
        | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' // of no width, and directions
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' // lines, directions
        | '\u{3164}' | '\u{d7fc}'..='\u{f8ff}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{ffff}' // private, variations, marks of order
        | '\u{e0000}'..='\u{10ffff}') // tags, private
}

#[cfg(test)]
mod tests {
    use super::shows_itself;

    #[test]
    fn text_shows_itself_and_what_plays_tricks_does_not() {
        assert!("/usr/lib/systemd/sd -Über_日本語~(1)".chars().all(shows_itself));
        let tricks = [
            '\0',
            '\n',
            '\r',
            '\u{1b}',
            '\u{7f}',
            '\u{85}',
            '\u{9b}',
            '\u{200b}',
            '\u{200e}',
            '\u{2028}',
            '\u{2029}',
            '\u{202e}',
            '\u{2066}',
            '\u{feff}',
            '\u{e000}',
            '\u{e0041}',
        ];
        assert!(!tricks.into_iter().any(shows_itself));
    }
}
