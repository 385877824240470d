//! `TERM` drains, a second `TERM` stops; `INT` and `QUIT` count as `TERM`. No other signal
//! that can be handled ends a daemon: it is noted and ignored.

use rustix::process::Signal;
use tokio::signal::unix::{Signal as Listener, SignalKind, signal};
use tokio::sync::watch;

/// How far a shutdown has come. It never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    #[default]
    Running,
    Draining,
    Stopping,
}

/// Resolves as the process is asked to end. Clones see the same.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<Stage>);

/// The other end: each call is one `TERM`.
#[derive(Debug)]
pub struct Terminator(watch::Sender<Stage>);

impl Shutdown {
    /// Listens to the process's signals, from now on. Call it inside the runtime.
    ///
    /// # Errors
    /// What the system says.
    pub fn on_signals() -> std::io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        let quit = signal(SignalKind::quit())?;
        outlive()?;
        let (terminator, shutdown) = Self::by_hand();
        tokio::spawn(follow(terminator, terminate, interrupt, quit));
        Ok(shutdown)
    }

    /// The same for what a person runs on a terminal: it ends with that (`HUP`).
    ///
    /// # Errors
    /// What the system says.
    pub fn on_terminal() -> std::io::Result<Self> {
        let mut hangup = signal(SignalKind::hangup())?;
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        let quit = signal(SignalKind::quit())?;
        let (terminator, shutdown) = Self::by_hand();
        let hung_up = Terminator(terminator.0.clone());
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                hung_up.terminate();
            }
        });
        tokio::spawn(follow(terminator, terminate, interrupt, quit));
        Ok(shutdown)
    }

    /// One that a caller ends, without signals.
    #[must_use]
    pub fn by_hand() -> (Terminator, Self) {
        let (sender, receiver) = watch::channel(Stage::default());
        (Terminator(sender), Self(receiver))
    }

    /// Waits for the first `TERM`: finish what is under way and end.
    pub async fn drain(&self) {
        self.reached(Stage::Draining).await;
    }

    /// Waits for the second `TERM`: end now.
    pub async fn stop(&self) {
        self.reached(Stage::Stopping).await;
    }

    /// Whether the first `TERM` has come.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        *self.0.borrow() >= Stage::Draining
    }

    async fn reached(&self, stage: Stage) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|now| *now >= stage).await.is_err() {
            // Nobody is left who could ask.
            std::future::pending::<()>().await;
        }
    }
}

impl Terminator {
    /// One `TERM`.
    pub fn terminate(&self) {
        self.0.send_modify(|stage| {
            *stage = match *stage {
                Stage::Running => Stage::Draining,
                Stage::Draining | Stage::Stopping => Stage::Stopping,
            };
        });
    }
}

/// What would end the process by default and means nothing to it: those that log rotations
/// and service managers send, timers, and limits that show as failed calls. They are
/// handled, not ignored, so that a program that is started gets them as usual.
const MEANINGLESS: &[(i32, &str)] = &[
    (Signal::HUP.as_raw(), "HUP"),
    (Signal::USR1.as_raw(), "USR1"),
    (Signal::USR2.as_raw(), "USR2"),
    (Signal::PIPE.as_raw(), "PIPE"),
    (Signal::ALARM.as_raw(), "ALRM"),
    (Signal::VTALARM.as_raw(), "VTALRM"),
    (Signal::PROF.as_raw(), "PROF"),
    (Signal::IO.as_raw(), "IO"),
    (Signal::POWER.as_raw(), "PWR"),
    (Signal::STKFLT.as_raw(), "STKFLT"),
    (Signal::XCPU.as_raw(), "XCPU"),
    (Signal::XFSZ.as_raw(), "XFSZ"),
];

/// The real-time signals, which mean nothing here either; those below are the C library's own.
const REAL_TIME: std::ops::RangeInclusive<i32> =
    if cfg!(target_env = "musl") { 35..=64 } else { 34..=64 };

/// Lets the process outlive what means nothing to it, from now on and as long as it runs.
/// Call it inside a runtime, which notes them.
///
/// # Errors
/// What the system says.
pub(super) fn outlive() -> std::io::Result<()> {
    let named = MEANINGLESS.iter().map(|(number, name)| (*number, (*name).to_owned()));
    let real_time =
        REAL_TIME.map(|number| (number, format!("RTMIN+{}", number - REAL_TIME.start())));
    for (number, name) in named.chain(real_time) {
        let mut heard = signal(SignalKind::from_raw(number))?;
        tokio::spawn(async move {
            while heard.recv().await.is_some() {
                tracing::warn!(event = "signal_ignored", signal = name);
            }
        });
    }
    Ok(())
}

async fn follow(
    terminator: Terminator,
    mut terminate: Listener,
    mut interrupt: Listener,
    mut quit: Listener,
) {
    loop {
        let heard = tokio::select! {
            heard = terminate.recv() => heard,
            heard = interrupt.recv() => heard,
            heard = quit.recv() => heard,
        };
        if heard.is_none() {
            return;
        }
        terminator.terminate();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    const DEADLINE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn one_term_drains_and_two_stop() {
        let (terminator, shutdown) = Shutdown::by_hand();
        assert!(!shutdown.is_draining());
        terminator.terminate();
        timeout(DEADLINE, shutdown.drain()).await.expect("drains");
        assert!(shutdown.is_draining());
        assert!(timeout(Duration::from_millis(20), shutdown.stop()).await.is_err());
        terminator.terminate();
        timeout(DEADLINE, shutdown.stop()).await.expect("stops");
    }

    #[tokio::test]
    async fn a_signal_counts() {
        let shutdown = Shutdown::on_signals().expect("listens");
        let own = rustix::process::getpid();
        rustix::process::kill_process(own, rustix::process::Signal::TERM).expect("sent");
        timeout(DEADLINE, shutdown.drain()).await.expect("drains");
        rustix::process::kill_process(own, rustix::process::Signal::INT).expect("sent");
        timeout(DEADLINE, shutdown.stop()).await.expect("stops");
    }
}
