//! What the turns come to: figures of each system beside ours, and our targets.

use std::path::Path;

use serde_json::{Value, json};

use super::plots;
use super::turn::{Spent, System, Turn, Work};
use crate::row::{Row, at, figure, markdown, rate};
use crate::size::Size;

/// What must be reached (ratios in one run).
const CREATES_OF_ETCD: f64 = 2.0;
const CREATES_OF_SWARM: f64 = 15.0;
const P50_OF_SWARM: f64 = 0.5;
const P50_OF_ETCD: f64 = 1.2;
/// Processor time of one create in ms: half of what it was.
const PROCESSOR: f64 = 0.3;
const READABLE_P50: f64 = 4.0;
const READABLE_P99: f64 = 15.0;

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
        let none =
            |system: &&Box<dyn System>| Figures { system: system.name(), turns: Turn::default() };
        let mut figures: Vec<Figures> = can.iter().map(|system| none(system)).collect();
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

    fn of_system(&self, name: &str) -> Option<&Figures> {
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
        let mut text = format!(
            "Processor time is that of one operation: of the leader, of both followers, of all \
             clients in the bench's process.\n\n{}\n",
            markdown(&header, each, 2..10)
        );
        if let Some(delivered) = &self.delivered {
            text += &format!("\n{}\n", crate::row::table(std::slice::from_ref(delivered)));
        }
        let targets = self.targets(rows).into_iter().map(|target| {
            let (sign, met) =
                if target.at_least { (">=", target.is_met()) } else { ("<=", target.is_met()) };
            let wanted = format!("{sign} {}", target.wanted);
            let reached = figure(Some(target.reached));
            let part = figure(Some(target.reached / target.wanted));
            vec![target.what, wanted, reached, part, if met { "yes" } else { "no" }.to_owned()]
        });
        text + &format!(
            "\n{}",
            markdown(&["target", "wanted", "reached", "ratio", "met"], targets, 1..4)
        )
    }

    fn targets(&self, rows: &[Row]) -> Vec<Target> {
        let (most, one) = (self.line(Work::Create, 64), self.line(Work::Create, 1));
        let mut targets = Vec::new();
        for (name, times, part) in
            [("etcd", CREATES_OF_ETCD, P50_OF_ETCD), ("Swarm", CREATES_OF_SWARM, P50_OF_SWARM)]
        {
            let (Some(many), Some(few)) = (most.of_system(name), one.of_system(name)) else {
                continue;
            };
            let what = format!("creates a second by 64 clients, as times of {name}'s");
            targets.push(Target::at_least(what, times, most.figures[0].rate() / many.rate()));
            let what = format!("p50 of a create by 1 client, as part of {name}'s");
            targets.push(Target::at_most(what, part, one.figures[0].at(50) / few.at(50)));
        }
        let spent = most.figures[0].processor().iter().sum();
        let what = "processor time of a create by 64 clients, all processes, ms";
        targets.push(Target::at_most(what, PROCESSOR, spent));
        if let Some(row) = rows.iter().find(|row| row.what.starts_with("grant -> readable")) {
            for (percent, wanted) in [(50, READABLE_P50), (99, READABLE_P99)] {
                let what = format!("grant -> readable, p{percent}, ms");
                let reached = row.at(percent).unwrap_or(f64::NAN);
                targets.push(Target::at_most(what, wanted, reached));
            }
        }
        targets
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

/// What is to be reached, and what was.
struct Target {
    what: String,
    wanted: f64,
    reached: f64,
    at_least: bool,
}

impl Target {
    fn at_least(what: impl Into<String>, wanted: f64, reached: f64) -> Self {
        Self { what: what.into(), wanted, reached, at_least: true }
    }

    fn at_most(what: impl Into<String>, wanted: f64, reached: f64) -> Self {
        Self { what: what.into(), wanted, reached, at_least: false }
    }

    fn is_met(&self) -> bool {
        if self.at_least { self.reached >= self.wanted } else { self.reached <= self.wanted }
    }
}
