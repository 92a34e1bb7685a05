//! Results on stdout, as tables for people or JSON for programs. A closed pipe is not a failure.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use comfy_table::{CellAlignment, ContentArrangement, Table, TableComponent, presets};
use serde_json::Value;

use super::{CliError, OutputFormat};
use crate::process::hidden::is_hidden;

/// Writes `text` and a newline to stdout.
///
/// # Errors
/// [`CliError::Output`]. If the reader has closed the pipe, it ends the program without a message.
pub fn print(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    out.write_all(text.trim_end_matches('\n').as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()?;
    Ok(())
}

/// The columns without a terminal.
const COLUMNS: usize = 100;

/// The width of the terminal that stdout is, or 100.
pub(super) fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stdout());
    let columns = size.map_or(0, |size| usize::from(size.ws_col));
    match columns {
        0 => COLUMNS,
        columns => columns,
    }
}

/// Writes a file that the user has named; an existing one is replaced.
///
/// # Errors
/// [`CliError::Usage`] says what to name instead.
pub(super) fn write_file(path: &Path, text: &str) -> Result<(), CliError> {
    fs::write(path, text).map_err(|error| {
        let path = path.display();
        CliError::Usage(format!(
            "cannot write {path}: {error}; name a file in a directory that exists and may be written"
        ))
    })
}

impl OutputFormat {
    /// Writes a remark about a valid result to stderr; `kind` is `note` or `warning`.
    pub(crate) fn remark(self, kind: &str, text: &str) {
        let line = match self {
            Self::Table => format!("{kind}: {}", printable(text)),
            Self::Json => serde_json::json!({ kind: text }).to_string(),
        };
        // A closed stderr is ignored.
        let _ = writeln!(io::stderr(), "{line}");
    }
}

/// The columns of a table: a header, and a JSON pointer into the object of each row.
pub(super) type Columns = &'static [(&'static str, &'static str)];

/// Text for people, built from lines and tables.
#[derive(Debug, Default)]
pub struct Report(String);

impl Report {
    /// Adds a line of text.
    pub fn line(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push('\n');
    }

    /// Adds a table under `headers`. Columns in which every cell is a number are right-aligned.
    pub fn table(&mut self, headers: &[&str], rows: Vec<Vec<String>>) {
        self.line(&table(headers, rows).to_string());
    }

    /// As `table`, but at most `columns` wide: long cells wrap.
    pub(super) fn table_within(&mut self, columns: u16, headers: &[&str], rows: Vec<Vec<String>>) {
        let mut table = table(headers, rows);
        table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(columns);
        self.line(&table.to_string());
    }

    /// Adds the objects of a JSON list as a table. Each column is a header and a JSON pointer into the object.
    pub fn list(&mut self, list: &Value, columns: &[(&str, &str)]) {
        let headers: Vec<&str> = columns.iter().map(|(header, _)| *header).collect();
        let rows = list.as_array().map_or(&[][..], Vec::as_slice).iter();
        let rows = rows.map(|row| {
            columns
                .iter()
                .map(|(_, field)| cell(row.pointer(field)))
                .collect()
        });
        self.table(&headers, rows.collect());
    }

    /// Adds what the totals leave out, if anything, so that partial sums are not taken for those of the cluster.
    pub fn left_out(&mut self, totals: &Value) {
        if totals["complete"] != false {
            return;
        }
        let mut gaps = Vec::new();
        for (field, sentence) in [
            ("left_out", "without"),
            ("earlier", "with earlier figures of"),
        ] {
            let names = totals[field].as_array().into_iter().flatten();
            let names: Vec<String> = names.map(|name| cell(Some(name))).collect();
            if !names.is_empty() {
                gaps.push(format!("{sentence} {}", names.join(", ")));
            }
        }
        let channels = totals["channels_left_out"].as_array().map_or(0, Vec::len);
        if channels > 0 {
            gaps.push(format!(
                "without the money in flight in channels whose contents are unknown: {channels}"
            ));
        }
        let gaps = gaps.join("; ");
        self.line(&format!("\nnot the sums of the whole cluster: {gaps}"));
    }

    /// The text so far.
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// Writes the text to stdout.
    ///
    /// # Errors
    /// As [`print()`].
    pub fn print(&self) -> Result<(), CliError> {
        print(&self.0)
    }
}

fn table(headers: &[&str], rows: Vec<Vec<String>>) -> Table {
    let numeric: Vec<bool> = (0..headers.len())
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .all(|cell| is_number(cell))
        })
        .collect();
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
    table.remove_style(TableComponent::HorizontalLines);
    table.remove_style(TableComponent::MiddleIntersections);
    table.set_header(headers.iter().copied()).add_rows(rows);
    for (column, numeric) in table.column_iter_mut().zip(numeric) {
        if numeric {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// A JSON value as a table cell.
pub(super) fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => printable(text),
        Some(other) => other.to_string(),
    }
}

// Text from a server must not control the terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if is_hidden(c) { '\u{fffd}' } else { c })
        .collect()
}

fn is_number(cell: &str) -> bool {
    cell == "-" || cell.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Without this the user takes partial sums for those of the cluster.
    #[test]
    fn sums_that_are_not_whole_say_so() {
        let sentence_of = |totals: serde_json::Value| {
            let mut report = Report::default();
            report.left_out(&totals);
            report.0
        };
        assert_eq!(sentence_of(serde_json::json!({"balances": 1})), "");
        let totals = serde_json::json!({
            "complete": false, "left_out": ["n3"], "earlier": ["n4"], "channels_left_out": [{}, {}]
        });
        let line = "\nnot the sums of the whole cluster: without n3; with earlier figures of n4; without the money in \
                    flight in channels whose contents are unknown: 2\n";
        assert_eq!(sentence_of(totals), line);
    }

    // Without this sums over 64 bits are rounded to a double.
    #[test]
    fn numbers_are_shown_to_the_last_digit() {
        let text = format!("{{\"sum\":{},\"took\":0.125}}", i128::MIN);
        let read: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(cell(read.get("sum")), i128::MIN.to_string());
        assert_eq!(read.to_string(), text);
        assert_eq!(
            serde_json::json!(i128::MAX).to_string(),
            i128::MAX.to_string()
        );
    }

    #[test]
    fn lists_become_tables_and_what_is_absent_a_dash() {
        let list = serde_json::json!([{"a": {"b": "x\u{1b}"}, "n": 1}, {"n": 22}]);
        let mut report = Report::default();
        report.list(&list, &[("name", "/a/b"), ("count", "/n")]);
        let lines: Vec<&str> = report.0.lines().collect();
        assert!(
            lines
                .iter()
                .any(|line| line.contains("x\u{fffd}") && line.contains("  1"))
        );
        assert!(
            lines
                .iter()
                .any(|line| line.contains(" - ") && line.contains(" 22"))
        );
    }
}
