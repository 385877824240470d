//! What others on this machine may ask the agent.
//!
//! It deliberately decides nothing but who may call: the answers are the session's.

mod credentials;
mod held;
mod local;

pub use credentials::CredentialDoor;
pub use held::HeldConnection;
pub use local::LocalService;
