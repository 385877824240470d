//! Waiting until nodes confirm a change. The terminal decides only about the
//! progress bar; a time-out undoes nothing, and says so.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use skep_core::base::{Exit, Failure, Revision};
use skep_core::wire::api::{DeliveryProgress, WatchDeliveryRequest};

use super::args::WaitArgs;
use super::problem::Trouble;
use super::shell::Shell;
use skep_client::{Link, harmless, until_delivered};

/// Nodes named in one line.
const NAMED: usize = 10;

/// What a change concerns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Concerned {
    /// All pairs of these services.
    pub(super) services: Vec<Vec<u8>>,
    /// And all pairs of these nodes.
    pub(super) nodes: Vec<Vec<u8>>,
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
    if concerned == Concerned::default() {
        shell.screen.say(&line_of(&DeliveryProgress { done: true, ..DeliveryProgress::default() }));
        return Ok(());
    }
    let Concerned { services, nodes } = concerned;
    let request = WatchDeliveryRequest { revision: revision.0, services, nodes };
    let bar = bar(shell.screen.shows_progress());
    let mut last = None;
    let end = until_delivered(link, &request, |progress| {
        bar.set_length(progress.nodes.into());
        bar.set_position(progress.delivered.into());
        bar.set_message(laggards(progress));
        last = Some(progress.clone());
    });
    let end = end.await;
    bar.finish_and_clear();
    let told = last.as_ref().map_or_else(|| "delivered: not known".to_owned(), line_of);
    let Err(why) = end else {
        shell.screen.say(&told);
        return Ok(());
    };
    let failure = Failure::new(Exit::NotConfirmed, format!("committed, but {why}"))
        .hint("nothing is undone, delivery goes on: `skep status` lists what is pending");
    shell.screen.failure(&failure);
    shell.screen.say(&told);
    Err(Trouble::Told(Exit::NotConfirmed))
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
/// `delivered 5/7 nodes; waiting for db3 (down since 2026-05-28 02:11:07 UTC), db6 (wiping)`
fn line_of(progress: &DeliveryProgress) -> String {
    let mut line = format!("delivered {}/{} nodes", progress.delivered, progress.nodes);
    if progress.unchanged > 0 {
        let nodes = if progress.unchanged == 1 { "node" } else { "nodes" };
        let same =
            format!("; unchanged on {} {nodes}, which had the same value", progress.unchanged);
        line.push_str(&same);
    }
    if progress.nodes == 0 {
        line += ": no node holds or runs it now";
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
        assert_eq!(line_of(&progress), "delivered 5/7 nodes");
        for (unchanged, said) in [(1, "1 node"), (2, "2 nodes")] {
            let line = line_of(&DeliveryProgress { unchanged, ..progress.clone() });
            let whole =
                format!("delivered 5/7 nodes; unchanged on {said}, which had the same value");
            assert_eq!(line, whole);
        }
        progress.laggards =
            vec![laggard("db3", "down since 2026-05-28 02:11:07 UTC"), laggard("db6", "")];
        let line = "delivered 5/7 nodes; waiting for db3 (down since 2026-05-28 02:11:07 UTC), db6";
        assert_eq!(line_of(&progress), line);
        progress.laggards = (0..12).map(|n| laggard(&format!("n{n}"), "")).collect();
        assert!(line_of(&progress).ends_with("n8, n9 and 2 more"));
    }
}
