//! What a command has of the machine: the screen, a clock and dice. Tests bring
//! a screen that is read again.

use std::io::{IsTerminal, Write};

use rustix::io::Errno;
use skep_client::machine::{OsDice, SystemClock};
use skep_client::{Ages, harmless};
use skep_core::base::{Clock, Dice, Exit, Failure, SecretBytes};

use super::problem::Trouble;
use super::used::Used;

/// Standard output is data, standard error is talk.
pub struct Screen {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    /// Standard output is a terminal.
    out_is_terminal: bool,
    /// Standard error is a terminal.
    err_is_terminal: bool,
    /// `NO_COLOR` is not set.
    colours: bool,
    /// Nobody reads standard output any more.
    closed: bool,
    /// Standard output is `/dev/null`, or was closed when the process began: nobody ever does.
    nowhere: bool,
    /// What was done is done, and could not be printed.
    lost: Option<std::io::Error>,
}

impl std::fmt::Debug for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Screen")
    }
}

impl Screen {
    /// The process's own.
    #[must_use]
    pub fn real() -> Self {
        Self {
            out: Box::new(Unbuffered),
            err: Box::new(std::io::stderr()),
            out_is_terminal: std::io::stdout().is_terminal(),
            err_is_terminal: std::io::stderr().is_terminal(),
            colours: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            closed: false,
            nowhere: is_null(std::io::stdout()),
            lost: None,
        }
    }

    /// One that writes elsewhere, and is no terminal.
    #[must_use]
    pub fn captured(out: Box<dyn Write + Send>, err: Box<dyn Write + Send>) -> Self {
        let (out_is_terminal, err_is_terminal) = (false, false);
        let (colours, closed, nowhere) = (false, false, false);
        let lost = None;
        Self { out, err, out_is_terminal, err_is_terminal, colours, closed, nowhere, lost }
    }

    /// Prints a line of data before anything was changed. That nobody reads it any more is no
    /// failure.
    pub(super) fn data(&mut self, line: &str) -> Result<(), Trouble> {
        self.put((harmless(line) + "\n").as_bytes()).map_err(|error| cannot_write(&error))
    }

    /// Prints a line of what was done, which goes on whether that can be printed or not:
    /// [`Self::take_lost`] is told at the end.
    pub(super) fn echo(&mut self, line: &str) {
        if let Err(error) = self.put((harmless(line) + "\n").as_bytes()) {
            self.lost = Some(error);
        }
    }

    /// That what was done could not be printed.
    pub(super) fn take_lost(&mut self) -> Option<Failure> {
        let error = self.lost.take()?;
        let text = format!("standard output: {error}: it is done, and what it printed is lost");
        let hint = "do not repeat it: look at what is there now";
        Some(Failure::new(Exit::NotConfirmed, text).hint(hint))
    }

    /// Prints data as it is, with a line end, and makes it last where it is a file: the one way
    /// for a secret to standard output, without a buffer that keeps a copy.
    pub(super) fn secret_line(&mut self, secret: &SecretBytes) -> Result<(), Trouble> {
        self.arrives(secret).map_err(|error| cannot_write(&error))
    }

    /// [`Self::secret_line`] where the caller knows what its failure means.
    pub(super) fn arrives(&mut self, secret: &SecretBytes) -> std::io::Result<()> {
        self.put(secret.expose())?;
        self.put(b"\n")?;
        self.out.flush()?;
        if self.closed { Err(std::io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }

    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if self.closed {
            return Ok(());
        }
        match self.out.write_all(bytes) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            written => written,
        }
    }

    /// Whether nobody will ever read standard output.
    pub(super) fn leads_nowhere(&self) -> bool {
        self.nowhere
    }

    /// Whether nobody reads standard output any more.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Prints a line of talk. Nobody acts on it, so that a failure is none.
    pub(super) fn say(&mut self, line: &str) {
        let line = harmless(line) + "\n";
        if self.err.write_all(line.as_bytes()).is_err() {
            tracing::trace!(event = "stderr_closed");
        }
    }

    /// `hint: ...`.
    pub(super) fn hint(&mut self, hint: &str) {
        let word = self.painted("hint", "36");
        self.tagged(&word, hint);
    }

    /// `warning: ...`.
    pub(super) fn warn(&mut self, text: &str) {
        let word = self.painted("warning", "33");
        self.tagged(&word, text);
    }

    /// `error: ...` and, if there is one, `hint: ...`.
    pub(super) fn failure(&mut self, failure: &Failure) {
        let word = self.painted("error", "1;31");
        self.tagged(&word, &failure.text);
        if let Some(hint) = &failure.hint {
            self.hint(hint);
        }
    }

    fn tagged(&mut self, word: &str, text: &str) {
        let line = format!("{word}: {}\n", harmless(&text.replace('\n', " ")));
        if self.err.write_all(line.as_bytes()).is_err() {
            tracing::trace!(event = "stderr_closed");
        }
    }

    fn painted(&self, word: &str, colour: &str) -> String {
        if self.err_is_terminal && self.colours {
            format!("\x1b[{colour}m{word}\x1b[0m")
        } else {
            word.to_owned()
        }
    }

    /// Whether a progress bar is seen.
    pub(super) fn shows_progress(&self) -> bool {
        self.err_is_terminal
    }

    /// Goes back to the first line of a terminal, for what is shown again.
    pub(super) fn restart(&mut self) -> Result<(), Trouble> {
        let bytes: &[u8] = if self.out_is_terminal { b"\x1b[H\x1b[2J" } else { b"" };
        self.put(bytes).map_err(|error| cannot_write(&error))
    }
}

fn cannot_write(error: &std::io::Error) -> Trouble {
    Failure::new(Exit::Refused, format!("standard output: {error}"))
        .hint("choose a place that can be written to; nothing was changed")
        .into()
}

/// Whether this is `/dev/null`: the standard library opens it where a descriptor is closed.
fn is_null(of: impl std::os::fd::AsFd) -> bool {
    // A file that is no device has none of a device's numbers: they are 0.
    match (rustix::fs::fstat(of), rustix::fs::stat("/dev/null")) {
        (Ok(one), Ok(null)) => one.st_rdev == null.st_rdev,
        _ => false,
    }
}

/// Standard output without a buffer of its own.
struct Unbuffered;

impl Write for Unbuffered {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(rustix::io::write(std::io::stdout(), bytes)?)
    }

    /// A file is on its disk then; what is no file has none.
    fn flush(&mut self) -> std::io::Result<()> {
        match rustix::fs::fsync(std::io::stdout()) {
            Err(Errno::INVAL | Errno::NOTSUP | Errno::ROFS) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// What a command has of the machine.
pub struct Shell {
    /// Where it prints.
    pub screen: Screen,
    /// What time it is.
    pub clock: Box<dyn Clock>,
    /// Random bytes.
    pub dice: Box<dyn Dice>,
    /// Identities that a command used.
    pub(super) used: Vec<Used>,
    /// How old what its links showed may be.
    pub(super) ages: Vec<Ages>,
}

impl std::fmt::Debug for Shell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shell")
    }
}

impl Shell {
    /// With this screen, and the machine's clock and dice.
    #[must_use]
    pub fn with(screen: Screen) -> Self {
        let (clock, dice) = (Box::new(SystemClock), Box::new(OsDice));
        Self { screen, clock, dice, used: Vec::new(), ages: Vec::new() }
    }

    /// This process's.
    #[must_use]
    pub fn real() -> Self {
        Self::with(Screen::real())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::sync::Arc;

    /// What was written to a captured screen.
    #[derive(Clone, Default)]
    pub(in crate::cli) struct Tape(Arc<Mutex<Vec<u8>>>);

    impl Tape {
        pub(in crate::cli) fn text(&self) -> String {
            String::from_utf8(self.0.lock().clone()).expect("text")
        }
    }

    impl Write for Tape {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// A shell whose words are read again: (shell, stdout, stderr).
    pub(in crate::cli) fn captured() -> (Shell, Tape, Tape) {
        let (out, err) = (Tape::default(), Tape::default());
        let screen = Screen::captured(Box::new(out.clone()), Box::new(err.clone()));
        (Shell::with(screen), out, err)
    }

    struct Broken(std::io::ErrorKind);
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_is_quiet_and_a_full_disk_is_not() {
        let err = Tape::default();
        let broken = Box::new(Broken(std::io::ErrorKind::BrokenPipe));
        let mut screen = Screen::captured(broken, Box::new(err.clone()));
        assert!(screen.data("x").is_ok());
        assert!(screen.is_closed());
        assert!(screen.secret_line(&SecretBytes::copy_of(b"k")).is_err(), "a key must arrive");
        let full = Box::new(Broken(std::io::ErrorKind::StorageFull));
        let mut screen = Screen::captured(full, Box::new(err));
        assert!(screen.data("x").is_err() && screen.take_lost().is_none());
        screen.echo("x");
        assert_eq!(screen.take_lost().map(|lost| lost.exit), Some(Exit::NotConfirmed));
    }

    #[test]
    fn names_from_elsewhere_do_not_steer_the_terminal() {
        let (mut shell, out, err) = captured();
        shell.screen.data("a\x1b[2J\u{202e}b\tc").expect("written");
        shell.screen.failure(&Failure::new(Exit::Refused, "x\x07\ny").hint("do z"));
        assert_eq!(out.text(), "a\u{fffd}[2J\u{fffd}b\tc\n");
        assert_eq!(err.text(), "error: x\u{fffd} y\nhint: do z\n");
    }
}
