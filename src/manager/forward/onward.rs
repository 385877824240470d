//! From a follower's control socket to the leader.
//!
//! What is asked on the socket is this manager's own act, so it goes on with this
//! manager's own certificate and says for which local user. What came over the
//! network is never sent on: a request makes one such step at most.

use crate::manager::problem;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::manager::admit::behalf::Behalf;
use crate::manager::admit::local::LocalUser;
use crate::manager::peers::PeerClient;
use crate::manager::running::Running;
use skep_client::transport::{Problem, read_problem};
use skep_core::base::{NodeId, limits};
use skep_core::wire::api;

/// How long the leader may take: an act is decided within its deadline.
const ANSWER: Duration = Duration::from_millis(limits::DEADLINE_MS + 5_000);

/// What it means that the leader was asked and did not answer.
#[derive(Clone, Copy, Debug)]
pub(in crate::manager) enum Broken {
    /// Nothing: it would have changed nothing.
    NothingDone,
    /// It may have been done.
    Unknown,
}

/// The way to the leader, for one request of a local user.
pub(in crate::manager) struct Onward {
    running: Arc<Running>,
    leader: NodeId,
    behalf: Behalf,
}

impl Onward {
    /// To the leader, where that is another manager.
    pub(in crate::manager) fn new(running: &Arc<Running>, user: LocalUser) -> Option<Self> {
        let leader = running.core.other_leader()?;
        Some(Self { running: running.clone(), leader, behalf: Behalf::from(user) })
    }
    /// To another manager, whoever leads.
    pub(in crate::manager) fn to(running: &Arc<Running>, manager: NodeId, user: LocalUser) -> Self {
        Self { running: running.clone(), leader: manager, behalf: Behalf::from(user) }
    }
    /// Asks that manager once. Whoever called repeats it where that helps.
    ///
    /// # Errors
    /// What the leader says, or that it does not answer.
    pub(in crate::manager) async fn ask<Q, R, F>(
        &self,
        request: Request<Q>,
        broken: Broken,
        call: impl FnOnce(PeerClient, Request<Q>) -> F,
    ) -> Result<Response<R>, Status>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let peers = &self.running.peers;
        let client =
            peers.client(self.leader, &self.running.core.addresses_of(self.leader)).await?;
        let mut sent = Request::new(request.into_inner());
        self.behalf.write(sent.metadata_mut());
        match tokio::time::timeout(ANSWER, call(client, sent)).await {
            // Its metadata are of that connection, not of this one.
            Ok(Ok(response)) => Ok(Response::new(response.into_inner())),
            Ok(Err(status)) => Err(self.told(&status, broken)),
            Err(_late) => Err(self.silent(broken).into()),
        }
    }
    /// Asks the leader to apply changes.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub(in crate::manager) async fn apply(
        &self,
        request: Request<api::ApplyRequest>,
    ) -> Result<Response<api::ApplyReply>, Status> {
        let ask = |mut leader: PeerClient, request| async move { leader.apply(request).await };
        self.ask(request, Broken::Unknown, ask).await
    }
    /// What the leader's refusal is to a local user, who is sent nowhere else.
    fn told(&self, status: &Status, broken: Broken) -> Status {
        match read_problem(status) {
            None => self.silent(broken).into(),
            Some(problem) if problem.leader.is_none() => problem.into(),
            Some(_) => problem::not_leader(None).into(),
        }
    }
    fn silent(&self, broken: Broken) -> Problem {
        self.running.peers.lost(self.leader);
        match broken {
            Broken::NothingDone => problem::members::leader_silent(),
            Broken::Unknown => problem::unknown(),
        }
    }
    /// Hands on a stream of the leader until it ends, the caller is gone or this
    /// manager stops.
    pub(in crate::manager) fn hand_on<T: Send + 'static>(
        self,
        stream: Response<Streaming<T>>,
    ) -> Response<ReceiverStream<Result<T, Status>>> {
        let mut stream = stream.into_inner();
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                let next = tokio::select! {
                    () = self.running.stop.cancelled() => return,
                    () = sender.closed() => return,
                    next = stream.next() => next,
                };
                let Some(next) = next else { return };
                let next = next.map_err(|status| self.told(&status, Broken::NothingDone));
                let over = next.is_err();
                if sender.send(next).await.is_err() || over {
                    return;
                }
            }
        });
        Response::new(ReceiverStream::new(receiver))
    }
}
