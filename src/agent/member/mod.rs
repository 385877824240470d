//! How this node becomes a member of its cluster, and by which identity it is one.
//!
//! It deliberately takes no part in what a member does: see `session` and `run`.

mod identity;
mod join;
mod renew;

pub use identity::BadIdentity;
pub use join::{Application, BadJoining, JoinError, Member, forget_joining, joining_key};
pub use renew::{NotKept, Own};
