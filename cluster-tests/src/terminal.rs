//! A command on a terminal of its own, and somebody who types there.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use super::process::{Ran, status_of};
use super::wait::DEADLINE;

/// Makes the terminal of standard input the one that a command leads.
pub(crate) const LEADS: [&str; 3] = ["setsid", "--ctty", "--wait"];

/// The same command with a terminal that it leads.
///
/// # Panics
/// Where a variable of it is taken away.
#[must_use]
pub fn leading(command: &Command) -> Command {
    let mut leads = Command::new(LEADS[0]);
    leads.args(&LEADS[1..]).arg(command.get_program()).args(command.get_args());
    leads.envs(command.get_envs().map(|(name, value)| (name, value.expect("a value"))));
    leads
}

/// Runs a command that leads a terminal, and types `text` whenever it asks: without echo, or
/// for leave to go on. Everything shown is its `out`.
///
/// # Panics
/// Where there is no terminal, or the command doesn't end.
#[must_use]
pub fn type_in(mut command: Command, text: &str) -> Ran {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&terminal).and_then(|()| unlockpt(&terminal)).expect("a terminal");
    let other = ptsname(&terminal, Vec::new()).expect("its name");
    let mut terminal = File::from(terminal);
    let other = PathBuf::from(other.into_string().expect("text"));
    let open = || File::options().read(true).write(true).open(&other).expect("its other end");
    command.stdin(open()).stdout(open()).stderr(open());
    let mut child = command.spawn().expect("a process");
    let shown_as = format!("{command:?}");
    drop(command);
    let shown = Arc::new(Mutex::new(Vec::new()));
    let (screen, mut eyes) = (Arc::clone(&shown), terminal.try_clone().expect("its end"));
    let reader = std::thread::spawn(move || {
        let mut some = [0; 1024];
        // Its other end is closed: an error, on a terminal.
        while let Ok(count @ 1..) = eyes.read(&mut some) {
            screen.lock().expect("a screen").extend_from_slice(&some[..count]);
        }
    });
    let (start, mut seen) = (Instant::now(), 0);
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        if start.elapsed() >= DEADLINE {
            drop(child.kill());
            drop(child.wait());
            panic!("{shown_as}: {shown:?}");
        }
        let (length, asks, leave) = {
            let screen = shown.lock().expect("a screen");
            let new = screen.get(seen..).unwrap_or_default();
            (screen.len(), new.ends_with(b": "), new.ends_with(b"to go on: "))
        };
        let echo = tcgetattr(&terminal).expect("its modes").local_modes.contains(LocalModes::ECHO);
        if asks && (leave || !echo) {
            seen = length;
            terminal.write_all(format!("{text}\n").as_bytes()).expect("typed");
        }
        std::thread::park_timeout(Duration::from_millis(5));
    };
    reader.join().expect("a reader");
    let out = String::from_utf8_lossy(&shown.lock().expect("a screen")).into_owned();
    Ran { status: status_of(status), out, err: String::new() }
}
