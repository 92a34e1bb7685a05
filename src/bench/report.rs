//! The report of a measurement, as a table or JSON, always with the machine and the parameters.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Bench;
use super::figures::Spread;
use super::machine::Machine;
use crate::cli::{CliError, OutputFormat, Report, print};

/// The result of a measurement.
pub(super) struct Outcome {
    /// The name of the measurement.
    pub(super) name: &'static str,
    /// All parameters.
    pub(super) parameters: Value,
    /// The table: headers and rows.
    pub(super) headers: &'static [&'static str],
    pub(super) rows: Vec<Vec<String>>,
    pub(super) ratios: Vec<Ratio>,
    /// Further remarks, one line each.
    pub(super) notes: Vec<String>,
    /// The exact figures of the table.
    pub(super) figures: Value,
}

/// The headers of a table of lines.
pub(super) const LINES: &[&str] = &["what", "median", "min", "max"];

/// A named figure over several runs.
pub(super) struct Line {
    what: String,
    decimals: usize,
    spread: Spread,
}

impl Line {
    /// A line shown with `decimals` decimals.
    pub(super) fn new(what: impl Into<String>, decimals: usize, spread: Spread) -> Self {
        Self {
            what: what.into(),
            decimals,
            spread,
        }
    }

    /// Table rows.
    pub(super) fn rows(lines: &[Self]) -> Vec<Vec<String>> {
        let row = |line: &Self| {
            let cells = line.spread.cells(line.decimals);
            std::iter::once(line.what.clone()).chain(cells).collect()
        };
        lines.iter().map(row).collect()
    }

    /// The lines as JSON.
    pub(super) fn figures(lines: &[Self]) -> Value {
        let figure = |line: &Self| json!({"what": line.what, "spread": line.spread.json()});
        lines.iter().map(figure).collect()
    }
}

/// A ratio with both of its figures.
pub(super) struct Ratio {
    pub(super) name: String,
    pub(super) unit: &'static str,
    pub(super) over: f64,
    pub(super) under: f64,
}

impl Ratio {
    pub(super) fn value(&self) -> f64 {
        self.over / self.under
    }

    fn line(&self) -> String {
        let Self {
            name,
            unit,
            over,
            under,
        } = self;
        let value = self.value();
        format!("{name}: {over:.1} / {under:.1} {unit} = {value:.3}")
    }

    fn json(&self) -> Value {
        json!({"name": self.name, "unit": self.unit, "over": self.over, "under": self.under, "ratio": self.value()})
    }
}

impl Outcome {
    /// A figure of the table: its row, and the JSON pointer of a spread within it.
    pub(super) fn spread(&self, row: usize, path: &str) -> Result<Spread, CliError> {
        let found = self.figures.get(row).and_then(|row| row.pointer(path));
        let missing = || CliError::CheckFailed(format!("bench {}: no {row}{path}", self.name));
        found.and_then(Spread::read).ok_or_else(missing)
    }

    /// As [`spread`](Self::spread), for a single number.
    pub(super) fn number(&self, row: usize, path: &str) -> Result<f64, CliError> {
        let found = self.figures.get(row).and_then(|row| row.pointer(path));
        let missing = || CliError::CheckFailed(format!("bench {}: no {row}{path}", self.name));
        found.and_then(Value::as_f64).ok_or_else(missing)
    }

    /// Writes the report to stdout.
    pub(super) fn print(self, bench: &Bench) -> Result<(), CliError> {
        let machine = Machine::look(bench.dir.path());
        match bench.output {
            OutputFormat::Json => print(&format!("{:#}", self.json(&machine))),
            OutputFormat::Table => self.table(&machine).print(),
        }
    }

    /// As a part of another measurement: without machine and version.
    pub(super) fn part(&self) -> Value {
        json!({
            "bench": self.name,
            "parameters": self.parameters,
            "figures": self.figures,
            "ratios": self.ratios.iter().map(Ratio::json).collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }

    fn json(&self, machine: &Machine) -> Value {
        json!({
            "bench": self.name,
            "version": env!("CARGO_PKG_VERSION"),
            "build": build(),
            "measured_on": Timestamp::now().strftime("%Y-%m-%d").to_string(),
            "machine": machine.json(),
            "parameters": self.parameters,
            "figures": self.figures,
            "ratios": self.ratios.iter().map(Ratio::json).collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }

    fn table(self, machine: &Machine) -> Report {
        let mut report = Report::default();
        let version = env!("CARGO_PKG_VERSION");
        report.line(&format!(
            "bench {}, snapledger {version}, {} build",
            self.name,
            build()
        ));
        if cfg!(debug_assertions) {
            report.line("a debug build: its figures mean nothing");
        }
        report.line(&machine.line());
        report.line(&parameters(&self.parameters));
        report.line("");
        report.table(self.headers, self.rows);
        report.line("");
        for ratio in &self.ratios {
            report.line(&ratio.line());
        }
        for note in &self.notes {
            report.line(note);
        }
        report
    }
}

fn build() -> &'static str {
    if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    }
}

fn parameters(parameters: &Value) -> String {
    let all = parameters.as_object().into_iter().flatten();
    let words: Vec<String> = all
        .map(|(name, value)| match value {
            Value::String(text) => format!("{name}: {text}"),
            other => format!("{name}: {other}"),
        })
        .collect();
    words.join(", ")
}
