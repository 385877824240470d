//! Logs: stderr, text or JSON, one event a line.

use std::fmt::Display;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::{Exit, Failure};

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, with stable event names in `event`.
    Json,
}

/// Starts logging for this process. `filter` is a level (`info`) or
/// `tracing-subscriber` directives (`info,skep::agent=debug`).
///
/// Values never reach a log: secret bytes have no way to be formatted.
///
/// # Errors
/// [`Exit::Configuration`] for a filter that does not parse.
pub fn start(format: LogFormat, filter: &str) -> Result<(), Failure> {
    // What openraft says of itself at `info` is no event of ours; a directive that
    // names it comes later and wins.
    let quiet = |filter: &str| format!("openraft=warn,{filter}");
    let bad = |why: &dyn Display| {
        Failure::new(Exit::Configuration, format!("log-level: {why}"))
            .hint("a level: error, warn, info, debug or trace")
    };
    // Any word would do as the name of a module that logs nothing.
    let no_level = |word: &&str| !word.contains(['=', '[']) && word.parse::<LevelFilter>().is_err();
    if let Some(word) = filter.split(',').map(str::trim).find(no_level) {
        return Err(bad(&format!("{word} is no level")));
    }
    let filter = EnvFilter::try_new(quiet(filter)).map_err(|error| bad(&error))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    // Only a second start in one process fails; the first one's format then stands.
    let started = match format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    if started.is_err() {
        tracing::debug!(event = "logging_already_started");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_filter_is_bad_configuration() {
        for bad in ["skep=nonsense=1", "loud", "info,loud", "loud,skep=debug"] {
            let failure = start(LogFormat::Text, bad).expect_err("refused");
            assert_eq!(failure.exit, Exit::Configuration);
            assert!(failure.hint.is_some());
        }
    }
}
