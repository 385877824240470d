//! How openraft is fed: our log, our state machine, our network, our shapes.
//!
//! Nothing above this module knows openraft; it deliberately knows nothing of
//! sessions, operators or keys.

mod audited;
mod cause;
mod convert;
mod errors;
mod gate;
mod given;
mod handle;
mod leaderless;
mod log_store;
mod machine;
mod network;
mod peers;
mod problem;
mod progress;
mod recent;
mod recovery;
mod release;
mod service;
mod snapshot;
mod standing;
mod start;
mod types;
mod vouching;

pub use errors::{ProposeError, StartError};
pub use given::Start;
pub use handle::Consensus;
pub use progress::Member;
pub use progress::{Contact, Leadership};
pub use recovery::{RecoveryError, Survivor};
pub use release::ReleaseError;
pub use service::RaftService;
pub use standing::{Behind, Lacks, Standing};
pub use vouching::{Listing, listing};

#[cfg(test)]
mod convert_tests;
#[cfg(test)]
mod members_tests;
#[cfg(test)]
mod tests;
