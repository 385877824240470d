//! Admission: who asks, and what, is decided before a byte of a call's body is read.
//!
//! Everything that a manager serves, on its port and on its control socket, stands
//! behind one [`Gate`]. It finds the method by its path ([`table`]), asks who calls
//! (`caller`) and whether that one may ([`skep_core::domain::Policy`]), counts the call, and lets its body in
//! piece by piece ([`body`]) within what its caller may have under way ([`budget`]).
//! A call that is refused is never read. Handlers find an [`Admitted`] in the request's
//! extensions and work for nobody without one; what a message turns out to be about is
//! asked then, once for each change ([`Admitted::may_change`]). Every call ends at one place
//! that knows who asked for what and how it was answered ([`Inner::note`]).
//!
//! It deliberately does not know connections: those are counted by `transport`.

pub(in crate::manager) mod behalf;
mod body;
mod budget;
pub(in crate::manager) mod caller;
mod lines;
mod listed;
pub(in crate::manager) mod local;
mod port;
mod refusals;
mod retired;
mod table;
#[cfg(test)]
pub(in crate::manager) mod tests;

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Body as HttpBody;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::service::Routes;
use tonic::{Code, Extensions, Status};
use tower::{Layer, Service};

use self::body::{Anything, Measured, Reply, Times};
use self::budget::{Budget, Key, Lane, Ticket};
use self::refusals::Refusals;
use self::table::{By, Row};
use crate::manager::admit::behalf::Behalf;
use crate::manager::admit::caller::{Admitted, source};
use crate::manager::admit::local::LocalRules;
use crate::manager::audit::Audit;
use crate::manager::core::Core;
use crate::manager::dispatch::{Dispatch, told};
use crate::manager::problem;
use skep_client::ca::CertificateRole;
use skep_client::transport::{Caller, NamedTime, caller, local_caller, name_managers};
use skep_core::domain::{Method, OperatorRole, State, Who};

pub(in crate::manager) use self::table::{ACT as ACT_BYTES, AGENT as AGENT_BYTES};

/// What stands before the services of one listener. Clones count together.
#[derive(Clone)]
pub(in crate::manager) struct Gate(Arc<Inner>);

/// What a control socket belongs to.
#[derive(Clone)]
pub(in crate::manager) struct Behind(Arc<dyn Fn() -> (Audit, Option<Arc<Core>>) + Send + Sync>);

impl Behind {
    /// Asked at each call: where a manager's acts are recorded now, and what it has at hand once
    /// it runs.
    pub(in crate::manager) fn new(
        asks: impl Fn() -> (Audit, Option<Arc<Core>>) + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(asks))
    }
}

struct Inner {
    asked: Asked,
    budget: Budget,
    refusals: Refusals,
}

/// Where calls come in, and so by what it is known who calls.
enum Asked {
    /// A control socket: the kernel says who it is.
    Socket(LocalRules, Behind),
    /// A running manager's port: certificate and state say who it is.
    Port(Dispatch),
}

impl Gate {
    /// Before what a control socket serves.
    pub(in crate::manager) fn socket(rules: &LocalRules, behind: Behind) -> Self {
        Self::new(Asked::Socket(rules.clone(), behind))
    }
    /// Before what a manager's port serves, agents' sessions included.
    pub(in crate::manager) fn port(dispatch: &Dispatch) -> Self {
        Self::new(Asked::Port(dispatch.clone()))
    }
    fn new(asked: Asked) -> Self {
        let (budget, refusals) = (Budget::default(), Refusals::default());
        Self(Arc::new(Inner { asked, budget, refusals }))
    }
    /// How many calls were refused.
    #[cfg(test)]
    fn refused(&self) -> u64 {
        self.0.refusals.all()
    }
    /// All of these behind the gate, paths that nobody serves included.
    pub(in crate::manager) fn before(self, routes: Routes) -> Routes {
        Routes::from(routes.into_axum_router().layer(self))
    }
}

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated { inner, gate: self.0.clone() }
    }
}

/// A service behind the gate.
#[derive(Clone)]
pub(in crate::manager) struct Gated<S> {
    inner: S,
    gate: Arc<Inner>,
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl<S, B, R> Service<Request<B>> for Gated<S>
where
    S: Service<Request<Body>, Response = Response<R>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<Anything>,
    R: HttpBody<Data = Bytes> + Send + 'static,
    R::Error: Into<Anything>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Answer {
        // The one that was asked whether it is ready is the one that is called.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let gate = self.gate.clone();
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            // What is refused is not read: the body is dropped here.
            let (row, ticket) = match gate.admit(&mut parts).await {
                Ok(admitted) => admitted,
                Err(refused) => {
                    let mut answer = refused.into_http();
                    gate.name_time(answer.headers_mut());
                    let noted =
                        gate.note(&parts.extensions, parts.uri.path(), code_of(&answer)).await;
                    return Ok(noted.map_or(answer, Status::into_http));
                }
            };
            let extensions = parts.extensions.clone();
            let body = Body::new(Measured::new(body, row, ticket.clone(), Times::default()));
            let mut answer = inner.call(Request::from_parts(parts, body)).await?;
            let code = code_of(&answer);
            if let Some(unrecorded) = gate.note(&extensions, row.path, code).await {
                return Ok(unrecorded.into_http());
            }
            gate.name_managers(&extensions, answer.headers_mut());
            Ok(answer.map(|body| Body::new(Reply::new(body, ticket))))
        })
    }
}

impl Inner {
    /// Decides on path and caller, and counts the call.
    async fn admit(
        &self,
        parts: &mut tonic::codegen::http::request::Parts,
    ) -> Result<(&'static Row, Arc<Ticket>), Status> {
        let row = table::find(parts.uri.path()).ok_or_else(problem::access::not_served)?;
        if matches!(self.asked, Asked::Port(_)) {
            Behalf::take(parts)?;
        }
        let extensions = &parts.extensions;
        let (lane, key) = self.lane(extensions, row);
        let ticket = self.budget.enter(lane, key)?;
        if let Asked::Port(dispatch) = &self.asked {
            retired::refuse(dispatch.core(), extensions, row.method)?;
        }
        let admitted = match &self.asked {
            Asked::Socket(rules, _) => Admitted::on_socket(rules, extensions, row.method)?,
            Asked::Port(dispatch) => match row.by {
                By::Certificate => {
                    let core = dispatch.core();
                    let admit = |state: &State| Admitted::raft(extensions, core.cluster, state);
                    core.consensus.read(admit)?
                }
                By::State => port::admit(dispatch, extensions, row.method).await?,
            },
        };
        if lines::waits_for_the_log(row) {
            self.audit().0.goes_on()?;
        }
        parts.extensions.insert(admitted);
        Ok((row, ticket))
    }

    /// With whom this caller shares what there is. A certificate that the state doesn't
    /// list is a guest's.
    fn lane(&self, extensions: &Extensions, row: &Row) -> (Lane, Key) {
        if let Some(user) = local_caller(extensions) {
            let owner = match &self.asked {
                Asked::Socket(rules, _) => rules.is_owner(user.uid()),
                Asked::Port(_) => false,
            };
            let lane = if owner { Lane::Owner } else { Lane::Users };
            return (lane, Key::User(user.uid()));
        }
        let guest = || (Lane::Guests, Key::Source(source(extensions).map(network)));
        let Some(Caller::Peer(peer)) = caller(extensions) else { return guest() };
        if row.by == By::State && self.is_unlisted(extensions) {
            return guest();
        }
        match peer.leaf().subject.role {
            CertificateRole::Worker(id) => (Lane::Nodes, Key::Identity(*id.as_bytes())),
            CertificateRole::Operator(id) => (Lane::Operators, Key::Identity(*id.as_bytes())),
            CertificateRole::Manager(id) => {
                let raft = row.by == By::Certificate;
                let lane = if raft { Lane::Raft } else { Lane::Managers };
                (lane, Key::Identity(*id.as_bytes()))
            }
        }
    }

    fn is_unlisted(&self, extensions: &Extensions) -> bool {
        match &self.asked {
            Asked::Socket(..) => false,
            Asked::Port(dispatch) => !port::lists(dispatch.core(), extensions),
        }
    }

    /// Tells whoever is refused what time it is here: where a certificate is not of this time,
    /// that is how two clocks are found to differ.
    fn name_time(&self, headers: &mut HeaderMap) {
        if let Asked::Port(dispatch) = &self.asked {
            NamedTime(dispatch.core().clock.now()).name(headers);
        }
    }

    /// Tells an operator with each answer where all managers are.
    fn name_managers(&self, extensions: &Extensions, headers: &mut HeaderMap) {
        let operator =
            |admitted: &Admitted| matches!(admitted.who(), Who::Operator(_) | Who::Scoped(_));
        if let Asked::Port(dispatch) = &self.asked
            && extensions.get::<Admitted>().is_some_and(operator)
        {
            name_managers(dispatch.core().consensus.read(told), headers);
        }
    }

    /// Where acts are recorded, and the state that has the names.
    fn audit(&self) -> (Audit, Option<Arc<Core>>) {
        match &self.asked {
            Asked::Socket(_, behind) => (behind.0)(),
            Asked::Port(dispatch) => (dispatch.core().audit.clone(), Some(dispatch.core().clone())),
        }
    }

    /// Where every call ends: counts one that was not allowed, whoever has said so, and records
    /// what somebody who is known has asked for. What is to be answered instead, where that can't
    /// be recorded.
    async fn note(&self, extensions: &Extensions, path: &str, code: Code) -> Option<Status> {
        if is_refusal(code) {
            self.count(extensions, path);
        }
        let row = table::find(path)?;
        let admitted = extensions.get::<Admitted>();
        if !lines::has_line(row, code, admitted.is_some_and(Admitted::is_manager)) {
            return None;
        }
        let (audit, core) = self.audit();
        if core.is_none() && row.method == Method::Status && code == Code::Ok {
            // What a locked manager is asked for each second would leave no room for the rest.
            return None;
        }
        let listed = !self.is_unlisted(extensions);
        let act = lines::act(core.as_deref(), extensions, row, code, listed)?;
        let unrecorded = audit.record_call(act).await.err();
        let undone = code == Code::Ok && lines::waits_for_the_log(row);
        if unrecorded.is_some() && !undone {
            // It came to its end all the same.
            audit.lose();
        }
        // What was refused stays refused, and who looks after a manager is told what came of it.
        unrecorded.filter(|_| undone).map(Status::from)
    }

    /// Counts a call that was not allowed.
    fn count(&self, extensions: &Extensions, path: &str) {
        let what = table::find(path).map_or("ask what nobody serves", |row| row.method.text());
        let (who, id) = match (extensions.get::<Admitted>(), caller(extensions)) {
            (Some(admitted), _) => (admitted.who().text(), admitted.id()),
            (None, Some(Caller::Peer(peer))) if !self.is_unlisted(extensions) => {
                let role = peer.leaf().subject.role;
                (by_certificate(role).text(), role.id_text())
            }
            // Of those whom nobody knows it is only said how many there were.
            (None, Some(Caller::Peer(_))) => ("an identity that is not listed", String::new()),
            (None, Some(Caller::Expired(_))) => (Who::Expired.text(), String::new()),
            (None, Some(Caller::Anonymous)) => (Who::Anonymous.text(), String::new()),
            (None, None) => {
                let user = local_caller(extensions).map(|user| user.uid().to_string());
                ("a local user", user.unwrap_or_default())
            }
        };
        self.refusals.count(who, what, &id);
    }
}

/// How a call was answered.
fn code_of<R>(answer: &Response<R>) -> Code {
    Status::from_header_map(answer.headers()).map_or(Code::Ok, |status| status.code())
}

/// Whether it was said that somebody may not ask, or not with this certificate.
fn is_refusal(code: Code) -> bool {
    matches!(code, Code::PermissionDenied | Code::Unauthenticated)
}

/// What a certificate says alone. Which role an operator has, the state says.
fn by_certificate(role: CertificateRole) -> Who {
    match role {
        CertificateRole::Manager(_) => Who::Manager,
        CertificateRole::Worker(_) => Who::Worker,
        CertificateRole::Operator(_) => Who::Operator(OperatorRole::Viewer),
    }
}

/// As far as one party controls an address: the first 64 bits of an IPv6 one.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & (u128::MAX << 64)).into(),
        address @ IpAddr::V4(_) => address,
    }
}
