//! `skep exec --restart-on-change`: this process stays beside the command, in the same
//! namespace, and starts it again whenever the agent says that its secrets have changed.
//!
//! It passes signals on, and ends as the command ends by itself.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal as Listener, SignalKind, signal};
use tokio::time::Instant;

use crate::agent::hook::RESTART;

/// How long a command may take to end before it is killed.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a signal adds to the status of whom it ended.
const SIGNALLED: i32 = 128;

/// What this process is told. Listened to before the agent hears of it: from then on no
/// signal ends it by itself.
#[derive(Debug)]
pub(super) struct Ears {
    changed: Listener,
    terminate: Listener,
    interrupt: Listener,
    quit: Listener,
    hangup: Listener,
    first: Listener,
    second: Listener,
}

/// What came first.
enum Heard {
    Ended(io::Result<ExitStatus>),
    Changed,
    Passed(Signal),
    TooLong,
}

/// Why a command is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    /// It is not.
    No,
    /// To be started again.
    Again(Instant),
    /// The same, and it was killed.
    Killed,
}

impl Ears {
    /// Listens from now on. To be called inside the runtime.
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self {
            changed: signal(SignalKind::from_raw(RESTART.as_raw()))?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
            first: signal(SignalKind::user_defined1())?,
            second: signal(SignalKind::user_defined2())?,
        })
    }

    async fn hear(&mut self, child: &mut Child, until: Option<Instant>) -> Heard {
        let late = async {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = child.wait() => Heard::Ended(ended),
            Some(()) = self.terminate.recv() => Heard::Passed(Signal::TERM),
            Some(()) = self.interrupt.recv() => Heard::Passed(Signal::INT),
            Some(()) = self.quit.recv() => Heard::Passed(Signal::QUIT),
            Some(()) = self.hangup.recv() => Heard::Passed(Signal::HUP),
            Some(()) = self.first.recv() => Heard::Passed(Signal::USR1),
            Some(()) = self.second.recv() => Heard::Passed(Signal::USR2),
            Some(()) = self.changed.recv() => Heard::Changed,
            () = late => Heard::TooLong,
        }
    }

    /// What has changed until now is what a command that starts now reads.
    fn forget_changes(&mut self) {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        while self.changed.poll_recv(&mut context).is_ready() {}
    }
}

/// Runs the command until it ends by itself, and gives its status as a shell does.
///
/// # Errors
/// It could not be started, or not be waited for.
pub(super) async fn supervise(command: &mut Command, mut ears: Ears) -> io::Result<i32> {
    loop {
        ears.forget_changes();
        let mut child = command.spawn()?;
        let mut leaving = Leaving::No;
        let ended = loop {
            let until = if let Leaving::Again(until) = leaving { Some(until) } else { None };
            match ears.hear(&mut child, until).await {
                Heard::Ended(ended) => break ended,
                Heard::Changed if leaving == Leaving::No => {
                    leaving = Leaving::Again(Instant::now() + PATIENCE);
                    pass(&child, Signal::TERM);
                }
                // What is to start again finds the newest set.
                Heard::Changed => {}
                Heard::TooLong => {
                    leaving = Leaving::Killed;
                    pass(&child, Signal::KILL);
                }
                Heard::Passed(signal) => {
                    let ends = matches!(signal, Signal::TERM | Signal::INT | Signal::QUIT);
                    if ends && leaving != Leaving::No {
                        // Somebody wants an end, not another start.
                        pass(&child, signal);
                        let status = child.wait().await?;
                        return Ok(status_of(status));
                    }
                    // A terminal's goes to both already.
                    if !from_terminal(signal) {
                        pass(&child, signal);
                    }
                }
            }
        };
        let status = ended?;
        if leaving == Leaving::No {
            return Ok(status_of(status));
        }
    }
}

/// Nobody has waited for it yet: its number is its own.
fn pass(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // One that has ended has nothing to hear.
        kill_process(pid, signal).ok();
    }
}

/// Whether a terminal sends this signal to the whole group, which the command is in.
fn from_terminal(signal: Signal) -> bool {
    let own = rustix::process::getpgrp();
    let foreground =
        || rustix::termios::tcgetpgrp(rustix::stdio::stdin()).is_ok_and(|it| it == own);
    matches!(signal, Signal::INT | Signal::QUIT) && foreground()
}

fn status_of(status: ExitStatus) -> i32 {
    let signalled = || status.signal().map(|signal| SIGNALLED.saturating_add(signal));
    status.code().or_else(signalled).unwrap_or(SIGNALLED)
}
