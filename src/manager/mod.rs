//! What a manager does about facts: answers calls, leads, delivers, admits.
//!
//! It deliberately holds no value: it moves 32-byte keys between boxes.

mod admit;
mod api;
mod belonging;
mod caller;
mod chores;
mod clocks;
mod core;
mod dispatch;
mod enter;
mod folder;
mod init;
mod join;
mod keys;
mod leave;
mod lifecycle;
mod peers;
mod phase;
mod policy;
mod problem;
mod removal;
mod repair;
mod reserve;
mod running;
mod serve;
mod steady;

#[cfg(test)]
pub(crate) mod testing;
mod unlock;
mod voters;

pub use api::ControlService;
pub use caller::LocalRules;
pub use core::Core;
pub use dispatch::{DeliveryService, Dispatch, Seen, TooMany};
pub use folder::FolderError;
pub use join::MembershipService;
pub use keys::{ISSUING_KEY, KeyHolder, NoKey};
pub use lifecycle::{End, Manager, OpenError, Setup};
pub use phase::{Phase, Word};
pub use policy::{Method, Policy, Who};
pub use serve::control;

/// How long leaves last: managers', workers', operators'.
pub const LEAF_MS: u64 = 90 * 86_400_000;
