//! How peers reach and recognise each other: mutual TLS 1.3, RPC, local sockets.
//!
//! A check that passed is a value: a request served here carries a [`Caller`]
//! (mTLS) or [`LocalCaller`] (unix socket) in its extensions that nobody else
//! can make. It deliberately decides nothing about who may do what.

mod age;
mod agreed;
mod bounds;
mod client;
mod clocks;
mod crowd;
mod cuts;
mod door;
mod doors;
mod exchange;
mod hello;
mod local;
mod locked;
mod peer;
mod problem;
pub mod rpc;
mod served;
mod server;
mod shares;
#[cfg(test)]
mod tests;
mod tls;
mod verify;
mod whereabouts;

pub use age::{age_told, tell_age};
pub use agreed::KeptAgreement;
pub use bounds::Rate;
pub use client::{ConnectError, connect};
pub use clocks::{Clocks, OutOfTime, SET_THE_CLOCK, Said, span};
pub use crowd::{KeepSeat, KeptSeat};
pub use cuts::Cuts;
pub use doors::{Doors, Gate};
pub use exchange::{KeyExchange, require_post_quantum};
pub use hello::{Greeting, MayBe, Recognition};
pub use local::{connect_local, serve_local, serve_local_behind};
pub use locked::say_locked;
pub use peer::{Caller, Expect, LocalCaller, Peer, caller, local_caller};
pub use problem::{Problem, read_problem};
pub use server::{serve, serve_apart};
pub use shares::{Most, Share, Shares};
pub use tls::{ClientTls, Credentials, ServerTls};
pub use whereabouts::{NamedTime, Told, managers_named, name_managers};
