//! What a manager does about facts: answers calls, leads, delivers, admits.
//!
//! It deliberately holds no value: it moves 32-byte keys between boxes.

mod admit;
mod api;
mod core;
mod dispatch;
mod keys;
mod life;
mod members;
mod peers;
mod problem;
mod running;
mod start;
mod steady;
#[cfg(test)]
pub(crate) mod testing;
mod upkeep;

pub use admit::caller::LocalRules;
pub use admit::policy::{Method, Policy, Who};
pub use api::ControlService;
pub use core::Core;
pub use dispatch::{DeliveryService, Dispatch, Seen, TooMany};
pub use keys::{ISSUING_KEY, KeyHolder, NoKey};
pub use life::folder::FolderError;
pub use life::lifecycle::{End, Manager, OpenError, Setup};
pub use life::phase::{Phase, Word};
pub use members::join::MembershipService;
pub use start::control;

/// How long leaves last: managers', workers', operators'.
pub const LEAF_MS: u64 = 90 * 86_400_000;
