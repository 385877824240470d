//! Why a manager ends, and where that is said: the first reason stands.

use std::sync::Arc;

use tokio::sync::watch;

use crate::consensus::StartError;
use skep_core::base::Exit;

/// Why a manager ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Its caller asked for it.
    Asked,
    /// An operator locked it: the process starts anew.
    Locked,
    /// It can't go on: the daemon's exit status, and why.
    Failed(Exit, String),
}

impl From<&StartError> for End {
    fn from(error: &StartError) -> Self {
        Self::Failed(exit_of(error), error.to_string())
    }
}

/// Where whatever ends a manager says so. Clones are the same place.
#[derive(Clone, Debug)]
pub(in crate::manager) struct Ends(Arc<watch::Sender<Option<End>>>);

impl Ends {
    /// Nothing has ended it yet.
    pub(in crate::manager) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
    /// Ends the manager; the first reason given stands.
    pub(in crate::manager) fn say(&self, end: End) {
        self.0.send_if_modified(|stands| {
            let first = stands.is_none();
            if first {
                *stands = Some(end);
            }
            first
        });
    }
    /// Waits until something ends it.
    pub(in crate::manager) async fn ended(&self) -> End {
        let mut ends = self.0.subscribe();
        let ended = ends.wait_for(Option::is_some).await.ok().and_then(|end| end.clone());
        ended.unwrap_or(End::Asked)
    }
}

/// The daemon's exit status for a consensus that did not start or has stopped.
pub(in crate::manager) fn exit_of(error: &StartError) -> Exit {
    match error {
        StartError::Damaged(_) => Exit::Damaged,
        StartError::Disk(_) => Exit::WriteFailed,
        StartError::Older(_) => Exit::Configuration,
        StartError::Newer(_) => Exit::NewerData,
        StartError::Diverged(_) => Exit::Bug,
    }
}
