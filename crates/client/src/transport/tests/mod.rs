//! Real sockets on loopback.

mod client;
mod handshakes;
mod hostile;
mod local;
mod strangers;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use super::bounds::Bounds;
use super::rpc::api::membership_client::MembershipClient;
use super::rpc::api::membership_server::{Membership, MembershipServer};
use super::server::serve_within;
use super::*;
use crate::ca::fixtures::{Authority, Holder, NOW, manager};
use skep_core::base::{BootTime, Clock, Stamp};
use skep_core::wire::api::{
    JoinReply, JoinRequest, RenewReply, RenewRequest, RenewedReply, RenewedRequest,
};

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(10);

struct SetClock(Mutex<Stamp>);

impl Clock for SetClock {
    fn now(&self) -> Stamp {
        *self.0.lock()
    }
    fn boot(&self) -> BootTime {
        BootTime(0)
    }
}

fn clock_at(now: Stamp) -> Arc<SetClock> {
    Arc::new(SetClock(Mutex::new(now)))
}

/// How many places of guests were kept.
static KEPT: Semaphore = Semaphore::const_new(0);

/// Answers who called; the node name `hang` is never answered, `thread` by the thread's name.
struct Who;

#[tonic::async_trait]
impl Membership for Who {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinReply>, Status> {
        let extensions = request.extensions();
        let text = match (caller(extensions), local_caller(extensions)) {
            (Some(caller), None) => format!("{caller:?}"),
            (None, Some(local)) => format!("{local:?}"),
            _ => "nobody, or both".to_owned(),
        };
        let from = request.remote_addr().map(|address| address.ip());
        let wanted = caller(extensions).map(|_| IpAddr::from([127, 0, 0, 1]));
        assert_eq!(from, wanted, "where it came from");
        if request.get_ref().name == "thread" {
            let thread = std::thread::current();
            return Err(Problem::replaced(thread.name().unwrap_or_default()).into());
        }
        let kept = extensions.get::<KeepSeat>().and_then(KeepSeat::keep);
        if request.get_ref().name == "hang" {
            std::future::pending::<()>().await;
        }
        if request.get_ref().name == "keep" {
            assert!(kept.is_some(), "the place is kept");
            KEPT.add_permits(1);
            std::future::pending::<()>().await;
        }
        Err(Problem::replaced(text).into())
    }

    async fn renew(&self, _: Request<RenewRequest>) -> Result<Response<RenewReply>, Status> {
        Err(Problem::not_served("not here").into())
    }

    async fn renewed(&self, _: Request<RenewedRequest>) -> Result<Response<RenewedReply>, Status> {
        Err(Problem::not_served("not here").into())
    }
}

fn routes() -> tonic::service::Routes {
    tonic::service::Routes::new(MembershipServer::new(Who))
}

/// A listener being served.
struct Rig {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Rig {
    async fn with(bounds: Bounds, tls: ServerTls) -> Self {
        Self::with_raft(bounds, tls, Handle::current()).await
    }

    async fn with_raft(bounds: Bounds, tls: ServerTls, raft: Handle) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(async move {
            let stopped = async {
                let _ended = stopped.await;
            };
            serve_within(bounds, listener, tls, routes(), raft, stopped).await
        });
        Self { address, stop, serving }
    }

    /// Manager 1 of this cluster.
    async fn manager(bounds: Bounds, authority: &Authority) -> Self {
        let own = authority.holder(manager(1)).credentials();
        let tls = ServerTls::new(&own, authority.fingerprint(), clock_at(NOW));
        Self::with(bounds, tls).await
    }

    async fn connect(
        &self,
        tls: &ClientTls,
        expect: Expect,
    ) -> Result<(Channel, Peer), ConnectError> {
        super::connect(&self.address.to_string(), tls, expect, PATIENCE).await
    }

    /// Connects and asks who we are.
    async fn who(&self, tls: &ClientTls) -> String {
        let (channel, _) = self.connect(tls, Expect::AnyManager).await.expect("a connection");
        who(channel).await
    }
}

async fn who(channel: Channel) -> String {
    let status = call(channel, "").await;
    assert_eq!(status.code(), Code::Aborted, "{status:?}");
    read_problem(&status).expect("a problem").text
}

async fn call(channel: Channel, name: &str) -> Status {
    let request = JoinRequest { name: name.to_owned(), ..JoinRequest::default() };
    MembershipClient::new(channel).join(request).await.expect_err("a status")
}

impl Holder {
    fn credentials(&self) -> Credentials {
        Credentials::new(&self.chain, &self.secret()).expect("credentials")
    }

    /// A client's side, at the time [`NOW`].
    fn client(&self, authority: &Authority) -> ClientTls {
        ClientTls::new(&self.credentials(), authority.fingerprint(), clock_at(NOW))
    }
}

fn anonymous(authority: &Authority) -> ClientTls {
    ClientTls::anonymous(authority.fingerprint(), clock_at(NOW))
}
