//! A request that needs the leader: answered here, or sent on to it.
//!
//! Only what came over this manager's own control socket is sent on. What came over the
//! network is told where the leader is, and its caller asks there.

mod onward;

use std::future::Future;
use std::sync::Arc;

use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::manager::admit::caller::Admitted;
use crate::manager::peers::PeerClient;
use crate::manager::running::Running;
use skep_client::transport::{Problem, tell_age};

pub(in crate::manager) use self::onward::{Broken, Onward};

/// A request to be answered by the leader, whoever that is.
pub(in crate::manager) struct Led<Q> {
    /// This manager.
    pub running: Arc<Running>,
    /// Whoever asks.
    pub admitted: Admitted,
    /// What is asked.
    pub request: Request<Q>,
    /// Any manager may answer it: it need not be up to date.
    pub stale: bool,
    /// What it means that the leader does not answer.
    pub broken: Broken,
}

impl<Q> Led<Q> {
    /// Where it is answered: by the leader where another manager leads and the request came
    /// over the control socket, else here.
    async fn onward(&self) -> Option<Onward> {
        if self.stale {
            return None;
        }
        self.running.core.consensus.led_soon().await;
        Onward::new(&self.running, self.admitted.local()?)
    }
    /// Answers it here with `here`, or asks the leader with `there`.
    ///
    /// # Errors
    /// What the caller is told.
    pub(in crate::manager) async fn answer<R, There, Here>(
        self,
        there: impl FnOnce(PeerClient, Request<Q>) -> There,
        here: impl FnOnce(Arc<Running>, Admitted, Q) -> Here,
    ) -> Result<Response<R>, Status>
    where
        There: Future<Output = Result<Response<R>, Status>>,
        Here: Future<Output = Result<R, Problem>>,
    {
        if let Some(onward) = self.onward().await {
            return onward.ask(self.request, self.broken, there).await;
        }
        let (running, stale) = (self.running.clone(), self.stale);
        let answer = here(self.running, self.admitted, self.request.into_inner());
        let mut answer = Response::new(answer.await?);
        if stale {
            tell_age(&running.as_of(), answer.metadata_mut());
        }
        Ok(answer)
    }
    /// The same for an answer that is a stream.
    ///
    /// # Errors
    /// What the caller is told.
    pub(in crate::manager) async fn answer_stream<T, There, Here>(
        self,
        there: impl FnOnce(PeerClient, Request<Q>) -> There,
        here: impl FnOnce(Arc<Running>, Admitted, Q) -> Here,
    ) -> Result<Response<ReceiverStream<Result<T, Status>>>, Status>
    where
        T: Send + 'static,
        There: Future<Output = Result<Response<Streaming<T>>, Status>>,
        Here: Future<Output = Result<ReceiverStream<Result<T, Status>>, Problem>>,
    {
        if let Some(onward) = self.onward().await {
            let stream = onward.ask(self.request, self.broken, there).await?;
            return Ok(onward.hand_on(stream));
        }
        let answer = here(self.running, self.admitted, self.request.into_inner());
        Ok(Response::new(answer.await?))
    }
}
