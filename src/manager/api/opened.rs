//! Opens on record, paged as they happened.

use crate::manager::problem::Explain;
use crate::manager::running::Running;
use skep_client::transport::Problem;
use skep_core::domain::{NotOne, Scope, State, Thing};
use skep_core::wire::api;
use skep_core::wire::convert::{Position, dropped_reads, is_within, opened_of, read_id, read_view};

/// Records on a page; the longest ones fit into a message.
const PAGE: usize = 1_000;

/// A page of a secret's opens.
pub(super) async fn reads(
    running: &Running,
    scope: &Scope,
    request: &api::ListReadsRequest,
) -> Result<api::ListReadsReply, Problem> {
    let secret = read_id("secret", &request.secret).map_err(Explain::explain)?;
    let after = match request.after.as_slice() {
        [] => None,
        after => Some(Position::read(after).map_err(Explain::explain)?),
    };
    let count = |wanted: u32, most| match usize::try_from(wanted) {
        Ok(wanted) if wanted > 0 => wanted.min(most),
        _ => most,
    };
    running.settle(request.stale).await?;
    running.core.consensus.read(|state| {
        if state.secrets.get(&secret).is_none_or(|of| !scope.holds(&of.name)) {
            let what = secret.to_string();
            return Err(NotOne::NotFound { thing: Thing::Secret, what }.explain());
        }
        let mut all = opened_of(state, secret);
        let before = all.len();
        all.retain(|(_, of)| is_within(state, scope, of.service));
        let outside = u64::try_from(before.saturating_sub(all.len())).unwrap_or(u64::MAX);
        let all = all.get(all.len().saturating_sub(count(request.last, all.len()))..);
        let mut left = all.unwrap_or_default();
        if let Some(after) = after {
            let start = left.partition_point(|(position, _)| *position <= after);
            left = left.get(start..).unwrap_or_default();
        }
        let page = left.get(..count(request.limit, PAGE).min(left.len())).unwrap_or_default();
        Ok(api::ListReadsReply {
            revision: state.revision.0,
            reads: page.iter().map(|(position, of)| read_view(state, *position, of)).collect(),
            more: page.len() < left.len(),
            dropped: if scope.is_bounded() { of_any(state) } else { dropped_reads(state) },
            outside,
        })
    })
}

/// How many were dropped, of whatever node: which ones there are is not for everybody.
fn of_any(state: &State) -> Vec<api::DroppedReads> {
    let mut all = api::DroppedReads::default();
    for one in dropped_reads(state) {
        all.count = all.count.saturating_add(one.count);
        all.refused = all.refused.saturating_add(one.refused);
    }
    if all.count == 0 && all.refused == 0 { Vec::new() } else { vec![all] }
}
