//! A workload that an earlier agent wrote down, looked at again.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;

use crate::agent::machine::{NO_NAMESPACE, Process, Workload};
use crate::agent::workload::{Census, Enclosure, Record};

/// What an enclosure that was written down is now, its namespace where it can be held, and who
/// lives in it.
pub(super) fn again(
    record: &Record,
    main: Option<&Process>,
    census: &Census,
) -> (Option<Enclosure>, Option<File>, Vec<Workload>) {
    let nothing = (None, None, Vec::new());
    let Some(mut enclosure) = record.enclosure else { return nothing };
    let (others, _) = census.members(enclosure);
    // With the main process gone, only others vouch for the namespace's number.
    let vouched = main.is_some() || others.iter().any(|one| enclosure.still_shows(one.pid));
    if !vouched {
        return nothing;
    }
    // Some of them may have gone meanwhile.
    let hold = |process: &Process| process.hold_namespace().ok();
    let all: Vec<File> = (main.and_then(hold).into_iter())
        .chain(others.iter().filter_map(|one| hold(&Process::again(*one)?)))
        .collect();
    let is_it = |held: &File| held.metadata().is_ok_and(|it| it.ino() == enclosure.namespace);
    let (mut own, copies): (Vec<File>, Vec<File>) = all.into_iter().partition(is_it);
    let held = own.pop();
    if held.is_some() {
        return (Some(enclosure), held, others);
    }
    // The number may be a stranger's any time: copies are known by the mark, which each of
    // them keeps.
    enclosure.namespace = NO_NAMESPACE;
    (Some(enclosure), copies.into_iter().next(), others)
}
