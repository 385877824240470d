//! The words: what was typed, what is meant, what is printed, the exit status.
//!
//! Three types on the way: `args` holds the words typed, the core's `Change` (or
//! a request of its own) what is meant, the wire's messages what is sent. It
//! deliberately decides nothing that a manager decides: it checks what can be
//! checked here, so that a mistake costs nothing.

mod acts;
mod age;
mod agent;
mod args;
mod audit;
mod beside;
mod ca;
mod cluster;
mod completion;
mod confirm;
mod context;
mod dev;
mod drawing;
mod enrol;
mod exec;
mod filter;
mod grant;
mod granted;
mod import;
mod init;
mod input;
mod inspect;
mod join;
mod link;
mod man;
mod names;
mod next;
mod node;
mod operator;
mod outfile;
mod overview;
mod parse;
mod passphrase;
mod placed;
mod problem;
mod put;
mod readmit;
mod reads;
mod recovery;
mod refresh;
mod render;
mod renewal;
mod rollback;
mod run;
mod secret;
mod service;
mod settings;
mod shell;
mod spec;
mod status;
mod template;
mod token;
mod unlock;
mod used;
mod users;
mod versions;
mod wait;
mod words;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;

use args::{AgentCommand, Command, ManagerCommand};
use beside::Beside;
use problem::Trouble;

use skep_core::base::{Exit, Failure};

pub use shell::{Screen, Shell};

/// The whole process: reads its arguments, does it, answers the exit status.
#[must_use]
pub fn main() -> ExitCode {
    let mut shell = Shell::real();
    let words: Vec<OsString> = std::env::args_os().collect();
    if let Err(error) = crate::host::harden() {
        let exit = if is_exec(&words) { Exit::NotRun } else { Exit::MachineLimit };
        let failure = Failure::new(exit, format!("cannot forbid core dumps: {error}"));
        shell.screen.failure(&failure.hint("nothing was done: a dump would hold secrets"));
        return exit.code().into();
    }
    let exit = run(&mut shell, &words);
    crate::daemon::logging::flush();
    exit.code().into()
}

/// Does what these words say, the program's name first.
pub fn run(shell: &mut Shell, words: &[OsString]) -> Exit {
    if let Some((beside, rest)) = beside::typed(words) {
        return answered(shell, |_| Err(beside.run(rest)));
    }
    let command = match parse::words(words) {
        Ok(words) => words.command,
        Err(error) => return not_parsed(shell, &error, words),
    };
    answered(shell, |shell| dispatch(shell, command))
}

/// Does it; what went wrong is told.
fn answered(shell: &mut Shell, act: impl FnOnce(&mut Shell) -> Result<(), Trouble>) -> Exit {
    let done = act(shell);
    let lost = shell.screen.take_lost();
    if let Some(lost) = &lost {
        shell.screen.failure(lost);
    }
    let Err(trouble) = done else { return lost.map_or(Exit::Done, |lost| lost.exit) };
    if let Trouble::Failed(failure) = &trouble {
        shell.screen.failure(failure);
    }
    trouble.exit()
}

/// Help and version are answers; the rest is bad input.
fn not_parsed(shell: &mut Shell, error: &clap::Error, words: &[OsString]) -> Exit {
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            answered(shell, |shell| shell.screen.data(text.trim_end()))
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            shell.screen.say(text.trim_end());
            usage_of(words)
        }
        _ => {
            shell.screen.failure(&problem::of_clap(error, words));
            usage_of(words)
        }
    }
}

/// What bad words end with. Below 125 the statuses of `skep exec` are its command's.
fn usage_of(words: &[OsString]) -> Exit {
    if is_exec(words) { Exit::NotRun } else { Exit::Usage }
}

/// Whether the first word that is no flag says so.
fn is_exec(words: &[OsString]) -> bool {
    let flag = |word: &&OsString| word.as_encoded_bytes().starts_with(b"-");
    words.iter().skip(1).find(|word| !flag(word)).is_some_and(|word| word == "exec")
}

fn dispatch(shell: &mut Shell, command: Command) -> Result<(), Trouble> {
    // These make their own runtimes, or need none.
    let command = match command {
        Command::Manager(ManagerCommand::Run(args)) => return run::manager(shell, *args),
        Command::Agent(AgentCommand::Run(args)) => return run::agent(*args),
        Command::Agent(AgentCommand::Guard { point }) => return run::guard(&point),
        Command::Exec(args) => return Err(exec::run(args)),
        Command::Registry { words } => return Err(Beside::Registry.run(&words)),
        Command::DockerApi { words } => return Err(Beside::DockerApi.run(&words)),
        Command::Compose { words } => return Err(Beside::Compose.run(&words)),
        Command::Dev(args) => return dev::run(shell, args),
        Command::Completion { shell: kind } => return completion::run(shell, kind),
        Command::Context(command) => return context::run(shell, command),
        Command::Man { folder } => return man::run(shell, &folder),
        Command::Version => {
            return shell.screen.data(concat!("skep ", env!("CARGO_PKG_VERSION")));
        }
        other => other,
    };
    let runtime = runtime()?;
    let done = runtime.block_on(over_sockets(shell, command));
    for ages in std::mem::take(&mut shell.ages) {
        if let Some(as_of) = ages.oldest() {
            shell.screen.say(&age::line(&as_of));
        }
    }
    let used = std::mem::take(&mut shell.used);
    runtime.block_on(renewal::in_passing(&used, &mut shell.screen));
    refresh::all(used, &mut shell.screen);
    done
}

async fn over_sockets(shell: &mut Shell, command: Command) -> Result<(), Trouble> {
    match command {
        Command::Secret(command) => secret::run(shell, command).await,
        Command::Service(command) => service::run(shell, command).await,
        Command::Node(command) => node::run(shell, command).await,
        Command::Operator(command) => operator::run(shell, command).await,
        Command::JoinToken(command) => token::run(shell, command).await,
        Command::Init(args) => init::run(shell, args).await,
        Command::Join(args) => join::run(shell, args).await,
        Command::Leave(args) => join::leave(shell, args).await,
        Command::Manager(ManagerCommand::StepDown { to, client }) => {
            join::step_down(shell, to, client).await
        }
        Command::Manager(ManagerCommand::Repair { addresses, yes, local }) => {
            join::repair(shell, addresses, yes, local).await
        }
        Command::Unlock(args) => unlock::unlock(shell, args).await,
        Command::Lock(args) => unlock::lock(shell, args).await,
        Command::UnlockKey(command) => unlock::keys(shell, command).await,
        Command::Status(args) => status::run(shell, args).await,
        Command::Ca(command) => ca::run(shell, command).await,
        Command::Audit(command) => audit::run(shell, command).await,
        Command::Cluster(command) => cluster::run(shell, command).await,
        Command::Agent(AgentCommand::Status { format, socket }) => {
            agent::status(shell, &format, socket).await
        }
        Command::Agent(AgentCommand::Leave { socket }) => agent::leave(shell, socket).await,
        Command::Agent(AgentCommand::Put(args)) => put::put(shell, args).await,
        Command::Agent(AgentCommand::Service(command)) => agent::service(shell, command).await,
        Command::Agent(AgentCommand::Run(_) | AgentCommand::Guard { .. })
        | Command::Manager(ManagerCommand::Run(_))
        | Command::Exec(_)
        | Command::Registry { .. }
        | Command::DockerApi { .. }
        | Command::Compose { .. }
        | Command::Dev(_)
        | Command::Completion { .. }
        | Command::Context(_)
        | Command::Man { .. }
        | Command::Version => {
            Err(Failure::new(Exit::Bug, "a command reached the wrong place").into())
        }
    }
}

/// A runtime in this thread alone: a command waits for one thing at a time.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        Failure::new(Exit::MachineLimit, format!("cannot wait for sockets: {error}"))
    })
}
