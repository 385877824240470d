//! Those who renew: agents with their files, managers and an operator with the key that they
//! keep.

use std::cell::Cell;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::cluster::{Shown, Side, Why};
use crate::agent::member::Own;
use crate::manager::LEAF_MS;
use crate::manager::upkeep::certificate::is_on_record;
use crate::store::testing::{FaultyDisk, Lost};
use skep_client::ca::{
    CertificateRole, Identity, Leaf, PrivateKey, issuer_begins, key_digest, read_leaf,
};
use skep_client::renew::{Age, Next};
use skep_core::base::testing::Seeded;
use skep_core::base::{Clock, Dice, NodeId, OperatorId, SecretBytes, Stamp};
use skep_core::domain::Method;
use skep_core::domain::testing::node_id;
use skep_core::domain::{Act, Member};
use skep_core::seal::HelloKey;

const FOLDER: &str = "/data";
const IDENTITY: &str = "/data/identity";
/// Connections that an agent makes before it rests.
const TRIES: usize = 4;
/// Changes of the disk within one renewal, and more.
const CHANGES: u8 = 24;

thread_local! {
    static SEED: Cell<u64> = const { Cell::new(0) };
}

fn dice() -> Box<dyn Dice> {
    SEED.set(SEED.get() + 1);
    Box::new(Seeded::new(SEED.get()))
}

/// Somebody who renews.
pub(super) enum Party {
    Agent(Agent),
    Kept(Kept),
}

impl fmt::Debug for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.member())
    }
}

impl Party {
    pub(super) fn member(&self) -> Member {
        match self {
            Self::Agent(agent) => Member::Node(agent.id),
            Self::Kept(kept) => kept.member,
        }
    }
    /// When the certificate ends that it shows.
    pub(super) fn ends(&self) -> Stamp {
        match self {
            Self::Agent(agent) => agent.own.leaf().ends,
            Self::Kept(kept) => kept.shown.leaf.ends,
        }
    }
    /// What it does all the time.
    pub(super) fn method(&self) -> Method {
        match self {
            Self::Agent(_) => Method::Session,
            Self::Kept(kept) => kept.method(),
        }
    }
    /// Every certificate that it had.
    pub(super) fn history(&self) -> &[Shown] {
        match self {
            Self::Agent(agent) => &agent.history,
            Self::Kept(kept) => &kept.history,
        }
    }
    /// Whether no renewal is under way.
    pub(super) fn is_settled(&self) -> bool {
        match self {
            Self::Agent(agent) => agent.disk.files(FOLDER).len() == 1,
            Self::Kept(_) => true,
        }
    }
    /// Whether the leader has yet to see the key that it shows. A key that was drawn and never
    /// signed for may wait longer: it is the next one's.
    pub(super) fn is_unseen(&self) -> bool {
        match self {
            Self::Agent(agent) => agent.own.is_unseen(),
            Self::Kept(_) => false,
        }
    }
    /// Does what is due, and asks to be served.
    pub(super) fn step(&mut self, side: &mut Side) -> Result<(), Why> {
        match self {
            Self::Agent(agent) => agent.step(side),
            Self::Kept(kept) => kept.step(side),
        }
    }
}

/// An agent: what it has on its disk, and what runs.
pub(super) struct Agent {
    id: NodeId,
    disk: FaultyDisk,
    own: Own,
    history: Vec<Shown>,
}

impl Agent {
    /// One that has just joined.
    pub(super) fn join(side: &mut Side, n: u8) -> Self {
        let id = node_id(n);
        let key = PrivateKey::generate().expect("a key");
        let chain = side.sign(&key.public(), CertificateRole::Worker(id));
        let (member, issuer) = (Member::Node(id), side.issuer());
        let (digest, ends) = (key_digest(&key.public()), side.now().plus_ms(LEAF_MS));
        let act = Act::Renew { member, key: digest, certificate_ends: ends, issuer };
        side.act(act).expect("listed");
        side.seen(member, digest);
        let identity = Identity {
            cluster: "prod".parse().expect("a name"),
            fingerprint: side.authority().fingerprint(),
            addresses: vec!["m1:4440".to_owned()],
            oldest_issuer: Stamp(0),
            chain,
            key,
            hello: HelloKey::parse(&SecretBytes::zeroed(64)).expect("a key"),
            sealed: None,
        };
        let disk = FaultyDisk::default();
        disk.put(IDENTITY, identity.to_text().expose().to_vec());
        let own = Self::start(side, &disk);
        Self { id, disk, own, history: Vec::new() }.noted()
    }

    fn start(side: &Side, disk: &FaultyDisk) -> Own {
        let identity = Identity::parse(&disk.bytes(IDENTITY)).expect("an identity");
        let clock: Arc<dyn Clock> = side.clock.clone();
        let own = Own::new(Arc::new(disk.clone()), Path::new(FOLDER), identity, clock, dice);
        own.expect("what it needs to start")
    }

    /// It died, or its machine did, and is started again.
    fn dies(&mut self, side: &mut Side) -> Why {
        let lost = if side.dice.one_in(2) { Lost::All } else { Lost::Nothing };
        self.disk = self.disk.crash(lost);
        self.own = Self::start(side, &self.disk);
        Why::Lost
    }

    fn shown(&self) -> Shown {
        let identity = Identity::parse(&self.disk.bytes(IDENTITY)).expect("an identity");
        let leaf = read_leaf(&identity.chain[0]).expect("a leaf");
        let issuer = issuer_begins(&identity.chain[1]).expect("an issuing CA");
        assert_eq!(leaf, self.own.leaf(), "what is on disk is what is shown");
        Shown { leaf, issuer }
    }

    fn noted(mut self) -> Self {
        self.note();
        self
    }

    fn note(&mut self) {
        let shown = self.shown();
        if !self.history.contains(&shown) {
            self.history.push(shown);
        }
    }

    fn step(&mut self, side: &mut Side) -> Result<(), Why> {
        for _ in 0..TRIES {
            if side.happens(3) {
                let more = u64::from(side.dice.below(CHANGES));
                self.disk.fail_after(more);
            }
            if self.own.comes_first() {
                self.renew(side)?;
                continue;
            }
            if self.own.is_unseen() && !self.show(side)? {
                continue;
            }
            match side.call(&self.shown(), Method::Session) {
                Ok(()) => return self.keep(side),
                Err(problem) if problem.wants_renewal() => self.own.want(),
                Err(problem) => return Err(Side::why(&problem)),
            }
        }
        Err(Why::Lost)
    }

    /// Renews beside its session, which stays whatever becomes of that.
    fn keep(&mut self, side: &mut Side) -> Result<(), Why> {
        if !(self.own.is_due() || side.asks(self.id)) {
            return Ok(());
        }
        let renewed = match self.renew(side) {
            Ok(()) => self.show(side).map(|_| ()),
            Err(why) => Err(why),
        };
        match renewed {
            Ok(()) | Err(Why::Lost) => Ok(()),
            Err(why) => Err(why),
        }
    }

    fn renew(&mut self, side: &mut Side) -> Result<(), Why> {
        let Ok(key) = self.own.next_key() else { return Err(self.dies(side)) };
        if side.happens(8) {
            return Err(self.dies(side));
        }
        let public = key.public();
        side.renew(Member::Node(self.id), &self.shown(), key_digest(&public))?;
        let chain = side.sign(&public, CertificateRole::Worker(self.id));
        if side.happens(8) {
            return Err(self.dies(side));
        }
        let leaf = read_leaf(&chain[0]).expect("a leaf");
        let next = Next { chain, leaf, addresses: Vec::new(), oldest_issuer: side.oldest() };
        let adopted = self.own.adopt(next, key).is_ok();
        if !adopted || side.happens(8) {
            let why = self.dies(side);
            self.note();
            return Err(why);
        }
        self.note();
        Ok(())
    }

    fn show(&mut self, side: &mut Side) -> Result<bool, Why> {
        let shown = self.shown();
        if side.happens(6) {
            return Err(Why::Lost);
        }
        match side.call(&shown, Method::Renew).map_err(|problem| Side::why(&problem)) {
            Ok(()) => {
                side.seen(Member::Node(self.id), shown.leaf.key);
                if side.happens(6) {
                    return Err(Why::Lost);
                }
                if self.own.settled().is_err() || side.happens(8) {
                    return Err(self.dies(side));
                }
                Ok(true)
            }
            Err(Why::Removed) => match self.own.go_back() {
                Ok(true) => Ok(false),
                Ok(false) => Err(Why::Removed),
                Err(_disk) => Err(self.dies(side)),
            },
            Err(why) => Err(why),
        }
    }
}

/// A manager or an operator: another certificate for the same key.
pub(super) struct Kept {
    member: Member,
    shown: Shown,
    history: Vec<Shown>,
}

impl Kept {
    pub(super) fn manager(side: &mut Side, id: NodeId) -> Self {
        Self::of(side, Member::Node(id), CertificateRole::Manager(id))
    }

    /// The one that founded the cluster.
    pub(super) fn operator(side: &mut Side) -> Self {
        let id = OperatorId::from_bytes([15; 16]);
        Self::of(side, Member::Operator(id), CertificateRole::Operator(id))
    }

    fn of(side: &mut Side, member: Member, role: CertificateRole) -> Self {
        let key = match member {
            Member::Node(id) => side.world.state.nodes[&id].key,
            Member::Operator(id) => side.world.state.operators[&id].key,
        };
        let (subject, starts) = (side.authority().subject(role), side.now());
        let (ends, issuer) = (starts.plus_ms(LEAF_MS), side.issuer());
        let act = Act::Renew { member, key, certificate_ends: ends, issuer };
        side.act(act).expect("listed");
        let shown = Shown { leaf: Leaf { subject, key, starts, ends }, issuer };
        Self { member, history: vec![shown.clone()], shown }
    }

    fn wants(&self, side: &Side) -> bool {
        let (age, issuer) = (Age::of(&self.shown.leaf, side.now()), side.issuer());
        match self.member {
            Member::Operator(_) => age != Age::Young || self.shown.issuer < issuer,
            Member::Node(id) => {
                let (leaf, own) = (&self.shown.leaf, self.shown.issuer);
                age != Age::Young || !is_on_record(&side.world.state, id, leaf, own)
            }
        }
    }

    fn step(&mut self, side: &mut Side) -> Result<(), Why> {
        for _ in 0..TRIES {
            // An operator's is renewed by what it does; it does something every day.
            if self.wants(side) {
                let key = self.shown.leaf.key;
                match side.renew(self.member, &self.shown.clone(), key) {
                    // It dies before that is kept.
                    Ok(_) | Err(Why::Lost) if side.happens(6) => {}
                    Ok(next) => {
                        self.history.push(next.clone());
                        self.shown = next;
                    }
                    Err(Why::Lost) => {}
                    Err(why) => return Err(why),
                }
            }
            match side.call(&self.shown, self.method()) {
                Ok(()) => return Ok(()),
                Err(problem) => match Side::why(&problem) {
                    Why::Lost => {}
                    why => return Err(why),
                },
            }
        }
        Err(Why::Lost)
    }

    fn method(&self) -> Method {
        match self.member {
            Member::Node(_) => Method::Forward,
            Member::Operator(_) => Method::Read,
        }
    }
}
