//! What others on this machine may ask the agent.
//!
//! It deliberately decides nothing but who may call: the answers are the session's.

mod credentials;
mod local;

pub use credentials::CredentialDoor;
pub use local::LocalService;
