//! History as tables that other engines query: Parquet files and, per table, a Delta transaction log that names them
//! ([0049](../../docs/decisions/0049-history-as-delta-tables.md)).
//!
//! | file | what |
//! |---|---|
//! | `schema.rs` | the five tables and their columns |
//! | `parquet_file.rs` | rows to the bytes of a file (pure) |
//! | `log.rs` | the actions of a log, written and read (pure) |
//! | `cuts.rs` | which recorded states and parts a table has, as numbers of a log (pure) |
//! | `names.rs` | ids as names of folders and numbers (pure) |
//! | `table.rs` | a table in a storage: put-if-absent decides who writes the next version |
//! | `exporter/` | what the tables lack of the history of one process, from its store |
//!
//! Invariant: a row is in a table once. What a version says is in the table is there, whatever happened to its writer.

mod cuts;
mod error;
mod exporter;
mod log;
mod names;
mod parquet_file;
mod schema;
mod table;

pub use error::TablesError;
pub use exporter::{Destination, Exporter, RecordedParts, Written};
pub use parquet_file::Unwritable;
pub use schema::Table;

/// The folder of a cluster's tables in its archive.
pub const FOLDER: &str = "tables";
