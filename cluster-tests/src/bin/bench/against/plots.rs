//! The figures as drawings (SVG).

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

use super::table::{Figures, Line};

type Drawn = Result<(), Box<dyn Error>>;

const SIZE: (u32, u32) = (760, 360);
/// A group is one unit wide, and its bars take so much of it.
const FULL: f64 = 0.8;
const COLOURS: [RGBColor; 3] =
    [RGBColor(214, 137, 16), RGBColor(36, 113, 163), RGBColor(120, 134, 140)];
const PARTS: [&str; 3] = ["leader", "both followers", "clients"];

/// One bar: where it stands, from its foot to its head, and which colour it has.
struct Bar {
    left: f64,
    right: f64,
    foot: f64,
    head: f64,
    series: usize,
}

/// Creates a second of each system, by numbers of clients.
pub(super) fn creates(path: &Path, lines: &[&Line]) -> Drawn {
    by_clients(path, "creates of 512 bytes a second, three managers", lines, Figures::rate)
}

/// The p50 of the same.
pub(super) fn latencies(path: &Path, lines: &[&Line]) -> Drawn {
    let title = "p50 of a create in ms, three managers";
    by_clients(path, title, lines, |figures| figures.at(50))
}

#[allow(clippy::cast_precision_loss, reason = "a few groups")]
fn by_clients(path: &Path, title: &str, lines: &[&Line], value: impl Fn(&Figures) -> f64) -> Drawn {
    let mut bars = Vec::new();
    for (group, line) in lines.iter().enumerate() {
        let width = FULL / line.figures.len() as f64;
        for (series, figures) in line.figures.iter().enumerate() {
            let left = group as f64 - FULL / 2.0 + width * series as f64;
            bars.push(Bar { left, right: left + width, foot: 0.0, head: value(figures), series });
        }
    }
    let s = |line: &&Line| if line.clients == 1 { "" } else { "s" };
    let groups: Vec<String> =
        lines.iter().map(|line| format!("{} client{}", line.clients, s(line))).collect();
    let names: Vec<&str> = lines
        .first()
        .map_or(Vec::new(), |line| line.figures.iter().map(|own| own.system).collect());
    draw(path, title, &groups, &names, &bars)
}

/// Processor time of one create, by whoever took it.
#[allow(clippy::cast_precision_loss, reason = "a few groups")]
pub(super) fn processor(path: &Path, line: &Line) -> Drawn {
    let mut bars = Vec::new();
    for (group, figures) in line.figures.iter().enumerate() {
        let mut foot = 0.0;
        for (series, part) in figures.processor().into_iter().enumerate() {
            let (left, right) = (group as f64 - FULL / 4.0, group as f64 + FULL / 4.0);
            bars.push(Bar { left, right, foot, head: foot + part, series });
            foot += part;
        }
    }
    let groups: Vec<String> = line.figures.iter().map(|own| own.system.to_owned()).collect();
    let title = format!("processor time of one create in ms, {} clients", line.clients);
    draw(path, &title, &groups, &PARTS, &bars)
}

#[allow(clippy::cast_precision_loss, reason = "a few groups")]
fn draw(path: &Path, title: &str, groups: &[String], names: &[&str], bars: &[Bar]) -> Drawn {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let highest = bars.iter().map(|bar| bar.head).fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 17))
        .margin(12)
        .x_label_area_size(28)
        .y_label_area_size(56)
        .build_cartesian_2d(-0.5..groups.len() as f64 - 0.5, 0.0..highest * 1.1)?;
    let label = |at: &f64| {
        let mut all = groups.iter().enumerate();
        let found = all.find(|(number, _)| (*number as f64 - at).abs() < 0.01);
        found.map(|(_, name)| name.clone()).unwrap_or_default()
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .x_labels(groups.len() * 2 + 1)
        .x_label_formatter(&label)
        .label_style(("sans-serif", 13))
        .draw()?;
    for (series, name) in names.iter().enumerate() {
        let colour = COLOURS[series % COLOURS.len()];
        let own = bars.iter().filter(|bar| bar.series == series);
        let each = own.map(|bar| {
            Rectangle::new([(bar.left, bar.foot), (bar.right, bar.head)], colour.filled())
        });
        chart
            .draw_series(each)?
            .label(*name)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 10, y + 5)], colour.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .label_font(("sans-serif", 13))
        .draw()?;
    root.present()?;
    Ok(())
}
