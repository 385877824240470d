//! A manager's audit log, read some of it at a time.

use std::sync::Arc;
use std::time::Duration;

use tonic::{Request, Response, Status};

use super::reading::Reading;
use crate::manager::admit::caller::Admitted;
use crate::manager::audit::Act;
use crate::manager::forward::{Broken, Onward};
use crate::manager::members::anchors::{taken, written};
use crate::manager::peers::PeerClient;
use crate::manager::problem::{self, Explain};
use crate::manager::running::Running;
use crate::store::{AuditCursor, AuditFrom, AuditItem, AuditLog, AuditPage, Begins, Place};
use skep_client::transport::Problem;
use skep_core::audit::{Chain, Deed, Line, moment};
use skep_core::base::{Name, NodeId, Stamp};
use skep_core::domain::{Actor, Scope, State, doer};
use skep_core::wire::api;
use skep_core::wire::convert::read_id;

/// Bytes of lines in an answer.
const PAGE: usize = 512 * 1024;
/// Lines of the log that are looked through for one answer.
const LOOKED_THROUGH: usize = 16 * 1024 * 1024;
/// How long an answer may be waited for.
const WAIT: Duration = Duration::from_secs(20);
/// Between two looks while it is.
const GLANCE: Duration = Duration::from_millis(100);

/// Answers here, or asks the manager that is meant, for a local user.
///
/// # Errors
/// What the caller is told.
pub(super) async fn read(
    running: Arc<Running>,
    admitted: Admitted,
    request: Request<api::ReadAuditRequest>,
) -> Result<Response<api::ReadAuditReply>, Status> {
    let asked = request.get_ref();
    let manager: Option<NodeId> = (!asked.manager.is_empty())
        .then(|| read_id("manager", &asked.manager).map_err(Explain::explain))
        .transpose()?;
    match manager.filter(|manager| *manager != running.core.node) {
        None => Ok(Response::new(here(&running, &admitted, request.into_inner()).await?)),
        Some(manager) => {
            let Some(user) = admitted.local() else {
                return Err(problem::audit::of_another().into());
            };
            let onward = Onward::to(&running, manager, user);
            let ask = |mut peer: PeerClient, request| async move { peer.read_audit(request).await };
            onward.ask(request, Broken::NothingDone, ask).await
        }
    }
}

/// What lines are wanted.
struct Wanted {
    since: String,
    actor: String,
    name: String,
    secret: String,
    scope: Scope,
}

impl Wanted {
    fn holds(&self, line: &Line) -> bool {
        let named = |of: &String, wanted: &String| of.eq_ignore_ascii_case(wanted);
        let who = self.actor.is_empty()
            || named(&line.who.name, &self.actor)
            || named(&line.who.id, &self.actor);
        let any = |deed: &Deed| {
            [&deed.secret, &deed.service, &deed.node, &deed.operator, &deed.token]
                .into_iter()
                .any(|of| named(of, &self.name))
        };
        line.at >= self.since
            && who
            && (self.name.is_empty() || line.acts.iter().any(any))
            && (self.secret.is_empty()
                || line.acts.iter().any(|deed| named(&deed.secret, &self.secret)))
            && self.is_within(line)
    }

    /// Whether all that a line is about lies within the scope of whoever asks.
    fn is_within(&self, line: &Line) -> bool {
        if !self.scope.is_bounded() {
            return true;
        }
        let holds = |text: &String| {
            text.is_empty() || text.parse::<Name>().is_ok_and(|name| self.scope.holds(&name))
        };
        let within = |deed: &Deed| {
            let names_something = !(deed.secret.is_empty() && deed.service.is_empty());
            names_something && holds(&deed.secret) && holds(&deed.service)
        };
        !line.acts.is_empty() && line.acts.iter().all(within)
    }
}

async fn here(
    running: &Running,
    admitted: &Admitted,
    asked: api::ReadAuditRequest,
) -> Result<api::ReadAuditReply, Problem> {
    let core = &running.core;
    let log = core.audit.log().ok_or_else(|| problem::audit::not_read("there is none"))?.clone();
    let chain = match asked.chain() {
        api::AuditChain::Commands => Chain::Commands,
        api::AuditChain::Acts => Chain::Acts,
        api::AuditChain::Unspecified => {
            return Err(problem::request::bad("a chain", "is commands or acts"));
        }
    };
    if asked.whole && admitted.scope().is_bounded() {
        return Err(problem::audit::scoped());
    }
    let reading = Reading::of(running, admitted, chain, &asked)?;
    if !reading.goes_on {
        recorded(running, admitted, &asked).await?;
    }
    // Before what is read, so that all of it is there.
    let applied =
        core.consensus.read(|state| Place { number: state.revision.0, head: state.audit_head });
    if asked.whole
        && let Err(why) = log.sync().await
    {
        return Err(problem::audit::not_recorded(why.0));
    }
    let since = Stamp(asked.since);
    let wanted = Wanted {
        since: if asked.since == 0 { String::new() } else { moment(since) },
        actor: asked.actor,
        name: asked.name,
        secret: asked.secret,
        scope: admitted.scope().clone(),
    };
    let mut from = match &asked.after {
        None => AuditFrom::Time(since),
        Some(after) => AuditFrom::Cursor(AuditCursor {
            file: after.file,
            record: after.record,
            offset: after.offset,
        }),
    };
    let until =
        tokio::time::Instant::now() + Duration::from_millis(u64::from(asked.wait_ms)).min(WAIT);
    let (mut items, mut filled, mut looked) = (Vec::new(), 0, 0);
    loop {
        let page = page(&log, chain, from).await?;
        let (next, more) = (page.next, page.more);
        from = AuditFrom::Cursor(next);
        for item in page.items {
            let item = match item {
                AuditItem::Line(text) => {
                    looked += text.len();
                    match Line::read(&text).map(|line| wanted.holds(&line)) {
                        Ok(true) => {
                            filled += text.len();
                            Some(line(&text))
                        }
                        Ok(false) => None,
                        Err(why) => Some(bad(why.to_string())),
                    }
                }
                AuditItem::Base(base) if asked.whole => Some(write_base(&base)),
                AuditItem::Base(_) => None,
                AuditItem::Bad(why) => Some(bad(why)),
            };
            items.extend(item);
        }
        let full = filled >= PAGE || looked >= LOOKED_THROUGH;
        if full || !more && (!items.is_empty() || tokio::time::Instant::now() >= until) {
            let next = reading.to(running, next);
            return Ok(api::ReadAuditReply {
                items,
                next: Some(next),
                more,
                last: Some(written(log.last(chain))),
                anchors: if asked.whole { core.consensus.read(anchors) } else { Vec::new() },
                applied: Some(written(applied)),
                manager: core.node.as_bytes().to_vec(),
                manager_name: core.consensus.read(|state| {
                    state
                        .nodes
                        .get(&core.node)
                        .map(|node| node.name.to_string())
                        .unwrap_or_default()
                }),
            });
        }
        if !more {
            tokio::select! {
                () = running.stop.cancelled() => return Err(problem::audit::not_read("it is ended")),
                () = tokio::time::sleep(GLANCE) => {}
            }
        }
    }
}

/// Who reads the log is in it.
async fn recorded(
    running: &Running,
    admitted: &Admitted,
    asked: &api::ReadAuditRequest,
) -> Result<(), Problem> {
    let core = &running.core;
    let origin = admitted.origin()?;
    let (who, revision) = core.consensus.read(|state| (doer(state, &origin.actor), state.revision));
    let deed = Deed { secret: asked.secret.clone(), ..Deed::new("call.read-audit") };
    let mut act = Act::of(who, origin.from, deed);
    if matches!(origin.actor, Actor::Local { .. }) {
        "socket".clone_into(&mut act.from);
    }
    act.revision = revision;
    if core.audit.record_call(act).await.is_err() {
        // Whoever looks after a manager that can't write may read what it wrote.
        core.audit.lose();
    }
    Ok(())
}

async fn page(log: &AuditLog, chain: Chain, from: AuditFrom) -> Result<AuditPage, Problem> {
    let log = log.clone();
    let read = tokio::task::spawn_blocking(move || log.read(chain, from, PAGE)).await;
    read.map_err(problem::audit::not_read)
}

fn line(text: &[u8]) -> api::AuditItem {
    let text = String::from_utf8_lossy(text).into_owned();
    api::AuditItem { of: Some(api::audit_item::Of::Line(text)) }
}

fn bad(why: String) -> api::AuditItem {
    api::AuditItem { of: Some(api::audit_item::Of::Bad(why)) }
}

fn write_base(base: &crate::store::Base) -> api::AuditItem {
    let begins = match base.begins {
        Begins::GoesOn => api::AuditBegins::GoesOn,
        Begins::Snapshot => api::AuditBegins::Snapshot,
        Begins::Gap => api::AuditBegins::Gap,
    };
    let base =
        api::AuditBase { after: Some(written(base.after)), begins: begins.into(), at: base.at.0 };
    api::AuditItem { of: Some(api::audit_item::Of::Base(base)) }
}

fn anchors(state: &State) -> Vec<api::AuditAnchor> {
    let anchors = state.cluster.as_deref().map(|cluster| &cluster.anchors);
    let told = |(id, anchor): (&NodeId, &skep_core::domain::Anchor)| api::AuditAnchor {
        manager: id.as_bytes().to_vec(),
        name: state.nodes.get(id).map(|node| node.name.to_string()).unwrap_or_default(),
        place: Some(written(Place { number: anchor.number, head: anchor.head })),
    };
    anchors.into_iter().flatten().map(told).collect()
}

/// A manager says how far its own chain reaches.
///
/// # Errors
/// What it is told.
pub(super) async fn anchor(
    running: &Running,
    admitted: &Admitted,
    asked: api::AnchorRequest,
) -> Result<api::AnchorReply, Problem> {
    let actor = admitted.actor()?;
    let Actor::Node(manager) = actor else { return Err(problem::access::no_manager()) };
    let place = asked.place.unwrap_or_default();
    let head = place.head.try_into();
    let head = head.map_err(|_| problem::request::bad("a hash", "has 32 bytes"))?;
    taken(running, actor, manager, Place { number: place.number, head }).await?;
    Ok(api::AnchorReply {})
}
