//! Between what is sent (`api`) and what the core understands (`domain`).
//!
//! `read_*` checks a message and makes a domain value of it, or says which
//! field is unsound; `write_*` and the views cannot fail. What a node or the
//! leader knows beside the state (who is connected, what runs) is not here:
//! whoever knows it fills those fields in.

mod change;
mod delivery;
mod opened;
mod operator;
mod parts;
mod put;
mod view;

#[cfg(test)]
mod tests;

pub use change::{read_change, read_changed, write_change, write_changed};
pub use delivery::{
    read_confirmed, read_managers, read_push, read_set, read_values, read_welcome, write_ack,
    write_held, write_hooks, write_placed, write_set,
};
pub use opened::{Position, dropped_reads, opened_of, read_opened, read_view, write_opened};
pub use operator::{operator_view, read_bounds, read_operator_role, write_operator_role};
pub use parts::{
    read_constraint, read_grant, read_labels, read_role, read_spec, write_availability,
    write_constraint, write_grant, write_labels, write_role, write_spec,
};
pub use put::{read_intake, read_put, write_put_value};
pub use view::{
    Holders, holders, is_within, node_view, pending, secret_view, service_view, token_view,
};

use std::str::FromStr;

use crate::base::{BadId, BadName};

/// A message that does not say what it must: bad input, status 2.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct BadMessage {
    /// Which field.
    pub field: &'static str,
    /// What is wrong with it.
    pub why: String,
}

impl BadMessage {
    fn new(field: &'static str, why: impl Into<String>) -> Self {
        Self { field, why: why.into() }
    }
}

/// The id in a bytes field.
///
/// # Errors
/// [`BadMessage`] unless there are 16 bytes.
pub fn read_id<T>(field: &'static str, bytes: &[u8]) -> Result<T, BadMessage>
where
    T: for<'a> TryFrom<&'a [u8], Error = BadId>,
{
    T::try_from(bytes).map_err(|bad| BadMessage::new(field, bad.to_string()))
}

/// A name, target or label in a text field.
fn read_text<T: FromStr<Err = BadName>>(field: &'static str, text: &str) -> Result<T, BadMessage> {
    text.parse().map_err(|bad: BadName| BadMessage::new(field, bad.to_string()))
}

/// A part that must be there.
fn there<T>(field: &'static str, part: Option<T>) -> Result<T, BadMessage> {
    part.ok_or_else(|| BadMessage::new(field, "missing"))
}

/// A count as it is sent.
fn count(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}
