//! `store migrate`, `store forget`, `store vouch`, `store new-archive`: decisions of an operator that are written to the store of a stopped
//! node. docs/operations.md says when to use them and what they cost.

use std::path::{Path, PathBuf};

use crate::access::system_user;
use crate::cli::CliError;
use crate::cli::OutputFormat;
use crate::cli::output::{Report, print};
use crate::process::decision::Actor;
use crate::process::ids::{Lsn, ProcessId};
use crate::process::reply::Settlement;
use crate::store::{Forgotten, Migrated, ShippedLink, Store};

/// The store to upgrade.
#[derive(Debug, clap::Args)]
pub(super) struct Migrate {
    /// The directory of the store, for example data/store/n1.
    dir: PathBuf,
    /// Output format.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    output: OutputFormat,
}

/// The process whose store is lost.
#[derive(Debug, clap::Args)]
pub(super) struct Forget {
    /// The directory of the store, for example data/store/n1.
    dir: PathBuf,
    /// The process whose store is lost.
    #[arg(long, value_parser = ProcessId::parse)]
    peer: ProcessId,
    /// The replacement store is lost as well: the journal position of the previous decision, as printed by the command
    /// without this option
    #[arg(long, value_name = "POSITION")]
    again: Option<u64>,
}

/// Migrates, and prints the old and the new format.
pub(super) fn migrate(args: &Migrate) -> Result<(), CliError> {
    let migrated =
        Store::migrate(&args.dir).map_err(|error| CliError::of_store(&args.dir, &error))?;
    let Migrated { from, to } = migrated;
    match args.output {
        OutputFormat::Json => print(
            &serde_json::to_string_pretty(&migrated).expect("names and numbers are always JSON"),
        ),
        OutputFormat::Table if from == to => print(&format!(
            "nothing to do: the store has format {to}, the newest"
        )),
        OutputFormat::Table => print(&format!("the store is upgraded from format {from} to {to}")),
    }
}

/// Writes the decision and prints what it cost.
pub(super) fn forget(Forget { dir, peer, again }: &Forget) -> Result<(), CliError> {
    let actor = Actor::of_system(&system_user::name());
    let forgotten = Store::forget(dir, peer, again.map(Lsn), actor);
    let forgotten = forgotten.map_err(|error| CliError::of_store(dir, &error))?;
    let forgotten = forgotten.map_err(|refusal| CliError::Refused(refusal.to_string()))?;
    let process = &forgotten.process;
    match &forgotten.settlement {
        Some(settlement) => settled(peer, &forgotten, settlement).print(),
        None => print(&format!(
            "nothing to do: process {process} already gave up the store of {peer}, in the turn at journal position \
             {}, and no message was exchanged since",
            forgotten.position
        )),
    }
}

/// Writes the decision and prints the next boot number.
pub(super) fn vouch(dir: &Path) -> Result<(), CliError> {
    let actor = Actor::of_system(&system_user::name());
    let boot = Store::vouch(dir, actor).map_err(|error| CliError::of_store(dir, &error))?;
    print(&format!(
        "the next start of this store is boot {}",
        boot + 1
    ))
}

/// Lets the store forget its archive, and prints what that had.
pub(super) fn new_archive(dir: &Path) -> Result<(), CliError> {
    let known = Store::begin_new_archive(dir).map_err(|error| CliError::of_store(dir, &error))?;
    print(&match known {
        Some(ShippedLink { position, .. }) => format!(
            "the next start may begin a new archive; the one before has the journal up to turn {position} or later"
        ),
        None => "the next start may begin a new archive; the store remembers no archived turn"
            .to_owned(),
    })
}

fn settled(peer: &ProcessId, forgotten: &Forgotten, settlement: &Settlement) -> Report {
    let (process, position) = (&forgotten.process, forgotten.position);
    let (sent, delivered) = (settlement.sent, settlement.delivered);
    let row = |what: &str, messages: u64, amount: i128| {
        vec![what.into(), messages.to_string(), amount.to_string()]
    };
    let mut report = Report::default();
    report.line(&format!(
        "process {process} continues without the contents of the store of {peer} (journal position {position})"
    ));
    report.table(
        &["settled", "messages", "amount"],
        vec![
            row(&format!("sent to {peer}"), sent.sequence.0, sent.amount),
            row(
                &format!("delivered from {peer}"),
                delivered.sequence.0,
                delivered.amount,
            ),
        ],
    );
    let unacknowledged = sent.sequence.0 - settlement.acknowledged.0;
    report.line(&format!(
        "{unacknowledged} of the messages sent were not acknowledged; they are not sent again"
    ));
    let (amount, how) = match settlement.written_off {
        lost @ 0.. => (lost, "a withdrawal"),
        gained => (-gained, "a deposit"),
    };
    report.line(&format!(
        "the difference, {amount} minor units, is booked as {how}"
    ));
    report.line(&format!(
        "once every store has forgotten it, {peer} may return with a new store, or be removed from the configuration"
    ));
    report
}
