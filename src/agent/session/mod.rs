//! The agent's side of the stream to the leader.
//!
//! [`Session`] is the core: events in, acts out, time an argument, nothing else
//! touched. `driver` waits for events and does the acts. The core deliberately
//! opens no value and knows no key: a push is a [`Job`] for the worker, and what
//! came of it is an event.
//!
//! What holds at any time:
//! 1. One job at a time, and an acknowledgement only after the push's job.
//! 2. A hello is said only while no job is under way, so that what it says is so.
//! 3. A lower revision, an older epoch, or another history with the same epoch
//!    counter is never taken.
//! 4. A claim ends with its call, and a process has one claim and one service.
//! 5. A service that the leader was told not to run is claimed again only after
//!    its removal arrived: no workload starts on files about to go.

mod claims;
mod core;
mod crowd;
mod ending;
mod fresh;
mod hooks;
mod intake;
pub(in crate::agent) mod problem;
mod reconnect;
#[cfg(test)]
mod tests;
mod types;
mod view;

pub use self::core::Session;
pub use claims::{CLAIMS, CLAIMS_OF_OTHERS, CLAIMS_PER_USER};
pub use types::{
    Act, Cause, Claim, ClaimId, Claimant, Done, Ending, Event, Hello, Job, Memory, Ready, Refused,
    RefusedKind, Wants, WorkloadId,
};
pub use view::{LinkState, ServiceState, ServiceView, View};
