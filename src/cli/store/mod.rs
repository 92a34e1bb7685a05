//! `store`: examines the store of a stopped node in a copy, which leaves the store unchanged; and writes decisions of
//! an operator to it.

mod check;
mod decide;
mod stats;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use indicatif::ProgressBar;

use super::progress::{STEPS, bar};
use super::scratch::within;
use super::{CliError, OutputFormat};
use crate::store::{CheckProgress, StoreError};

/// Examine or repair the store of a stopped node.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Verify everything stored: recompute all derived values and report what is wrong
    Check(Look),
    /// Report counts and sizes of the stored data
    Stats(Look),
    /// Upgrade the store to the newest format, as starting a node on it does
    Migrate(decide::Migrate),
    /// Declare the store of a peer lost: its channels start anew, and its contents are written off
    Forget(decide::Forget),
    /// Declare this the right one of several copies of a store: its boot number is advanced so that peers prefer it
    Vouch {
        /// The directory of the store, for example data/store/n1.
        dir: PathBuf,
    },
    /// Forget the archive of a store: its next start may ship the journal to an empty one
    NewArchive {
        /// The directory of the store, for example data/store/n1.
        dir: PathBuf,
    },
}

/// The store to examine.
#[derive(Debug, clap::Args)]
struct Look {
    /// The directory of the store, for example data/store/n1; it is only read.
    dir: PathBuf,
    /// The directory for the working copy, which needs as much space as the store's files. Default: the system's
    /// temporary directory.
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Output format.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    output: OutputFormat,
}

/// Runs the command.
///
/// # Errors
/// [`CliError::Store`]: there is no store, a node runs on it, there is no space for a copy, or the store is damaged.
pub fn run(args: Args) -> Result<(), CliError> {
    match args.command {
        Command::Check(look) => check::run(&look),
        Command::Stats(look) => stats::run(&look),
        Command::Migrate(args) => decide::migrate(&args),
        Command::Forget(args) => decide::forget(&args),
        Command::Vouch { dir } => decide::vouch(&dir),
        Command::NewArchive { dir } => decide::new_archive(&dir),
    }
}

impl Look {
    fn look<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path, &Path, &dyn Fn(CheckProgress)) -> Result<T, StoreError>
        + Send
        + 'static,
    ) -> Result<T, CliError> {
        let bar = bar(0, STEPS);
        let (dir, shown) = (self.dir.clone(), bar.clone());
        let looked = within(self.scratch.as_deref(), move |copy| {
            work(&dir, copy, &|step| show(&shown, step))
        })?;
        bar.finish_and_clear();
        looked.map_err(|error| match error {
            StoreError::InUse(dir) => CliError::Store(runs(&dir)),
            error => CliError::of_store(&self.dir, &error),
        })
    }
}

// The error for a store in use, with ways to examine it while the node runs.
pub(super) fn runs(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "the store {dir} is in use by a running node; `snapledger status` and GET /metrics report its state, and \
         `snapledger backup --rest URL --into COPY` makes a copy that can be examined while the node runs"
    )
}

pub(super) fn show(bar: &ProgressBar, step: CheckProgress) {
    if bar.message() != step.what {
        bar.set_message(step.what);
    }
    bar.set_length(step.of);
    bar.set_position(step.done);
}
