//! The generated clients and servers.

/// `skep.api.v1`: `control_client`, `control_server`, `membership_*`, `delivery_*`.
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
/// `skep.local.v1`: `agent_client`, `agent_server`.
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
/// `skep.raft.v1`: `raft_client`, `raft_server`.
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
