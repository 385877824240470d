//! Names and labels that were typed.

use super::problem::{Trouble, usage};
use skep_core::base::{Label, Labels, Name};

/// A name that was typed, in Docker Swarm's words if it is none.
pub(super) fn name(typed: &str) -> Result<Name, Trouble> {
    typed.parse().map_err(|error| usage(error, "for example db-password"))
}

/// Labels that were typed.
pub(super) fn labels(typed: &[String]) -> Result<Vec<Label>, Trouble> {
    let labels = typed.iter().map(|text| text.parse::<Label>());
    labels
        .collect::<Result<_, _>>()
        .map_err(|error| usage(error, "a label is written KEY=VALUE, for example team=db"))
}

/// The labels of a thing, each key once.
pub(super) fn all_labels(typed: &[String]) -> Result<Labels, Trouble> {
    Labels::new(labels(typed)?).map_err(|error| usage(error, "leave some out"))
}
