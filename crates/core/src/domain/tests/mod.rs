//! The core against its rules, a reference model, and a world that forgets.

mod answers;
mod audit;
mod grants;
mod identities;
mod model;
mod names;
mod opened;
mod operators;
mod places;
mod put;
mod rekeys;
mod requests;
mod rollback;
mod rules;
mod scopes;
mod simulation;
mod time;
