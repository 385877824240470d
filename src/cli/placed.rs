//! After a change of a service: where it is placed, and the wait until its nodes confirm.

use super::args::WaitArgs;
use super::problem::Trouble;
use super::shell::Shell;
use super::wait::{self, Concerned};
use skep_client::{Link, lookup};
use skep_core::base::Revision;
use skep_core::wire::api::ServiceView;

const NO_NODE_FITS: &str = "no node fits its placement now: compare with `skep node ls`";
const NOWHERE: &str = "it is placed on no node: `skep service update --help` shows how to place it";

/// Says on how many nodes a service is placed. The change is done: that it
/// cannot be told is no failure.
pub(super) async fn say_placed(shell: &mut Shell, link: &mut Link, what: &str) {
    let Ok(service) = lookup::one::<ServiceView>(link, what, false).await else {
        shell.screen.say("placed on: not known now, see `skep service ls`");
        return;
    };
    let placed = service.placed;
    let word = if placed == 1 { "node" } else { "nodes" };
    shell.screen.say(&format!("placed on {placed} {word}"));
    if placed == 0 {
        let said = service.spec.is_some_and(|spec| {
            spec.everywhere || !spec.nodes.is_empty() || !spec.constraints.is_empty()
        });
        shell.screen.hint(if said { NO_NODE_FITS } else { NOWHERE });
    }
}

/// Waits until all nodes have what is due of these services.
pub(super) async fn wait_for(
    shell: &mut Shell,
    link: &mut Link,
    wait: WaitArgs,
    revision: u64,
    services: Vec<Vec<u8>>,
) -> Result<(), Trouble> {
    let concerned = Concerned { services, ..Concerned::default() };
    wait::delivered(shell, link, wait, Revision(revision), concerned).await
}
