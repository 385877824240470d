//! `skep registry auth`: the token server as a process.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use skep_client::machine::SystemClock;
use skep_core::base::{Exit, Failure, Name};
use skep_program::{harden, until_ended};
use tokio::net::TcpListener;

use super::probe;
use crate::rules::settings::STALE_S;
use crate::work::{AgentAt, BadRecord, Desk, Door, Record, serve_tokens};

/// Serve tokens from the files that this service was granted
///
/// Run it under the agent, which delivers the files and takes them away:
/// everything is decided from what lies in the folder at that moment. Several of
/// them on several nodes need nothing of each other.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  skep exec --service web.auth --user skep-registry -- skep registry auth web
  skep registry auth web --health")]
pub(super) struct AuthArgs {
    /// The registry's name, as it was set up
    name: Name,
    /// The folder that the agent fills
    #[arg(long, value_name = "DIR", default_value = "/run/secrets")]
    secrets: PathBuf,
    /// Where to listen; off loopback only with tls.key and tls.crt
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5001")]
    listen: SocketAddr,
    /// Give no tokens where no manager has confirmed the files for so long
    #[arg(long, value_name = "TIME", value_parser = stale_limit)]
    stale_limit: Option<Duration>,
    /// Write each decision to this file; may be given several times
    #[arg(long, value_name = "FILE")]
    audit: Vec<PathBuf>,
    /// This machine's agent, through which people change their passwords
    #[arg(long, value_name = "PATH", env = "SKEP_AGENT", hide_env_values = true)]
    #[arg(default_value = "/run/skep/agent.sock")]
    agent_socket: PathBuf,
    /// Ask the server at --listen whether it gives tokens, and end
    #[arg(long, conflicts_with_all = ["stale_limit", "audit"])]
    health: bool,
}

fn stale_limit(text: &str) -> Result<Duration, String> {
    let time =
        humantime::parse_duration(text).map_err(|_| "is no time, for example 10m".to_owned())?;
    if STALE_S.contains(&time.as_secs()) && time.subsec_nanos() == 0 {
        Ok(time)
    } else {
        Err(format!("is not between {} and {} seconds", STALE_S.start(), STALE_S.end()))
    }
}

/// Serves until it is asked to end.
///
/// # Errors
/// What a process ends with.
pub(super) fn run(args: &AuthArgs) -> Result<(), Failure> {
    let connections =
        harden(CONNECTIONS).map_err(|error| machine("cannot protect this process", &error))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| machine("cannot start", &error))?;
    if args.health {
        return runtime.block_on(probe::ask(args.listen, &args.secrets));
    }
    // Only the first time is anybody there to log to.
    let _logs = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_target(false)
        .try_init();
    runtime.block_on(auth(args, connections))
}

fn machine(what: &str, error: &io::Error) -> Failure {
    Failure::new(Exit::MachineLimit, format!("{what}: {error}"))
}

/// Connections at once, where the machine lets it have as many.
const CONNECTIONS: u64 = 2_048;

async fn auth(args: &AuthArgs, connections: usize) -> Result<(), Failure> {
    let ended = until_ended().map_err(|error| machine("cannot hear signals", &error))?;
    let limit = args.stale_limit.map(|limit| limit.as_secs());
    let clock = Arc::new(SystemClock);
    let record = Record::open(&args.audit, args.name.as_str(), clock.clone())
        .map_err(|bad| bad_record(&bad))?;
    if args.audit.is_empty() {
        tracing::warn!(event = "no_record", hint = "decisions are recorded with --audit FILE");
    }
    let desk = Desk::open(args.secrets.clone(), limit, clock, record);
    let desk = desk.map_err(|error| machine("cannot start", &error))?;
    let service = format!("{}.auth", args.name).parse::<Name>();
    let service = service.map_err(|error| {
        Failure::new(Exit::Usage, error).hint("a registry's name has 16 characters at most")
    })?;
    let desk = Arc::new(desk.with_agent(AgentAt { socket: args.agent_socket.clone(), service }));
    let ready = desk.ready().await;
    let tls = desk.has_certificate();
    if !tls && !args.listen.ip().to_canonical().is_loopback() {
        let text = format!("no tls.key and tls.crt to listen on {} with", args.listen);
        return Err(Failure::new(Exit::Configuration, text)
            .hint("grant both to the service, or listen on a loopback address behind a proxy"));
    }
    let listener = TcpListener::bind(args.listen).await.map_err(|error| {
        let exit = match error.kind() {
            io::ErrorKind::AddrInUse => Exit::InUse,
            _ => Exit::Configuration,
        };
        Failure::new(exit, format!("cannot listen on {}: {error}", args.listen))
    })?;
    let address = listener.local_addr().map_or(args.listen, |address| address);
    let ready = ready.is_ok();
    tracing::info!(event = "listening", name = args.name.as_str(), %address, tls, ready);
    let served = serve_tokens(Door { listener, tls, connections }, Arc::clone(&desk), ended).await;
    desk.close().await;
    served.map_err(|error| machine("cannot serve", &error))?;
    tracing::info!(event = "ended");
    Ok(())
}

fn bad_record(bad: &BadRecord) -> Failure {
    let exit = match bad {
        BadRecord::Io(_) => Exit::WriteFailed,
        BadRecord::InUse => Exit::InUse,
        BadRecord::Damaged(_) => Exit::Damaged,
    };
    Failure::new(exit, format!("cannot write the record: {bad}"))
        .hint("name another file with --audit, or move this one away")
}
