//! How a command can end badly: one sentence on stderr and an exit code that means something.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use super::OutputFormat;
use crate::config::ConfigError;
use crate::node::NodeError;
use crate::node::discover::DiscoverError;
use crate::store::StoreError;

/// Why a command ended badly.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// An option, the environment or the cluster file is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The command is used in a way that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A file of the command cannot be read.
    #[error("cannot read {}: {source}; name a file that exists and may be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A line of the command's file is wrong.
    #[error("{}:{line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1 on.
        line: u64,
        /// What is wrong and what to write.
        reason: String,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// `host:port`.
        address: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The ids of the peers cannot be learnt.
    #[error(transparent)]
    Discover(#[from] DiscoverError),
    /// The node cannot start or stopped by itself.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The node, or this program, refuses.
    #[error("{0}")]
    Refused(String),
    /// The node answered with a problem document.
    #[error("{sentence}")]
    Answered {
        /// Its HTTP status.
        status: u16,
        /// The end of its `type`, for example `insufficient-funds`.
        kind: Option<String>,
        /// Its title and detail.
        sentence: String,
    },
    /// A check found something.
    #[error("{0}")]
    CheckFailed(String),
    /// No node answers.
    #[error("{address} does not answer: {reason}; start the node, or name another with {option}")]
    Unreachable {
        /// Where it was sought.
        address: String,
        /// What the system says.
        reason: String,
        /// The option that names the address.
        option: &'static str,
    },
    /// A node, or what listens in its place, says nothing.
    #[error(
        "{address} does not answer: {what} within {timeout:?}; see whether the node is stopped or overloaded, name another \
         with {option}, or wait longer with --timeout"
    )]
    Silent {
        /// Where it was sought.
        address: String,
        /// What did not happen.
        what: String,
        /// How long was waited.
        timeout: Duration,
        /// The option that names the address.
        option: &'static str,
    },
    /// The node's answer is not what it should be.
    #[error("{address} answers with something else than a snapledger node would: {reason}")]
    Strange {
        /// Who answered.
        address: String,
        /// What is strange.
        reason: String,
    },
    /// A store cannot be opened or is damaged.
    #[error("{0}")]
    Store(String),
    /// The command's result cannot be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    /// The system refuses threads or signals.
    #[error("the system does not let this command run: {0}")]
    Runtime(io::Error),
}

impl CliError {
    /// What is wrong with the store in a directory. Its own sentences may not say which one.
    #[must_use]
    pub fn of_store(dir: &Path, error: &StoreError) -> Self {
        Self::Store(match error {
            StoreError::Engine(_) | StoreError::Damaged { .. } | StoreError::NewerFormat { .. } => {
                format!("{}: {error}", dir.display())
            }
            _ => error.to_string(),
        })
    }

    /// 0 done, 1 refused or a check failed, 2 bad usage or configuration, 3 the store.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            // Whoever closed the pipe has read all they wanted.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Config(_)
            | Self::Usage(_)
            | Self::Unreadable { .. }
            | Self::Line { .. }
            | Self::Listen { .. }
            | Self::Discover(_) => 2,
            // What the node does not understand is as badly used as what is not understood here.
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

    /// Writes the sentence to stderr, as `output` has it, unless the reader has gone, and gives the exit code.
    #[must_use]
    pub fn report(&self, output: OutputFormat) -> ExitCode {
        self.report_as(&match output {
            OutputFormat::Table => format!("error: {self}"),
            OutputFormat::Json => self.json().to_string(),
        })
    }

    /// Writes this line to stderr, unless the reader has gone, and gives the exit code.
    pub(super) fn report_as(&self, line: &str) -> ExitCode {
        let code = self.exit_code();
        if code != 0 {
            // Nothing is left to tell anyone where stderr is closed as well.
            let _ = writeln!(io::stderr(), "{line}");
        }
        ExitCode::from(code)
    }

    /// For programs.
    fn json(&self) -> Value {
        let sentence = self.to_string();
        // What can be done is the last thing that a sentence says.
        let parts = sentence.rsplit_once("; ");
        // A name that somebody gave may have such a place, too, and stands in quotes.
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
