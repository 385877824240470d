//! What is done once a set has changed: one hook a service at a time, and what managers hear.

use std::collections::BTreeMap;

use super::core::{Link, Phase, Session};
use super::types::Act;
use crate::agent::vault::HookDue;
use skep_core::base::ServiceId;
use skep_core::domain::OnChange;
use skep_core::wire::delivery::HookStand;

/// Hooks that run, wait or have failed.
#[derive(Debug, Default)]
pub(super) struct Hooking {
    /// By service: the generation whose hook runs, and what comes after it.
    running: BTreeMap<ServiceId, (u64, Option<HookDue>)>,
    /// Why a service's last hook failed.
    failed: BTreeMap<ServiceId, String>,
}

impl Hooking {
    /// Nothing is here any more of a service.
    pub(super) fn forget(&mut self, service: ServiceId) {
        self.failed.remove(&service);
        if let Some((_, next)) = self.running.get_mut(&service) {
            *next = None;
        }
    }

    /// Whether there is something to tell.
    pub(super) fn any(&self) -> bool {
        !(self.running.is_empty() && self.failed.is_empty())
    }

    fn stands(&self) -> BTreeMap<ServiceId, HookStand> {
        let failed = self.failed.iter().map(|(id, why)| (*id, HookStand::Failed(why.clone())));
        failed.chain(self.running.keys().map(|id| (*id, HookStand::Running))).collect()
    }

    /// Why a service's last hook failed, unless the next one runs.
    pub(super) fn failed(&self, service: ServiceId) -> Option<&str> {
        let failed = self.failed.get(&service).map(String::as_str);
        failed.filter(|_| !self.running.contains_key(&service))
    }
}

impl Session {
    /// Sets have changed. Those that change again while their hook runs are answered by one
    /// more, for the newest of them.
    pub(super) fn changed(&mut self, changed: Vec<HookDue>, acts: &mut Vec<Act>) {
        let before = self.hooks.stands();
        for due in changed {
            if self.phase != Phase::Serving {
                continue;
            }
            // Operators want nothing: workloads that asked are told, and nobody waits for it.
            if due.on_change == OnChange::Nothing {
                self.hooks.failed.remove(&due.service);
                acts.push(Act::Hook(due));
                continue;
            }
            if let Some((_, next)) = self.hooks.running.get_mut(&due.service) {
                *next = Some(due);
            } else {
                self.hooks.running.insert(due.service, (due.generation, None));
                acts.push(Act::Hook(due));
            }
        }
        if self.hooks.stands() != before {
            self.tell_hooks(acts);
        }
    }

    /// A hook is over.
    pub(super) fn hooked(
        &mut self,
        service: ServiceId,
        generation: u64,
        failed: Option<String>,
        acts: &mut Vec<Act>,
    ) {
        let this =
            self.hooks.running.get(&service).is_some_and(|(number, _)| *number == generation);
        if !this {
            return;
        }
        let next = self.hooks.running.remove(&service).and_then(|(_, next)| next);
        match failed.filter(|_| self.shelf.contains_key(&service)) {
            Some(why) => drop(self.hooks.failed.insert(service, why)),
            None => drop(self.hooks.failed.remove(&service)),
        }
        if let Some(due) = next {
            self.hooks.running.insert(service, (due.generation, None));
            acts.push(Act::Hook(due));
        }
        self.tell_hooks(acts);
    }

    /// The leader hears of all of them.
    pub(super) fn tell_hooks(&self, acts: &mut Vec<Act>) {
        if matches!(self.link, Link::Open(_)) {
            acts.push(Act::Hooks(self.hooks.stands()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::session::{Event, Memory};
    use crate::agent::vault::{Held, Shelf};
    use skep_core::base::BootTime;

    const WEB: ServiceId = ServiceId::from_bytes([1; 16]);

    fn due(generation: u64, hook: &str) -> HookDue {
        let (name, on_change) = ("web".parse().unwrap(), hook.parse().unwrap());
        HookDue { service: WEB, name, generation, on_change, path: None }
    }

    fn begun(acts: &[Act]) -> Vec<u64> {
        let hooks = acts.iter().filter_map(|act| match act {
            Act::Hook(due) => Some(due.generation),
            _ => None,
        });
        hooks.collect()
    }

    #[test]
    fn one_hook_a_service_runs_at_a_time_and_the_newest_set_has_the_next_one() {
        let shelf = Shelf::from([(WEB, Held::default())]);
        let mut session = Session::new(Memory::default(), shelf, &[]);
        let none: [u64; 0] = [];
        let mut step = |event| begun(&session.step(BootTime(0), event));
        let hooked = |generation, failed: Option<&str>| {
            let failed = failed.map(str::to_owned);
            Event::Hooked { service: WEB, generation, failed }
        };
        let changed = |generation| Event::Changed(vec![due(generation, "signal:HUP")]);
        assert_eq!(step(changed(1)), [1]);
        assert_eq!(step(changed(2)), none);
        assert_eq!(step(changed(3)), none);
        assert_eq!(step(hooked(2, None)), none, "another one's end");
        assert_eq!(step(hooked(1, Some("it broke"))), [3]);
        assert_eq!(step(hooked(3, Some("it broke"))), none);
        // What only workloads asked for runs beside everything.
        assert_eq!(step(Event::Changed(vec![due(4, "none"), due(5, "none")])), [4, 5]);
        assert_eq!(session.hooks.failed(WEB), None, "operators want none any more");
    }

    #[test]
    fn what_failed_is_remembered_until_the_next_one_or_until_the_files_are_gone() {
        let shelf = Shelf::from([(WEB, Held::default())]);
        let mut session = Session::new(Memory::default(), shelf, &[]);
        let fail = |session: &mut Session, generation| {
            session.step(BootTime(0), Event::Changed(vec![due(generation, "exec:/x")]));
            let failed = Some("it broke".to_owned());
            session.step(BootTime(0), Event::Hooked { service: WEB, generation, failed });
        };
        fail(&mut session, 1);
        assert_eq!(session.hooks.failed(WEB), Some("it broke"));
        assert_eq!(session.hooks.stands()[&WEB], HookStand::Failed("it broke".to_owned()));
        session.step(BootTime(0), Event::Changed(vec![due(2, "exec:/x")]));
        assert_eq!(session.hooks.failed(WEB), None);
        assert_eq!(session.hooks.stands()[&WEB], HookStand::Running);
        let ended = Event::Hooked { service: WEB, generation: 2, failed: None };
        session.step(BootTime(0), ended);
        assert!(session.hooks.stands().is_empty());
        fail(&mut session, 3);
        session.hooks.forget(WEB);
        assert!(session.hooks.stands().is_empty());
    }
}
