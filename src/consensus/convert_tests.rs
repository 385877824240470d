//! Every message comes back as it went, and garbage is refused.

use std::collections::{BTreeMap, BTreeSet};

use openraft::EntryPayload;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};
use openraft::vote::leader_id_std::LeaderId;
use prost::Message;

use super::convert::*;
use super::types::{
    Addresses, LogEntry, LogId, Membership, Proposal, SnapshotMeta, StoredMembership, Vote,
};
use skep_core::base::NodeId;
use skep_core::wire::raft as proto;

fn node(n: u8) -> NodeId {
    NodeId::from_bytes([n; 16])
}

fn vote(committed: bool) -> Vote {
    Vote { leader_id: LeaderId { term: 7, voted_for: node(1) }, committed }
}

fn membership() -> Membership {
    let nodes: BTreeMap<_, _> = (1..5)
        .map(|n| (node(n), Addresses(vec![format!("m{n}:4440"), "[::1]:1".into()])))
        .collect();
    let sets = vec![BTreeSet::from([node(1), node(2)]), BTreeSet::from([node(2), node(3)])];
    Membership::new(sets, nodes).expect("a membership")
}

fn entries() -> Vec<LogEntry> {
    let at = |index, payload| LogEntry { log_id: LogId::new_term_index(6, index), payload };
    vec![
        at(5, EntryPayload::Blank),
        at(6, EntryPayload::Normal(Proposal::received(b"command".as_slice().into()))),
        at(7, EntryPayload::Membership(membership())),
    ]
}

/// Through the bytes, as between two managers.
fn sent<M: Message + Default>(message: &M) -> M {
    M::decode(message.encode_to_vec().as_slice()).expect("it decodes")
}

#[test]
fn messages_come_back_as_they_went() {
    let append = AppendEntriesRequest {
        vote: vote(true),
        prev_log_id: Some(LogId::new_term_index(5, 4)),
        entries: entries(),
        leader_commit: Some(LogId::new_term_index(5, 3)),
    };
    let back = append_from(sent(&append_to(&append))).expect("an append");
    assert_eq!(format!("{back:?}"), format!("{append:?}"));
    assert_eq!(back.entries, append.entries);
    for reply in [
        AppendEntriesResponse::Success,
        AppendEntriesResponse::PartialSuccess(Some(LogId::new_term_index(1, 2))),
        AppendEntriesResponse::Conflict,
        AppendEntriesResponse::HigherVote(vote(false)),
    ] {
        assert_eq!(appended_from(&sent(&appended_to(&reply))), Ok(reply));
    }
    let mut ask = VoteRequest::new(vote(false), Some(LogId::new_term_index(2, 9)));
    ask.leadership_transfer = true;
    assert!(ask_to(&ask, true).pre_vote);
    assert_eq!(ask_from(&sent(&ask_to(&ask, false))), Ok(ask));
    let reply = VoteResponse::new(vote(true), None, true);
    assert_eq!(voted_from(&sent(&voted_to(&reply))), Ok(reply));
    let meta = SnapshotMeta {
        last_log_id: Some(LogId::new_term_index(3, 30)),
        last_membership: StoredMembership::new(Some(LogId::new_term_index(1, 2)), membership()),
    };
    assert_eq!(head_from(&sent(&head_to(&meta, None, 5))), Ok(meta));
    assert_eq!(head_from(&head_to(&SnapshotMeta::default(), None, 0)), Ok(SnapshotMeta::default()));
}

#[test]
fn messages_that_cannot_be_are_refused() {
    let good = || {
        append_to(&AppendEntriesRequest {
            vote: vote(true),
            prev_log_id: Some(LogId::new_term_index(5, 4)),
            entries: entries(),
            leader_commit: None,
        })
    };
    let refused = |change: &dyn Fn(&mut proto::AppendRequest)| {
        let mut message = good();
        change(&mut message);
        assert!(append_from(message).is_err());
    };
    refused(&|message| message.vote = None);
    refused(&|message| message.prev = None);
    refused(&|message| message.entries.swap(0, 1));
    refused(&|message| message.entries[1].id = None);
    refused(&|message| message.entries[1].payload = None);
    refused(&|message| {
        message.entries[2].id = Some(proto::LogId { term: 1, leader: vec![], index: 7 });
    });
    refused(&|message| message.vote.as_mut().expect("a vote").node = vec![1; 15]);
    let mut unknown = membership_to(&membership());
    unknown.nodes.truncate(1);
    assert!(membership_from(&unknown).is_err(), "a voter that is no member");
    let mut many = membership_to(&membership());
    many.nodes[0].addresses = vec![String::new(); 1_000];
    assert!(membership_from(&many).is_err());
    assert!(appended_from(&proto::AppendReply { of: None }).is_err());
}
