//! Where answers go: standard output is data, standard error is talk.

use std::io::{Stderr, Stdout, Write, stderr, stdout};

use skep_client::harmless;
use skep_core::base::{Exit, Failure};

/// The process's own streams.
#[derive(Debug)]
pub struct Screen {
    out: Stdout,
    err: Stderr,
}

impl Screen {
    /// Those of this process.
    #[must_use]
    pub fn real() -> Self {
        Self { out: stdout(), err: stderr() }
    }

    /// Prints a line of data. That nobody reads it any more is no failure.
    ///
    /// # Errors
    /// [`Exit::WriteFailed`].
    pub fn data(&mut self, line: &str) -> Result<(), Failure> {
        let mut out = self.out.lock();
        let done = out.write_all((harmless(line) + "\n").as_bytes()).and_then(|()| out.flush());
        match done {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                let failure = Failure::new(Exit::WriteFailed, format!("standard output: {error}"));
                Err(failure.hint("make room there, or print it elsewhere"))
            }
            _ => Ok(()),
        }
    }

    /// Prints a line of talk.
    pub fn say(&mut self, line: &str) {
        // There is nobody left to tell that nothing can be told.
        drop(self.err.write_all((harmless(line) + "\n").as_bytes()));
    }

    /// Prints what is wrong, and what to do.
    pub fn failure(&mut self, failure: &Failure) {
        self.say(&failure.to_string());
    }
}
