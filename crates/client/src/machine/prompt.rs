//! A hidden prompt on the terminal. The line goes byte by byte into one buffer,
//! and the terminal is put back also where the person gives up.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};

use skep_core::base::SecretBytes;
use subtle::ConstantTimeEq as _;

const INTERRUPT: u8 = 0x03;
const END: u8 = 0x04;
const BACKSPACE: [u8; 2] = [0x08, 0x7f];
const KILL_LINE: u8 = 0x15;

/// Puts the terminal back.
struct Quiet {
    terminal: File,
    before: Termios,
}

impl Quiet {
    fn new(terminal: File) -> io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut quiet = before.clone();
        // Without signals from keys: an interrupt is a byte, and the way out passes `drop`.
        let off = LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG | LocalModes::IEXTEN;
        quiet.local_modes.remove(off);
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&terminal, OptionalActions::Flush, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let back = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
        if back.is_err() || self.terminal.write_all(b"\n").is_err() {
            tracing::debug!(event = "terminal_not_restored");
        }
    }
}

/// Asks on the terminal and reads a line of at most `most` bytes without showing it.
///
/// # Errors
/// What the system says; `FileTooLarge` for a longer line.
pub fn hidden(prompt: &str, most: usize) -> io::Result<SecretBytes> {
    let mut terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    terminal.write_all(prompt.as_bytes())?;
    let quiet = Quiet::new(terminal)?;
    let mut line = Line::new(most);
    loop {
        let mut byte = [0_u8];
        let count = match rustix::io::read(&quiet.terminal, &mut byte) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        let key = if count == 0 { END } else { byte[0] };
        if line.press(key)? {
            return Ok(line.done());
        }
    }
}

/// Asks for the same twice.
///
/// # Errors
/// As [`hidden`]; and where the two are not the same.
pub fn hidden_twice(prompt: &str, most: usize) -> io::Result<SecretBytes> {
    let first = hidden(prompt, most)?;
    let second = hidden("The same again: ", most)?;
    if bool::from(first.expose().ct_eq(second.expose())) {
        Ok(first)
    } else {
        Err(io::Error::other("the two values are not the same"))
    }
}

/// A line as it is typed.
struct Line {
    buffer: SecretBytes,
    length: usize,
}

impl Line {
    fn new(most: usize) -> Self {
        Self { buffer: SecretBytes::zeroed(most), length: 0 }
    }

    /// One key; whether the line is complete.
    fn press(&mut self, key: u8) -> io::Result<bool> {
        match key {
            b'\n' | b'\r' | END => return Ok(true),
            INTERRUPT => return Err(io::Error::other("interrupted")),
            KILL_LINE => self.length = 0,
            _ if BACKSPACE.contains(&key) => self.erase(),
            _ => {
                let Some(place) = self.buffer.expose_mut().get_mut(self.length) else {
                    return Err(io::ErrorKind::FileTooLarge.into());
                };
                *place = key;
                self.length += 1;
            }
        }
        Ok(false)
    }

    /// Takes back one character, which may be several bytes of UTF-8.
    fn erase(&mut self) {
        while self.length > 0 {
            self.length -= 1;
            let byte = self.buffer.expose().get(self.length).copied().unwrap_or_default();
            if byte & 0b1100_0000 != 0b1000_0000 {
                return;
            }
        }
    }

    fn done(self) -> SecretBytes {
        self.buffer.truncated(self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &[u8], most: usize) -> io::Result<SecretBytes> {
        let mut line = Line::new(most);
        for &key in keys {
            if line.press(key)? {
                break;
            }
        }
        Ok(line.done())
    }

    #[test]
    fn keys_make_a_line() {
        let line = |keys: &[u8]| typed(keys, 16).expect("a line").expose().to_vec();
        assert_eq!(line(b"abc\nd"), b"abc");
        assert_eq!(line(b"abc\x7fd\r"), b"abd");
        assert_eq!(line("aä\u{7f}b\n".as_bytes()), b"ab");
        assert_eq!(line(b"abc\x15d\x04"), b"d");
        assert_eq!(line(b"\x7f\x7fa\n"), b"a");
    }

    #[test]
    fn an_interrupt_and_too_much_end_it() {
        assert!(typed(b"ab\x03", 16).is_err());
        assert!(typed(b"abcd", 3).is_err());
        assert_eq!(typed(b"abc\n", 3).expect("fits").len(), 3);
    }
}
