//! What others on this machine may ask the agent.
//!
//! It deliberately decides nothing but who may call: the answers are the session's.

mod local;

pub use local::LocalService;
