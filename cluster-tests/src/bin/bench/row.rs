//! One measured thing, and how it is shown.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

/// One measured thing.
pub(super) struct Row {
    pub(super) what: String,
    pub(super) rate: Option<f64>,
    pub(super) times: Vec<Duration>,
    pub(super) note: String,
}

impl Row {
    pub(super) fn of(what: impl Into<String>, times: Vec<Duration>) -> Self {
        Self { what: what.into(), rate: None, times, note: String::new() }
    }

    pub(super) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// So many a second.
    pub(super) fn at_rate(mut self, rate: f64) -> Self {
        self.rate = Some(rate);
        self
    }

    /// Milliseconds at this part of a hundred.
    pub(super) fn at(&self, percent: usize) -> Option<f64> {
        at(&self.times, percent)
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "what": self.what, "per_second": self.rate, "samples": self.times.len(),
            "p50_ms": self.at(50), "p99_ms": self.at(99), "note": self.note,
        })
    }
}

/// Milliseconds of these times at this part of a hundred.
pub(super) fn at(times: &[Duration], percent: usize) -> Option<f64> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let last = sorted.len().checked_sub(1)?;
    Some(sorted[last * percent / 100].as_secs_f64() * 1e3)
}

/// So many of them a second.
#[allow(clippy::cast_precision_loss, reason = "a count of seconds' work")]
pub(super) fn rate(acts: usize, took: Duration) -> f64 {
    acts as f64 / took.as_secs_f64()
}

/// A figure with three digits at least, from microseconds to seconds.
pub(super) fn figure(value: Option<f64>) -> String {
    match value {
        Some(value) if value < 0.1 => format!("{value:.4}"),
        Some(value) => format!("{value:.2}"),
        None => String::new(),
    }
}

/// The rows as a table of Markdown.
pub(super) fn table(rows: &[Row]) -> Table {
    let cells = rows.iter().map(|row| {
        let rate = row.rate.map_or(String::new(), |rate| format!("{rate:.0}"));
        let samples =
            if row.times.is_empty() { String::new() } else { row.times.len().to_string() };
        let (middle, high) = (figure(row.at(50)), figure(row.at(99)));
        vec![row.what.clone(), rate, middle, high, samples, row.note.clone()]
    });
    markdown(&["", "a second", "p50 ms", "p99 ms", "samples", ""], cells, 1..5)
}

/// A table of Markdown; the columns of `numbers` stand to the right.
pub(super) fn markdown(
    header: &[&str],
    rows: impl Iterator<Item = Vec<String>>,
    numbers: std::ops::Range<usize>,
) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header.iter().copied());
    for row in rows {
        table.add_row(row);
    }
    for column in numbers {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}
