//! Three members over real mTLS on loopback and disks that forget: snapshots for
//! one that was long away, disks put back, audit heads that differ.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use openraft::EntryPayload;
use openraft::impls::leader_id_std::LeaderId;
use openraft::raft::AppendEntriesRequest;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::standing::{Lacks, Standing};
use super::start::{Parts, Tuning};
use super::types::{Addresses, LogEntry, LogId, Membership, Vote};
use super::{Consensus, ProposeError, Start, StartError};
use crate::store::testing::{FaultyDisk, Lost, dek, dice};
use skep_client::ca::fixtures::{Authority, Holder, NOW, manager};
use skep_client::transport::{ClientTls, Credentials, ServerTls, serve};
use skep_core::base::{BootTime, Clock, ClusterId, NodeId, RequestId, Stamp};
use skep_core::domain::{Act, Actor, Command};

const PATIENCE: Duration = Duration::from_mins(1);
const TUNING: Tuning = Tuning { segment_bytes: Some(8192), snapshot_entries: 40, keep_entries: 5 };
/// Who would elect itself does so within one.
const ELECTIONS: Duration = Duration::from_secs(3);

struct Still;

impl Clock for Still {
    fn now(&self) -> Stamp {
        NOW
    }
    fn boot(&self) -> BootTime {
        BootTime(0)
    }
}

fn id(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

/// A member, its disk and its place on the network.
struct Member {
    number: u8,
    disk: FaultyDisk,
    holder: Holder,
    address: SocketAddr,
    running: Option<(Consensus, CancellationToken)>,
}

struct Members {
    authority: Authority,
    all: Vec<Member>,
    written: u64,
}

fn command(number: u64) -> Command {
    Command {
        from: None,
        request: RequestId::from_bytes(u128::from(number).to_be_bytes()),
        stamp: Stamp(1_000 + number),
        deadline: Stamp(31_000 + number),
        actor: Actor::Leader(id(1)),
        act: Act::Expose(Vec::new()),
    }
}

/// Polls until it is so, or fails the test.
async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("waited for {what}"))
}

impl Members {
    /// Three that haven't started.
    async fn at_rest() -> Self {
        let mut members = Self { authority: Authority::new(1), all: Vec::new(), written: 0 };
        for number in 1..=3 {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
            let address = listener.local_addr().expect("an address");
            let holder = members.authority.holder(manager(number));
            let disk = FaultyDisk::default();
            members.all.push(Member { number, disk, holder, address, running: None });
        }
        members
    }

    /// Three voters.
    async fn three() -> Self {
        let mut members = Self::at_rest().await;
        for number in 1..=3 {
            members.start(number).await;
        }
        let first = members.consensus(1).clone();
        first.found().await.expect("founded");
        for number in [2, 3] {
            let at = vec![members.member(number).address.to_string()];
            first.admit(id(number), at).await.expect("admitted");
        }
        first.set_voters((1..=3).map(id).collect()).await.expect("voters");
        members
    }

    fn member(&self, number: u8) -> &Member {
        self.all.iter().find(|member| member.number == number).expect("a member")
    }

    fn member_mut(&mut self, number: u8) -> &mut Member {
        self.all.iter_mut().find(|member| member.number == number).expect("a member")
    }

    fn consensus(&self, number: u8) -> &Consensus {
        &self.member(number).running.as_ref().expect("running").0
    }

    /// What one is started with.
    fn given(&self, number: u8) -> (Start, ServerTls) {
        let fingerprint = self.authority.fingerprint();
        let cluster = ClusterId::from_bytes([1; 16]);
        let member = self.member(number);
        let credentials = Credentials::new(&member.holder.chain, &member.holder.secret());
        let credentials = credentials.expect("credentials");
        let start = Start {
            audit: None,
            cluster,
            node: id(number),
            addresses: vec![member.address.to_string()],
            data: "/d".into(),
            deks: vec![dek()],
            disk: Arc::new(member.disk.clone()),
            dice,
            tls: Some(ClientTls::new(&credentials, fingerprint, Arc::new(Still))),
        };
        (start, ServerTls::new(&credentials, fingerprint, Arc::new(Still)))
    }

    async fn start(&mut self, number: u8) {
        let (start, tls) = self.given(number);
        let consensus = Consensus::start_tuned(start, TUNING).await.expect("consensus");
        self.member_mut(number).serve(consensus, tls).await;
    }

    /// Kills one; its disk is as that leaves it.
    fn kill(&mut self, number: u8, lost: Lost) {
        let member = self.member_mut(number);
        member.disk = member.disk.crash(lost);
        if let Some((_, stop)) = member.running.take() {
            stop.cancel();
        }
    }

    /// Waits until nobody answers at its address any more.
    async fn gone(&self, number: u8) {
        let address = self.member(number).address;
        let refused = async {
            while tokio::net::TcpStream::connect(address).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, refused).await.expect("its listener ends");
    }

    fn standing(&self, number: u8) -> Standing {
        self.consensus(number).standing().borrow().clone()
    }

    async fn leader(&self) -> u8 {
        until("a leader", || {
            let leads = |member: &&Member| {
                let running = member.running.as_ref();
                running.is_some_and(|(consensus, _)| {
                    let now = consensus.leadership().borrow().clone();
                    now.own && now.quorum
                })
            };
            self.all.iter().find(leads).map(|member| member.number)
        })
        .await
    }

    /// Writes so many, by whoever leads.
    async fn write(&mut self, count: u64) {
        let until_number = self.written + count;
        while self.written < until_number {
            let leader = self.leader().await;
            let next = self.written + 1;
            match self.consensus(leader).propose(command(next)).await {
                Ok(_) => self.written = next,
                Err(ProposeError::NotLeader(_) | ProposeError::Unknown) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Waits until a member has applied all that was acknowledged.
    async fn holds_all(&self, number: u8) {
        let consensus = self.consensus(number);
        let all = Stamp(1_000 + self.written);
        until("everything applied", || consensus.read(|state| (state.stamp >= all).then_some(())))
            .await;
    }

    async fn behind(&self, number: u8) -> Lacks {
        until("the finding", || match self.standing(number) {
            Standing::Behind(behind) => Some(behind.lacks),
            Standing::Comparing | Standing::Sound => None,
        })
        .await
    }
}

impl Member {
    async fn serve(&mut self, consensus: Consensus, tls: ServerTls) {
        let address = self.address;
        let listener = loop {
            match TcpListener::bind(address).await {
                Ok(listener) => break listener,
                // The one before is just ending.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        let stop = CancellationToken::new();
        let routes = tonic::service::Routes::new(consensus.service());
        let stopped = stop.clone();
        tokio::spawn(async move {
            let places = skep_core::base::ManagerPlaces::default();
            let serving = serve(listener, tls, routes, &places, std::future::pending());
            tokio::select! {
                _ = serving => {}
                () = stopped.cancelled() => {}
            }
        });
        self.running = Some((consensus, stop));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p3_one_that_was_long_away_gets_a_snapshot_while_writes_go_on() {
    let mut members = Members::three().await;
    members.write(10).await;
    members.holds_all(3).await;
    members.kill(3, Lost::Nothing);
    members.write(200).await;
    let leader = members.leader().await;
    let purged = || {
        let metrics = members.consensus(leader).raft_metrics();
        metrics.purged.filter(|purged| purged.index > 50).map(drop)
    };
    until("a purge past its end", purged).await;
    assert!(members.member(3).disk.files("/d/snapshots").is_empty(), "it made none itself");
    members.start(3).await;
    members.write(100).await;
    members.holds_all(3).await;
    assert!(!members.member(3).disk.files("/d/snapshots").is_empty(), "one was installed");
    assert_eq!(members.standing(3), Standing::Sound);
    // What it was given is on its disk, and counts: another one goes.
    let other = if leader == 1 { 2 } else { 1 };
    members.kill(other, Lost::All);
    members.write(20).await;
    members.kill(3, Lost::All);
    members.start(3).await;
    members.write(20).await;
    members.holds_all(3).await;
    let heads: Vec<_> = [leader, 3]
        .map(|number| members.consensus(number).read(|state| (state.stamp, state.audit_head)))
        .into();
    assert!(heads[0].0 != heads[1].0 || heads[0].1 == heads[1].1, "{heads:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_an_older_disk_takes_no_part_and_its_renewal_brings_it_home() {
    let mut members = Members::three().await;
    members.write(5).await;
    members.holds_all(3).await;
    let older = members.member(3).disk.crash(Lost::Nothing);
    members.write(60).await;
    members.holds_all(3).await;
    members.kill(3, Lost::Nothing);
    members.member_mut(3).disk = older.crash(Lost::Nothing);
    members.start(3).await;
    let lacks = members.behind(3).await;
    assert!(matches!(lacks, Lacks::Entries | Lacks::Start | Lacks::Vote), "{lacks:?}");
    let consensus = members.consensus(3).clone();
    assert!(matches!(consensus.propose(command(999)).await, Err(ProposeError::NotLeader(None))));
    // With it alone there is no majority.
    let leader = members.leader().await;
    let other = if leader == 1 { 2 } else { 1 };
    members.kill(other, Lost::Nothing);
    until("no majority", || {
        (!members.consensus(leader).leadership().borrow().quorum).then_some(())
    })
    .await;
    assert!(consensus.renew(Vec::new()).await.is_err(), "a majority without it is missing");
    assert!(matches!(members.standing(3), Standing::Behind(_)));
    members.start(other).await;
    let leader = members.leader().await;
    until("contact", || {
        let all = members.consensus(leader).members();
        let there = |m: &&super::Member| m.last_contact_ms.is_some_and(|ago| ago < 1_000);
        (all.iter().filter(there).count() == 2).then_some(())
    })
    .await;
    let renewed = consensus.renew(Vec::new()).await.expect("released").expect("started");
    assert_eq!(*renewed.standing().borrow(), Standing::Sound);
    assert_eq!(renewed.members().len(), 0, "it holds nothing");
    let leads = members.consensus(leader).clone();
    assert!(leads.members().iter().all(|member| member.node != id(3)), "it is no member");

    let (_, stop) = members.member_mut(3).running.take().expect("the old one");
    stop.cancel();
    let fingerprint = members.authority.fingerprint();
    let member = members.member_mut(3);
    let credentials = Credentials::new(&member.holder.chain, &member.holder.secret());
    let tls = ServerTls::new(&credentials.expect("credentials"), fingerprint, Arc::new(Still));
    member.serve(renewed, tls).await;
    let at = vec![member.address.to_string()];
    leads.admit(id(3), at).await.expect("admitted");
    members.holds_all(3).await;
    leads.set_voters((1..=3).map(id).collect()).await.expect("voters");
    members.write(5).await;
    members.holds_all(3).await;
    // It starts again as any other, and nobody takes it for the one it was.
    members.kill(3, Lost::All);
    members.start(3).await;
    members.write(5).await;
    members.holds_all(3).await;
    assert_eq!(members.standing(3), Standing::Sound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p3_one_that_reads_old_members_again_does_not_elect_itself() {
    let mut members = Members::at_rest().await;
    let parts = Parts::of(members.given(1).0, TUNING).expect("parts");
    parts.give_up(2).expect("its log is given up");
    members.start(1).await;
    // The second one leads, and tells of a time when the first one was alone.
    let own = [(id(1), Addresses(vec![members.member(1).address.to_string()]))];
    let alone = Membership::new(vec![BTreeSet::from([id(1)])], BTreeMap::from(own));
    let at =
        |term, index, payload| LogEntry { log_id: LogId::new_term_index(term, index), payload };
    let vote = Vote { leader_id: LeaderId { term: 4, voted_for: id(2) }, committed: true };
    let first = AppendEntriesRequest {
        vote,
        prev_log_id: None,
        leader_commit: Some(LogId::new_term_index(4, 9)),
        entries: vec![
            at(0, 0, EntryPayload::Membership(alone.expect("members"))),
            at(1, 1, EntryPayload::Blank),
        ],
    };
    let consensus = members.consensus(1).clone();
    consensus.raft().append_entries(first).await.expect("taken");
    until("the members of old", || {
        let members = consensus.members();
        (members.len() == 1 && members[0].voter).then_some(())
    })
    .await;
    let mut leadership = consensus.leadership();
    let elected = leadership.wait_for(|now| now.leader == Some(id(1)));
    let elected = tokio::time::timeout(ELECTIONS, elected).await;
    assert!(elected.is_err(), "it elected itself among the members of old");
    assert_eq!(consensus.raft_metrics().current_term, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p3_power_losses_in_any_order_are_never_taken_for_an_older_disk() {
    let mut members = Members::three().await;
    let orders: [[u8; 3]; 6] = [[1, 2, 3], [3, 2, 1], [2, 1, 3], [1, 3, 2], [3, 1, 2], [2, 3, 1]];
    for (round, order) in orders.into_iter().enumerate() {
        members.write(15).await;
        // Amid the next write, so that something is torn.
        let leader = members.leader().await;
        let amid = members.consensus(leader).clone();
        let next = members.written + 1;
        let writing = tokio::spawn(async move { amid.propose(command(next)).await.is_ok() });
        for number in order {
            let lost = match (round + usize::from(number)) % 4 {
                0 => Lost::Nothing,
                1 => Lost::All,
                2 => Lost::After(100),
                _ => Lost::Blocks(512, 0x5a5a_5a5a),
            };
            members.kill(number, lost);
        }
        writing.abort();
        for number in order {
            members.start(number).await;
        }
        // Whether it was done is not known: its number is not used again.
        members.written += 1;
        members.write(5).await;
        for number in order {
            members.holds_all(number).await;
            assert_eq!(members.standing(number), Standing::Sound, "round {round}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_audit_head_than_the_leaders_ends_a_member() {
    let mut members = Members::three().await;
    members.write(3).await;
    let leader = members.leader().await;
    let odd = if leader == 3 { 2 } else { 3 };
    members.holds_all(odd).await;
    members.consensus(odd).spoil_state();
    let consensus = members.consensus(odd).clone();
    members.write(1_030).await;
    let stopped = tokio::time::timeout(PATIENCE, consensus.stopped()).await.expect("stops");
    assert!(matches!(stopped, StartError::Diverged(1024)), "{stopped}");
    members.write(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_one_that_comes_first_waits_for_a_peer_before_it_takes_part() {
    let mut members = Members::three().await;
    members.write(3).await;
    for number in 1..=3 {
        members.kill(number, Lost::All);
    }
    for number in 1..=3 {
        members.gone(number).await;
    }
    let busy = CancellationToken::new();
    // What is asked too early is asked in a machine that has other things to do.
    for _ in 0..4 {
        let busy = busy.clone();
        std::thread::spawn(move || while !busy.is_cancelled() {});
    }
    let _idle = busy.drop_guard();
    for _ in 0..100 {
        let started = tokio::time::timeout(PATIENCE, members.start(2)).await;
        started.expect("it runs, and waits in the background");
        assert_eq!(members.standing(2), Standing::Comparing);
        members.kill(2, Lost::All);
    }
}
