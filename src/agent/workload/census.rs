//! One look at all processes, for all who want to know which of them live in a mount
//! namespace of `skep exec`, or in one that was copied from it.
//!
//! A copy is known by its mark: an empty file system that `skep exec` mounts below the
//! files, one of its own for each. Every copy of the namespace has it mounted, and no
//! other namespace has. That two show the same service says nothing: each workload of a
//! service does.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io;
use std::ops::ControlFlow;

use super::enclosure::Enclosure;
use crate::agent::machine::{Process, Workload, mounts, namespace_of};

/// Processes that are remembered of one namespace: one is waited for, and these are named.
pub(in crate::agent) const LEFT: usize = 16;
/// Processes of a namespace whose mounts are looked at: the first ones may stand in a
/// folder of their own (`chroot`), from where the mark isn't seen.
const ASKED: usize = 4;

/// What a look found.
#[derive(Debug, Default)]
pub(in crate::agent) struct Census {
    /// Processes, up to [`LEFT`], of each namespace that was wanted or has a wanted mark.
    members: HashMap<u64, Vec<u32>>,
    /// Namespaces that have a mark.
    marked: BTreeMap<u64, BTreeSet<u64>>,
}

impl Census {
    /// Looks for those that live in one of these.
    ///
    /// # Errors
    /// What the system says.
    pub(in crate::agent) fn look(wanted: &[Enclosure]) -> io::Result<Self> {
        let namespaces: BTreeSet<u64> = wanted.iter().map(|one| one.namespace).collect();
        let marks: BTreeSet<u64> = wanted.iter().filter_map(|one| one.mark).collect();
        let mut census = Self::default();
        if wanted.is_empty() {
            return Ok(census);
        }
        // Most processes live where the agent does.
        let host: BTreeSet<u64> =
            ["self", "1"].iter().filter_map(|who| namespace_of(who).ok()).collect();
        let mut asked: HashMap<u64, usize> = HashMap::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            // A process that goes while it is looked at is none.
            let Ok(namespace) = namespace_of(&pid.to_string()) else { continue };
            if host.contains(&namespace) && !namespaces.contains(&namespace) {
                continue;
            }
            let inside = namespaces.contains(&namespace) || census.has_mark(namespace);
            let asked = asked.entry(namespace).or_default();
            if !marks.is_empty() && *asked < ASKED && !census.has_mark(namespace) {
                *asked += 1;
                census.ask(namespace, pid, &marks);
            }
            if inside || census.has_mark(namespace) {
                let members = census.members.entry(namespace).or_default();
                if members.len() < LEFT {
                    members.push(pid);
                }
            }
        }
        Ok(census)
    }

    fn has_mark(&self, namespace: u64) -> bool {
        self.marked.contains_key(&namespace)
    }

    fn ask(&mut self, namespace: u64, pid: u32, wanted: &BTreeSet<u64>) {
        let mut found = BTreeSet::new();
        let looked = mounts::each(&pid.to_string(), |mount| {
            found.extend(wanted.get(&mount.device));
            ControlFlow::Continue(())
        });
        if let Err(error) = looked {
            tracing::debug!(event = "mounts_not_read", pid, %error);
        }
        if !found.is_empty() {
            self.marked.insert(namespace, found);
        }
    }

    /// Whether a namespace is this one or a copy of it.
    fn is_of(&self, namespace: u64, enclosure: Enclosure) -> bool {
        let copied = |mark| self.marked.get(&namespace).is_some_and(|marks| marks.contains(&mark));
        namespace == enclosure.namespace || enclosure.mark.is_some_and(copied)
    }

    /// Processes that live in it or in a copy, up to [`LEFT`] of them; the first one of
    /// them is held.
    pub(in crate::agent) fn members(
        &self,
        enclosure: Enclosure,
    ) -> (Vec<Workload>, Option<Process>) {
        let (mut ids, mut first) = (Vec::new(), None);
        let inside =
            self.members.iter().filter(|(namespace, _)| self.is_of(**namespace, enclosure));
        for (namespace, pids) in inside {
            for pid in pids.iter().take(LEFT.saturating_sub(ids.len())) {
                let Some(process) =
                    i32::try_from(*pid).ok().and_then(|pid| Process::open(pid).ok())
                else {
                    continue;
                };
                // Its number may have become another's since.
                if process.namespace().is_ok_and(|now| now == *namespace) {
                    ids.push(process.id);
                    first.get_or_insert(process);
                }
            }
        }
        (ids, first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_core::base::ServiceId;

    #[test]
    fn the_own_namespace_has_members() {
        let namespace = namespace_of("self").expect("readable");
        let service = ServiceId::from_bytes([1; 16]);
        let own = Enclosure { namespace, device: u64::MAX, mark: None, service };
        let census = Census::look(&[own]).expect("a look");
        let (ids, first) = census.members(own);
        assert!(!ids.is_empty() && ids.len() <= LEFT && first.is_some());
        let other = Enclosure { namespace: u64::MAX, ..own };
        assert!(census.members(other).0.is_empty());
        assert!(Census::look(&[]).expect("no look").members(own).0.is_empty());
    }
}
