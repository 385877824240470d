//! Logs: standard error, text or JSON, one event a line.
//!
//! Nothing that comes from elsewhere does anything in a log: every value is escaped, cut
//! and quoted where the line is made (`line`). What repeats is told rarely (`repeats`).
//! Nobody waits for whoever reads the log (`writer`). What libraries say of themselves is
//! left out unless it is asked for, and what openraft says always: it shows whole commands.

mod line;
mod repeats;
mod writer;

pub use line::LogFormat;

use std::fmt::Display;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use self::line::Line;
use self::repeats::{Repeats, Verdict};
use self::writer::{Held, Writer};
use skep_client::machine::SystemClock;
use skep_core::base::{Clock, Exit, Failure};

/// How long the last lines may take at the end.
const LAST_LINES: Duration = Duration::from_secs(2);

/// This process's log, once it was started.
static WRITER: OnceLock<Writer> = OnceLock::new();

/// Starts logging for this process. `filter` is a level (`info`) or levels of modules
/// (`info,skep::agent=debug`).
///
/// Values never reach a log: secret bytes have no way to be formatted.
///
/// # Errors
/// [`Exit::Configuration`] for a filter that does not parse; [`Exit::MachineLimit`] where
/// there is no thread to be had.
pub fn start(format: LogFormat, filter: &str) -> Result<(), Failure> {
    let targets = targets(filter)?;
    let (clock, repeats) = (SystemClock, Arc::new(Mutex::new(Repeats::default())));
    let held = Held { repeats: Arc::clone(&repeats), clock: Box::new(clock), format };
    let writer = Writer::start(held).map_err(|error| {
        Failure::new(Exit::MachineLimit, format!("no thread for the log: {error}"))
    })?;
    let lines = Lines { format, clock, repeats, writer: writer.clone() };
    let started = tracing::subscriber::set_global_default(
        tracing_subscriber::registry().with(targets).with(lines),
    );
    // Only a second start in one process fails; the first one's format then stands.
    if started.is_ok() && WRITER.set(writer).is_ok() {
        tell_of_panics();
    }
    Ok(())
}

/// Whether this is a filter, without starting anything.
///
/// # Errors
/// [`Exit::Configuration`] where it is none.
pub fn check(filter: &str) -> Result<(), Failure> {
    targets(filter).map(drop)
}

/// Waits until what was logged is written, where somebody reads it; for a short time.
pub fn flush() {
    if let Some(writer) = WRITER.get() {
        writer.flush(LAST_LINES);
    }
}

/// A panic is an event like others, and the process's last: where nobody reads the log, it
/// holds up nothing.
fn tell_of_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let why = panic.payload_as_str().unwrap_or_default();
        tracing::error!(event = "panicked", place, why);
        flush();
        std::process::exit(i32::from(Exit::Bug.code()));
    }));
}

/// Which events are told: a level is that of Skep's own, a module's name narrows it down.
fn targets(filter: &str) -> Result<Targets, Failure> {
    let bad = |why: &dyn Display| {
        Failure::new(Exit::Configuration, format!("log-level: {why}"))
            .hint("a level: error, warn, info, debug or trace")
    };
    let level = |text: &str| {
        let parsed = text.parse::<LevelFilter>().ok().filter(|_| !text.is_empty());
        parsed.ok_or_else(|| bad(&format!("{text} is no level")))
    };
    let mut targets = Targets::new();
    for word in filter.split(',').map(str::trim) {
        targets = match word.split_once('=') {
            None => targets.with_target("skep", level(word)?),
            Some((module, text)) => {
                let letter = |c: char| c.is_ascii_alphanumeric() || "_:".contains(c);
                if module.is_empty() || !module.chars().all(letter) {
                    return Err(bad(&format!("{module} is no module")));
                }
                let level = level(text)?;
                // Whatever is asked for: it shows whole commands.
                let mute = module.starts_with("openraft");
                if mute { targets } else { targets.with_target(module, level) }
            }
        };
    }
    Ok(targets.with_target("openraft", LevelFilter::OFF))
}

/// Makes lines of events.
struct Lines {
    format: LogFormat,
    clock: SystemClock,
    repeats: Arc<Mutex<Repeats>>,
    writer: Writer,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let line = Line::read(event, self.format);
        // A panic within would wait for itself.
        let verdict = match self.repeats.try_lock_for(LAST_LINES) {
            Some(mut repeats) => repeats.hear(self.clock.boot().0, line),
            None => Verdict::Tell(line),
        };
        if let Verdict::Tell(line) = verdict {
            self.writer.write(line.render(self.clock.now()));
        }
    }
}

#[cfg(test)]
mod tests;
