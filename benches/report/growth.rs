//! How snapshots, restarts and queries of the past grow with their causes: a page with a chart and a table for each.

use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;

use super::at;
use super::chart::svg;
use super::measured::{Measured, Spread, grouped};

/// The curves of one cause: a chart.
#[derive(Debug, Deserialize)]
pub(crate) struct Growth {
    /// The name of the file.
    pub(crate) name: String,
    pub(crate) title: String,
    /// The cause, which is the label of the horizontal axis.
    pub(crate) by: String,
    pub(crate) unit: String,
    pub(crate) curves: Vec<Curve>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Curve {
    pub(crate) what: String,
    pub(crate) points: Vec<Point>,
}

/// A figure by its cause.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Point {
    pub(crate) count: f64,
    pub(crate) spread: Spread,
}

/// Writes the charts and the page into `dir`.
///
/// # Errors
/// The input is not the output of `bench growth`, or a file cannot be written.
pub(crate) fn report(text: &str, dir: &Path) -> Result<(), String> {
    let measured = Measured::<Vec<Growth>>::read("growth", text)?;
    std::fs::create_dir_all(dir).map_err(at(dir))?;
    let mut page = format!(
        "# How it grows\n\nMade out of `snapledger bench growth` by `cargo bench --bench report`. Measured {}. Both axes are \
         logarithmic: linear growth is a line of slope one, a constant cost is level.\n",
        measured.origin()
    );
    for growth in &measured.figures {
        let path = dir.join(format!("{}.svg", growth.name));
        std::fs::write(&path, svg(growth)?).map_err(at(&path))?;
        let _ = write!(page, "\n{}", growth.markdown());
    }
    let path = dir.join("README.md");
    std::fs::write(&path, page).map_err(at(&path))
}

impl Growth {
    // The chart and its table.
    fn markdown(&self) -> String {
        let Self {
            name,
            title,
            by,
            unit,
            curves,
        } = self;
        let mut text = format!("## {title}\n\n![{title}]({name}.svg)\n\n| {by} |");
        for curve in curves {
            let _ = write!(text, " {}, {unit}: median (min – max) |", curve.what);
        }
        text += "\n|---|";
        text += &"---|".repeat(curves.len());
        text.push('\n');
        let counts = curves.first().map_or(&[][..], |curve| &curve.points);
        for (index, Point { count, .. }) in counts.iter().enumerate() {
            let _ = write!(text, "| {} |", grouped(*count, 0));
            for point in curves.iter().filter_map(|curve| curve.points.get(index)) {
                let Spread { median, min, max } = point.spread;
                let decimals = if unit == "bytes" { 0 } else { 2 };
                let [median, min, max] = [median, min, max].map(|figure| grouped(figure, decimals));
                let _ = write!(text, " {median} ({min} – {max}) |");
            }
            text.push('\n');
        }
        text
    }
}
