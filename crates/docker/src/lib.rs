//! Docker's own commands and Compose files, for the secrets of a Skep cluster.
//!
//! It is a client of the managers with an operator's identity, and stands beside whoever uses
//! it: values that are created pass through it. Managers and agents hold no code of it.

#![forbid(unsafe_code)]

mod compose;
mod engine;
mod serve;
pub mod words;
