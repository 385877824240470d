//! What is remembered about an act.
//!
//! [`Digest`] turns the fields of an act into one hash, alike on every replica;
//! [`chained`] hangs it on those before it, so that whoever knows a head knows
//! that nothing below it was changed. It deliberately knows no command: the core
//! feeds it, field by field.

mod digest;

pub use digest::{Digest, chained};
