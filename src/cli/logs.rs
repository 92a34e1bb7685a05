//! Logging to stderr, as text or JSON; stdout is for results only. Each line of a node names its process, since
//! `cluster` interleaves the lines of several.

use std::io::{self, IsTerminal as _, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::ValueEnum;
use serde_json::{Value, json};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::CliError;
use crate::api::time::rfc3339;

/// The target of the audit trail and the level of its lines.
const AUDIT: &str = "audit=info";

/// Logging options.
#[derive(Debug, Clone, clap::Args)]
pub struct LogOptions {
    /// Log level or filter: error, warn, info, debug, trace [default: info for node, otherwise warn].
    #[arg(
        long,
        global = true,
        help_heading = "Logs",
        env = "SNAPLEDGER_LOG_LEVEL",
        value_name = "LEVEL"
    )]
    log_level: Option<String>,
    /// Format of log lines.
    #[arg(
        long,
        global = true,
        help_heading = "Logs",
        env = "SNAPLEDGER_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text"
    )]
    log_format: LogFormat,
    /// Log more: -v is --log-level info, -vv debug.
    #[arg(short, long, global = true, help_heading = "Logs", action = clap::ArgAction::Count)]
    verbose: u8,
}

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Human-readable text.
    Text,
    /// One JSON object per line.
    Json,
}

impl LogOptions {
    /// Starts logging. `default` is the level if none is given, `process` the process of a node.
    pub(super) fn start(&self, default: &str, process: Option<&str>) -> Result<(), CliError> {
        let level = self.level(default);
        let filter = filter(&level).ok_or_else(|| {
            CliError::Usage(format!(
                "--log-level: `{level}` is not a valid level or filter; write error, \
                warn, info, debug or trace"
            ))
        })?;
        let lines = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .log_internal_errors(false)
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(Stderr {
                opening: self.opening(process),
                is_json: self.is_json(),
            });
        match self.log_format {
            LogFormat::Text => lines.init(),
            LogFormat::Json => lines.json().init(),
        }
        Ok(())
    }

    /// Whether the format is JSON.
    pub(super) fn is_json(&self) -> bool {
        matches!(self.log_format, LogFormat::Json)
    }

    /// The prefix of a line that names the process.
    fn opening(&self, process: Option<&str>) -> String {
        match (process, self.log_format) {
            (None, LogFormat::Text) => String::new(),
            (None, LogFormat::Json) => "{".to_owned(),
            (Some(process), LogFormat::Text) => format!("{process} "),
            (Some(process), LogFormat::Json) => {
                format!("{{\"process\":{},", Value::from(process))
            }
        }
    }

    /// The last line of a JSON log: why the program ends.
    pub(super) fn last_line(&self, process: Option<&str>, error: &CliError) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now_us = now.map_or(0, |now| u64::try_from(now.as_micros()).unwrap_or(0));
        let line = json!({
            "timestamp": rfc3339(now_us),
            "level": "ERROR",
            "fields": {"message": error.to_string(), "exit": error.exit_code()},
            "target": "snapledger::cli",
        });
        self.opening(process) + &line.to_string()[1..]
    }

    /// The options with which a child node logs as this command does.
    pub(crate) fn of_child(&self) -> [String; 4] {
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

// The audit trail is in the log unless it has a file, and no level leaves it out.
fn filter(level: &str) -> Option<EnvFilter> {
    let trail = AUDIT.parse().expect("it is a target and a level");
    let filter = EnvFilter::try_new(level).ok()?;
    Some(filter.add_directive(trail))
}

/// A writer to stderr that adds the process to each line.
struct Stderr {
    opening: String,
    is_json: bool,
}

/// One line, written at once.
struct LogLine<'a>(&'a Stderr);

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = LogLine<'a>;

    fn make_writer(&'a self) -> LogLine<'a> {
        LogLine(self)
    }
}

impl Write for LogLine<'_> {
    // The formatter passes a whole line in one call.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let rest = match self.0.is_json {
            true => line.strip_prefix(b"{").unwrap_or(line),
            false => line,
        };
        let whole = [self.0.opening.as_bytes(), rest].concat();
        io::stderr().lock().write_all(&whole)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::Arc;

    use super::*;

    // Without this `--log-level warn` turns the audit trail off.
    #[test]
    fn no_level_leaves_out_the_audit_trail() {
        for level in [
            "off",
            "error",
            "warn",
            "snapledger=debug,h2=off",
            "audit=off",
        ] {
            let log = tempfile::NamedTempFile::new().expect("a temporary file");
            let written = Arc::new(File::create(log.path()).expect("it is ours"));
            let lines = tracing_subscriber::fmt()
                .with_env_filter(filter(level).expect("a filter"))
                .with_writer(written);
            tracing::subscriber::with_default(lines.finish(), || {
                tracing::info!(target: "audit", "who did what");
                tracing::info!(target: "other", "chatter");
            });
            let lines = std::fs::read_to_string(log.path()).expect("it is ours");
            assert!(lines.contains("who did what"), "{level}: {lines}");
            assert!(!lines.contains("chatter"), "{level}: {lines}");
        }
        assert!(filter("node=loud").is_none());
    }
}
