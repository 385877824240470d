//! Managers come and go and the cluster key with them, against a model that has
//! the rules written down a second time.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::base::{Labels, NodeId, TokenId};
use crate::domain::testing::{
    MANAGER, World, join_manager, name, node_id, rekey, secret_id, token, version,
};
use crate::domain::{Act, Change, NodeRole, Token};

const JOINING: TokenId = TokenId::from_bytes([0x77; 16]);

#[derive(Clone, Copy, Debug)]
enum Doing {
    /// Manager, with the key of a number that is off by so many.
    Join(u8, u64),
    /// Manager (0 is the founder), off by so many, and a box too few.
    Remove(u8, u64, bool),
    /// Secret, its data key under a number that is off by so many.
    Write(u8, u64),
    Forget(u8),
}

#[derive(Debug)]
struct Model {
    number: u64,
    /// 0 is the founder. A number that is used up joins no more.
    managers: BTreeSet<u8>,
    used_up: BTreeSet<u8>,
    /// Under which number each data key is.
    secrets: BTreeMap<u8, u64>,
    previous: Vec<u64>,
}

impl Model {
    /// Whether it is done.
    fn act(&mut self, doing: Doing) -> bool {
        match doing {
            // One that is there asks again with the same key.
            Doing::Join(n, off) => {
                self.managers.contains(&n) || off == 0 && self.managers.insert(n)
            }
            Doing::Remove(n, off, short) => {
                let last = self.managers.len() < 2;
                if last || off != 0 || short || !self.managers.remove(&n) {
                    return false;
                }
                self.used_up.insert(n);
                self.number += 1;
                let oldest = self.secrets.values().min().copied().unwrap_or(self.number);
                self.previous = (oldest..self.number).collect();
                true
            }
            Doing::Write(n, off) => {
                let new = off == 0 && !self.secrets.contains_key(&n);
                new && self.secrets.insert(n, self.number).is_none()
            }
            Doing::Forget(n) => self.secrets.remove(&n).is_some(),
        }
    }
}

fn manager_id(n: u8) -> NodeId {
    if n == 0 { MANAGER } else { node_id(n) }
}

fn act_of(model: &Model, doing: Doing, drawn: u64) -> Act {
    Act::Change(vec![match doing {
        Doing::Join(n, off) => {
            return Act::Join(Box::new(join_manager(n, JOINING, model.number + off)));
        }
        Doing::Remove(n, off, short) => {
            let staying =
                model.managers.iter().filter(|other| **other != n).map(|n| manager_id(*n));
            let mut staying: BTreeSet<NodeId> = staying.collect();
            if short {
                staying.pop_last();
            }
            let rekey = Box::new(rekey(model.number + 1 + off, staying));
            Change::RemoveManager { id: manager_id(n), rekey }
        }
        Doing::Write(n, off) => {
            let mut version = version(drawn);
            version.data_key.number = model.number + off;
            let (id, name) = (secret_id(n), name(&format!("s{n}")));
            Change::CreateSecret {
                id,
                name,
                labels: Labels::default(),
                forward_only: false,
                version,
            }
        }
        Doing::Forget(n) => Change::RemoveSecret { id: secret_id(n) },
    }])
}

fn doings() -> impl Strategy<Value = Doing> {
    let off = || prop_oneof![6 => Just(0_u64), 1 => Just(1_u64)];
    prop_oneof![
        3 => (2..=6_u8, off()).prop_map(|(n, off)| Doing::Join(n, off)),
        3 => (0..=6_u8, off(), proptest::bool::weighted(0.1))
            .prop_map(|(n, off, short)| Doing::Remove(n, off, short)),
        3 => (1..=3_u8, off()).prop_map(|(n, off)| Doing::Write(n, off)),
        2 => (1..=3_u8).prop_map(Doing::Forget),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn cluster_keys_follow_the_managers(doings in proptest::collection::vec(doings(), 1..60)) {
        let mut world = World::founded();
        let made = Token { role: NodeRole::Manager, ..token() };
        world.one(Change::CreateToken { id: JOINING, token: made }).expect("a token");
        let mut model = Model {
            number: 1,
            managers: BTreeSet::from([0]),
            used_up: BTreeSet::new(),
            secrets: BTreeMap::new(),
            previous: Vec::new(),
        };
        for (drawn, doing) in (1..).zip(doings) {
            // Ids are never drawn twice.
            if matches!(doing, Doing::Join(n, _) if model.used_up.contains(&n)) {
                continue;
            }
            let act = act_of(&model, doing, drawn);
            let done = world.act(act).outcome.is_ok();
            prop_assert_eq!(done, model.act(doing), "{:?}", doing);
            let cluster = world.state.cluster.as_deref().expect("a cluster");
            let key = &cluster.cluster_key;
            prop_assert_eq!(key.number, model.number);
            let managers: BTreeSet<NodeId> = model.managers.iter().map(|n| manager_id(*n)).collect();
            prop_assert!(managers.iter().eq(key.boxes.keys()), "after {:?}", doing);
            prop_assert!(key.previous.keys().eq(&model.previous), "after {:?}", doing);
        }
    }
}
