//! The shape of every message, sent or stored, and the way from and to `domain`.
//!
//! The shapes stand in `proto/*.proto`; here they become Rust. It deliberately
//! has no socket and no file: `transport` sends, `store` keeps.

pub mod convert;
pub mod delivery;
pub mod stored;

/// Operators, nodes and managers (`proto/api.proto`).
pub mod api {
    #![allow(
        missing_docs,
        clippy::all,
        clippy::pedantic,
        clippy::allow_attributes_without_reason,
        clippy::as_conversions,
        reason = "generated; the .proto file documents it"
    )]
    include!(concat!(env!("OUT_DIR"), "/skep.api.v1.rs"));
}

/// The agent's socket (`proto/local.proto`).
pub mod local {
    #![allow(
        missing_docs,
        clippy::all,
        clippy::pedantic,
        clippy::allow_attributes_without_reason,
        clippy::as_conversions,
        reason = "generated; the .proto file documents it"
    )]
    include!(concat!(env!("OUT_DIR"), "/skep.local.v1.rs"));
}

/// Managers among themselves (`proto/raft.proto`).
pub mod raft {
    #![allow(
        missing_docs,
        clippy::all,
        clippy::pedantic,
        clippy::allow_attributes_without_reason,
        clippy::as_conversions,
        reason = "generated; the .proto file documents it"
    )]
    include!(concat!(env!("OUT_DIR"), "/skep.raft.v1.rs"));
}
