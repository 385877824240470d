//! What a manager records of an act.

use std::net::IpAddr;

use skep_core::audit::{Deed, Doer};
use skep_core::base::Revision;

/// What is recorded of an act.
#[derive(Clone, Debug, Default)]
pub(in crate::manager) struct Act {
    pub who: Doer,
    pub from: String,
    pub deeds: Vec<Deed>,
    /// Why it was refused, as one word; empty: it was done.
    pub refused: String,
    pub revision: Revision,
    /// How many such calls the line stands for; 0: it is about one.
    pub times: u64,
}

impl Act {
    /// One deed of somebody.
    pub(in crate::manager) fn of(who: Doer, from: Option<IpAddr>, deed: Deed) -> Self {
        let from = from.map(|from| from.to_string()).unwrap_or_default();
        Self { who, from, deeds: vec![deed], ..Self::default() }
    }
}
