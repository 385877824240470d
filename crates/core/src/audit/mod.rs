//! What is remembered about an act.
//!
//! A [`Line`] says for people who did what; its text is hashed, and the next one names that hash,
//! so that whoever knows the last knows that nothing before it was changed. [`Digest`] turns all
//! fields of a command into one hash that its line names, alike on every replica. It deliberately
//! knows no command: the core feeds it, field by field.

mod check;
mod digest;
mod line;

pub use check::{Broken, Follow};
pub use digest::Digest;
pub use line::{
    BadLine, Chain, Deed, Doer, Head, LINE_BYTES, Line, NAMED, VERSION, Written, head_of, moment,
};
