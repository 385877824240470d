//! Skep itself: an operator's connection for each client.

use std::time::Duration;

use cluster_tests::{Cluster, DEADLINE, Manager};
use skep_client::Operator;
use skep_core::base::{SecretBytes, SecretId};

use super::turn::{Client, Members, System, Turn, Work, fill, turn};
use crate::size::{ACT, VALUE};

/// Three managers.
pub(super) struct Skep(Cluster);

impl Skep {
    pub(super) fn start() -> Self {
        Self(Cluster::start_with(3, 0))
    }

    fn open(&self) -> OperatorClient {
        OperatorClient { operator: self.0.client(DEADLINE).into_operator(), ids: Vec::new() }
    }
}

impl System for Skep {
    fn name(&self) -> &'static str {
        "Skep"
    }

    fn members(&self) -> Members {
        let leader = self.0.leader();
        let pids: Vec<u32> = self.0.managers().map(Manager::pid).collect();
        let followers = pids.iter().enumerate().filter(|(number, _)| *number != leader);
        Members { leader: pids[leader], followers: followers.map(|(_, pid)| *pid).collect() }
    }

    fn can(&self, _work: Work) -> bool {
        true
    }

    fn fill(&self, things: usize) {
        fill(async |_| self.open(), things);
    }

    fn turn(&self, work: Work, clients: usize, time: Duration, prefix: &str) -> Turn {
        turn(async |_| self.open(), &self.members(), (work, clients, time, prefix))
    }
}

struct OperatorClient {
    operator: Operator,
    ids: Vec<SecretId>,
}

impl Client for OperatorClient {
    async fn create(&mut self, name: &str) {
        let value = SecretBytes::copy_of(&[b'x'; VALUE]);
        self.operator.create(&name.parse().expect("a name"), value).await.expect("a secret");
    }

    async fn read(&mut self, name: &str) {
        let view = self.operator.secret(name).await.expect("a secret");
        assert_eq!(view.name, name);
    }

    async fn list(&mut self) -> usize {
        self.operator.secrets(false).await.expect("a list").len()
    }

    async fn act(&mut self, prefix: &str) {
        for number in self.ids.len()..ACT {
            let name = format!("{prefix}-act-{number}").parse().expect("a name");
            let value = SecretBytes::copy_of(&[b'x'; VALUE]);
            self.ids.push(self.operator.create(&name, value).await.expect("a secret"));
        }
        let value = |id: &SecretId| (*id, SecretBytes::copy_of(&[b'x'; VALUE]));
        self.operator.update(self.ids.iter().map(value)).await.expect("an act");
    }
}
