//! Tokens for a Docker registry, decided from files that a Skep cluster delivers.
//!
//! Rings, each importing only those before it: [`rules`] (pure: scopes, rules, credentials),
//! [`proto`] (what the wire carries), [`work`] (the service), [`words`] (commands and texts).

#![forbid(unsafe_code)]

pub mod proto;
pub mod rules;
pub mod words;
pub mod work;
