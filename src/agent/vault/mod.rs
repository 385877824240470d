//! What is due and held on this node, for whom and until when: the plain words that the
//! other rooms share.
//!
//! It deliberately touches no file, carries no value and decides nothing.

mod files;
mod guests;
mod held;
pub mod layout;
mod reads;

pub use files::{BadSet, FileSpec, ServiceFiles};
pub use guests::{Guests, Member, Party, is_by_hand};
pub use held::Held;
pub use reads::Reads;
