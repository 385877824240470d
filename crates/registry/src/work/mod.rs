//! The service: the set as it is delivered, who is who, decisions, connections.
//!
//! It deliberately watches nothing: the set's link is looked at before and after each
//! decision, so what a revoke has taken away is decided for by nobody once it returned.
//! Beside it [`remote`], which asks other registries, and [`examine`], which says why a set decides
//! as it does; and [`sign`], whose service is another one.

mod anchors;
mod auth;
mod backoff;
pub mod carried;
mod change;
pub mod examine;
mod folder;
mod fresh;
mod identity;
mod look;
mod opened;
mod pool;
mod record;
pub mod remote;
mod replaced;
mod rights;
mod server;
mod set;
mod sign;
mod stands;
mod tls;
mod tokens;
mod verify;

pub use anchors::Anchors;
pub use auth::{AgentAt, Desk};
pub use folder::Unready;
pub use fresh::Freshness;
pub use record::{BadRecord, Reached, Record};
pub use server::Door;
pub use sign::{Patience, SignDesk, serve_signer};
pub use tokens::serve_tokens;
pub use verify::FoundSignatures;
