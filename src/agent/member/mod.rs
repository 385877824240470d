//! How this node becomes a member of its cluster, and by which identity it is one.
//!
//! It deliberately takes no part in what a member does: see `session` and `run`.

mod join;

pub use join::{
    Application, BadIdentity, BadJoining, JoinError, Member, forget_joining, joining_key,
};
