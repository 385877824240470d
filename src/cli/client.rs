//! The way to a manager: which one, again where it helps, and what is known of
//! a call that broke.
//!
//! Three ways: hosts asked for by hand (with an identity), the control socket
//! of this machine, the identity's own addresses. A manager that does not lead
//! names the leader, and the call goes there. Where there is no leader, the call
//! is repeated until the time is over.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::transport::Channel;
use tonic::{Response, Status};

use skep_client::ca::Identity;
use skep_client::machine::{SystemClock, os_dice};
use skep_client::transport::rpc::api::control_client::ControlClient;
use skep_client::transport::{ClientTls, Expect, connect, connect_local};
use skep_core::base::{Exit, Failure, Fingerprint};

use super::input;
use super::problem::{Answer, Trouble, read, usage};
use super::sealing::Intake;
use super::settings::ClientSettings;
use super::shell::Screen;

/// How long one manager may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(2);
/// Managers that send a call on before we stop following.
const REDIRECTS: usize = 8;
/// Between two tries, at first and at most. A manager that knows no leader answers only after
/// a quarter of a second, or once there is one.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(100));
/// How long an act with a request id may be sent again: its answer is
/// remembered for a minute, and the rest of it is for the way.
const REPEATABLE: Duration = Duration::from_secs(30);
/// Nobody is asked once more with less time than that for an answer: what came of it would be
/// unknown, where until then it is known that nothing was done.
const LEAST: Duration = Duration::from_millis(500);
/// The least time that one manager has for an answer, where another may have it.
const ATTEMPT: Duration = Duration::from_secs(5);
/// Bytes of an identity file: a few certificates.
const IDENTITY_BYTES: usize = 256 * 1024;

/// The service that managers answer.
pub(super) type Control = ControlClient<Channel>;

/// What may be done about a call that broke.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// It changes nothing: again.
    Read,
    /// It carries a request id: again, for a while. Then: how to look.
    Repeatable(String),
    /// Once only. Then: how to look.
    Once(String),
}

/// Who is at the other end.
#[derive(Debug)]
enum Route {
    Local(PathBuf),
    Remote(Vec<String>),
}

/// A way to the managers, and the connection in use.
#[derive(Debug)]
pub(super) struct Link {
    route: Route,
    tls: Option<ClientTls>,
    fingerprint: Option<Fingerprint>,
    /// The leader, as a manager named it: tried before the route.
    leader: Vec<String>,
    channel: Option<Channel>,
    /// To what values were sealed last.
    intake: Option<Intake>,
    timeout: Duration,
}

impl Link {
    /// Decides the way; nothing is connected yet.
    pub(super) fn new(settings: ClientSettings, screen: &mut Screen) -> Result<Self, Trouble> {
        let identity = match settings.identity.as_deref().map(|path| identity(path, screen)) {
            Some(Ok(identity)) => Some(identity),
            // Only for going on to the leader: the socket needs none.
            Some(Err(_unread)) if settings.local && settings.hosts.is_empty() => None,
            Some(Err(trouble)) => return Err(trouble),
            None => None,
        };
        let remote = !settings.hosts.is_empty() || (!settings.local && identity.is_some());
        let route = match (&identity, remote) {
            (None, true) => {
                return Err(usage(
                    "a manager elsewhere is only spoken to with an identity",
                    "give --identity FILE or SKEP_IDENTITY",
                ));
            }
            (Some(identity), true) if settings.hosts.is_empty() => {
                Route::Remote(identity.addresses.clone())
            }
            (_, true) => Route::Remote(settings.hosts),
            (_, false) => Route::Local(settings.socket),
        };
        let fingerprint = identity.as_ref().map(|identity| identity.fingerprint);
        let tls = identity.as_ref().map(client_tls).transpose()?;
        let timeout = settings.timeout;
        Ok(Self {
            route,
            tls,
            fingerprint,
            leader: Vec::new(),
            channel: None,
            intake: None,
            timeout,
        })
    }

    /// How long to try, and to wait.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The fingerprint that the identity names, if there is one.
    pub(super) fn fingerprint(&self) -> Option<Fingerprint> {
        self.fingerprint
    }

    /// To what values were sealed last: good until a manager says otherwise.
    pub(super) fn intake(&self) -> Option<Intake> {
        self.intake
    }

    /// Keeps it for the next value.
    pub(super) fn keep_intake(&mut self, intake: Intake) {
        self.intake = Some(intake);
    }

    /// Calls until there is an answer that decides, or the time is over.
    pub(super) async fn call<Q, R, F>(
        &mut self,
        kind: Kind,
        request: Q,
        send: F,
    ) -> Result<R, Trouble>
    where
        Q: Clone,
        F: AsyncFn(Control, Q) -> Result<Response<R>, Status>,
    {
        let mut tries = Tries::new(kind, self.timeout);
        loop {
            let client = match timeout_at(tries.deadline, self.client()).await {
                Ok(Ok(client)) => client,
                Ok(Err(failure)) => {
                    tries.not_reached(failure).await?;
                    continue;
                }
                // It was not asked this time: what is unknown is so from before.
                Err(_elapsed) => return Err(tries.unasked(self.timeout)),
            };
            if tries.is_late() {
                return Err(tries.unasked(self.timeout));
            }
            let attempt = tries.attempt();
            match timeout_at(attempt, send(client, request.clone())).await {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => {
                    let answer = read(&status);
                    self.follow(&answer);
                    tries.answered(answer).await?;
                }
                Err(_elapsed) if attempt >= tries.deadline => {
                    self.channel = None;
                    return Err(tries.silent(self.timeout));
                }
                // It may hang, and another manager lead meanwhile.
                Err(_elapsed) => {
                    let answer = Answer::Lost("the manager does not answer".to_owned());
                    self.follow(&answer);
                    tries.answered(answer).await?;
                }
            }
        }
    }

    /// What an answer means for the connection: the next call goes to the leader.
    pub(super) fn follow(&mut self, answer: &Answer) {
        match answer {
            Answer::LeaderIsAt(addresses, _) if self.tls.is_some() => {
                self.leader.clone_from(addresses);
                self.channel = None;
            }
            // Another manager may know more.
            Answer::LeaderIsAt(..) | Answer::NoLeader(_) | Answer::Lost(_) => {
                self.leader.clear();
                self.channel = None;
                if let Route::Remote(addresses) = &mut self.route
                    && !addresses.is_empty()
                {
                    addresses.rotate_left(1);
                }
            }
            Answer::Refused(_) | Answer::Unknown(_) => {}
        }
    }

    /// A client over the connection in use, or over a new one.
    pub(super) async fn client(&mut self) -> Result<Control, Failure> {
        if self.channel.is_none() {
            self.channel = Some(self.connect().await?);
        }
        match &self.channel {
            Some(channel) => Ok(ControlClient::new(channel.clone())),
            None => Err(Failure::new(Exit::Bug, "a connection was made and is not there")),
        }
    }

    async fn connect(&mut self) -> Result<Channel, Failure> {
        let leader = std::mem::take(&mut self.leader);
        if let (Some(tls), false) = (&self.tls, leader.is_empty())
            && let Ok(channel) = first_of(&leader, tls).await
        {
            return Ok(channel);
        }
        match (&self.route, &self.tls) {
            (Route::Local(socket), _) => local(socket).await,
            (Route::Remote(addresses), Some(tls)) => first_of(addresses, tls).await,
            (Route::Remote(_), None) => Err(Failure::new(Exit::Usage, "no identity")),
        }
    }
}

/// The first manager that answers.
async fn first_of(addresses: &[String], tls: &ClientTls) -> Result<Channel, Failure> {
    let mut why = Vec::new();
    for address in addresses {
        match timeout(CONNECT, connect(address, tls, Expect::AnyManager, CONNECT)).await {
            Ok(Ok((channel, _peer))) => return Ok(channel),
            Ok(Err(error)) => why.push(error.to_string()),
            Err(_elapsed) => why.push(format!("{address}: no answer within {CONNECT:?}")),
        }
    }
    let why = if why.is_empty() { "no address is known".to_owned() } else { why.join("; ") };
    Err(Failure::new(Exit::Unreachable, format!("no manager reached: {why}"))
        .hint("--host or SKEP_HOST names others; nothing was done"))
}

async fn local(socket: &Path) -> Result<Channel, Failure> {
    let shown = socket.display();
    let connected = timeout(CONNECT, connect_local(socket)).await;
    let error = match connected {
        Ok(Ok(channel)) => return Ok(channel),
        Ok(Err(error)) => error,
        Err(_elapsed) => std::io::ErrorKind::TimedOut.into(),
    };
    Err(match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            Failure::new(Exit::Refused, format!("{shown}: permission denied")).hint(
                "run it as root or as the manager's user, or show an identity with --identity",
            )
        }
        _ => Failure::new(Exit::Unreachable, format!("no manager reached: {shown}: {error}"))
            .hint("is `skep manager run` running here? Else: --host and --identity"),
    })
}

/// Reads an identity file, which nobody else should be able to.
fn identity(path: &Path, screen: &mut Screen) -> Result<Identity, Trouble> {
    use std::os::unix::fs::PermissionsExt;
    let shown = path.display();
    let failed = |why: String| usage(why, "an identity file is what `skep init` writes");
    if let Ok(metadata) = std::fs::metadata(path)
        && metadata.permissions().mode() & 0o077 != 0
    {
        screen.warn(&format!("{shown}: others can read it; `chmod 600` it"));
    }
    let text = input::read_file(path, IDENTITY_BYTES)
        .map_err(|error| failed(format!("identity {shown}: {error}")))?;
    Identity::parse(text.expose()).map_err(|error| failed(format!("{shown}: {error}")))
}

fn client_tls(identity: &Identity) -> Result<ClientTls, Trouble> {
    ClientTls::of(identity, Arc::new(SystemClock), os_dice)
        .map_err(|error| usage(format!("the identity {error}"), "take a copy that was not changed"))
}

/// How often and how long one call is tried.
#[derive(Debug)]
struct Tries {
    kind: Kind,
    deadline: Instant,
    pause: Duration,
    redirects: usize,
    /// A manager was reached before.
    reached: bool,
    /// A try broke after it was sent: it may have been done.
    maybe_done: bool,
    /// Why the last try did not do, once there was one.
    last: Option<Failure>,
}

impl Tries {
    fn new(kind: Kind, most: Duration) -> Self {
        let most = if matches!(kind, Kind::Repeatable(_)) { most.min(REPEATABLE) } else { most };
        let deadline = Instant::now() + most.min(Duration::from_hours(24));
        Self {
            kind,
            deadline,
            pause: PAUSE.0,
            redirects: 0,
            reached: false,
            maybe_done: false,
            last: None,
        }
    }

    /// When to give up on a manager that took a call and says nothing: in time to
    /// ask another one, where asking again does no harm.
    fn attempt(&self) -> Instant {
        let left = self.deadline.saturating_duration_since(Instant::now());
        match self.kind {
            Kind::Read | Kind::Repeatable(_) => {
                self.deadline.min(Instant::now() + ATTEMPT.max(left / 3))
            }
            Kind::Once(_) => self.deadline,
        }
    }

    /// No connection: that alone is no reason to go on; an election or an open
    /// question is.
    async fn not_reached(&mut self, failure: Failure) -> Result<(), Trouble> {
        if self.reached { self.again(failure).await } else { Err(failure.into()) }
    }

    async fn answered(&mut self, answer: Answer) -> Result<(), Trouble> {
        self.reached = true;
        match answer {
            Answer::Refused(failure) => Err(failure.into()),
            Answer::LeaderIsAt(_, failure) => {
                self.redirects += 1;
                // Managers that name each other in turn are between two leaders.
                if self.redirects <= REDIRECTS { Ok(()) } else { self.again(failure).await }
            }
            Answer::NoLeader(failure) => self.again(failure).await,
            Answer::Unknown(failure) => {
                self.maybe_done = true;
                self.again(failure).await
            }
            Answer::Lost(why) => {
                self.maybe_done = true;
                let failure =
                    Failure::new(Exit::Unreachable, format!("the connection broke: {why}"));
                self.again(failure).await
            }
        }
    }

    /// Waits for the next try, or ends with `failure`.
    async fn again(&mut self, failure: Failure) -> Result<(), Trouble> {
        let over = Instant::now() + self.pause + LEAST >= self.deadline;
        match &self.kind {
            Kind::Once(look) if self.maybe_done => return Err(unknown(&failure.text, look)),
            Kind::Repeatable(look) if self.maybe_done && over => {
                return Err(unknown(&failure.text, look));
            }
            _ if over => return Err(failure.into()),
            _ => self.last = Some(failure),
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE.1);
        Ok(())
    }

    /// Whether another try comes too late for an answer.
    fn is_late(&self) -> bool {
        self.reached && Instant::now() + LEAST > self.deadline
    }

    /// The time is over while nobody is asked: what was answered last says more than that.
    fn unasked(self, after: Duration) -> Trouble {
        if let (Some(failure), false) = (&self.last, self.maybe_done) {
            return failure.clone().into();
        }
        let who = if self.reached { "leader" } else { "manager" };
        let text = format!("no {who} was reached within {}", humantime::format_duration(after));
        match &self.kind {
            Kind::Repeatable(look) | Kind::Once(look) if self.maybe_done => unknown(&text, look),
            _ => Failure::new(Exit::Unreachable, text)
                .hint("nothing was done; --timeout gives it longer, --host names other managers")
                .into(),
        }
    }

    /// The time is over while a call is under way.
    fn silent(&self, after: Duration) -> Trouble {
        let text = format!("no answer within {}", humantime::format_duration(after));
        match &self.kind {
            Kind::Read => Failure::new(Exit::Unreachable, text)
                .hint("--timeout gives it longer; --host names other managers")
                .into(),
            Kind::Repeatable(look) | Kind::Once(look) => unknown(&text, look),
        }
    }
}

fn unknown(why: &str, look: &str) -> Trouble {
    let text = if why.starts_with("the outcome is unknown") {
        why.to_owned()
    } else {
        format!("the outcome is unknown: {why}")
    };
    Failure::new(Exit::Unknown, text)
        .hint(format!("it may have been done: look with `{look}` before you repeat it"))
        .into()
}
