//! What can't be undone is done by whoever says so twice: on a terminal by typing the name of
//! what it is about, elsewhere by `--yes`.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Read as _, Write as _};

use super::problem::{Trouble, usage};
use skep_client::harmless;
use skep_core::base::{Exit, Failure};

/// Bytes of a line that may be typed: more than any name has.
const LINE_BYTES: usize = 256;

/// Whether to go on is said, or will be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sure {
    /// It was said.
    Yes,
    /// It is asked on the terminal.
    Asks,
}

impl Sure {
    /// Before anything else is done: where nobody can be asked, it must have been said.
    pub(super) fn of(yes: bool) -> Result<Self, Trouble> {
        if yes {
            return Ok(Self::Yes);
        }
        if io::stdin().is_terminal() && terminal().is_ok() {
            return Ok(Self::Asks);
        }
        Err(usage("this can't be undone, and there is no terminal to ask on", "--yes says it too"))
    }

    /// Whether somebody is to be asked.
    pub(super) fn asks(self) -> bool {
        self == Self::Asks
    }

    /// Goes on where it was said, or where the name is typed.
    pub(super) fn about(self, name: &str, what: &str) -> Result<(), Trouble> {
        if self == Self::Yes {
            return Ok(());
        }
        let name = harmless(name);
        let prompt = format!("{name}: {what}; this can't be undone.\nType its name to go on: ");
        let typed = ask(&prompt).map_err(|error| usage(error, "--yes says it without asking"))?;
        if typed.trim() == name {
            return Ok(());
        }
        let text = format!("what was typed is not {name}: nothing more is done");
        Err(Failure::new(Exit::Refused, text).hint("type the name, or give --yes").into())
    }
}

fn terminal() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/tty")
}

/// One line that is typed on the terminal.
fn ask(prompt: &str) -> io::Result<String> {
    let mut terminal = terminal()?;
    terminal.write_all(prompt.as_bytes())?;
    let mut line = Vec::new();
    let mut byte = [0_u8];
    while line.len() < LINE_BYTES && terminal.read(&mut byte)? > 0 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}
