//! How the managers stand in consensus, as far as this one knows.

use crate::consensus::{Leadership, Member};
use skep_core::base::NodeId;
use skep_core::wire::api::ManagerStanding;

/// Milliseconds after which a voter that has not answered is out of reach.
const CONTACT_MS: u64 = 3_000;

/// A member's place in consensus.
pub(in crate::manager) fn of(member: &Member, leader: Option<NodeId>) -> ManagerStanding {
    match member {
        member if Some(member.node) == leader => ManagerStanding::Leader,
        member if !reachable(member) => ManagerStanding::Unreachable,
        member if member.voter => ManagerStanding::Follower,
        _ => ManagerStanding::Learner,
    }
}

/// Who does not lead knows of nobody that they are out of reach.
pub(in crate::manager) fn reachable(member: &Member) -> bool {
    member.last_contact_ms.is_none_or(|ago| ago < CONTACT_MS)
}

/// How many more managers may be lost; -1 without a majority now.
pub(in crate::manager) fn tolerated_losses(seen: &Leadership, members: &[Member]) -> i32 {
    let voters = members.iter().filter(|member| member.voter);
    let all = voters.clone().count();
    if all == 0 || seen.leader.is_none() || !seen.quorum {
        return -1;
    }
    let in_reach = |member: &&Member| Some(member.node) == seen.leader || reachable(member);
    let reached = voters.filter(in_reach).count();
    i32::try_from(reached.saturating_sub(all / 2 + 1)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(n: u8, last_contact_ms: Option<u64>) -> Member {
        let node = NodeId::from_bytes([n; 16]);
        let (addresses, voter, behind, acknowledges) = (Vec::new(), true, None, true);
        Member { node, addresses, voter, last_contact_ms, behind, acknowledges }
    }

    #[test]
    fn losses_that_are_tolerated() {
        let leader = NodeId::from_bytes([1; 16]);
        let led = Leadership { term: 1, leader: Some(leader), own: true, quorum: true };
        let three = [member(1, None), member(2, Some(10)), member(3, Some(20))];
        assert_eq!(tolerated_losses(&led, &three), 1);
        let two = [member(1, None), member(2, Some(10)), member(3, Some(CONTACT_MS))];
        assert_eq!(tolerated_losses(&led, &two), 0);
        assert_eq!(tolerated_losses(&led, &[member(1, None)]), 0);
        let alone = Leadership { leader: None, own: false, quorum: false, ..led.clone() };
        assert_eq!(tolerated_losses(&alone, &three), -1);
        let deaf = Leadership { quorum: false, ..led };
        assert_eq!(tolerated_losses(&deaf, &three), -1, "it hears no majority");
    }

    #[test]
    fn places_of_managers() {
        let leader = Some(NodeId::from_bytes([1; 16]));
        let place = |member: &Member| of(member, leader);
        assert_eq!(place(&member(1, None)), ManagerStanding::Leader);
        assert_eq!(place(&member(2, Some(1))), ManagerStanding::Follower);
        assert_eq!(place(&member(2, Some(CONTACT_MS))), ManagerStanding::Unreachable);
        let learner = Member { voter: false, ..member(2, Some(1)) };
        assert_eq!(place(&learner), ManagerStanding::Learner);
    }
}
