//! Logs: on stderr, as text or JSON, so that stdout is for results alone.

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

use super::CliError;

/// What is logged and how.
#[derive(Debug, Clone, clap::Args)]
pub struct LogOptions {
    /// What is logged, as a level or a filter: error, warn, info, debug, trace [default: info for node, warn else].
    #[arg(
        long,
        global = true,
        env = "SNAPLEDGER_LOG_LEVEL",
        value_name = "LEVEL"
    )]
    log_level: Option<String>,
    /// How log lines are written.
    #[arg(
        long,
        global = true,
        env = "SNAPLEDGER_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text"
    )]
    log_format: LogFormat,
    /// Log more: -v is --log-level info, -vv debug.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object per line, for programs.
    Json,
}

impl LogOptions {
    /// Starts logging; `default` is the level where nobody gives one.
    pub(super) fn start(&self, default: &str) -> Result<(), CliError> {
        let level = self.level(default);
        let filter = EnvFilter::try_new(&level)
            .map_err(|_| CliError::Usage(format!("--log-level: `{level}` is no level or filter; write error, warn, info, debug or trace")))?;
        let lines = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .log_internal_errors(false)
            .with_writer(std::io::stderr);
        match self.log_format {
            LogFormat::Text => lines.init(),
            LogFormat::Json => lines.json().init(),
        }
        Ok(())
    }

    /// The options that make a node that is started from here log as this command does.
    pub(super) fn of_child(&self) -> [String; 4] {
        let format = match self.log_format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        };
        ["--log-level", &self.level("warn"), "--log-format", format].map(str::to_owned)
    }

    fn level(&self, default: &str) -> String {
        let more = match self.verbose {
            0 => None,
            1 => Some("info".to_owned()),
            _ => Some("debug".to_owned()),
        };
        self.log_level
            .clone()
            .or(more)
            .or_else(|| std::env::var("RUST_LOG").ok().filter(|set| !set.is_empty()))
            .unwrap_or_else(|| default.to_owned())
    }
}
