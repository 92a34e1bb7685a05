//! Errors of commands: one sentence on stderr and an exit code.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use super::OutputFormat;
use crate::config::ConfigError;
use crate::node::NodeError;
use crate::node::peers::discover::DiscoverError;
use crate::store::StoreError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// An option, the environment or the cluster file is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The command is used incorrectly.
    #[error("{0}")]
    Usage(String),
    /// A file given to the command cannot be read.
    #[error("cannot read {}: {source}; name a file that exists and may be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A line of a file given to the command is wrong.
    #[error("{}:{line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line number, from 1.
        line: u64,
        /// What is wrong and how to correct it.
        reason: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address, `host:port`.
        address: String,
        /// The cause and the remedy.
        reason: String,
    },
    /// The ids of the peers cannot be learnt.
    #[error(transparent)]
    Discover(#[from] DiscoverError),
    /// The node cannot start, or stopped because of an error.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The node or this program refuses the request.
    #[error("{0}")]
    Refused(String),
    /// The node answered with a problem document.
    #[error("{sentence}")]
    Answered {
        /// The HTTP status.
        status: u16,
        /// The last segment of the problem's `type`, for example `insufficient-funds`.
        kind: Option<String>,
        /// The title and detail of the problem.
        sentence: String,
    },
    /// A check failed.
    #[error("{0}")]
    CheckFailed(String),
    /// The connection to a node failed.
    #[error(
        "{address} does not answer: {reason}; start the node, or give another address with {option}"
    )]
    Unreachable {
        /// The address tried.
        address: String,
        /// The error of the operating system.
        reason: String,
        /// The option that sets the address.
        option: &'static str,
    },
    /// The node, or another program at its address, does not respond in time.
    #[error(
        "{address} does not answer: {what} within {timeout:?}; check whether the node is stopped or overloaded, give \
         another address with {option}, or wait longer with --timeout"
    )]
    Silent {
        /// The address tried.
        address: String,
        /// The step that did not happen in time.
        what: String,
        /// The limit that expired.
        timeout: Duration,
        /// The option that sets the address.
        option: &'static str,
    },
    /// The answer is not one of a snapledger node.
    #[error("{address} does not answer like a snapledger node: {reason}")]
    Strange {
        /// The address that answered.
        address: String,
        /// What is unexpected in the answer.
        reason: String,
    },
    /// A store cannot be opened or is damaged.
    #[error("{0}")]
    Store(String),
    /// The result cannot be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    /// The operating system refuses threads or signals.
    #[error("the system does not let this command run: {0}")]
    Runtime(io::Error),
}

impl CliError {
    /// An error of the store in `dir`, with the directory added where the store's own sentence does not name it.
    #[must_use]
    pub fn of_store(dir: &Path, error: &StoreError) -> Self {
        Self::Store(match error {
            StoreError::Engine(_) | StoreError::Damaged { .. } | StoreError::NewerFormat { .. } => {
                format!("{}: {error}", dir.display())
            }
            _ => error.to_string(),
        })
    }

    /// 0: success; 1: refused or a check failed; 2: wrong usage or configuration; 3: a store error.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            // The reader closed the pipe, so it needs no more output.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Config(_)
            | Self::Usage(_)
            | Self::Unreadable { .. }
            | Self::Line { .. }
            | Self::Listen { .. }
            | Self::Discover(_) => 2,
            // A request that the node cannot parse is wrong usage, like one that is refused here.
            Self::Answered { status: 400, .. } => 2,
            Self::Node(error) => error.exit_code(),
            Self::Store(_) => 3,
            Self::Refused(_)
            | Self::Answered { .. }
            | Self::CheckFailed(_)
            | Self::Unreachable { .. }
            | Self::Silent { .. }
            | Self::Strange { .. }
            | Self::Output(_)
            | Self::Runtime(_) => 1,
        }
    }

    /// Writes the sentence to stderr in the given format and returns the exit code. A closed stderr is ignored.
    #[must_use]
    pub fn report(&self, output: OutputFormat) -> ExitCode {
        self.report_as(&match output {
            OutputFormat::Table => format!("error: {self}"),
            OutputFormat::Json => self.json().to_string(),
        })
    }

    /// Writes `line` to stderr and returns the exit code. A closed stderr is ignored.
    pub(super) fn report_as(&self, line: &str) -> ExitCode {
        let code = self.exit_code();
        if code != 0 {
            // If stderr is closed as well, nothing can be reported.
            let _ = writeln!(io::stderr(), "{line}");
        }
        ExitCode::from(code)
    }

    /// The error as JSON.
    fn json(&self) -> Value {
        let sentence = self.to_string();
        // By convention the last clause of a sentence is the remedy.
        let parts = sentence.rsplit_once("; ");
        // A quoted name may contain the separator.
        let is_cut = |hint: &str| hint.matches('"').count() % 2 == 1;
        let parts = parts.filter(|(_, hint)| !is_cut(hint));
        let (error, hint) = match parts {
            Some((error, hint)) => (error, Some(hint)),
            None => (&*sentence, None),
        };
        let kind = match self {
            Self::Answered { kind, .. } => kind.as_deref(),
            _ => None,
        };
        json!({"error": error, "hint": hint, "type": kind, "exit": self.exit_code()})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let closed = CliError::Output(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(closed.exit_code(), 0);
        let full = CliError::Output(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(full.exit_code(), 1);
    }

    #[test]
    fn a_name_with_a_semicolon_gives_no_hint() {
        let hint = |sentence: &str| CliError::Usage(sentence.to_owned()).json()["hint"].clone();
        assert_eq!(hint("it is taken; choose another"), "choose another");
        let error = CliError::Usage("it is taken; choose another".to_owned()).json();
        assert_eq!(error["error"], "it is taken", "the hint is said once");
        assert_eq!(hint("there is no account \"a; b\" here"), Value::Null);
    }

    #[test]
    fn the_node_says_its_own_exit_code() {
        assert_eq!(CliError::Usage(String::new()).exit_code(), 2);
        assert_eq!(CliError::Refused(String::new()).exit_code(), 1);
        assert_eq!(CliError::Store(String::new()).exit_code(), 3);
    }
}
