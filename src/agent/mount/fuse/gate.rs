//! Who may open: decided at each open, from what the kernel says of the caller.
//!
//! The caller waits in its call meanwhile, so its number can't pass to another process.

use std::fs;
use std::ops::ControlFlow::{Break, Continue};

use crate::agent::machine::{Stat, Status, Workload, mounts, namespace_of};
use crate::agent::vault::Party;
use skep_core::base::{limits, shows_itself};
use skep_core::domain::{Owner, Reader};

/// Processes looked at from a caller upwards: a command that makes a namespace of its own
/// rarely stands deeper.
const ANCESTORS: usize = 16;
/// Mounts of a caller that are looked at: a caller decides how many it has.
const MOUNTS: usize = 16_384;

/// Who calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    /// Thread id as this machine's kernel tells it; 0: it isn't of this machine's processes.
    pub(super) thread: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// What a process stands in.
pub(super) trait Machine {
    /// The mount namespace of a thread.
    fn namespace(&self, thread: u32) -> Option<u64>;
    /// A thread's process.
    fn process(&self, thread: u32) -> Option<Workload>;
    /// The parent of a thread's process.
    fn parent(&self, thread: u32) -> Option<u32>;
    /// Whether a thread has this group beside its first one.
    fn has_group(&self, thread: u32, gid: u32) -> bool;
    /// The first of the file systems that a thread sees mounted for which `is` says so.
    fn mounted(&self, thread: u32, is: &dyn Fn(u64) -> bool) -> Option<u64>;
}

/// What is decided of an open. Files' own owner and mode were checked by the kernel.
///
/// The rule is what a tmpfs allows, less everybody who came by a way that isn't the
/// service's: a process of one of its workloads may; on the host root may, and the owner
/// of the service's directory; with a service up by hand, or one that a container has as a
/// volume, nobody said who its processes are, so whoever was let to its files may.
pub(super) fn decide(
    caller: Caller,
    party: &Party,
    owner: Owner,
    host: &[u64],
    machine: &dyn Machine,
) -> Reader {
    let Some(namespace) = machine.namespace(caller.thread).filter(|_| caller.thread != 0) else {
        return if party.is_open() { Reader::ByHand } else { Reader::Stranger };
    };
    if host.contains(&namespace) {
        let owns = caller.uid == 0
            || caller.uid == owner.uid
            || caller.gid == owner.gid
            || machine.has_group(caller.thread, owner.gid);
        return if owns {
            Reader::Host
        } else if party.is_open() {
            Reader::ByHand
        } else {
            Reader::Stranger
        };
    }
    match workload(caller.thread, namespace, party, machine) {
        Some(member) => member,
        None if party.is_open() => Reader::ByHand,
        None => Reader::Stranger,
    }
}

/// Whether a process is of one of a service's workloads, by the rule that decides about opens.
pub(in crate::agent) fn is_of_workload(process: u32, party: &Party) -> bool {
    let namespace = Proc.namespace(process);
    namespace.is_some_and(|namespace| workload(process, namespace, party, &Proc).is_some())
}

fn workload(thread: u32, namespace: u64, party: &Party, machine: &dyn Machine) -> Option<Reader> {
    let member = party.of_namespace(namespace).map(|member| of_workload(member.main));
    member.or_else(|| of_tree(thread, party, machine)).or_else(|| of_copy(thread, party, machine))
}

/// A workload's process may have gone into a namespace of its own: then it is one that is
/// known, or one of its ancestors is, or stands in the workload's namespace.
fn of_tree(thread: u32, party: &Party, machine: &dyn Machine) -> Option<Reader> {
    if party.is_empty() {
        return None;
    }
    let known = |process: Workload| party.of_process(process).map(|one| of_workload(one.main));
    let mut here = thread;
    if let Some(member) = machine.process(here).and_then(known) {
        return Some(member);
    }
    for _ in 0..ANCESTORS {
        let parent = machine.parent(here).filter(|parent| *parent > 1)?;
        let member = machine.process(parent).and_then(known).or_else(|| {
            let member = party.of_namespace(machine.namespace(parent)?)?;
            Some(of_workload(member.main))
        });
        // While it still is the parent, its number was nobody else's meanwhile.
        if member.is_some() && machine.parent(here) == Some(parent) {
            return member;
        }
        here = parent;
    }
    None
}

/// The workload's namespace may have been copied by a process that has ended since, or by
/// the first one itself: every copy shows its mark.
fn of_copy(thread: u32, party: &Party, machine: &dyn Machine) -> Option<Reader> {
    if !party.has_marks() {
        return None;
    }
    let mark = machine.mounted(thread, &|device| party.of_mark(device).is_some())?;
    party.of_mark(mark).map(|member| of_workload(member.main))
}

fn of_workload(Workload { pid, started }: Workload) -> Reader {
    Reader::Workload { pid, started }
}

/// This machine, through `/proc`.
pub(super) struct Proc;

impl Machine for Proc {
    fn namespace(&self, thread: u32) -> Option<u64> {
        namespace_of(&thread.to_string()).ok()
    }

    fn process(&self, thread: u32) -> Option<Workload> {
        let pid = Status::of(thread)?.process;
        let started = Stat::of(&pid.to_string()).ok()?.started;
        Some(Workload { pid, started })
    }

    fn parent(&self, thread: u32) -> Option<u32> {
        Status::of(thread).map(|status| status.parent)
    }

    fn has_group(&self, thread: u32, gid: u32) -> bool {
        Status::of(thread).is_some_and(|status| status.groups.contains(&gid))
    }

    fn mounted(&self, thread: u32, is: &dyn Fn(u64) -> bool) -> Option<u64> {
        let (mut found, mut left) = (None, MOUNTS);
        let looked = mounts::each(&thread.to_string(), |mount| {
            left = left.saturating_sub(1);
            found = is(mount.device).then_some(mount.device);
            if found.is_some() || left == 0 { Break(()) } else { Continue(()) }
        });
        // One that can't be looked at shows no mark.
        looked.ok().and(found)
    }
}

/// The namespaces of the host: the agent's own and the first process's, which differ where
/// the agent runs in a container.
pub(super) fn host_namespaces() -> Vec<u64> {
    ["self", "1"].into_iter().filter_map(|who| namespace_of(who).ok()).collect()
}

/// What a thread runs; empty: it can't be told.
pub(super) fn executable(thread: u32) -> String {
    let path = fs::read_link(format!("/proc/{thread}/exe"));
    path.map(|path| named(&path.to_string_lossy())).unwrap_or_default()
}

/// The path as records may hold it: the end of a long one, after dots.
fn named(path: &str) -> String {
    const DOTS: &str = "...";
    let plain: String = path.chars().map(|c| if shows_itself(c) { c } else { '?' }).collect();
    if plain.len() <= limits::EXECUTABLE_BYTES {
        return plain;
    }
    let start = plain.len() + DOTS.len() - limits::EXECUTABLE_BYTES;
    let start = plain.ceil_char_boundary(start);
    format!("{DOTS}{}", plain.get(start..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::agent::vault::Member;

    const HOST: u64 = 1;
    const MAIN: Workload = Workload { pid: 50, started: 5 };

    /// The device that marks the workload's namespace.
    const MARK: u64 = 77;

    /// Thread: namespace, parent, further group. Each process starts at a tenth of its number;
    /// a namespace of 100 and more shows the mark.
    struct Fake(BTreeMap<u32, (u64, u32, u32)>);

    impl Machine for Fake {
        fn namespace(&self, thread: u32) -> Option<u64> {
            Some(self.0.get(&thread)?.0)
        }
        fn process(&self, thread: u32) -> Option<Workload> {
            Some(Workload { pid: thread, started: u64::from(thread / 10) })
        }
        fn parent(&self, thread: u32) -> Option<u32> {
            Some(self.0.get(&thread)?.1)
        }
        fn has_group(&self, thread: u32, gid: u32) -> bool {
            self.0.get(&thread).is_some_and(|found| found.2 == gid)
        }
        fn mounted(&self, thread: u32, is: &dyn Fn(u64) -> bool) -> Option<u64> {
            let copied = self.0.get(&thread).is_some_and(|found| found.0 >= 100);
            [3, MARK, 4].into_iter().filter(|device| copied || *device != MARK).find(|one| is(*one))
        }
    }

    fn asked(party: &Party, thread: u32, uid: u32) -> Reader {
        let machine = Fake(BTreeMap::from([
            (10, (HOST, 1, 0)),
            (11, (HOST, 1, 700)),
            (50, (5, 10, 0)),
            (51, (5, 1, 0)),
            (52, (6, 50, 0)),
            (60, (9, 10, 0)),
            (70, (8, 10, 0)),
            (71, (9, 70, 0)),
            (80, (100, 1, 0)),
            (90, (7, 10, 0)),
        ]));
        let owner = Owner { uid: 7, gid: 700 };
        decide(Caller { thread, uid, gid: uid }, party, owner, &[HOST], &machine)
    }

    #[test]
    fn workloads_owners_and_root_may_and_strangers_may_not() {
        let left = vec![Workload { pid: 70, started: 7 }, Workload { pid: 90, started: 8 }];
        let member = Member { main: MAIN, left, namespace: Some(5), mark: Some(MARK) };
        let mut party = Party::default();
        party.put(1, member);
        let workload = of_workload(MAIN);
        assert_eq!(asked(&party, 50, 0), workload);
        assert_eq!(asked(&party, 51, 33), workload, "its namespace, though not its child");
        assert_eq!(asked(&party, 52, 33), workload, "a namespace made by one of its processes");
        assert_eq!(asked(&party, 70, 33), workload, "known, and gone into another namespace");
        assert_eq!(asked(&party, 71, 33), workload, "its child, in one of its own");
        assert_eq!(asked(&party, 80, 33), workload, "a copy whose maker has ended");
        assert_eq!(asked(&party, 90, 0), Reader::Stranger, "the number of one that has ended");
        assert_eq!(asked(&party, 10, 0), Reader::Host);
        assert_eq!(asked(&party, 10, 7), Reader::Host);
        assert_eq!(asked(&party, 11, 8), Reader::Host, "one of the owner's group");
        assert_eq!(asked(&party, 10, 8), Reader::Stranger);
        assert_eq!(asked(&party, 60, 0), Reader::Stranger, "root in a namespace of its own");
        assert_eq!(asked(&party, 99, 0), Reader::Stranger, "gone or of another machine");
        assert_eq!(asked(&party, 0, 0), Reader::Stranger);
        assert_eq!(asked(&Party::default(), 50, 0), Reader::Stranger);
    }

    #[test]
    fn with_a_service_up_by_hand_whoever_got_there_may() {
        let mut party = Party::default();
        party.by_hand = true;
        assert_eq!(asked(&party, 60, 33), Reader::ByHand);
        assert_eq!(asked(&party, 10, 8), Reader::ByHand);
        assert_eq!(asked(&party, 10, 0), Reader::Host);
    }

    #[test]
    fn the_own_process_is_known() {
        let own = std::process::id();
        assert!(host_namespaces().contains(&Proc.namespace(own).unwrap()));
        assert!(Proc.parent(own).is_some());
        assert!(!Proc.has_group(own, 4_000_000_000));
        assert!(executable(own).contains("skep"));
        assert_eq!(executable(0), "");
    }
}
