//! What is to be reached beside the others, and what was.

use comfy_table::Table;

use super::table::Compared;
use super::turn::Work;
use crate::row::{Row, figure, markdown};

/// Ratios in one run.
const CREATES_OF_ETCD: f64 = 2.0;
const CREATES_OF_SWARM: f64 = 15.0;
const P50_OF_SWARM: f64 = 0.5;
const P50_OF_ETCD: f64 = 1.2;
/// Processor time of one create in ms: half of what it was.
const PROCESSOR: f64 = 0.3;
const READABLE_P50: f64 = 4.0;
const READABLE_P99: f64 = 15.0;

/// What is wanted of a figure.
enum Wanted {
    AtLeast(f64),
    AtMost(f64),
}

struct Target {
    what: String,
    wanted: Wanted,
    reached: f64,
}

impl Target {
    fn row(self) -> Vec<String> {
        let (sign, wanted, is_met) = match self.wanted {
            Wanted::AtLeast(wanted) => (">=", wanted, self.reached >= wanted),
            Wanted::AtMost(wanted) => ("<=", wanted, self.reached <= wanted),
        };
        let [reached, ratio] = [self.reached, self.reached / wanted].map(|it| figure(Some(it)));
        let met = if is_met { "yes" } else { "no" };
        vec![self.what, format!("{sign} {wanted}"), reached, ratio, met.to_owned()]
    }
}

/// All of them; `rows` have the deliveries.
pub(super) fn table(compared: &Compared, rows: &[Row]) -> Table {
    let targets = of(compared, rows).into_iter().map(Target::row);
    markdown(&["target", "wanted", "reached", "ratio", "met"], targets, 1..4)
}

fn of(compared: &Compared, rows: &[Row]) -> Vec<Target> {
    let [many, one] = [64, 1].map(|clients| compared.line(Work::Create, clients));
    let (ours, ours_alone) = (&many.figures[0], &one.figures[0]);
    let mut targets = Vec::new();
    let mut target = |what: String, wanted, reached| targets.push(Target { what, wanted, reached });
    for (name, times, part) in
        [("etcd", CREATES_OF_ETCD, P50_OF_ETCD), ("Swarm", CREATES_OF_SWARM, P50_OF_SWARM)]
    {
        if let (Some(theirs), Some(alone)) = (many.of_system(name), one.of_system(name)) {
            let what = format!("creates a second by 64 clients, as times of {name}'s");
            target(what, Wanted::AtLeast(times), ours.rate() / theirs.rate());
            let what = format!("p50 of a create by 1 client, as part of {name}'s");
            target(what, Wanted::AtMost(part), ours_alone.at(50) / alone.at(50));
        }
    }
    let what = "processor time of a create by 64 clients, all processes, ms";
    target(what.to_owned(), Wanted::AtMost(PROCESSOR), ours.processor().iter().sum());
    let delivered = rows.iter().find(|row| row.what.starts_with("grant -> readable"));
    for (percent, wanted) in [(50, READABLE_P50), (99, READABLE_P99)] {
        if let Some(reached) = delivered.and_then(|row| row.at(percent)) {
            let what = format!("grant -> readable, p{percent}, ms");
            target(what, Wanted::AtMost(wanted), reached);
        }
    }
    targets
}
