//! Tables as CSV or NDJSON. They are produced while they are sent, so no table is in memory as a whole.

use std::io::{self, Write};
use std::marker::PhantomData;
use std::ops::ControlFlow;

use axum::response::Response;
use serde::Serialize;

use super::export::{self, Broken, Sink};
use super::negotiation::Format;
use crate::api::serve::limits::Permit;
use crate::node::Handle;
use crate::store::Store;

/// The formats of an answer that is a page of JSON or a table.
pub(super) const FORMATS: [Format; 3] = [Format::Json, Format::Csv, Format::Ndjson];

/// A row of a table; each table has one type of rows.
pub(super) trait Row {
    /// The header of the CSV columns.
    const COLUMNS: &'static [&'static str];

    /// The cells for CSV: a tuple, or a struct whose fields are never left out.
    fn cells(&self) -> impl Serialize;

    /// The JSON object for NDJSON.
    fn object(&self) -> impl Serialize;
}

/// Writes rows in the format of the answer.
pub(super) struct TableWriter<R, W: Write> {
    lines: Lines<W>,
    /// The number of rows that may still be written; `None`: all.
    left: Option<usize>,
    row: PhantomData<fn(&R)>,
}

enum Lines<W: Write> {
    Csv(csv::Writer<W>),
    Ndjson(W),
}

impl<R: Row, W: Write> TableWriter<R, W> {
    // Any format but CSV is NDJSON. CSV has a header even if no row follows.
    fn begin(format: Format, limit: Option<usize>, sink: W) -> io::Result<Self> {
        let lines = match format {
            Format::Csv => {
                let mut builder = csv::WriterBuilder::new();
                let mut writer = builder.has_headers(false).from_writer(sink);
                writer.write_record(R::COLUMNS)?;
                Lines::Csv(writer)
            }
            _ => Lines::Ndjson(sink),
        };
        Ok(Self {
            lines,
            left: limit,
            row: PhantomData,
        })
    }

    /// Writes a row, or returns `Break` if the limit has been reached.
    pub(super) fn write(&mut self, row: &R) -> Result<ControlFlow<()>, Broken> {
        if let Some(left) = &mut self.left {
            let Some(fewer) = left.checked_sub(1) else {
                return Ok(ControlFlow::Break(()));
            };
            *left = fewer;
        }
        let written = self.lines.write(row);
        written.map(ControlFlow::Continue).map_err(Broken::Socket)
    }

    fn end(self) -> io::Result<()> {
        match self.lines {
            Lines::Csv(mut writer) => writer.flush(),
            Lines::Ndjson(_) => Ok(()),
        }
    }
}

impl<W: Write> Lines<W> {
    fn write(&mut self, row: &impl Row) -> io::Result<()> {
        match self {
            Self::Csv(writer) => Ok(writer.serialize(row.cells())?),
            Self::Ndjson(sink) => {
                serde_json::to_writer(&mut *sink, &row.object())?;
                sink.write_all(b"\n")
            }
        }
    }
}

/// The format and the limit of a table.
pub(super) struct TableOptions {
    pub(super) format: Format,
    /// The most rows; `None`: all.
    pub(super) limit: Option<usize>,
}

/// An answer with the table that `write` produces.
pub(super) fn stream<R: Row>(
    handle: &Handle,
    options: TableOptions,
    permit: Permit,
    write: impl FnOnce(&Store, &mut TableWriter<R, &mut Sink>) -> Result<(), Broken> + Send + 'static,
) -> Response {
    let TableOptions { format, limit } = options;
    export::stream(handle, format, permit, move |store, sink| {
        let mut table = TableWriter::begin(format, limit, sink)?;
        write(store, &mut table)?;
        table.end()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Named(&'static str, Option<i64>);

    impl Row for Named {
        const COLUMNS: &'static [&'static str] = &["name", "sum"];

        fn cells(&self) -> impl Serialize {
            (self.0, self.1)
        }

        fn object(&self) -> impl Serialize {
            serde_json::json!({"name": self.0})
        }
    }

    fn table(format: Format, limit: Option<usize>, rows: &[Named]) -> String {
        let mut bytes = Vec::new();
        let mut table = TableWriter::begin(format, limit, &mut bytes).expect("it is written");
        let written = rows.iter().map(|row| table.write(row));
        let written: Result<Vec<_>, _> = written.collect();
        let written = written.map_err(io::Error::from).expect("they are written");
        let count = written.iter().filter(|flow| flow.is_continue()).count();
        assert_eq!(count, limit.unwrap_or(usize::MAX).min(rows.len()));
        table.end().expect("it is written");
        String::from_utf8(bytes).expect("it is UTF-8")
    }

    #[test]
    fn a_table_has_a_header_in_csv_and_an_object_per_line_in_ndjson() {
        let rows = [Named("a,b", Some(-1)), Named("\"ü\"", None)];
        let csv = "name,sum\n\"a,b\",-1\n\"\"\"ü\"\"\",\n";
        assert_eq!(table(Format::Csv, None, &rows), csv);
        let ndjson = "{\"name\":\"a,b\"}\n{\"name\":\"\\\"ü\\\"\"}\n";
        assert_eq!(table(Format::Ndjson, None, &rows), ndjson);
        assert_eq!(table(Format::Csv, None, &[]), "name,sum\n");
        assert_eq!(table(Format::Ndjson, None, &[]), "");
    }

    #[test]
    fn a_table_ends_at_its_limit() {
        let rows = [Named("a", None), Named("b", None), Named("c", None)];
        assert_eq!(table(Format::Csv, Some(2), &rows), "name,sum\na,\nb,\n");
        assert_eq!(table(Format::Ndjson, Some(1), &rows), "{\"name\":\"a\"}\n");
    }
}
