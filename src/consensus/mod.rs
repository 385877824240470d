//! How openraft is fed: our log, our state machine, our network, our shapes.
//!
//! Nothing above this module knows openraft; it deliberately knows nothing of
//! sessions, operators or keys.

mod convert;
mod handle;
mod log_store;
mod machine;
mod network;
mod progress;
mod service;
mod start;
mod types;

pub use handle::{Consensus, Leadership, Member, ProposeError, Start, StartError};
pub use service::{RaftService, Standing, standing};

#[cfg(test)]
mod convert_tests;
#[cfg(test)]
mod tests;
