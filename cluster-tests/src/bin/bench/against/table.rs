//! What the turns come to: figures of each system beside ours.

use std::path::Path;

use serde_json::{Value, json};

use super::turn::{Spent, System, Turn, Work};
use super::{plots, targets};
use crate::row::{Row, at, figure, markdown, rate, table};
use crate::size::Size;

/// One system's turns of one kind of work.
pub(super) struct Figures {
    pub(super) system: &'static str,
    turns: Turn,
}

impl Figures {
    /// Times a second.
    pub(super) fn rate(&self) -> f64 {
        rate(self.turns.times.len(), self.turns.took)
    }

    pub(super) fn at(&self, percent: usize) -> f64 {
        at(&self.turns.times, percent).unwrap_or(f64::NAN)
    }

    /// Milliseconds of processor time for each time: leader, both followers, clients.
    #[allow(clippy::cast_precision_loss, reason = "a count of seconds' work")]
    pub(super) fn processor(&self) -> [f64; 3] {
        let Spent { leader, followers, clients } = self.turns.spent;
        let times = self.turns.times.len().max(1) as f64;
        [leader, followers, clients].map(|spent| spent.as_secs_f64() * 1e3 / times)
    }

    fn json(&self) -> Value {
        let [leader, followers, clients] = self.processor();
        json!({
            "system": self.system, "per_second": self.rate(), "p50_ms": self.at(50),
            "p99_ms": self.at(99), "samples": self.turns.times.len(),
            "processor_ms": { "leader": leader, "followers": followers, "clients": clients },
        })
    }
}

/// One kind of work by so many clients.
pub(super) struct Line {
    pub(super) work: Work,
    pub(super) clients: usize,
    pub(super) figures: Vec<Figures>,
}

impl Line {
    /// Measures it: turn by turn, and Skep first in each round.
    pub(super) fn of(systems: &[Box<dyn System>], work: Work, clients: usize, size: &Size) -> Self {
        let can: Vec<_> = systems.iter().filter(|system| system.can(work)).collect();
        let none = |system: &dyn System| Figures { system: system.name(), turns: Turn::default() };
        let mut figures: Vec<Figures> = can.iter().map(|system| none(system.as_ref())).collect();
        for round in 0..size.rounds {
            for (system, figures) in can.iter().zip(&mut figures) {
                let prefix = format!("{}-{clients}-{round}", word(work));
                let turn = system.turn(work, clients, size.turn, &prefix);
                figures.turns.times.extend(turn.times);
                figures.turns.took += turn.took;
                figures.turns.spent.add(turn.spent);
            }
        }
        Self { work, clients, figures }
    }

    pub(super) fn of_system(&self, name: &str) -> Option<&Figures> {
        self.figures.iter().find(|figures| figures.system == name)
    }

    fn what(&self) -> String {
        let s = if self.clients == 1 { "" } else { "s" };
        let what = match self.work {
            Work::Create => "create of 512 bytes",
            Work::Read => "one by its name, without its value",
            Work::List => "list of 500, without values",
            Work::Act => "sixteen values in one act",
        };
        format!("{what}, {} client{s}", self.clients)
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let ours = &self.figures[0];
        let row = |figures: &Figures| {
            let [leader, followers, clients] = figures.processor();
            let parts = [leader, followers, clients, leader + followers + clients];
            let mut row = vec![self.what(), figures.system.to_owned()];
            row.push(format!("{:.0}", figures.rate()));
            row.push(format!("{:.2}", ours.rate() / figures.rate()));
            row.extend([50, 99].map(|percent| figure(Some(figures.at(percent)))));
            row.extend(parts.map(|part| format!("{part:.3}")));
            row
        };
        self.figures.iter().map(row).collect()
    }
}

fn word(work: Work) -> &'static str {
    match work {
        Work::Create => "create",
        Work::Read => "read",
        Work::List => "list",
        Work::Act => "act",
    }
}

/// All of it.
pub(crate) struct Compared {
    pub(super) lines: Vec<Line>,
    pub(super) delivered: Option<Row>,
}

impl Compared {
    pub(super) fn line(&self, work: Work, clients: usize) -> &Line {
        let mut lines = self.lines.iter();
        lines.find(|line| line.work == work && line.clients == clients).expect("it was measured")
    }

    /// The tables; `rows` are those of a usual run, with the deliveries.
    pub(crate) fn text(&self, rows: &[Row]) -> String {
        let header = [
            "",
            "",
            "a second",
            "Skep is x times",
            "p50 ms",
            "p99 ms",
            "leader ms",
            "followers ms",
            "clients ms",
            "all ms",
        ];
        let each = self.lines.iter().flat_map(Line::rows);
        let mut tables = vec![markdown(&header, each, 2..10)];
        tables.extend(self.delivered.as_ref().map(|row| table(std::slice::from_ref(row))));
        tables.push(targets::table(self, rows));
        let tables: Vec<String> = tables.iter().map(ToString::to_string).collect();
        format!(
            "Processor time is that of one operation: of the leader, of both followers, of all \
             clients in the bench's process.\n\n{}",
            tables.join("\n\n")
        )
    }

    pub(crate) fn json(&self) -> Value {
        let line = |line: &Line| {
            let figures: Vec<Value> = line.figures.iter().map(Figures::json).collect();
            json!({ "what": line.what(), "clients": line.clients, "figures": figures })
        };
        let lines: Vec<Value> = self.lines.iter().map(line).collect();
        json!({ "lines": lines, "swarm_delivery": self.delivered.as_ref().map(Row::json) })
    }

    /// Draws what can be seen better than read.
    pub(crate) fn plot(&self, folder: &Path) {
        std::fs::create_dir_all(folder).expect("a folder for the plots");
        let creates: Vec<&Line> =
            self.lines.iter().filter(|line| line.work == Work::Create).collect();
        plots::creates(&folder.join("creates.svg"), &creates).expect("a plot");
        plots::latencies(&folder.join("latencies.svg"), &creates).expect("a plot");
        let most = self.line(Work::Create, 64);
        plots::processor(&folder.join("processor.svg"), most).expect("a plot");
    }
}
