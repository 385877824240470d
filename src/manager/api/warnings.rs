//! Where a status deserves attention: found here, told by [`Warning`].

use std::sync::Arc;

use crate::consensus::{Behind, Standing};
use crate::manager::life::lifecycle::Lifecycle;
use crate::manager::members::issuers::Progress;
use crate::manager::members::moves;
use crate::manager::problem::warning::{self, Certificate, Holder, Warning};
use crate::manager::running::Running;
use crate::manager::steady::Doubt;
use crate::manager::word::Word;
use skep_core::base::{Name, OperatorId, Stamp, limits};
use skep_core::domain::{Operator, State};
use skep_core::wire::api;

/// Bytes free below which a manager's disk is nearly full.
const DISK_LOW_BYTES: u64 = 512 * 1024 * 1024;
/// Workers that are down, and deliveries that are not done, that are warned about one by one.
const TOLD: usize = 20;
const DAY_MS: u64 = 86_400_000;
/// Days before its end at which a leaf is warned about: it should have been renewed before.
const LEAF_DAYS: u64 = 14;
/// Days before its end at which another member's is warned about: it renews at 80 % of its life.
const MEMBER_DAYS: u64 = 10;
/// Days before its end at which a CA is warned about.
const CA_DAYS: u64 = 365;
/// Milliseconds after which an issuing CA should have taken the place of another.
const ROTATION_MS: u64 = 60 * 60_000;
/// Milliseconds by which a clock may be from the leader's: more deserves attention, long
/// before certificates and deadlines suffer.
const CLOCK_MS: u64 = 10_000;

/// Of an unlocked manager whose certificates end then; the status is otherwise whole.
pub(super) fn of_running(
    running: &Running,
    word: Word,
    reply: &api::StatusReply,
    ends: &[(Certificate, Stamp)],
    found: &mut Vec<Warning>,
) {
    let voters = running.core.members().iter().filter(|member| member.voter).count();
    quorum(word, reply, voters, found);
    found.extend(even(voters));
    let copied = reply.copied.iter().take(TOLD);
    found.extend(copied.map(|of| Warning::IdentityCopied(of.name.clone(), of.why.clone())));
    if let Some(recovered) = &reply.recovered {
        found.push(Warning::Recovered(reply.epoch_counter, recovered.revision));
    }
    found.extend(running.other_history().map(Warning::OtherHistory));
    if let Some(from) = moves::on_record(running) {
        found.push(Warning::Moved(from.join(", "), running.reached_at.join(", ")));
    }
    clock(running, reply, found);
    let now = Stamp(reply.now);
    found.extend(ends.iter().filter_map(|(which, ends)| of_certificate(*which, *ends, now)));
    of_members(running, now, found);
    found.extend(running.core.consensus.read(|state| recovered(state, now)));
    rotation(running, now, found);
    if reply.pending_pairs > 0 {
        found.push(Warning::Pending(reply.pending_pairs));
    }
    of_workers(reply, found);
    let number = reply.cluster_key_number;
    if number > 0 && running.core.keys.number() != Some(number) {
        found.push(Warning::ClusterKeyClosed(number));
    }
    if running.reserve.is_full() {
        found.push(Warning::DiskFull);
    }
    let audit = running.core.audit.standing();
    found.extend(audit.failing.map(Warning::AuditFailing));
    found.extend((audit.lost > 0).then_some(Warning::AuditLost(audit.lost)));
}

/// Each other member whose certificate ends soon or has ended, as far as they are told.
fn of_members(running: &Running, now: Stamp, found: &mut Vec<Warning>) {
    let soon = now.plus_ms(MEMBER_DAYS * DAY_MS);
    let members = running.core.consensus.read(|state| {
        let nodes = state.nodes.iter().filter(|(id, _)| **id != running.core.node);
        let nodes = nodes.map(|(_, node)| (None, &node.name, node.certificate_ends));
        let operators = state.operators.iter();
        let operators =
            operators.map(|(id, operator)| (Some(*id), &operator.name, operator.certificate_ends));
        let ending = nodes.chain(operators).filter(|(.., ends)| *ends < soon);
        let named = |(operator, name, ends): (Option<OperatorId>, &Name, Stamp)| {
            let name = name.to_string();
            (operator.map_or(Holder::Node(name.clone()), |id| Holder::Operator(name, id)), ends)
        };
        ending.map(named).collect::<Vec<_>>()
    });
    let more = u64::try_from(members.len().saturating_sub(TOLD)).unwrap_or(u64::MAX);
    found.extend(members.into_iter().take(TOLD).map(|(who, ends)| {
        if ends <= now {
            Warning::MemberEnded(who)
        } else {
            Warning::MemberEnds(who, ends.0.saturating_sub(now.0) / DAY_MS)
        }
    }));
    found.extend((more > 0).then_some(Warning::MoreMembersEnd(more)));
}

/// Operators that an unlock key made lately, those that were removed since included.
fn recovered(state: &State, now: Stamp) -> Vec<Warning> {
    let made = state.operators.values().filter(|of| of.is_recovered(now.max(state.stamp)));
    let told = |of: &Arc<Operator>| Warning::OperatorRecovered(of.name.to_string(), of.created);
    made.take(TOLD).map(told).collect()
}

/// Each worker that is down and each delivery that is not done, as far as they are told.
fn of_workers(reply: &api::StatusReply, found: &mut Vec<Warning>) {
    let count = |told: usize| u64::try_from(told.min(TOLD)).unwrap_or(u64::MAX);
    for worker in reply.down.iter().take(TOLD) {
        found.push(Warning::WorkerDown(worker.name.clone(), worker.why.clone()));
    }
    let more = reply.down_count.saturating_sub(count(reply.down.len()));
    found.extend((more > 0).then_some(Warning::MoreWorkersDown(more)));
    for lagging in reply.lagging.iter().take(TOLD) {
        let (what, why) = (warning::what_lags(lagging), lagging.why.clone());
        found.push(if lagging.hook {
            let (node, service) = (lagging.node_name.clone(), lagging.service_name.clone());
            Warning::HookFailed(node, service, why)
        } else if lagging.failed {
            Warning::DeliveryFailed(what, why)
        } else {
            Warning::DeliveryLags(what, why)
        });
    }
    let more = reply.lagging_count.saturating_sub(count(reply.lagging.len()));
    found.extend((more > 0).then_some(Warning::MoreDeliveriesLag(more)));
}

fn quorum(word: Word, reply: &api::StatusReply, voters: usize, found: &mut Vec<Warning>) {
    if word == Word::NoQuorum {
        found.push(Warning::NoQuorum);
    }
    // How they stand the leader may have said.
    let away =
        reply.voters.iter().filter(|voter| voter.state() == api::ManagerStanding::Unreachable);
    found.extend(away.map(|voter| Warning::ManagerUnreachable(voter.name.clone())));
    // One manager alone never tolerates a loss: that was its operator's choice.
    if reply.tolerates_losses == 0 && voters > 1 {
        found.push(Warning::NoLossToSpare);
    }
}

/// An even number bears no more losses than one less. Of two it is said that they bear none.
fn even(voters: usize) -> Option<Warning> {
    (voters > 2 && voters.is_multiple_of(2)).then_some(Warning::EvenVoters(voters))
}

fn clock(running: &Running, reply: &api::StatusReply, found: &mut Vec<Warning>) {
    if let Some(off) = running.core.clock_off_ms() {
        return found.push(Warning::ClockOff(off));
    }
    if let Err(doubt) = running.core.reading()
        && doubt != Doubt::Fresh
    {
        return found.push(Warning::ClockStepped(doubt));
    }
    found.extend(time(running.core.consensus.read(|state| state.stamp), Stamp(reply.now)));
    if let Some(ahead) = reply.clock_ahead_ms
        && ahead.unsigned_abs() > CLOCK_MS
    {
        found.push(Warning::ClockDrifts(ahead));
    }
}

/// The cluster's time is ahead of the clock: an earlier leader's was wrong.
fn time(stamp: Stamp, now: Stamp) -> Option<Warning> {
    let ahead = stamp.0.saturating_sub(now.0);
    (ahead > CLOCK_MS).then_some(Warning::TimeAhead(ahead))
}

/// The issuing CA is being replaced, and that takes long. Only the leader knows who is down.
fn rotation(running: &Running, now: Stamp, found: &mut Vec<Warning>) {
    let rotating = |state: &State| state.cluster.as_ref()?.issuers.rotating;
    let Some(since) = running.core.consensus.read(rotating) else { return };
    let lasts = now.0.saturating_sub(since.0);
    if lasts >= ROTATION_MS {
        found.push(Warning::IssuerRotating(lasts, Progress::of(running).waited_for()));
    }
}

/// A certificate that ends soon.
fn of_certificate(which: Certificate, ends: Stamp, now: Stamp) -> Option<Warning> {
    let days = match which {
        Certificate::Manager => LEAF_DAYS,
        Certificate::Issuing | Certificate::Root => CA_DAYS,
    };
    let left = ends.0.saturating_sub(now.0) / DAY_MS;
    (left < days).then_some(Warning::CertificateEnds(which, left))
}

/// Its disk was put back to an older state.
pub(super) fn rolled_back(running: &Running) -> Warning {
    let consensus = &running.core.consensus;
    Warning::RolledBack(match &*consensus.standing().borrow() {
        Standing::Behind(Behind { peer, lacks }) => {
            let name = |state: &State| state.nodes.get(peer).map(|node| node.name.to_string());
            let peer = consensus.read(name).unwrap_or_else(|| peer.to_string());
            Some(format!("{peer} remembers {lacks}"))
        }
        Standing::Comparing | Standing::Sound => None,
    })
}

/// The replicated state is nearly as large as it may be.
pub(super) fn of_size(state: &State) -> Option<Warning> {
    let nearly = limits::STATE_BYTES / 100 * (limits::STATE_FULL_PERCENT - 10);
    (state.bytes > nearly).then_some(Warning::StateFull(state.bytes))
}

/// What the data folder says, in every phase.
pub(super) fn of_disk(life: &Lifecycle, free_bytes: u64, found: &mut Vec<Warning>) {
    if free_bytes < DISK_LOW_BYTES && !found.contains(&Warning::DiskFull) {
        found.push(Warning::DiskLow(free_bytes));
    }
    if life.folder.init_unfinished() {
        found.push(Warning::InitUnfinished(life.folder.path().to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_near_its_end_is_warned_about() {
        let of = |which, days: u64| of_certificate(which, Stamp(days * DAY_MS), Stamp(0));
        assert_eq!(of(Certificate::Manager, 18), None);
        assert_eq!(of(Certificate::Issuing, 400), None);
        let manager = of(Certificate::Manager, 13).expect("a warning");
        assert_eq!(manager, Warning::CertificateEnds(Certificate::Manager, 13));
        assert_eq!(manager.tell().code(), api::WarningCode::CertificateEnds);
        let issuing = of(Certificate::Issuing, 364).expect("a warning");
        assert_eq!(issuing, Warning::CertificateEnds(Certificate::Issuing, 364));
        assert!(issuing.tell().text.contains("issuing CA ends in 364 days"));
    }

    #[test]
    fn an_even_number_of_voters_is_warned_about() {
        for odd in [0, 1, 2, 3, 5, 7] {
            assert_eq!(even(odd), None, "{odd}");
        }
        let four = even(4).expect("a warning");
        assert_eq!(four.tell().code(), api::WarningCode::EvenVoters);
        assert!(four.tell().text.contains("no more losses than 3 do"), "{}", four.tell().text);
        assert!(even(6).is_some());
    }

    #[test]
    fn a_time_ahead_of_the_clock_is_warned_about() {
        let now = Stamp(1_000_000);
        assert_eq!(time(Stamp(1_000_000 + CLOCK_MS), now), None);
        assert_eq!(time(Stamp(5), now), None);
        let told = time(Stamp(1_000_000 + 3_650 * DAY_MS), now).expect("a warning").tell();
        assert_eq!(told.code(), api::WarningCode::TimeAhead);
        assert!(told.text.contains("3650 days behind"), "{}", told.text);
    }

    #[test]
    fn who_is_away_is_named_and_the_last_that_may_be_lost() {
        let voter = |name: &str, standing: api::ManagerStanding| api::Voter {
            name: name.into(),
            state: standing.into(),
            ..api::Voter::default()
        };
        let found = |reply: &api::StatusReply| {
            let mut found = Vec::new();
            quorum(Word::Leader, reply, reply.voters.len(), &mut found);
            found
        };
        let mut reply = api::StatusReply { tolerates_losses: 0, ..Default::default() };
        reply.voters = vec![voter("m1", api::ManagerStanding::Leader)];
        assert_eq!(found(&reply), [], "one manager alone was meant so");
        let others = [
            voter("m2", api::ManagerStanding::Follower),
            voter("m3", api::ManagerStanding::Unreachable),
        ];
        reply.voters.extend(others);
        let away = Warning::ManagerUnreachable("m3".into());
        assert!(away.tell().text.contains("m3"));
        assert_eq!(found(&reply), [away, Warning::NoLossToSpare]);
    }
}
