//! Waiting until nodes confirm a change. The terminal decides only about the
//! progress bar; a time-out undoes nothing, and says so.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use skep_core::base::{Exit, Failure, Revision};
use skep_core::wire::api::{DeliveryProgress, WatchDeliveryRequest};

use super::args::WaitArgs;
use super::problem::Trouble;
use super::shell::Shell;
use skep_client::{Link, NotConfirmed, harmless, until_delivered};

const GOES_ON: &str = "nothing is undone, delivery goes on: `skep status` lists what is not done";
const NOBODY: &str = "no node holds or runs it now";
/// Nodes named in one line.
const NAMED: usize = 10;

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
            _ = tokio::signal::ctrl_c() => Err(None),
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
    let bar = Cleared(bar(shell.screen.shows_progress()));
    let told = until_delivered(link, &request, |progress| {
        bar.0.set_length(u64::from(progress.nodes) + u64::from(progress.leaving));
        bar.0.set_position(u64::from(progress.delivered) + u64::from(progress.left));
        bar.0.set_message(laggards(progress));
        *last = Some(progress.clone());
    });
    told.await
}

/// A bar that leaves nothing on the screen.
struct Cleared(ProgressBar);

impl Drop for Cleared {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn bar(shown: bool) -> ProgressBar {
    let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(None, target);
    match ProgressStyle::with_template("[{bar:30}] {pos}/{len} nodes  {msg}") {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_bad) => bar,
    }
}

/// `delivered 7/7 nodes; unchanged on 2 nodes, which had the same value`,
/// `delivered 5/7 nodes, removed from 1/2 nodes; waiting for db3 (down since 2026-05-28 02:11:07
/// UTC), db6 (wiping)`. Each word stands for what it says alone.
fn line_of(progress: &DeliveryProgress, removal: bool) -> String {
    let DeliveryProgress { nodes, delivered, leaving, left, .. } = progress;
    let mut parts = Vec::new();
    if *nodes > 0 {
        parts.push(format!("delivered {delivered}/{nodes} nodes"));
    }
    if *leaving > 0 {
        parts.push(format!("removed from {left}/{leaving} nodes"));
    }
    if parts.is_empty() {
        parts.push(if removal { "no node had it" } else { NOBODY }.to_owned());
    }
    let mut line = parts.join(", ");
    if progress.unchanged > 0 {
        let nodes = if progress.unchanged == 1 { "node" } else { "nodes" };
        let same =
            format!("; unchanged on {} {nodes}, which had the same value", progress.unchanged);
        line.push_str(&same);
    }
    if !progress.laggards.is_empty() {
        line += "; waiting for ";
        line += &laggards(progress);
    }
    line
}

fn laggards(progress: &DeliveryProgress) -> String {
    let named = progress.laggards.iter().take(NAMED).map(|laggard| {
        let (name, why) = (harmless(&laggard.name), harmless(&laggard.why));
        if why.is_empty() { name } else { format!("{name} ({why})") }
    });
    let text = named.collect::<Vec<_>>().join(", ");
    if let Some(more) = progress.laggards.len().checked_sub(NAMED).filter(|more| *more > 0) {
        return format!("{text} and {more} more");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_core::wire::api::Laggard;

    #[test]
    fn the_last_line_names_who_is_waited_for() {
        let laggard = |name: &str, why: &str| Laggard {
            node: Vec::new(),
            name: name.into(),
            why: why.into(),
        };
        let mut progress = DeliveryProgress { nodes: 7, delivered: 5, ..Default::default() };
        assert_eq!(line_of(&progress, false), "delivered 5/7 nodes");
        for (unchanged, said) in [(1, "1 node"), (2, "2 nodes")] {
            let line = line_of(&DeliveryProgress { unchanged, ..progress.clone() }, false);
            let whole =
                format!("delivered 5/7 nodes; unchanged on {said}, which had the same value");
            assert_eq!(line, whole);
        }
        let both = DeliveryProgress { leaving: 2, left: 1, ..progress.clone() };
        assert_eq!(line_of(&both, false), "delivered 5/7 nodes, removed from 1/2 nodes");
        let gone = DeliveryProgress { leaving: 1, left: 1, ..Default::default() };
        assert_eq!(line_of(&gone, false), "removed from 1/1 nodes");
        assert_eq!(line_of(&DeliveryProgress::default(), false), NOBODY);
        assert_eq!(line_of(&DeliveryProgress::default(), true), "no node had it");
        progress.laggards =
            vec![laggard("db3", "down since 2026-05-28 02:11:07 UTC"), laggard("db6", "")];
        let line = "delivered 5/7 nodes; waiting for db3 (down since 2026-05-28 02:11:07 UTC), db6";
        assert_eq!(line_of(&progress, false), line);
        progress.laggards = (0..12).map(|n| laggard(&format!("n{n}"), "")).collect();
        assert!(line_of(&progress, false).ends_with("n8, n9 and 2 more"));
    }
}
