//! What was seen of each process, and whether it grew.

use std::collections::BTreeMap;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};

/// Looks at a process from which it is judged at least, after its warm-up.
const LOOKS: usize = 9;
/// Bytes that a manager may take for an open on record.
const RECORD: u64 = 512;

/// One look at a process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Look {
    /// Its role and place: `manager-1`, `node-2`, `node-2 guard`.
    pub(crate) name: String,
    /// Its process id and start: another one is another process.
    pub(crate) process: (u32, u64),
    /// Since when it is watched.
    pub(crate) age: Duration,
    /// Opens of FUSE files that the load had made.
    pub(crate) opens: u64,
    /// The figures, in the order of [`FIGURES`].
    pub(crate) figures: [u64; FIGURES.len()],
}

/// A figure and how far it may grow.
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    /// `None`: it is shown, and not judged.
    percent: Option<u64>,
    slack: u64,
    /// Whether records of opens count for it, in KiB.
    records: bool,
}

const fn judged(name: &'static str, percent: u64, slack: u64, records: bool) -> Figure {
    Figure { name, percent: Some(percent), slack, records }
}

const fn shown(name: &'static str) -> Figure {
    Figure { name, percent: None, slack: 0, records: false }
}

/// What is seen of a process. Pages of the program's file come and go with what is run, and
/// are shared: only memory that no file backs is judged.
pub(crate) const FIGURES: [Figure; 7] = [
    judged("descriptors", 10, 12, false),
    judged("threads", 10, 6, false),
    judged("mounts", 10, 6, false),
    shown("RSS KiB"),
    shown("PSS KiB"),
    judged("own memory KiB", 15, 6 * 1024, true),
    judged("disk KiB", 25, 24 * 1024, true),
];

/// A table of all that was judged, and what grew.
pub(crate) fn all(looks: &[Look], warm_up: Duration) -> (Table, Vec<String>) {
    let mut lives: BTreeMap<(&str, (u64, u32)), Vec<&Look>> = BTreeMap::new();
    for look in looks {
        let (pid, started) = look.process;
        lives.entry((&look.name, (started, pid))).or_default().push(look);
    }
    let mut table =
        table(&["process", "pid", "seconds", "figure", "first third", "last third", "may be"]);
    let mut troubles = Vec::new();
    let mut judged: BTreeMap<&str, bool> = BTreeMap::new();
    for ((name, (_, pid)), looks) in &lives {
        let warm: Vec<&Look> = looks.iter().filter(|look| look.age >= warm_up).copied().collect();
        let enough = warm.len() >= LOOKS;
        *judged.entry(name).or_default() |= enough;
        if !enough {
            continue;
        }
        let third = warm.len() / 3;
        let (first, last) = (&warm[..third], &warm[warm.len() - third..]);
        let age = looks.last().map_or(0, |look| look.age.as_secs());
        for (place, figure) in FIGURES.iter().enumerate() {
            let Some(percent) = figure.percent else { continue };
            let of = |looks: &[&Look]| median(looks.iter().map(|look| look.figures[place]));
            let (before, after) = (of(first), of(last));
            let opens = |looks: &[&Look]| median(looks.iter().map(|look| look.opens));
            let records = if figure.records && name.starts_with("manager") {
                (opens(last) - opens(first)) * RECORD / 1024
            } else {
                0
            };
            let most = before + before * percent / 100 + figure.slack + records;
            let cells = [pid.to_string(), age.to_string(), figure.name.to_owned()];
            let numbers = [before, after, most].map(|number| number.to_string());
            table.add_row([vec![(*name).to_owned()], cells.to_vec(), numbers.to_vec()].concat());
            if after > most {
                troubles.push(format!(
                    "{name} (process {pid}): {} grew from {before} to {after}, and may be {most}",
                    figure.name
                ));
            }
        }
    }
    // A guard comes and goes with the services that are mounted by FUSE.
    let daemons = judged.iter().filter(|(name, _)| !name.ends_with(" guard"));
    for (name, _) in daemons.filter(|(_, judged)| !**judged) {
        troubles.push(format!("{name} was never seen for long enough to be judged"));
    }
    (table, troubles)
}

/// A table with numbers on the right.
pub(crate) fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(head);
    for (number, column) in table.column_iter_mut().enumerate() {
        if number > 0 && head.get(number) != Some(&"figure") {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn median(of: impl Iterator<Item = u64>) -> u64 {
    let mut sorted: Vec<u64> = of.collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WARM_UP: Duration = Duration::from_secs(10);

    /// A process seen each second, with these figures at each.
    fn life(name: &str, pid: u32, seconds: u64, at: impl Fn(u64) -> ([u64; 7], u64)) -> Vec<Look> {
        let look = |second| {
            let (figures, opens) = at(second);
            let age = Duration::from_secs(second);
            Look { name: name.to_owned(), process: (pid, pid.into()), age, opens, figures }
        };
        (0..seconds).map(look).collect()
    }

    const FLAT: [u64; 7] = [40, 9, 30, 60_000, 50_000, 40_000, 5_000];

    fn grown(looks: &[Look]) -> Vec<String> {
        all(looks, WARM_UP).1
    }

    #[test]
    fn what_stays_or_only_warms_up_or_jumps_once_is_fine() {
        assert_eq!(grown(&life("node-1", 7, 60, |_| (FLAT, 0))), [""; 0]);
        let warms = |second: u64| {
            let mut figures = FLAT;
            figures[5] = 40_000 * second.min(9) / 9;
            figures[0] += if second == 50 { 4_000 } else { 0 };
            (figures, 0)
        };
        assert_eq!(grown(&life("node-1", 7, 60, warms)), [""; 0]);
    }

    #[test]
    fn what_grows_is_named_with_its_process() {
        for (place, step) in [(0, 1), (1, 1), (2, 1), (5, 500), (6, 1_000)] {
            let grows = |second| {
                let mut figures = FLAT;
                figures[place] += second * step;
                (figures, 0)
            };
            let troubles = grown(&life("manager-2", 4711, 60, grows));
            assert_eq!(troubles.len(), 1, "{troubles:?}");
            assert!(troubles[0].starts_with("manager-2 (process 4711): "), "{troubles:?}");
            assert!(troubles[0].contains(FIGURES[place].name), "{troubles:?}");
        }
    }

    #[test]
    fn records_of_opens_are_a_managers_load_and_no_agents() {
        let records = |second| {
            let mut figures = FLAT;
            figures[5] += second * 500;
            (figures, second * 1_000)
        };
        assert_eq!(grown(&life("manager-1", 7, 60, records)), [""; 0]);
        assert_eq!(grown(&life("node-1", 7, 60, records)).len(), 1);
    }

    #[test]
    fn each_process_is_judged_by_itself_and_one_too_young_is_told() {
        let young = life("node-1", 7, 15, |_| (FLAT, 0));
        assert_eq!(grown(&young), ["node-1 was never seen for long enough to be judged"]);
        let mut more = FLAT;
        more[0] = 4_000;
        let both = [life("node-1", 7, 60, |_| (FLAT, 0)), life("node-1", 8, 60, |_| (more, 0))];
        assert_eq!(grown(&[both.concat(), young].concat()), [""; 0]);
    }
}
