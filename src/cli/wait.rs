//! Waiting until nodes confirm a change. The terminal decides only about the
//! progress bar; a time-out undoes nothing, and says so.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Status, Streaming};

use skep_core::base::{Exit, Failure, Revision};
use skep_core::wire::api::{DeliveryProgress, WatchDeliveryRequest};

use super::args::WaitArgs;
use super::client::Link;
use super::problem::{Answer, Trouble, read};
use super::shell::{Shell, harmless};

/// Nodes named in one line.
const NAMED: usize = 10;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(200);

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
    let mut watch = Watch::new(shell.screen.shows_progress());
    let end = watch.run(link, &request).await;
    watch.bar.finish_and_clear();
    let told = watch.last.as_ref().map_or_else(|| "delivered: not known".to_owned(), line_of);
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

struct Watch {
    bar: ProgressBar,
    last: Option<DeliveryProgress>,
}

impl Watch {
    fn new(shown: bool) -> Self {
        let target =
            if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("[{bar:30}] {pos}/{len} nodes  {msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar, last: None }
    }

    /// Until it is done; else why it ended before.
    async fn run(&mut self, link: &mut Link, request: &WatchDeliveryRequest) -> Result<(), String> {
        let within = link.timeout();
        let deadline = Instant::now() + within.min(std::time::Duration::from_hours(24));
        let too_late = format!("not confirmed within {}", humantime::format_duration(within));
        loop {
            let Ok(opened) = timeout_at(deadline, open(link, request)).await else {
                return Err(too_late);
            };
            let answer = match opened {
                Ok(mut stream) => {
                    let Ok(end) = timeout_at(deadline, self.follow(&mut stream)).await else {
                        return Err(too_late);
                    };
                    end?
                }
                Err(answer) => Some(answer),
            };
            // The change is committed: a lost manager or a new leader ends nothing.
            match answer {
                None => return Ok(()),
                Some(Answer::Refused(failure)) => {
                    return Err(format!("waiting was refused: {}", failure.text));
                }
                Some(answer) => link.follow(&answer),
            }
            if Instant::now() + PAUSE >= deadline {
                return Err(too_late);
            }
            sleep(PAUSE).await;
        }
    }

    /// Takes what is told; `None`: done.
    async fn follow(
        &mut self,
        stream: &mut Streaming<DeliveryProgress>,
    ) -> Result<Option<Answer>, String> {
        loop {
            let progress = match stream.message().await {
                Ok(Some(progress)) => progress,
                Ok(None) => return Ok(Some(Answer::Lost("the answer was cut".to_owned()))),
                Err(status) => return Ok(Some(read(&status))),
            };
            self.bar.set_length(progress.nodes.into());
            self.bar.set_position(progress.delivered.into());
            self.bar.set_message(laggards(&progress));
            let (done, failed) = (progress.done, progress.failed);
            self.last = Some(progress);
            if failed {
                return Err("a node cannot take it".to_owned());
            }
            if done {
                return Ok(None);
            }
        }
    }
}

async fn open(
    link: &mut Link,
    request: &WatchDeliveryRequest,
) -> Result<Streaming<DeliveryProgress>, Answer> {
    let mut client = match link.client().await {
        Ok(client) => client,
        Err(failure) => return Err(Answer::NoLeader(failure)),
    };
    let opened: Result<_, Status> = client.watch_delivery(request.clone()).await;
    opened.map(tonic::Response::into_inner).map_err(|status| read(&status))
}

/// `delivered 5/7 nodes; waiting for db3 (down since 02:11:07), db6 (wiping)`
fn line_of(progress: &DeliveryProgress) -> String {
    let mut line = format!("delivered {}/{} nodes", progress.delivered, progress.nodes);
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
        progress.laggards = vec![laggard("db3", "down since 02:11:07"), laggard("db6", "")];
        let line = "delivered 5/7 nodes; waiting for db3 (down since 02:11:07), db6";
        assert_eq!(line_of(&progress), line);
        progress.laggards = (0..12).map(|n| laggard(&format!("n{n}"), "")).collect();
        assert!(line_of(&progress).ends_with("n8, n9 and 2 more"));
    }
}
