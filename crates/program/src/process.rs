//! A process that keeps secrets: no core dump, nobody traces it, and it ends when asked.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use rustix::process::{getrlimit, set_dumpable_behavior, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Descriptors for what is no connection.
const OTHERS: u64 = 128;
/// The fewest connections that are offered, however few descriptors there are.
const LEAST: u64 = 16;

/// No core dumps, nobody traces it, and as many descriptors as the machine lets it have.
/// Answers how many connections there may be: `most`, or fewer.
///
/// # Errors
/// What the system says.
pub fn harden(most: u64) -> io::Result<usize> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum })?;
    let room = files.maximum.unwrap_or(u64::MAX).saturating_sub(OTHERS);
    Ok(usize::try_from(room.clamp(LEAST, most)).unwrap_or(usize::MAX))
}

/// What means nothing here: what those who rotate logs send, and what a limit of files sends
/// beside the error that is seen anyway.
const MEANINGLESS: [i32; 4] =
    [Signal::HUP.as_raw(), Signal::USR1.as_raw(), Signal::USR2.as_raw(), Signal::XFSZ.as_raw()];

/// Turns to `true` with `TERM`, `INT` or `QUIT`; what rotates logs does nothing.
///
/// # Errors
/// What the system says.
pub fn until_ended() -> io::Result<watch::Receiver<bool>> {
    let (ended, receiver) = watch::channel(false);
    let heard = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::quit()];
    for kind in heard {
        let (mut signal, ended) = (signal(kind)?, ended.clone());
        tokio::spawn(async move {
            while signal.recv().await.is_some() {
                ended.send_replace(true);
            }
        });
    }
    for number in MEANINGLESS {
        let mut signal = signal(SignalKind::from_raw(number))?;
        tokio::spawn(async move { while signal.recv().await.is_some() {} });
    }
    Ok(receiver)
}
