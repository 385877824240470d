//! `skep docker-api`: a socket on which docker's own commands find secrets.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use rustix::system::uname;
use skep_client::machine::bind;
use skep_core::base::{Exit, Failure};
use skep_program::{HostArgs, Screen, Way, until_ended};

use crate::serve::{Desk, Machine, serve};

/// Connections at once.
pub(super) const CONNECTIONS: u64 = 64;

/// Serve secrets to docker's own commands, on a socket of the Engine API
///
/// `docker secret create|ls|inspect|rm` and programs for Docker's API work on it
/// unchanged. It stands beside whoever uses it, with an operator's identity: values
/// pass through it, and managers never see them. What is no secret it doesn't serve.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  skep docker-api --socket /run/skep/docker.sock
  skep docker-api --socket ./docker.sock --identity admin.skepid

Then:
  docker --host unix:///run/skep/docker.sock secret ls")]
pub(super) struct ApiArgs {
    /// Where to listen; the socket is for this user alone
    #[arg(long = "socket", value_name = "PATH")]
    listen: PathBuf,
    #[command(flatten)]
    hosts: HostArgs,
    /// This machine's manager [default: /run/skep/manager.sock]
    #[arg(long, value_name = "PATH", env = "SKEP_SOCKET", hide_env_values = true)]
    #[arg(help_heading = "Connection")]
    manager_socket: Option<PathBuf>,
}

/// Serves until it is asked to end.
pub(super) async fn run(
    screen: &mut Screen,
    args: ApiArgs,
    connections: usize,
) -> Result<(), Failure> {
    let settings = args.hosts.settings(args.manager_socket)?;
    // What is wrong with the identity is said now, and not to the first who asks.
    let (_way, warning) = Way::by(&settings)?;
    if let Some(warning) = warning {
        screen.say(&format!("warning: {warning}"));
    }
    // Only the first time is anybody there to log to.
    let _logs = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_target(false)
        .try_init();
    let ended = until_ended().map_err(|error| {
        Failure::new(Exit::MachineLimit, format!("cannot hear signals: {error}"))
    })?;
    let listener = bind(&args.listen, 0o600)?;
    tracing::info!(event = "listening", socket = %args.listen.display());
    let desk = Desk { settings, machine: machine() };
    serve(listener, Arc::new(desk), connections, ended).await;
    // Another one may have taken its place by now only if this one had been removed.
    drop(std::fs::remove_file(&args.listen));
    tracing::info!(event = "ended");
    Ok(())
}

fn machine() -> Machine {
    let system = uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    Machine {
        name: text(system.nodename()),
        kernel: text(system.release()),
        arch: match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        }
        .to_owned(),
    }
}
