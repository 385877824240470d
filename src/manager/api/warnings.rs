//! What in a status deserves attention. Each warning has a code that scripts may
//! read; docs/operate/warnings.md says of each what to do.

use crate::consensus::{Behind, Standing};
use crate::manager::life::lifecycle::Lifecycle;
use crate::manager::problem::{self, span};
use crate::manager::running::Running;
use crate::manager::steady::Doubt;
use crate::manager::word::Word;
use skep_core::base::{Stamp, limits};
use skep_core::domain::State;
use skep_core::wire::api;

/// Bytes free below which a manager's disk is nearly full.
const DISK_LOW_BYTES: u64 = 512 * 1024 * 1024;
const DAY_MS: u64 = 86_400_000;
/// Days before its end at which a leaf is warned about.
const LEAF_DAYS: u64 = 30;
/// Days before its end at which a CA is warned about.
const CA_DAYS: u64 = 365;
/// A clock that is so far from the leader's deserves attention, long before
/// certificates and deadlines suffer.
const CLOCK_MS: u64 = 10_000;

fn warn(
    reply: &mut api::StatusReply,
    code: &str,
    text: impl Into<String>,
    hint: impl Into<String>,
) {
    let (code, text, hint) = (code.to_owned(), text.into(), hint.into());
    reply.warnings.push(api::Warning { code, text, hint });
}

/// Of an unlocked manager; the status is otherwise whole.
pub(super) fn of_running(running: &Running, word: Word, reply: &mut api::StatusReply) {
    quorum(word, reply);
    clock(running, reply);
    certificates(reply);
    pending(reply);
    let number = reply.cluster_key_number;
    if number > 0 && running.core.keys.number() != Some(number) {
        let text = format!("cluster key {number} is not open on this manager");
        let hint = "its log says why; it can't lead a write until then";
        warn(reply, "cluster-key-closed", text, hint);
    }
    if running.reserve.is_full() {
        let text = "this manager's disk is nearly full: where it leads, only removals are admitted";
        warn(reply, "disk-full", text, "make room on it, or: skep manager step-down");
    }
}

fn quorum(word: Word, reply: &mut api::StatusReply) {
    if word == Word::NoQuorum {
        let text = "no majority of the managers can be reached: nothing can be changed";
        warn(reply, "no-quorum", text, "start or unlock the other managers");
    }
    let away = reply.voters.iter().filter(|voter| voter.state == "unreachable");
    let away: Vec<String> = away.map(|voter| voter.name.clone()).collect();
    for name in away {
        let text = format!("manager {name} is not reached");
        warn(reply, "manager-unreachable", text, "start or unlock it; gone for good: skep node rm");
    }
    // One manager alone never tolerates a loss: that was its operator's choice.
    if reply.tolerates_losses == 0 && reply.voters.len() > 1 {
        let text = "the loss of one more manager stops all changes";
        warn(reply, "no-loss-to-spare", text, "bring managers back, or add one: skep join");
    }
}

fn clock(running: &Running, reply: &mut api::StatusReply) {
    if let Some(off) = running.core.clock_off_ms() {
        let problem = problem::clock_off(off);
        return warn(reply, "clock-off", &problem.text, &problem.hint);
    }
    if let Err(doubt) = running.core.reading()
        && doubt != Doubt::Fresh
    {
        let problem = problem::clock_doubted(doubt);
        return warn(reply, "clock-stepped", &problem.text, &problem.hint);
    }
    time(running.core.consensus.read(|state| state.stamp), reply);
    let Some(ahead) = reply.clock_ahead_ms.filter(|ahead| ahead.unsigned_abs() > CLOCK_MS) else {
        return;
    };
    let which = if ahead > 0 { "ahead of" } else { "behind" };
    let text =
        format!("this manager's clock is {} s {which} the leader's", ahead.unsigned_abs() / 1000);
    warn(
        reply,
        "clock-drifts",
        text,
        "see why its machine's clock is not kept right (chrony, ntpd)",
    );
}

/// The cluster's time is ahead of the clock: an earlier leader's was wrong.
fn time(stamp: Stamp, reply: &mut api::StatusReply) {
    let ahead = stamp.0.saturating_sub(reply.now);
    if ahead > CLOCK_MS {
        let text = format!("the cluster's time is {} ahead of this manager's clock", span(ahead));
        let hint =
            "if the clocks are right: skep cluster reset-time; join tokens and answers end early";
        warn(reply, "time-ahead", text, hint);
    }
}

fn certificates(reply: &mut api::StatusReply) {
    for end in reply.certificates.clone() {
        let days = if end.what == "manager" { LEAF_DAYS } else { CA_DAYS };
        let left = end.ends.saturating_sub(reply.now) / DAY_MS;
        if left < days {
            let text = format!("the certificate of the {} ends in {left} days", end.what);
            let hint = if end.what == "manager" {
                "remove this manager and let it join anew in time: its certificate isn't renewed"
            } else {
                "a new cluster must take this one's place in time: a CA isn't renewed"
            };
            warn(reply, "certificate-ends", text, hint);
        }
    }
}

fn pending(reply: &mut api::StatusReply) {
    let pairs = reply.pending_pairs;
    if pairs > 0 {
        let text = format!(
            "{pairs} pairs of node and service have not confirmed what was taken from them"
        );
        let hint = "skep node ls; a node that is gone for good: skep node rm --force";
        warn(reply, "pending", text, hint);
    }
}

/// A follower could not ask the leader: what it says of the others is its own view.
pub(super) fn leader_silent(reply: &mut api::StatusReply) {
    let text = "the leader does not answer: how the other managers are is not known here";
    warn(reply, "leader-silent", text, "repeat it; if it stays: skep status on the other managers");
}

/// The certificate is past its end.
pub(super) fn expired(reply: &mut api::StatusReply) {
    let problem = problem::expired();
    warn(reply, "certificate-ended", &problem.text, &problem.hint);
}

/// Its disk was put back to an older state.
pub(super) fn rolled_back(running: &Running, reply: &mut api::StatusReply) {
    let problem = problem::rolled_back();
    let consensus = &running.core.consensus;
    let text = match &*consensus.standing().borrow() {
        Standing::Behind(Behind { peer, lacks }) => {
            let name = |state: &State| state.nodes.get(peer).map(|node| node.name.to_string());
            let peer = consensus.read(name).unwrap_or_else(|| peer.to_string());
            format!("{peer} remembers {lacks}")
        }
        Standing::Comparing | Standing::Sound => problem.text.clone(),
    };
    warn(reply, "rolled-back", text, &problem.hint);
}

/// No unlock key file opens it.
pub(super) fn locked_by_operator(reply: &mut api::StatusReply) {
    let text = "an operator locked this manager: no unlock key file opens it";
    warn(reply, "locked-by-operator", text, "skep unlock");
}

/// The replicated state is nearly as large as it may be.
pub(super) fn of_size(state: &State, reply: &mut api::StatusReply) {
    if state.bytes > limits::STATE_BYTES / 100 * (limits::STATE_FULL_PERCENT - 10) {
        let text =
            format!("the state has {} MiB of {}", state.bytes >> 20, limits::STATE_BYTES >> 20);
        warn(reply, "state-full", text, "remove secrets or versions that are not needed any more");
    }
}

/// What the data folder says, in every phase.
pub(super) fn of_disk(life: &Lifecycle, reply: &mut api::StatusReply) {
    let told = reply.warnings.iter().any(|warning| warning.code == "disk-full");
    if reply.disk_free_bytes < DISK_LOW_BYTES && !told {
        let text = format!("{} MiB are free on the manager's disk", reply.disk_free_bytes >> 20);
        warn(reply, "disk-low", text, "make room: the first failed write ends the manager");
    }
    if life.folder.init_unfinished() {
        let problem = problem::init_unfinished(life.folder.path());
        warn(reply, "init-unfinished", &problem.text, &problem.hint);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(reply: &api::StatusReply) -> Vec<&str> {
        reply.warnings.iter().map(|warning| warning.code.as_str()).collect()
    }

    #[test]
    fn a_certificate_near_its_end_is_warned_about() {
        let mut reply = api::StatusReply::default();
        let end =
            |what: &str, days: u64| api::CertificateEnd { what: what.into(), ends: days * DAY_MS };
        reply.certificates = vec![end("manager", 40), end("issuing CA", 400)];
        certificates(&mut reply);
        assert!(reply.warnings.is_empty());
        reply.certificates = vec![end("manager", 29), end("issuing CA", 364)];
        certificates(&mut reply);
        assert_eq!(codes(&reply), ["certificate-ends", "certificate-ends"]);
    }

    #[test]
    fn a_time_ahead_of_the_clock_is_warned_about() {
        let mut reply = api::StatusReply { now: 1_000_000, ..api::StatusReply::default() };
        time(Stamp(1_000_000 + CLOCK_MS), &mut reply);
        time(Stamp(5), &mut reply);
        assert!(reply.warnings.is_empty());
        time(Stamp(1_000_000 + 3_650 * DAY_MS), &mut reply);
        assert_eq!(codes(&reply), ["time-ahead"]);
        let text = reply.warnings.iter().map(|warning| warning.text.as_str()).collect::<String>();
        assert!(text.contains("3650 days ahead"), "{text}");
    }

    #[test]
    fn who_is_away_is_named_and_the_last_that_may_be_lost() {
        let voter = |name: &str, state: &str| api::Voter {
            name: name.into(),
            state: state.into(),
            ..api::Voter::default()
        };
        let mut reply = api::StatusReply { tolerates_losses: 0, ..Default::default() };
        reply.voters = vec![voter("m1", "leader")];
        quorum(Word::Leader, &mut reply);
        assert!(reply.warnings.is_empty(), "one manager alone was meant so");
        reply.voters.extend([voter("m2", "follower"), voter("m3", "unreachable")]);
        quorum(Word::Leader, &mut reply);
        assert_eq!(codes(&reply), ["manager-unreachable", "no-loss-to-spare"]);
        assert!(reply.warnings.iter().any(|warning| warning.text.contains("m3")));
    }
}
