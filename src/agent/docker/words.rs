//! What an engine is told when it doesn't get what it asked for. It shows that to whoever
//! started the container, and remembers it.

use crate::agent::session::Refused;
use crate::agent::workload::{BadMountId, VOLUMES};
use skep_core::base::{BadName, Name};

/// What each text begins with: by it a container's error is known again.
pub(super) const MARK: &str = "skep: ";

fn told(text: impl std::fmt::Display, hint: &str) -> String {
    if hint.is_empty() { format!("{MARK}{text}") } else { format!("{MARK}{text} (hint: {hint})") }
}

pub(super) fn refused(refused: &Refused) -> String {
    told(&refused.text, &refused.hint)
}

pub(super) fn not_joined(why: &str) -> String {
    let text = "the agent of this node has not joined a cluster yet";
    let text = if why.is_empty() { text.to_owned() } else { format!("{text}: {why}") };
    told(text, "look at the agent's log")
}

pub(super) fn stopping() -> String {
    told("the agent is stopping", "")
}

pub(super) fn not_json() -> String {
    told("the request is not JSON of the fields that it should have", "")
}

pub(super) fn too_large() -> String {
    told("the request is too large", "")
}

pub(super) fn no_body() -> String {
    told("the request did not come to its end", "")
}

pub(super) fn unknown() -> String {
    told("this plug-in is a volume driver: it knows no such method", "")
}

pub(super) fn bad_volume(error: BadName) -> String {
    told(
        format!("a volume is called as the service that it shows: {error}"),
        "`skep service ls` lists the services",
    )
}

pub(super) fn bad_id(error: BadMountId) -> String {
    told(error, "")
}

/// `option` is not ours: it is shown as a string.
pub(super) fn has_options(volume: &Name, option: &str) -> String {
    told(
        format!("volume {volume}: unknown option {option:?}: a volume of secrets takes none"),
        &format!("what is in it is the service's: `skep service grant {volume} SECRET` adds to it"),
    )
}

pub(super) fn no_volume(volume: &Name) -> String {
    told(format!("there is no volume {volume}"), "")
}

pub(super) fn mounted(volume: &Name) -> String {
    told(format!("volume {volume} is mounted into a container"), "")
}

pub(super) fn too_many() -> String {
    told(
        format!("this node has {VOLUMES} volumes, or as many mounts of them"),
        "remove some: `docker volume prune` removes those that no container has",
    )
}
