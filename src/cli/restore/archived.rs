//! `restore --archive`: makes the store of a process again from the archive, and fences the lost one off. A node that may does so
//! itself if its directory is empty.

use std::path::Path;

use indicatif::ProgressBar;

use super::super::archived::{PATIENCE, instant};
use super::super::destination::Destination;
use super::super::output::Report;
use super::super::progress::{STEPS, bar};
use super::super::{CliError, runtime};
use super::Args;
use crate::api::time::rfc3339;
use crate::archive::{ArchiveError, NotFenced, Objects, epochs};
use crate::config::{CLUSTER_DEFAULT, NodeConfig, SelfRestore, parse_duration};
use crate::offsite::refill::{Filled, NotFilled, Older, Phase, Progress, Since, Successor, Wanted};
use crate::offsite::{Source, refill};
use crate::process::ids::{Lsn, ProcessId};
use crate::shipping::hold::Waits;
use crate::shipping::segment::Owner;
use crate::store::{LostMessages, Store, StoreError};

/// The most lines about what is left out.
const LEFT_OUT_MAX: usize = 100;

/// Why a store is not restored.
#[derive(Debug, thiserror::Error)]
enum NotRestored {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    NotFenced(#[from] NotFenced),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    NotFilled(#[from] NotFilled),
    #[error(
        "process {0} still ships its journal. Stop it; or, if it is out of reach, use snapledger restore with --take-over: it then \
         stops by itself as soon as it reaches the archive"
    )]
    Runs(String),
    #[error(transparent)]
    LostMessages(#[from] MessagesLost),
    #[error(
        "{0}. The process may be taken over already: repeat the command; or, to go on with the directory of the lost store, start it; if \
         that start is refused: snapledger store vouch DIR"
    )]
    Between(Box<NotRestored>),
}

/// The archive lacks messages that a process would have to send again.
#[derive(Debug, thiserror::Error)]
#[error(
    "the archive has the journal of {process} from turn {first} on only, and before that turn are messages that were not \
     acknowledged: {}. Put back what is missing in the archive, or add --without-messages to snapledger restore: what their \
     receiver does not have is then lost{}",
    sentences(.messages),
    .left_out.first().map(|why| format!("; {why}")).unwrap_or_default()
)]
pub(super) struct MessagesLost {
    process: String,
    first: Lsn,
    messages: Vec<LostMessages>,
    left_out: Vec<String>,
}

impl MessagesLost {
    /// Refuses what was restored without messages that are needed.
    pub(super) fn check(process: &str, filled: &Filled) -> Result<(), Self> {
        match filled.lost_messages.is_empty() {
            true => Ok(()),
            false => Err(Self {
                process: process.to_owned(),
                first: filled.first,
                messages: filled.lost_messages.clone(),
                left_out: filled.left_out.clone(),
            }),
        }
    }
}

fn sentences(messages: &[LostMessages]) -> String {
    let messages: Vec<_> = messages.iter().map(ToString::to_string).collect();
    messages.join(", ")
}

impl From<NotRestored> for CliError {
    fn from(error: NotRestored) -> Self {
        Self::Refused(format!("not restored: {error}"))
    }
}

/// Restores, and prints what was made and how to go on.
pub(super) fn run(args: &Args, url: &str, process: &ProcessId) -> Result<(), CliError> {
    let destination = Destination::check("--into", &args.into)?;
    let how = How {
        takes_over: args.take_over,
        without_messages: args.without_messages,
        begins: match args.since.as_deref() {
            Some(text) => Begins::With(Some(since(text)?)),
            None => Begins::AsBefore,
        },
    };
    let cluster = args.cluster.as_deref().unwrap_or(CLUSTER_DEFAULT);
    let objects = Objects::open(url).map_err(NotRestored::from)?;
    let owner = Owner {
        cluster: cluster.to_owned(),
        process: process.to_string(),
    };
    let source = Source::new(&objects.patient(PATIENCE), owner);
    let staged = destination.stage()?;
    let shown = bar(0, STEPS);
    let told = |progress| show(&shown, progress);
    let restored = runtime()?.block_on(restore(&source, staged.dir(), how, &told));
    shown.finish_and_clear();
    let restored = restored?;
    staged.move_into_place()?;
    report(args, url, process, &restored).print()
}

fn since(text: &str) -> Result<Since, CliError> {
    match parse_duration(text) {
        Ok(age) => Ok(Since::Age(age)),
        Err(_) => instant("--since", text).map(Since::Instant),
    }
}

/// A store that was made again.
struct Restored {
    /// The boot of the new store.
    boot: u64,
    filled: Filled,
    /// What the lost process let wait for the archive.
    waits: Waits,
}

/// What is wanted, and what is not refused.
#[derive(Clone, Copy)]
struct How {
    /// A process that still ships its journal is accepted.
    takes_over: bool,
    /// It is accepted that messages are lost.
    without_messages: bool,
    begins: Begins,
}

/// Where the new store begins.
#[derive(Clone, Copy)]
enum Begins {
    /// Where the `history.max_age` of the lost process lets it.
    AsBefore,
    /// With what was from then on; `None`: with everything.
    With(Option<Since>),
}

// Reads and checks everything before it takes the process over: a restore that fails leaves the process alone. What was shipped
// meanwhile is read behind the fence.
async fn restore(
    source: &Source,
    dir: &Path,
    how: How,
    told: &(dyn Fn(Progress) + Sync),
) -> Result<Restored, NotRestored> {
    let successor = Successor::of(source).await?;
    let wanted = Wanted {
        since: match how.begins {
            Begins::AsBefore => successor.max_age.map(Since::Age),
            Begins::With(since) => since,
        },
        ..Wanted::ALL
    };
    let made = refill::make(dir, source, &successor, wanted, told).await?;
    let (store, mut filled) = made;
    let promises = epochs::promises(source.process(), filled.end).await?;
    if !how.without_messages {
        MessagesLost::check(&source.owner().process, &filled)?;
    }
    if !how.takes_over && refill::has_gone_on(source, &filled).await? {
        return Err(NotRestored::Runs(source.owner().process.clone()));
    }
    let taken_over = take_over(&store, source, &successor, &filled).await;
    filled.end = taken_over.map_err(|error| NotRestored::Between(Box::new(error)))?;
    Ok(Restored {
        boot: successor.identity.boot,
        waits: promises.at(filled.end),
        filled,
    })
}

// Returns the last turn.
async fn take_over(
    store: &Store,
    source: &Source,
    successor: &Successor,
    filled: &Filled,
) -> Result<Lsn, NotRestored> {
    let claim = successor.take_over(source, filled.walked).await?;
    let end = refill::finish(store, source, filled, claim).await?;
    store.note_gap_at_end()?;
    Ok(end)
}

/// Restores the process of a node whose directory has no store, if it may do so itself and the archive has its journal.
///
/// # Errors
/// [`CliError`]: the directory has other content; the process still ships its journal; the archive cannot be read.
pub(in crate::cli) async fn restore_itself(config: &NodeConfig) -> Result<(), CliError> {
    let dir = &config.dir;
    let settings = config.archive.as_ref().filter(|settings| {
        settings.restore == SelfRestore::Empty && settings.journal.ships() && !Store::exists(dir)
    });
    let Some(settings) = settings else {
        return Ok(());
    };
    let objects = Objects::open(&settings.url).map_err(NotRestored::from)?;
    let owner = Owner {
        cluster: config.cluster.clone(),
        process: config.me.to_string(),
    };
    let source = Source::new(&objects.patient(settings.lag_max), owner);
    if let Err(NotFilled::NoJournal { .. }) = Successor::of(&source).await {
        return Ok(());
    }
    if has_remainder(dir) {
        return Err(CliError::Usage(format!(
            "{} has no whole store, and is not empty: archive.restore = \"empty\" restores into an empty directory only. Put back what \
             is missing of the store; or move its content away, and start again",
            dir.display()
        )));
    }
    let destination = Destination::check("archive.restore", dir)?;
    let staged = destination.stage()?;
    tracing::warn!("the directory is empty: restoring the process from the archive");
    let how = How {
        takes_over: false,
        without_messages: false,
        begins: Begins::With(config.history.max_age.map(Since::Age)),
    };
    let restored = restore(&source, staged.dir(), how, &|_| {}).await?;
    let Restored {
        boot,
        filled,
        waits,
    } = restored;
    staged.move_into_place()?;
    tracing::warn!("{}", missing(waits));
    if let Some(older) = filled.older {
        tracing::info!("{}", too_old(older));
    }
    for why in filled.not_filled().take(LEFT_OUT_MAX) {
        tracing::warn!("not restored: {why}");
    }
    let Filled {
        end,
        states,
        parts,
        revisions,
        ..
    } = filled;
    tracing::info!(turn = %end, boot, states, parts, revisions, "restored the process from the archive");
    Ok(())
}

// Whether a directory without a store has anything else: what was deleted may have been by mistake.
fn has_remainder(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some())
}

/// Shows progress.
fn show(shown: &ProgressBar, progress: Progress) {
    shown.set_message(phase(progress));
    shown.set_length(progress.total);
    shown.set_position(progress.done);
}

/// Shows progress with one of several subjects.
pub(in crate::cli) fn show_of(shown: &ProgressBar, subject: &str, progress: Progress) {
    show(shown, progress);
    shown.set_message(format!("{subject} {}", phase(progress)));
}

// What is being done.
fn phase(progress: Progress) -> &'static str {
    match progress.phase {
        Phase::Journal => "journal",
        Phase::States => "states",
        Phase::Parts => "parts",
        Phase::History => "history",
    }
}

fn report(args: &Args, url: &str, process: &ProcessId, restored: &Restored) -> Report {
    let Restored {
        boot,
        filled,
        waits,
    } = restored;
    let into = args.into.display();
    let mut report = Report::default();
    let Filled { first, end, .. } = filled;
    report.line(&format!(
        "process {process} is restored into {into} up to turn {end}; its next start is start {}",
        boot + 1
    ));
    if filled.lost_messages.is_empty() {
        report.line(&missing(*waits));
    }
    if first.0 > 1 {
        report.line(&format!("its journal begins with turn {first}"));
    }
    let Filled {
        states,
        parts,
        revisions,
        pinned,
        older,
        lost_messages,
        ..
    } = filled;
    report.line(&format!(
        "with it {states} recorded states, {parts} own parts of snapshots, and {revisions} published revisions"
    ));
    if *pinned > 0 {
        report.line(&format!("snapshots pinned: {pinned}"));
    }
    if let Some(older) = older {
        report.line(&too_old(*older));
    }
    let left_out: Vec<String> = filled.not_filled().cloned().collect();
    say_left_out(&mut report, &left_out);
    say_lost_messages(&mut report, process, lost_messages);
    report.line(
        "a process that still runs on the lost store stops as soon as it reaches the archive",
    );
    report.line(&format!(
        "start the process with the same archive and this directory: --dir {into} --archive-url {url}"
    ));
    report
}

// What is not restored because of its age.
fn too_old(older: Older) -> String {
    let Older {
        first,
        last,
        since,
        limit,
        snapshots,
    } = older;
    let [since, limit] = [since, limit].map(|time| rfc3339(time.wall_us()));
    let snapshots = match snapshots {
        0 => String::new(),
        count => format!("; snapshots that began before {limit}: {count}"),
    };
    format!(
        "left out: turns {first} to {last}, older than {since}{snapshots}. They stay in the archive, `audit --archive` reads them; \
         --since 1970-01-01 restores them, too"
    )
}

// What the lost process may have done that is not restored.
fn missing(waits: Waits) -> String {
    let what = match waits {
        Waits::Everything => "nothing that it acknowledged is missing",
        Waits::Processes => {
            "answers to clients of its last moments may be missing; no other process depends on them"
        }
        Waits::Nothing => {
            "what was not archived yet is missing, and other processes may contradict: see docs/operations.md, When stores \
             contradict each other"
        }
    };
    let journal = waits.name();
    format!(
        "the lost process had archive.journal = {journal:?}: {what}. If it has run with \"off\" or without this archive since, all of that is \
         missing"
    )
}

/// Names what is damaged or missing in the archive.
pub(super) fn say_left_out(report: &mut Report, left_out: &[String]) {
    for why in left_out.iter().take(LEFT_OUT_MAX) {
        report.line(&format!("left out: {why}"));
    }
    let more = left_out.len().saturating_sub(LEFT_OUT_MAX);
    if more > 0 {
        report.line(&format!("and {more} more"));
    }
}

/// Names what is lost unless its receiver has it.
pub(super) fn say_lost_messages(
    report: &mut Report,
    process: &ProcessId,
    messages: &[LostMessages],
) {
    for lost in messages {
        report.line(&format!(
            "not restored: {lost} of {process}; if they have not arrived there, they are lost, and the channel stops"
        ));
    }
}
