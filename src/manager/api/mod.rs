//! What a manager serves: to operators on its control socket and its port, to machines that
//! join, and to agents.
//!
//! It deliberately decides nothing: who may call, who answers and what is done stand in rooms
//! of their own (`admit`, `forward`, `changes`, `members`, `dispatch`, `life`).

mod audit;
mod authority;
mod control;
mod delivery;
mod holders;
mod membership;
mod opened;
mod reading;
mod reads;
mod records;
mod status;
mod warnings;
mod writing;

pub(in crate::manager) use control::ControlService;
pub(in crate::manager) use delivery::DeliveryService;
pub(in crate::manager) use membership::MembershipService;
pub(in crate::manager) use writing::WritingService;
