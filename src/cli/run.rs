//! `skep manager run` and `skep agent run`: settings decided here, the rest is
//! `daemon`'s.

use std::io::ErrorKind;
use std::path::Path;

use crate::daemon::config::ManagerConfig;
use crate::daemon::logging::{self, LogFormat};
use crate::daemon::{self, Shutdown};
use crate::host::RealDisk;
use skep_client::transport::require_post_quantum;
use skep_core::base::{Disk, Exit, Failure};
use skep_core::seal::KeyFile;

use super::args::{AgentRunArgs, ManagerRunArgs};
use super::problem::Trouble;
use super::settings::{self, LogSettings};
use super::shell::Shell;

/// Bytes of a manager's key file: far more than it has.
const KEY_FILE_BYTES: u64 = 256 * 1024;

/// Runs a manager until it ends.
pub(super) fn manager(shell: &mut Shell, args: ManagerRunArgs) -> Result<(), Trouble> {
    let check_only = args.check;
    let (config, log) = settings::manager(args)?;
    if check_only {
        return check(shell, &config, &log);
    }
    start_log(&log)?;
    if config.require_pq {
        require_post_quantum();
    }
    // What the log says comes before what is printed last.
    match daemon::manager::run(config).inspect_err(|_| logging::flush())? {
        Exit::Done => Ok(()),
        // Its log has said why.
        exit => Err(Trouble::Told(exit)),
    }
}

/// Runs this machine's agent until it ends.
pub(super) fn agent(args: AgentRunArgs) -> Result<(), Trouble> {
    let (config, log) = settings::agent(args)?;
    start_log(&log)?;
    if config.require_pq {
        require_post_quantum();
    }
    let places = daemon::agent::places()?;
    let limit = |error: std::io::Error| {
        Failure::new(Exit::MachineLimit, format!("no threads or signals: {error}"))
            .hint("raise the limit of processes and open files")
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(limit)?;
    runtime.block_on(async {
        let shutdown = Shutdown::on_signals().map_err(limit)?;
        let ended = daemon::agent::run(config, places, shutdown).await;
        Ok(ended.inspect_err(|_| logging::flush())?)
    })
}

/// Looks after an agent that serves files.
pub(super) fn guard(point: &Path) -> Result<(), Trouble> {
    logging::start(LogFormat::Text, "warn")?;
    Ok(daemon::guard::run(point)?)
}

fn start_log(log: &LogSettings) -> Result<(), Trouble> {
    let format = if log.json { LogFormat::Json } else { LogFormat::Text };
    Ok(logging::start(format, &log.level)?)
}

/// What can be told without starting: the settings, the forms of the key file and of an
/// unlock key that is to be read.
fn check(shell: &mut Shell, config: &ManagerConfig, log: &LogSettings) -> Result<(), Trouble> {
    logging::check(&log.level)?;
    if let Some(path) = &config.unlock_key_file {
        daemon::manager::read_unlock_key(path)?;
    }
    let path = config.data_dir.join("manager.key");
    let shown = path.display();
    match RealDisk.read(&path, KEY_FILE_BYTES) {
        Ok(bytes) => {
            KeyFile::parse(&bytes).map_err(|error| {
                Failure::new(Exit::Damaged, format!("{shown}: {error}"))
                    .hint("bring the file back from where it is whole")
            })?;
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => {
            return Err(Failure::new(Exit::Configuration, format!("{shown}: {error}"))
                .hint("the user that runs the manager must be able to read it")
                .into());
        }
    }
    let reached = config.advertise.join(", ");
    shell.screen.say(&format!("good: listens on {}, is reached at {reached}", config.listen));
    Ok(())
}
