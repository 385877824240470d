//! How far records reach that workloads keep by themselves, as their node's agent tells it: each
//! has a line in the leader's audit log, so that an end that was cut off, or a record that was
//! written anew, is seen by whoever has both.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use data_encoding::HEXLOWER;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::manager::audit::Act;
use crate::manager::problem::{self, Explain};
use crate::manager::running::Running;
use skep_client::transport::Problem;
use skep_core::audit::{Deed, Head};
use skep_core::base::{Name, NodeId, ServiceId};
use skep_core::domain::{Actor, doer};
use skep_core::wire::api;
use skep_core::wire::convert::read_id;

/// Lines about one record: one in so long.
const EACH: Duration = Duration::from_secs(5);
/// Lines about all records of one node at once; one in a second after that.
const AT_ONCE: NonZeroU32 = NonZeroU32::MIN.saturating_add(15);
/// Records that are remembered, before those that rest are forgotten.
const KNOWN: usize = 8_192;

type Record = (NodeId, ServiceId, Name);

/// How often there is a line about each.
#[derive(Debug)]
pub(super) struct Records {
    nodes: DefaultKeyedRateLimiter<NodeId>,
    each: DefaultKeyedRateLimiter<Record>,
}

impl Default for Records {
    fn default() -> Self {
        let each = Quota::with_period(EACH).unwrap_or(Quota::per_minute(NonZeroU32::MIN));
        let nodes = Quota::per_second(NonZeroU32::MIN).allow_burst(AT_ONCE);
        Self { nodes: RateLimiter::keyed(nodes), each: RateLimiter::keyed(each) }
    }
}

impl Records {
    /// Puts on record how far one reaches.
    ///
    /// # Errors
    /// What the agent is told: the service doesn't run there, it is too soon, or nothing can be
    /// recorded.
    pub(super) async fn anchor(
        &self,
        running: &Running,
        (node, from): (NodeId, Option<IpAddr>),
        asked: &api::AnchorRecordRequest,
    ) -> Result<(), Problem> {
        let service: ServiceId = read_id("service", &asked.service).map_err(Explain::explain)?;
        let bad = |why| problem::request::bad("a record", why);
        let record: Name = asked.record.parse().map_err(|_bad| bad("has a name"))?;
        let head: Head =
            asked.head.as_slice().try_into().map_err(|_| bad("has a head of 32 bytes"))?;
        if asked.lines == 0 {
            return Err(bad("has a line at least"));
        }
        let seen = running.dispatch.seen(node);
        if !(seen.connected && seen.running.contains(&service)) {
            return Err(problem::request::not_running_there());
        }
        if self.each.len() > KNOWN {
            self.each.retain_recent();
        }
        let own = (node, service, record.clone());
        if self.nodes.check_key(&node).is_err() || self.each.check_key(&own).is_err() {
            return Err(problem::request::anchors_too_often());
        }
        let (who, called, service, revision) = running.core.consensus.read(|state| {
            let called = state.nodes.get(&node).map(|of| of.name.to_string());
            let service = state.services.get(&service).map(|of| of.name.to_string());
            (doer(state, &Actor::Node(node)), called, service, state.revision)
        });
        let Some(service) = service else { return Err(problem::request::not_running_there()) };
        let detail = format!("{record} {} {}", asked.lines, HEXLOWER.encode(&head));
        let node = called.unwrap_or_default();
        let deed = Deed { service, node, detail, ..Deed::new("record.anchor") };
        running.core.audit.record(Act { revision, ..Act::of(who, from, deed) }).await
    }
}
