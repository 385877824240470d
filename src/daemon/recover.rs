//! `skep cluster recover`: a manager's data folder while no manager runs on it.

use std::path::Path;
use std::sync::Arc;

use super::manager::not_opened;
use crate::host::RealDisk;
use crate::manager::{FolderError, NotRecovered, Offline, OpenError, Opened};
use skep_client::ca::Leaf;
use skep_client::machine::{SystemClock, os_dice};
use skep_core::base::{Exit, Failure};
use skep_core::seal::UnlockKey;

/// Opens what lies in `data`. `kept`: whose identity is not suspended.
///
/// # Errors
/// Nothing was changed.
pub async fn open(data: &Path, key: &UnlockKey, kept: Option<&Leaf>) -> Result<Opened, Failure> {
    // Whoever opens a folder makes it: one that isn't there is a mistake here.
    if !data.is_dir() {
        let text = format!("{}: there is no such folder", data.display());
        return Err(Failure::new(Exit::Refused, text).hint(
            "--from takes the data folder of a manager: `/var/lib/skep/manager` by default",
        ));
    }
    let offline = Offline {
        data: data.to_owned(),
        uid: rustix::process::geteuid().as_raw(),
        clock: Arc::new(SystemClock),
        dice: os_dice,
        disk: Arc::new(RealDisk),
    };
    Opened::open(offline, key, kept).await.map_err(failure)
}

/// Makes that manager the only one of its cluster; the number of the history that begins.
///
/// # Errors
/// Nothing was changed, or it goes on when the folder is opened next.
pub async fn recover(opened: Opened) -> Result<u64, Failure> {
    opened.recover().await.map_err(failure)
}

fn failure(error: NotRecovered) -> Failure {
    match error {
        NotRecovered::Folder(error @ FolderError::InUse(_)) => {
            Failure::new(Exit::InUse, error.to_string())
                .hint("stop the manager that runs on it first")
        }
        NotRecovered::Folder(error @ FolderError::Permissions(..)) => {
            Failure::new(Exit::Configuration, error.to_string())
                .hint("call this as the user that runs the manager; the folder's mode is 0700")
        }
        NotRecovered::Folder(error) => not_opened(OpenError::Folder(error)),
        NotRecovered::Told(problem) => Failure::new(problem.exit, problem.text).hint(problem.hint),
    }
}
