//! A program that prints one secret: bounded in what it prints and how long it takes, and
//! started as it stands, without a shell.

use std::io;
use std::os::fd::AsFd as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use skep_core::base::SecretBytes;

/// Why there is nothing of it.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// It was not started.
    #[error("cannot be started: {0}")]
    NotStarted(io::Error),
    /// It ended otherwise than with status 0.
    #[error("ended with {0}")]
    Ended(ExitStatus),
    /// It did not end.
    #[error("did not end within {} seconds", .0.as_secs())]
    Late(Duration),
    /// It printed more.
    #[error("printed more than {0} bytes")]
    Long(usize),
    /// The system failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Runs a program and takes what it prints, of at most `most` bytes. Its standard input is empty,
/// its standard error is this process's, and so is its terminal.
///
/// # Errors
/// [`HelperError`]. A program that prints too much or for too long is ended.
pub fn print_of(
    command: &mut Command,
    most: usize,
    limit: Duration,
) -> Result<SecretBytes, HelperError> {
    let until = Instant::now() + limit;
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = spawned.spawn().map_err(HelperError::NotStarted)?;
    let printed = printed_by(&mut child, most, limit, until);
    if printed.is_err() {
        // It may have ended by itself.
        child.kill().ok();
    }
    let status = child.wait()?;
    let printed = printed?;
    if status.success() { Ok(printed) } else { Err(HelperError::Ended(status)) }
}

/// Reads until the program has ended. Others that it leaves behind with its output open are not
/// waited for.
fn printed_by(
    child: &mut Child,
    most: usize,
    limit: Duration,
    until: Instant,
) -> Result<SecretBytes, HelperError> {
    let gone = || io::Error::other("its output is not there");
    let process =
        pidfd_open(Pid::from_child(child), PidfdFlags::empty()).map_err(io::Error::from)?;
    let output = child.stdout.take().ok_or_else(gone)?;
    let mut buffer = SecretBytes::zeroed(most + 1);
    let (mut filled, mut open) = (0, true);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(HelperError::Late(limit));
        }
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        let wanted = if open { PollFlags::IN } else { PollFlags::empty() };
        let mut both = [
            PollFd::from_borrowed_fd(output.as_fd(), wanted),
            PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN),
        ];
        let from = usize::from(!open);
        match poll(both.get_mut(from..).unwrap_or_default(), Some(&left)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(io::Error::from(error).into()),
        }
        let [printed, ended] = both.map(|one| !one.revents().is_empty());
        if open && printed {
            let free = buffer.expose_mut().get_mut(filled..).unwrap_or_default();
            match rustix::io::read(&output, free) {
                Ok(0) => open = false,
                Ok(count) => filled += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(io::Error::from(error).into()),
            }
            if filled > most {
                return Err(HelperError::Long(most));
            }
        } else if ended {
            return Ok(buffer.truncated(filled));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, most: usize, limit: Duration) -> Result<Vec<u8>, HelperError> {
        print_of(Command::new("sh").args(["-c", script]), most, limit)
            .map(|printed| printed.expose().to_vec())
    }

    const LONG: Duration = Duration::from_mins(1);

    #[test]
    fn what_a_program_prints_is_taken() {
        assert_eq!(sh("printf 'a b'", 3, LONG).expect("printed"), b"a b");
        assert_eq!(sh("cat; printf x", 8, LONG).expect("its input is empty"), b"x");
        assert_eq!(sh("exec >&-; true", 8, LONG).expect("an output closed early"), b"");
    }

    #[test]
    fn a_program_that_fails_or_prints_too_much_gives_nothing() {
        assert!(matches!(sh("printf a; exit 3", 8, LONG), Err(HelperError::Ended(_))));
        assert!(matches!(sh("kill -9 $$", 8, LONG), Err(HelperError::Ended(_))));
        assert!(matches!(sh("printf abcd", 3, LONG), Err(HelperError::Long(3))));
        assert!(matches!(sh("exec yes", 64, LONG), Err(HelperError::Long(64))));
        let missing = print_of(&mut Command::new("/nonexistent/program"), 8, LONG);
        assert!(matches!(missing, Err(HelperError::NotStarted(_))));
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        let short = Duration::from_millis(200);
        assert!(matches!(sh("exec sleep 600", 8, short), Err(HelperError::Late(_))));
        assert!(matches!(sh("exec >&-; exec sleep 600", 8, short), Err(HelperError::Late(_))));
    }

    #[test]
    fn what_a_program_leaves_behind_is_not_waited_for() {
        let begun = Instant::now();
        assert_eq!(sh("sleep 30 & printf x", 8, LONG).expect("printed"), b"x");
        assert!(begun.elapsed() < Duration::from_secs(25));
    }
}
