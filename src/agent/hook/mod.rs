//! What is done on this node once a service's set has changed: signals to its processes, units
//! and containers that are told by whoever manages them, a program of the node's.
//!
//! A hook has 30 seconds, then it is killed with all that it started. It deliberately knows
//! nothing of sessions (what came of it is an answer) and nothing of values.

mod containers;
mod program;
mod runner;

pub use containers::{ContainerAct, ContainerHooks};
pub use runner::{Aim, HookEnd, HookRunner, RESTART};
