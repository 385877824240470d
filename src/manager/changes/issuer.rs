//! The issuing CA, replaced: the leader makes the key, whoever has the root's key signs it.
//!
//! Neither sees the other's key. The leader keeps its own in memory alone between the two
//! steps, so that a leader that is gone meanwhile has left nothing behind.

use std::sync::Arc;

use crate::manager::admit::caller::Admitted;
use crate::manager::problem::{self, Explain};
use crate::manager::running::Running;
use crate::manager::task::to_the_end;
use skep_client::ca::{CaError, CertificateRole, Issuer, PrivateKey, Subject, verify_chain};
use skep_client::transport::Problem;
use skep_core::base::{Exit, OperatorId, RequestId, SecretBytes, Stamp};
use skep_core::domain::{Act, Cluster, Refusal};
use skep_core::wire::api;
use skep_core::wire::convert::read_id;

/// Bytes of a certificate: far more than any has.
const PART_BYTES: usize = 16 * 1024;
/// How long the leaf is good by which a certificate is tried: it is shown to nobody.
const TRIAL_MS: u64 = 60_000;

/// Makes the key of the next issuing CA.
///
/// # Errors
/// What the caller is told.
pub(in crate::manager) async fn prepare(
    running: &Running,
) -> Result<api::PrepareIssuerReply, Problem> {
    running.core.leads()?;
    running.settle(false).await?;
    let cluster = cluster(running)?;
    is_free(&cluster)?;
    let key = PrivateKey::generate().map_err(problem::life::no_key_pair)?;
    let reply = api::PrepareIssuerReply {
        issuing_public: key.public(),
        cluster_id: cluster.id.as_bytes().to_vec(),
        root: cluster.root.to_vec(),
        sealed_root_key: cluster.sealed_root_key.to_vec(),
        issuer: cluster.issuers.current.0,
    };
    running.offer.put(key, running.core.clock.boot());
    Ok(reply)
}

/// Puts the issuing CA with this certificate in the place of the one in use. Goes on to its
/// end also when the caller is gone.
///
/// # Errors
/// What the caller is told.
pub(in crate::manager) async fn commit(
    running: Arc<Running>,
    admitted: Admitted,
    request: api::CommitIssuerRequest,
) -> Result<api::CommitIssuerReply, Problem> {
    to_the_end("ca rotate", async move { rotate(&running, &admitted, &request).await }).await
}

async fn rotate(
    running: &Running,
    admitted: &Admitted,
    request: &api::CommitIssuerRequest,
) -> Result<api::CommitIssuerReply, Problem> {
    let id: RequestId = read_id("request_id", &request.request_id).map_err(Explain::explain)?;
    if request.issuing.len() > PART_BYTES || request.issuing_public.len() > PART_BYTES {
        return Err(problem::issuer::too_long());
    }
    let core = &running.core;
    core.leads()?;
    // The next cluster key comes with the issuing key of its time.
    let _turn = running.voting.lock().await;
    running.settle(false).await?;
    core.open_key();
    let cluster = cluster(running)?;
    if *cluster.issuing == *request.issuing {
        // It was not heard that it is done.
        return Ok(api::CommitIssuerReply { issuer: cluster.issuers.current.0 });
    }
    is_free(&cluster)?;
    let now = core.fresh_reading().await.map_err(problem::clock_doubted)?.clock();
    let boot = core.clock.boot();
    let key = running.offer.take(&request.issuing_public, boot);
    let key = key.ok_or_else(problem::issuer::not_prepared)?;
    let issuing_key = core.keys.wrap_issuing(&mut *(core.dice)(), &cluster, &key);
    let issuing_key = issuing_key.map_err(Explain::explain)?;
    let bad = |error: CaError| problem::request::bad("the issuing certificate", error);
    let copy = PrivateKey::from_pkcs8(SecretBytes::copy_of(key.expose())).map_err(bad)?;
    let begins = tried(running, &cluster, &request.issuing, copy, now).map_err(bad)?;
    if begins <= cluster.issuers.current {
        return Err(problem::request::bad("the issuing certificate", "begins too early"));
    }
    let act = Act::RotateIssuer { issuing: Arc::from(&*request.issuing), issuing_key, begins };
    if let Err(problem) = running.propose(id, admitted.origin()?, act).await {
        if problem.exit == Exit::Unknown {
            // Whoever repeats it is to hear what came of it.
            running.offer.put(key, boot);
        }
        return Err(problem);
    }
    tracing::info!(event = "issuer_rotated", begins = begins.0);
    Ok(api::CommitIssuerReply { issuer: begins.0 })
}

/// Whether a leaf that the next issuing CA signs is accepted: a certificate that is not for
/// our key, or not by the root, ends here. When it begins.
fn tried(
    running: &Running,
    cluster: &Cluster,
    issuing: &[u8],
    key: PrivateKey,
    now: Stamp,
) -> Result<Stamp, CaError> {
    let public = key.public();
    let issuer = Issuer::new(issuing.to_vec(), key)?;
    let role = CertificateRole::Operator(OperatorId::from_bytes([0; 16]));
    let subject = Subject { cluster: cluster.id, role, name: cluster.name.clone() };
    let leaf = issuer.sign_leaf(&public, &subject, now, now.plus_ms(TRIAL_MS))?;
    let chain = [leaf, issuing.to_vec(), cluster.root.to_vec()];
    verify_chain(&chain, running.identity.fingerprint, now)?;
    Ok(issuer.begins())
}

fn cluster(running: &Running) -> Result<Arc<Cluster>, Problem> {
    let cluster = running.core.consensus.read(|state| state.cluster.clone());
    cluster.ok_or(Refusal::NotInitialised).map_err(Explain::explain)
}

/// One at a time: members renew to the newest, and would do it twice.
fn is_free(cluster: &Cluster) -> Result<(), Problem> {
    cluster.issuers.rotating.map_or(Ok(()), |since| Err(problem::issuer::under_way(since)))
}
