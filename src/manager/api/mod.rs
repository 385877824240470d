//! What a manager serves to operators, on its control socket and on its port.
//!
//! It deliberately decides nothing: admission, phase and the acts themselves are rooms of
//! their own.

mod control;
mod onward;
mod opened;
mod reads;
mod status;
mod time;
mod warnings;
mod writes;

pub use control::ControlService;
pub(in crate::manager) use onward::Onward;
pub(in crate::manager) use status::reachable;
pub(in crate::manager) use writes::{apply, removal_of};
