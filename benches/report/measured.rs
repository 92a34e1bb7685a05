//! What `snapledger bench … --output json` prints, as far as reports need it.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A measurement; `F` is the type of its figures.
#[derive(Debug, Deserialize)]
pub(crate) struct Measured<F> {
    version: String,
    build: String,
    measured_on: String,
    machine: Machine,
    parameters: Value,
    pub(crate) figures: F,
    pub(crate) notes: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Machine {
    cores: u64,
    cpu: String,
    memory_mib: u64,
    kernel: String,
    filesystem: String,
}

/// A figure over several runs.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

/// A measurement that is a part of another one.
#[derive(Debug, Deserialize)]
pub(crate) struct Part {
    pub(crate) parameters: Value,
    figures: Value,
}

impl<F: DeserializeOwned> Measured<F> {
    /// Reads the output of `bench`.
    pub(crate) fn read(bench: &str, text: &str) -> Result<Self, String> {
        let json: Value =
            serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))?;
        if json["bench"] != bench {
            return Err(format!(
                "this is not the output of `snapledger bench {bench} --output json`, but of {}",
                json["bench"]
            ));
        }
        let odd = |error| format!("`bench {bench}` of another version of this program: {error}");
        serde_json::from_value(json).map_err(odd)
    }

    /// The day, version, build, number of runs and machine, in one line.
    pub(crate) fn origin(&self) -> String {
        let Self {
            version,
            build,
            measured_on,
            ..
        } = self;
        let Machine {
            cores,
            cpu,
            memory_mib,
            kernel,
            filesystem,
        } = &self.machine;
        format!(
            "on {measured_on} with snapledger {version}, {build} build, {} runs: {cores} cores ({cpu}), {memory_mib} MiB, Linux {kernel}, stores on \
             {filesystem}; client and servers share the machine",
            self.parameters["runs"]
        )
    }
}

impl Spread {
    /// A figure that does not vary.
    pub(crate) fn exactly(figure: f64) -> Self {
        Self {
            median: figure,
            min: figure,
            max: figure,
        }
    }

    /// All figures multiplied by `factor`.
    pub(crate) fn times(self, factor: f64) -> Self {
        Self {
            median: self.median * factor,
            min: self.min * factor,
            max: self.max * factor,
        }
    }
}

impl Part {
    /// A figure of the table: its row, and the JSON pointer of a spread within it.
    pub(crate) fn spread(&self, row: usize, path: &str) -> Result<Spread, String> {
        let found = self.figures.get(row).and_then(|row| row.pointer(path));
        let found = found.and_then(|spread| Spread::deserialize(spread).ok());
        found.ok_or_else(|| format!("no spread at {row}{path}"))
    }

    /// As [`spread`](Self::spread), for a single number.
    pub(crate) fn number(&self, row: usize, path: &str) -> Result<f64, String> {
        let found = self.figures.get(row).and_then(|row| row.pointer(path));
        let found = found.and_then(Value::as_f64);
        found.ok_or_else(|| format!("no number at {row}{path}"))
    }
}

/// A number with digit grouping: 1,234,567.8.
pub(crate) fn grouped(figure: f64, decimals: usize) -> String {
    let text = format!("{figure:.decimals$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let digits = whole.trim_start_matches('-').len();
    let mut grouped = String::new();
    for (index, digit) in whole.trim_start_matches('-').chars().enumerate() {
        if index > 0 && (digits - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let sign = if whole.starts_with('-') { "-" } else { "" };
    format!("{sign}{grouped}{rest}")
}
