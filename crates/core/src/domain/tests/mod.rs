//! The core against its rules, a reference model, and a world that forgets.

mod answers;
mod grants;
mod identities;
mod model;
mod names;
mod opened;
mod places;
mod put;
mod rekeys;
mod requests;
mod rollback;
mod rules;
mod simulation;
mod time;
