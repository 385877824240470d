//! What a manager does about facts: answers calls, leads, delivers, admits.
//!
//! It deliberately holds no value: it moves 32-byte keys between boxes.

mod admit;
mod api;
mod changes;
mod core;
mod dispatch;
mod end;
mod forward;
mod keys;
mod leader;
mod life;
mod members;
mod peers;
mod problem;
mod reserve;
mod running;
mod start;
mod steady;
mod task;
#[cfg(test)]
pub(crate) mod testing;
mod unproposed;
mod upkeep;
mod warning;
mod word;

pub use admit::local::LocalRules;
pub use admit::policy::{Method, Policy, Who};
pub use core::Core;
pub use dispatch::{Dispatch, Seen, TooMany};
pub use end::End;
pub use keys::{ISSUING_KEY, KeyHolder, NoKey};
pub use life::folder::FolderError;
pub use life::lifecycle::{Manager, OpenError, Setup};
pub use life::phase::Phase;
pub use start::control;
pub use word::Word;

/// How long leaves last: managers', workers', operators'.
pub const LEAF_MS: u64 = 90 * 86_400_000;
