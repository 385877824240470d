//! How far a delivery is, in a line for people.

use crate::answer::harmless;
use skep_core::wire::api::{DeliveryProgress, Laggard};

/// What becomes of a change that nobody waits for any more.
pub const GOES_ON: &str =
    "nothing is undone, delivery goes on: `skep status` lists what is not done";
/// Where there is nothing to wait for.
pub const NOBODY: &str = "no node holds or runs it now";
/// Nodes named in one line.
const NAMED: usize = 10;

/// `delivered 7/7 nodes; unchanged on 2 nodes, which had the same value`,
/// `delivered 5/7 nodes, removed from 1/2 nodes; waiting for db3 (down since 2026-05-28 02:11:07
/// UTC), db6 (wiping)`. Each word stands for what it says alone.
#[must_use]
pub fn line_of(progress: &DeliveryProgress, removal: bool) -> String {
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

/// Who is waited for.
#[must_use]
pub fn laggards(progress: &DeliveryProgress) -> String {
    laggards_of(&progress.laggards)
}

/// The same of a list: ten by name, the others counted.
#[must_use]
pub fn laggards_of(laggards: &[Laggard]) -> String {
    let named = laggards.iter().take(NAMED).map(|laggard| {
        let (name, why) = (harmless(&laggard.name), harmless(&laggard.why));
        if why.is_empty() { name } else { format!("{name} ({why})") }
    });
    let text = named.collect::<Vec<_>>().join(", ");
    if let Some(more) = laggards.len().checked_sub(NAMED).filter(|more| *more > 0) {
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
