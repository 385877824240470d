//! Waiting until nodes confirm a change. The terminal decides only about the
//! progress bar; a time-out undoes nothing, and says so.

use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use skep_core::base::{Exit, Failure, Revision};
use skep_core::wire::api::{
    DeliveryProgress, Laggard, ShowCaReply, ShowCaRequest, WatchDeliveryRequest,
};

use super::args::WaitArgs;
use super::problem::Trouble;
use super::shell::Shell;
use skep_client::progress::{GOES_ON, NOBODY, laggards, laggards_of, line_of};
use skep_client::{CallKind, Control, Link, NotConfirmed, until_delivered};

/// What goes on where the issuing CA was replaced.
const RENEWAL_GOES_ON: &str =
    "nothing is undone, renewal goes on: `skep ca show` names who has not renewed";
/// Between two looks at who has renewed.
const RENEWAL_LOOK: Duration = Duration::from_millis(300);

/// What a change concerns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Concerned {
    /// All pairs of these services.
    pub(super) services: Vec<Vec<u8>>,
    /// And all pairs of these nodes.
    pub(super) nodes: Vec<Vec<u8>>,
    /// It only takes away: what is due there is not waited for.
    pub(super) removal: bool,
    /// With `removal`: and from wherever these secrets were taken. Else only files of these,
    /// if any are named.
    pub(super) secrets: Vec<Vec<u8>>,
}

impl Concerned {
    /// What is taken from these services.
    pub(super) fn taken_from(services: Vec<Vec<u8>>) -> Self {
        Self { services, removal: true, ..Self::default() }
    }

    fn is_nobody(&self) -> bool {
        self.services.is_empty() && self.nodes.is_empty() && self.secrets.is_empty()
    }
}

/// The interrupts of a whole wait: one that comes between two parts of it is not lost, for the
/// process takes them for itself from the first listener on.
pub(super) struct Interrupt(Signal);

impl Interrupt {
    /// From here on.
    pub(super) fn listen() -> Result<Self, Failure> {
        signal(SignalKind::interrupt()).map(Self).map_err(|error| {
            Failure::new(Exit::MachineLimit, format!("cannot listen to signals: {error}"))
        })
    }

    /// Waits for one.
    pub(super) async fn comes(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// Waits until everything due at `revision` is in place, unless detached.
pub(super) async fn delivered(
    shell: &mut Shell,
    link: &mut Link,
    args: WaitArgs,
    revision: Revision,
    concerned: Concerned,
) -> Result<(), Trouble> {
    if args.detach {
        return Ok(());
    }
    let interrupt = &mut Interrupt::listen()?;
    delivered_unless(shell, link, revision, concerned, interrupt).await
}

/// The same where it is not detached, and interrupts are listened to already.
pub(super) async fn delivered_unless(
    shell: &mut Shell,
    link: &mut Link,
    revision: Revision,
    concerned: Concerned,
    interrupt: &mut Interrupt,
) -> Result<(), Trouble> {
    if concerned.is_nobody() {
        shell.screen.say(NOBODY);
        return Ok(());
    }
    let removal = concerned.removal;
    let mut last = None;
    let end = {
        let waiting = confirmed(shell, link, revision, concerned, &mut last);
        tokio::select! {
            end = waiting => end.map_err(Some),
            () = interrupt.comes() => Err(None),
        }
    };
    let told = last
        .as_ref()
        .map_or_else(|| "how far it is: not known".to_owned(), |last| line_of(last, removal));
    let why = match end {
        Ok(()) => {
            shell.screen.say(&told);
            return Ok(());
        }
        Err(why) => why,
    };
    let failure = match why {
        Some(why) => {
            Failure::new(Exit::NotConfirmed, format!("committed, but {why}")).hint(GOES_ON)
        }
        None => interrupted(),
    };
    shell.screen.failure(&failure);
    shell.screen.say(&told);
    Err(Trouble::Told(failure.exit))
}

/// Waits until every node in touch has renewed under the issuing CA that begins at `issuer`,
/// unless detached.
pub(super) async fn renewed(
    shell: &mut Shell,
    link: &mut Link,
    args: WaitArgs,
    issuer: u64,
) -> Result<(), Trouble> {
    if args.detach {
        return Ok(());
    }
    let (most, mut last) = (link.timeout(), None);
    let end = {
        let waiting = tokio::time::timeout(most, renewing(shell, link, issuer, &mut last));
        tokio::select! {
            end = waiting => match end {
                Ok(Ok(())) => Ok(()),
                Ok(Err(trouble)) => Err(not_renewed(&why_of(trouble))),
                Err(_elapsed) => Err(not_renewed(&format!("not every node has renewed within {most:?}"))),
            },
            _ = tokio::signal::ctrl_c() => Err(interrupted().hint(RENEWAL_GOES_ON)),
        }
    };
    if let Err(failure) = &end {
        shell.screen.failure(failure);
    }
    if let Some(last) = &last {
        shell.screen.say(&renewal_line(last));
    }
    end.map_err(|failure| Trouble::Told(failure.exit))
}

/// Looks until the older issuing CAs are retired; what was told last is in `last`.
async fn renewing(
    shell: &Shell,
    link: &mut Link,
    issuer: u64,
    last: &mut Option<ShowCaReply>,
) -> Result<(), Trouble> {
    let bar = bar_of(shell.screen.shows_progress(), "nodes");
    loop {
        let reply = authority(link, false).await?;
        bar.0.set_length(reply.nodes);
        bar.0.set_position(reply.renewed);
        bar.0.set_message(names_of(&reply, true));
        let done = reply.oldest_issuer >= issuer;
        *last = Some(reply);
        if done {
            return Ok(());
        }
        tokio::time::sleep(RENEWAL_LOOK).await;
    }
}

/// What managers know of the CA.
pub(super) async fn authority(link: &mut Link, stale: bool) -> Result<ShowCaReply, Trouble> {
    let send = async |mut client: Control, request| client.show_ca(request).await;
    Ok(link.call(CallKind::Read, ShowCaRequest { stale }, send).await?)
}

fn why_of(trouble: Trouble) -> String {
    match trouble {
        Trouble::Failed(failure) => failure.text,
        Trouble::Told(_) => "how far it is, is not known".to_owned(),
    }
}

fn not_renewed(why: &str) -> Failure {
    Failure::new(Exit::NotConfirmed, format!("committed, but {why}")).hint(RENEWAL_GOES_ON)
}

/// `renewed 5/7 nodes; waiting for db3; passed over: db6 (down since ...)`.
fn renewal_line(reply: &ShowCaReply) -> String {
    let mut line = format!("renewed {}/{} nodes", reply.renewed, reply.nodes);
    for (head, waited_for) in [("; waiting for ", true), ("; passed over: ", false)] {
        let names = names_of(reply, waited_for);
        if !names.is_empty() {
            line += head;
            line += &names;
        }
    }
    line
}

/// The nodes that have not renewed.
fn names_of(reply: &ShowCaReply, waited_for: bool) -> String {
    let nodes = reply.not_renewed.iter();
    let nodes = nodes.filter(|one| !one.node.is_empty() && one.waited_for == waited_for);
    let laggards: Vec<Laggard> = nodes
        .map(|one| Laggard {
            node: one.node.clone(),
            name: one.name.clone(),
            why: if waited_for { String::new() } else { one.why.clone() },
        })
        .collect();
    laggards_of(&laggards)
}

/// Ctrl-C after the commit.
pub(super) fn interrupted() -> Failure {
    let text = "interrupted while waiting for nodes: the change itself is committed";
    Failure::new(Exit::Interrupted, text).hint(GOES_ON)
}

/// Waits until nodes have confirmed what is asked; what was told last is in `last`, also when
/// this is dropped before its end.
async fn confirmed(
    shell: &Shell,
    link: &mut Link,
    revision: Revision,
    concerned: Concerned,
    last: &mut Option<DeliveryProgress>,
) -> Result<(), NotConfirmed> {
    let Concerned { services, nodes, removal, secrets } = concerned;
    let request = WatchDeliveryRequest { revision: revision.0, services, nodes, removal, secrets };
    let bar = bar_of(shell.screen.shows_progress(), "nodes");
    let told = until_delivered(link, &request, |progress| {
        bar.0.set_length(u64::from(progress.nodes) + u64::from(progress.leaving));
        bar.0.set_position(u64::from(progress.delivered) + u64::from(progress.left));
        bar.0.set_message(laggards(progress));
        *last = Some(progress.clone());
    });
    told.await
}

/// A bar that leaves nothing on the screen.
pub(super) struct Cleared(pub(super) ProgressBar);

impl Drop for Cleared {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A bar of so many of these, where it is seen.
pub(super) fn bar_of(shown: bool, what: &str) -> Cleared {
    let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(None, target);
    Cleared(
        match ProgressStyle::with_template(&format!("[{{bar:30}}] {{pos}}/{{len}} {what}  {{msg}}"))
        {
            Ok(style) => bar.with_style(style.progress_chars("=> ")),
            Err(_bad) => bar,
        },
    )
}
