//! The formats in which a command writes its result.

use clap::ValueEnum;

/// How a result is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum OutputFormat {
    /// Human-readable text.
    #[default]
    Table,
    /// JSON.
    Json,
}
