//! The command line: one file per command.

pub mod simulate;

/// Why a command ended badly.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The command is used in a way that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The command's result cannot be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
}
