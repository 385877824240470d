//! A set that came into place in another one's stead: what is to be done about it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use skep_core::base::{Name, ServiceId};
use skep_core::domain::{BadHook, HookSignal, OnChange};

/// How a workload wants to be told of a change, whatever its service's operators want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// By this signal.
    Signal(HookSignal),
    /// It is a `skep exec` that starts its command again.
    Restarts,
}

impl Told {
    /// What stands for [`Self::Restarts`].
    const RESTART: &str = "restart";
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(signal) => f.write_str(signal.name()),
            Self::Restarts => f.write_str(Self::RESTART),
        }
    }
}

impl FromStr for Told {
    type Err = BadHook;

    fn from_str(text: &str) -> Result<Self, BadHook> {
        if text == Self::RESTART { Ok(Self::Restarts) } else { text.parse().map(Self::Signal) }
    }
}

/// What is to be done once, after a generation came into place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookDue {
    /// Of which service.
    pub service: ServiceId,
    /// Its name.
    pub name: Name,
    /// Which generation.
    pub generation: u64,
    /// What its operators want to be done.
    pub on_change: OnChange,
    /// The service's directory on the host, where it is shown.
    pub path: Option<PathBuf>,
}
