//! `simulate`: reads the files of a scenario, runs it and prints what its snapshots recorded.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::CliError;
use super::output::write_file;
use crate::simulate::{
    Delays, Diagram, Report, Scenario, SimulatedTurn, Source, run as run_scenario,
};

/// Run a scenario through the real process core in virtual time and print each snapshot.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Processes, their tokens and the channels between them: a line `N`, N lines `PROCESS TOKENS`, lines `FROM TO`
    #[arg(long, value_name = "FILE")]
    topology: PathBuf,
    /// The events, one per line: `send FROM TO TOKENS`, `snapshot PROCESS` or `tick [K]`
    #[arg(long, value_name = "FILE")]
    events: PathBuf,
    #[command(flatten)]
    delays: DelayArgs,
    /// Also draw the whole run as an SVG picture into this file
    #[arg(long, value_name = "FILE")]
    diagram: Option<PathBuf>,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct DelayArgs {
    /// Delay digits from 0 to 4: each message takes the next one and is delayed by one tick more than the digit
    #[arg(long = "delays", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Generate the digits from this seed; the same seed gives the same run [default: 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// One line per process and per recorded message
    Text,
    /// JSON
    Json,
}

/// Runs the command.
///
/// # Errors
/// [`CliError::Usage`] with file, line and reason if the scenario cannot be run.
pub fn run(args: Args) -> Result<(), CliError> {
    let topology = File::read(&args.topology)?;
    let events = File::read(&args.events)?;
    let delays = args.delays.draw()?;
    let scenario = Scenario::parse(topology.source(), events.source()).map_err(usage)?;
    let mut drawn = Diagram::of(&scenario);
    let is_drawn = args.diagram.is_some();
    let mut watch = |turn: SimulatedTurn<'_>| {
        if is_drawn {
            drawn.watch(turn);
        }
    };
    let report = run_scenario(&scenario, delays, &mut watch).map_err(usage)?;
    if let Some(path) = &args.diagram {
        write_file(
            path,
            &drawn.picture(&args.events.display().to_string()).svg(),
        )?;
    }
    args.output.print(&report)
}

impl DelayArgs {
    fn draw(&self) -> Result<Delays, CliError> {
        match &self.file {
            Some(path) => Delays::parse(File::read(path)?.source()).map_err(usage),
            None => Ok(Delays::seeded(self.seed.unwrap_or(0))),
        }
    }
}

impl Format {
    fn print(self, report: &Report) -> Result<(), CliError> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        match self {
            Self::Text => write!(out, "{report}")?,
            Self::Json => writeln!(out, "{:#}", report.to_json())?,
        }
        Ok(out.flush()?)
    }
}

/// A scenario file in memory.
struct File {
    name: String,
    text: String,
}

impl File {
    fn read(path: &Path) -> Result<Self, CliError> {
        let name = path.display().to_string();
        match fs::read_to_string(path) {
            Ok(text) => Ok(Self { name, text }),
            Err(error) => Err(CliError::Usage(format!(
                "cannot read {name}: {error}; name a text file that exists and may be read"
            ))),
        }
    }

    fn source(&self) -> Source<'_> {
        Source {
            name: &self.name,
            text: &self.text,
        }
    }
}

fn usage(error: impl std::fmt::Display) -> CliError {
    CliError::Usage(error.to_string())
}
