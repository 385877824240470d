//! The core against its rules, a reference model, and a world that forgets.

mod model;
mod opened;
mod rekeys;
mod requests;
mod rules;
mod simulation;
