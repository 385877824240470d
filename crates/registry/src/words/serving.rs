//! What the servers of a registry have in common as processes: their protection, their log, their
//! record, where they listen.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use skep_core::base::{Clock, Exit, Failure, Name};
use skep_program::{harden, until_ended};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::rules::settings::STALE_S;
use crate::work::{BadRecord, Record};

/// Connections at once, where the machine lets it have as many.
const CONNECTIONS: u64 = 2_048;

/// The longest time since a manager's confirmation, as it was typed.
pub(super) fn stale_limit(text: &str) -> Result<Duration, String> {
    let time =
        humantime::parse_duration(text).map_err(|_| "is no time, for example 10m".to_owned())?;
    if STALE_S.contains(&time.as_secs()) && time.subsec_nanos() == 0 {
        Ok(time)
    } else {
        Err(format!("is not between {} and {} seconds", STALE_S.start(), STALE_S.end()))
    }
}

/// What the machine refuses.
pub(super) fn machine(what: &str, error: &io::Error) -> Failure {
    Failure::new(Exit::MachineLimit, format!("{what}: {error}"))
}

/// A protected process that can wait, and how many connections it may have.
pub(super) fn prepare() -> Result<(Runtime, usize), Failure> {
    let connections =
        harden(CONNECTIONS).map_err(|error| machine("cannot protect this process", &error))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    Ok((runtime.map_err(|error| machine("cannot start", &error))?, connections))
}

/// Begins the log. Answers what becomes true once the process is asked to end.
pub(super) fn ended() -> Result<watch::Receiver<bool>, Failure> {
    // Only the first time is anybody there to log to.
    let _logs = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_target(false)
        .try_init();
    until_ended().map_err(|error| machine("cannot hear signals", &error))
}

/// The record in these files; with none, that is said.
pub(super) fn record(
    files: &[PathBuf],
    name: &Name,
    clock: Arc<dyn Clock + Send + Sync>,
) -> Result<Record, Failure> {
    if files.is_empty() {
        tracing::warn!(event = "no_record", hint = "decisions are recorded with --audit FILE");
    }
    Record::open(files, name.as_str(), clock).map_err(|bad| {
        let exit = match &bad {
            BadRecord::Io(_) => Exit::WriteFailed,
            BadRecord::InUse => Exit::InUse,
            BadRecord::Damaged(_) => Exit::Damaged,
        };
        Failure::new(exit, format!("cannot write the record: {bad}"))
            .hint("name another file with --audit, or move this one away")
    })
}

/// The service of a registry that a server is a workload of.
pub(super) fn service(name: &Name, part: &str) -> Result<Name, Failure> {
    format!("{name}.{part}").parse::<Name>().map_err(|error| {
        Failure::new(Exit::Usage, error).hint("a registry's name has 16 characters at most")
    })
}

/// Listens; off loopback only with a certificate.
pub(super) async fn listen(
    name: &Name,
    at: SocketAddr,
    (tls, ready): (bool, bool),
) -> Result<TcpListener, Failure> {
    if !tls && !at.ip().to_canonical().is_loopback() {
        let text = format!("no tls.key and tls.crt to listen on {at} with");
        return Err(Failure::new(Exit::Configuration, text)
            .hint("grant both to the service, or listen on a loopback address behind a proxy"));
    }
    let listener = TcpListener::bind(at).await.map_err(|error| {
        let exit = match error.kind() {
            io::ErrorKind::AddrInUse => Exit::InUse,
            _ => Exit::Configuration,
        };
        Failure::new(exit, format!("cannot listen on {at}: {error}"))
    })?;
    let address = listener.local_addr().unwrap_or(at);
    tracing::info!(event = "listening", name = name.as_str(), %address, tls, ready);
    Ok(listener)
}
