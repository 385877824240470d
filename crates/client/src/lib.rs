//! How a program reaches a cluster's managers: identity, mutual TLS, calls that are tried
//! again where that helps, values that are sealed before they leave the process.

#![forbid(unsafe_code)]

#[cfg(all(feature = "testing", not(debug_assertions)))]
compile_error!("the feature `testing` is for debug builds alone");

pub mod ca;
pub mod machine;
pub mod transport;
