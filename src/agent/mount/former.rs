//! Former generations: where they are, how many stay, and for how long.

use super::error::MountError;
use super::files;
use super::record::Generation;
use super::service::Mounted;
use skep_core::base::{BootTime, limits};

/// How many times what `old/` keeps may lie beside the generation in place, also when all of it
/// was replaced within the second that it stays.
const REPLACED_AT_ONCE: usize = 4;

impl Mounted {
    /// Makes sure that a generation can replace the one in place, at the cost of older ones.
    pub(super) fn forget_surplus(&mut self) -> Result<(), MountError> {
        let surplus = surplus(&self.record.generations, REPLACED_AT_ONCE);
        let oldest = self.record.generations.iter().take(surplus).map(|one| one.number);
        for oldest in oldest.collect::<Vec<_>>() {
            self.forget(oldest)?;
        }
        Ok(())
    }

    /// Moves generations on by their age; says when the next one is due.
    pub(super) fn age(&mut self, now: BootTime) -> Result<Option<BootTime>, MountError> {
        self.now = self.now.max(now);
        let count = self.record.generations.len();
        let former = self.record.generations.partition_point(|one| one.replaced.is_some());
        let former = self.record.generations.get(..former).unwrap_or_default();
        let surplus = surplus(former, 1);
        let replaced = former.iter().filter_map(|one| Some((one.number, one.replaced?)));
        let replaced: Vec<(u64, BootTime)> = replaced.collect();
        let mut next = None;
        for (index, (number, since)) in replaced.into_iter().enumerate() {
            let moves = since.0.saturating_add(limits::FLIP_GRACE_MS);
            let ends = since.0.saturating_add(limits::OLD_GENERATION_MS);
            let (from, to) = (self.live_folder(number), self.old_folder(number));
            if now.0 >= ends || (now.0 >= moves && index < surplus) {
                self.forget(number)?;
                continue;
            }
            if now.0 >= moves && from.is_dir() {
                files::rename("put away", &from, &to)?;
            }
            let due = BootTime(if now.0 >= moves { ends } else { moves });
            next = Some(next.map_or(due, |next: BootTime| next.min(due)));
        }
        if self.record.generations.len() != count {
            self.save()?;
        }
        Ok(next)
    }
}

/// How many of these, from the oldest on, are more than may stay when all of them are
/// replaced: `times` what `old/` keeps. The newest stays in any case.
fn surplus(generations: &[Generation], times: usize) -> usize {
    let most_generations = limits::OLD_GENERATIONS.saturating_mul(times);
    let most_files = limits::OLD_FILES.saturating_mul(times);
    let mut files = 0_usize;
    let stay = generations.iter().rev().enumerate().take_while(|(newer, generation)| {
        files = files.saturating_add(generation.files.len());
        *newer == 0 || (*newer < most_generations && files <= most_files)
    });
    generations.len().saturating_sub(stay.count())
}
