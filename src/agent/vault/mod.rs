//! What is due and held on this node, for whom and until when: the plain words that the
//! other rooms share.
//!
//! It deliberately touches no file, carries no value and decides nothing.

mod asks;
mod due;
mod guests;
mod held;
pub mod layout;
mod reads;

pub use asks::UnitAsks;
pub use due::{HookDue, Told};
pub use guests::{Guests, Member, Party, is_by_hand};
pub use held::{Fresh, Held, Shelf};
pub use reads::Reads;
pub use skep_core::wire::delivery::{FileSpec, ServiceFiles};
