//! What a manager does about facts: answers calls, leads, delivers, admits.
//!
//! Its rooms, each of which knows only those below it:
//!
//! ```text
//!   start      what is served where, and what goes on while a manager runs
//!   api        what is served           upkeep   what it does by itself
//!   life       from an empty folder to a running manager, and to its end
//!   changes    what the leader changes when it is asked
//!   forward    asked on a follower's socket, answered by the leader
//!   members    who belongs: join, renew, vote, remove
//!   admit      who asks, and whether that one may
//!   running    what an unlocked manager has at hand
//!   dispatch   what reaches the nodes
//!   core keys own peers problem renewing and other leaves
//! ```
//!
//! It deliberately holds no value: it moves 32-byte keys between boxes.

mod admit;
mod api;
mod audit;
mod challenge;
mod changes;
mod core;
mod dispatch;
mod end;
mod forward;
mod keys;
mod leader;
mod life;
mod members;
mod offer;
mod own;
mod peers;
mod problem;
mod renewing;
mod reserve;
mod running;
mod seen;
mod start;
mod steady;
mod task;
#[cfg(test)]
pub(crate) mod testing;
mod unproposed;
mod upkeep;
mod word;

pub use admit::local::LocalRules;
pub use audit::{AuditSettings, OnFailure};
pub use core::Core;
pub use dispatch::{Dispatch, Seen, TooMany, WatchAsked};
pub use end::End;
pub use keys::{ISSUING_KEY, KeyHolder, NoKey};
pub use life::folder::FolderError;
pub use life::lifecycle::{Manager, OpenError, Setup};
pub use life::phase::Phase;
pub use life::recover::{Dropped, NotRecovered, Offline, Opened};
pub use start::control;
pub use word::Word;

/// How long leaves last: managers', workers', operators'.
pub const LEAF_MS: u64 = 90 * 86_400_000;
