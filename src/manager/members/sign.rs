//! What is the same whenever the leader signs a certificate: for a machine that joins, and for a
//! member that renews.

use std::sync::Arc;

use crate::manager::LEAF_MS;
use crate::manager::core::{Core, Reading};
use crate::manager::problem::{self, Explain};
use skep_client::ca::{CaError, Issuer, Subject, public_key_of_request};
use skep_client::transport::Problem;
use skep_core::base::Stamp;
use skep_core::domain::{Cluster, Refusal};

/// A leader that can sign: its issuing CA is open, and its clock may be believed.
pub(in crate::manager) struct Signing {
    /// As it was when the issuing CA was opened.
    pub(in crate::manager) cluster: Arc<Cluster>,
    reading: Reading,
    issuer: Issuer,
}

fn bad_key(error: CaError) -> Problem {
    problem::request::bad("the proof", error)
}

/// The public key (SPKI DER) that whoever asks has the private half of.
///
/// # Errors
/// It proves nothing of the kind.
pub(in crate::manager) fn checked_key(public: &[u8], proof: &[u8]) -> Result<Vec<u8>, Problem> {
    let proved = public_key_of_request(proof).map_err(bad_key)?;
    if proved == public { Ok(proved) } else { Err(problem::request::other_proof()) }
}

impl Signing {
    /// Opens the issuing CA and reads the clock.
    ///
    /// # Errors
    /// What somebody is told for whom nobody signs now.
    pub(in crate::manager) async fn ready(core: &Core) -> Result<Self, Problem> {
        core.open_key();
        let cluster = core.consensus.read(|state| state.cluster.clone());
        let cluster = cluster.ok_or(Refusal::NotInitialised).map_err(Explain::explain)?;
        let issuer = core.keys.issuer(&cluster).map_err(Explain::explain)?;
        // A certificate is judged by clocks, not by the cluster's time: where that is ahead,
        // nobody gets a longer one.
        let reading = core.fresh_reading().await.map_err(problem::clock_doubted)?;
        Ok(Self { cluster, reading, issuer })
    }
    /// What time it is.
    pub(in crate::manager) fn now(&self) -> Stamp {
        self.reading.clock()
    }
    /// When a certificate ends that is signed now.
    pub(in crate::manager) fn ends(&self) -> Stamp {
        self.reading.clock().plus_ms(LEAF_MS).min(self.issuer.ends())
    }
    /// The same for whoever is there only until then.
    pub(in crate::manager) fn ends_with(&self, last: Option<Stamp>) -> Stamp {
        last.map_or(self.ends(), |last| self.ends().min(last))
    }
    /// The cluster's time, of the same reading.
    pub(in crate::manager) fn stamp(&self, core: &Core) -> Stamp {
        core.stamp(self.reading)
    }
    /// The beginning of the issuing CA: what tells it from others.
    pub(in crate::manager) fn begins(&self) -> Stamp {
        self.issuer.begins()
    }
    /// Signs for a public key that was checked: leaf, issuing CA, root.
    ///
    /// # Errors
    /// What whoever asked is told.
    pub(in crate::manager) fn chain(
        &self,
        public: &[u8],
        subject: &Subject,
        ends: Stamp,
    ) -> Result<Vec<Vec<u8>>, Problem> {
        let leaf = self.issuer.sign_leaf(public, subject, self.reading.clock(), ends);
        let leaf = leaf.map_err(bad_key)?;
        Ok(vec![leaf, self.cluster.issuing.to_vec(), self.cluster.root.to_vec()])
    }
}
