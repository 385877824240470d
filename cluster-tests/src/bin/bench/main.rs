//! What it costs: one table and JSON. Run by `scripts/bench` on a release build.

mod against;
mod audit;
mod connection;
mod creates;
mod delivery;
mod engines;
mod fail_over;
mod floods;
mod many;
mod mounts;
mod options;
mod process;
mod program;
mod row;
mod signing;
mod size;
mod tokens;

use std::fs;
use std::process::ExitCode;

use serde_json::{Value, json};

use options::{Options, Rows};
use row::{Row, table};
use size::{QUICK, Size, WHOLE};

fn main() -> ExitCode {
    let options = match options::read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    let size = if options.quick { QUICK } else { WHOLE };
    let mut rows = vec![creates::disk()];
    let disk = rows[0].at(50).unwrap_or(f64::NAN);
    let mut beside = None;
    match &options.rows {
        Rows::Usual => rows.extend(usual(&size, disk)),
        Rows::Floods => rows.extend(floods::rows(&size)),
        Rows::Tokens => {
            rows.extend(tokens::rows(&size));
            rows.extend(signing::rows(&size));
        }
        Rows::Docker => rows.extend(engines::rows(&size)),
        Rows::Many => rows.extend(many_of_them(&size)),
        Rows::Audit => rows.extend(audit::rows(&size)),
        Rows::Failover(kills, minutes) => rows.extend(fail_over::rows(*kills, *minutes)),
        Rows::Against(others) => {
            if let Err(why) = against::fit(others) {
                eprintln!("{why}");
                return ExitCode::FAILURE;
            }
            let compared = against::compare(&size, others);
            if let Some(folder) = &options.plots {
                compared.plot(folder);
            }
            rows.extend(delivery::rows(&size));
            beside = Some(compared);
        }
    }
    println!("{}", table(&rows));
    if let Some(compared) = &beside {
        println!("\n{}", compared.text(&rows));
    }
    write_json(&options, &rows, beside.map(|compared| compared.json()));
    ExitCode::SUCCESS
}

fn usual(size: &Size, disk: f64) -> Vec<Row> {
    let mut rows = Vec::new();
    for managers in [1, 3] {
        rows.extend(creates::rows(size, managers, disk));
    }
    rows.extend(delivery::rows(size));
    rows.push(fail_over::row(size));
    rows.extend(many_of_them(size));
    rows.extend(program::rows(size));
    rows.extend(mounts::reads(size));
    rows.extend(audit::rows(size));
    rows.extend(floods::rows(size));
    rows
}

fn many_of_them(size: &Size) -> Vec<Row> {
    let mut rows = many::import(size);
    rows.extend(many::secrets(size));
    rows.extend(many::rotations(size));
    rows.extend(delivery::simulated(size));
    rows
}

fn write_json(options: &Options, rows: &[Row], beside: Option<Value>) {
    let Some(path) = &options.json else { return };
    let rows: Vec<Value> = rows.iter().map(Row::json).collect();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut all = json!({
        "quick": options.quick, "cores": cores, "load_after": load.trim(), "rows": rows,
    });
    if let Some(beside) = beside {
        all["against"] = beside;
    }
    fs::write(path, format!("{all:#}\n")).expect("the JSON written");
}
