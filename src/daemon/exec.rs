//! `skep exec`: this process asks the agent for a service's secrets, gives itself
//! a private mount namespace that shows them, and becomes the command.
//!
//! The order matters. The agent is asked first, so that the files stand when the
//! namespace is made. Once inside, it is told so, over the same connection:
//! from then on it knows the namespace and counts every process in it. Only
//! then does the command start: before, there is no other process to count.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tonic::Status;

use crate::agent::machine::{User, enter};
use crate::agent::vault::layout::SECRETS;
use skep_client::transport::rpc::local::agent_client::AgentClient;
use skep_client::transport::{connect_local, read_problem};
use skep_core::base::{Exit, Failure};
use skep_core::wire::local;

/// The answer to the second question, which waits for nothing.
const INSIDE: Duration = Duration::from_secs(10);
/// How much later than the agent's own time limit an answer may come.
const SLACK: Duration = Duration::from_secs(5);

/// What `skep exec` was told.
#[derive(Clone, Debug)]
pub struct ExecConfig {
    /// The agent's socket.
    pub socket: PathBuf,
    /// The service's name.
    pub service: String,
    /// As whom the command runs; none: as the caller.
    pub user: Option<User>,
    /// How long to wait until the whole set is in place.
    pub timeout: Duration,
    /// The command and its arguments.
    pub command: Vec<OsString>,
}

/// Becomes the command; comes back only if that failed. To be called on the
/// process's first thread, with no other thread and no runtime running.
#[must_use]
pub fn exec(config: &ExecConfig) -> Failure {
    match prepare(config) {
        Ok(()) => become_command(&config.command),
        Err(failure) => failure,
    }
}

fn prepare(config: &ExecConfig) -> Result<(), Failure> {
    if config.command.is_empty() {
        return Err(not_run("no command was given").hint("skep exec --service NAME -- CMD ARGS"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| not_run(format!("no runtime: {error}")))?;
    let (mut agent, files) = runtime.block_on(ask(config))?;
    enter(&files, Path::new(SECRETS), config.user.as_ref()).map_err(|error| {
        let failure = not_run(&error);
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    })?;
    let inside =
        local::ExecRequest { service: config.service.clone(), timeout_ms: 0, inside: true };
    let told = runtime.block_on(async { tokio::time::timeout(INSIDE, agent.exec(inside)).await });
    match told {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(status)) => Err(refused(&status)),
        Err(_) => Err(not_run("the agent did not answer in time")),
    }
}

async fn ask(
    config: &ExecConfig,
) -> Result<(AgentClient<tonic::transport::Channel>, PathBuf), Failure> {
    let channel = connect_local(&config.socket).await.map_err(|error| {
        not_run(format!("agent socket {}: {error}", config.socket.display()))
            .hint("is the agent running? `skep agent run`, or name its socket with --agent-socket")
    })?;
    let mut agent = AgentClient::new(channel);
    let request = local::ExecRequest {
        service: config.service.clone(),
        timeout_ms: u64::try_from(config.timeout.as_millis()).unwrap_or(u64::MAX),
        inside: false,
    };
    let limit = config.timeout.saturating_add(SLACK);
    let reply = tokio::time::timeout(limit, agent.exec(request))
        .await
        .map_err(|_| not_run("the agent did not answer in time"))?
        .map_err(|status| refused(&status))?
        .into_inner();
    Ok((agent, PathBuf::from(reply.path)))
}

fn become_command(command: &[OsString]) -> Failure {
    let Some((program, arguments)) = command.split_first() else {
        return not_run("no command was given");
    };
    let error = std::process::Command::new(program).args(arguments).exec();
    let shown = program.to_string_lossy();
    if error.kind() == ErrorKind::NotFound {
        Failure::new(Exit::CommandNotFound, format!("{shown}: not found"))
            .hint("give its whole path, or put its folder on PATH")
    } else {
        Failure::new(Exit::NotExecutable, format!("{shown}: cannot be executed: {error}"))
    }
}

fn refused(status: &Status) -> Failure {
    match read_problem(status) {
        Some(problem) if problem.hint.is_empty() => not_run(problem.text),
        Some(problem) => not_run(problem.text).hint(problem.hint),
        None => not_run(format!("the agent: {}", status.message())),
    }
}

fn not_run(text: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::NotRun, text)
}
