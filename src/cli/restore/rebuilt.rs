//! `restore --process`: makes a new store for a process that lost its store, from the data of its peers.

use super::super::CliError;
use super::super::destination::Destination;
use super::super::output::Report;
use super::{Args, bad, named};
use crate::api::time::rfc3339;
use crate::process::ids::ProcessId;
use crate::store::{CopiedStore, PassedSince, Published, Rebuilt, Untold, unbooked_sentence};

/// Makes the store, and prints what it holds and what to do next.
pub(super) fn run(args: &Args, lost: &ProcessId) -> Result<(), CliError> {
    let destination = Destination::check("--into", &args.into)?;
    let stores = open(args, lost)?;
    let (store, published) = newest(args, &stores, lost)?;
    let audit = store.audit(&published).map_err(|error| bad(&error))?;
    if let Some(wrong) = audit.wrong.first() {
        return Err(CliError::CheckFailed(format!("not restored: {wrong}")));
    }
    let since = since(&stores, &published, lost)?;
    let difference = since.iter().map(PassedSince::difference).sum();
    let staged = destination.stage()?;
    let made = store.rebuild(&published, lost, difference, staged.dir());
    let made = made.map_err(|error| bad(&error))?;
    staged.move_into_place()?;
    report(args, &published, &made, &since).print()
}

fn open(args: &Args, lost: &ProcessId) -> Result<Vec<CopiedStore>, CliError> {
    let scratch = args.scratch.clone().unwrap_or_else(std::env::temp_dir);
    let mut stores: Vec<CopiedStore> = Vec::new();
    for dir in &args.from {
        let of_store = |error| CliError::of_store(dir, &error);
        let store = CopiedStore::open(dir, &scratch, &|_| {}).map_err(of_store)?;
        let (shown, process) = (dir.display(), store.process());
        let usage = |why: String| CliError::Usage(format!("--from: {shown} {why}"));
        if process == lost {
            return Err(usage(format!(
                "is the store of process {lost} itself; name the stores of the others"
            )));
        }
        if stores.iter().any(|other| other.process() == process) {
            return Err(usage(format!("is a second store of process {process}")));
        }
        if let Some(other) = stores.iter().find(|one| one.cluster() != store.cluster()) {
            return Err(usage(format!(
                "belongs to cluster {}, and others to {}",
                store.cluster(),
                other.cluster()
            )));
        }
        stores.push(store);
    }
    Ok(stores)
}

// The newest complete snapshot in any of the histories, or the one given.
fn newest<'a>(
    args: &Args,
    stores: &'a [CopiedStore],
    lost: &ProcessId,
) -> Result<(&'a CopiedStore, Published), CliError> {
    let mut newest: Option<(&CopiedStore, Published)> = None;
    for (store, dir) in stores.iter().zip(&args.from) {
        let snapshot = match &args.snapshot {
            Some(snapshot) => Some(named(store, snapshot, dir)?),
            None => store.newest_complete(),
        };
        let published = snapshot.map_or(Ok(None), |snapshot| store.published(&snapshot));
        let published = published.map_err(|error| CliError::of_store(dir, &error))?;
        let is_fit =
            |one: &Published| one.state.is_complete() && one.state.parts.contains_key(lost);
        let Some(published) = published.filter(is_fit) else {
            continue;
        };
        let began = published.state.initiated_at;
        if newest
            .as_ref()
            .is_none_or(|(_, known)| known.state.initiated_at < began)
        {
            newest = Some((store, published));
        }
    }
    newest.ok_or_else(|| {
        CliError::Refused(format!(
            "no complete snapshot with process {lost} is in the history of these stores; name more of them with --from"
        ))
    })
}

fn since(
    stores: &[CopiedStore],
    published: &Published,
    lost: &ProcessId,
) -> Result<Vec<PassedSince>, CliError> {
    let asked = stores.iter().map(|store| {
        let since = store.since(published, lost).map_err(|error| bad(&error))?;
        since.map_err(|untold| refusal(untold, store.process(), lost))
    });
    asked.collect()
}

fn refusal(untold: Untold, peer: &ProcessId, lost: &ProcessId) -> CliError {
    let instead = format!(
        "name a later snapshot with --snapshot, or leave the store out: the transfers between {peer} and {lost} since \
         the snapshot are then not counted"
    );
    CliError::Refused(match untold {
        Untold::Settled => format!(
            "process {peer} has forgotten the store of {lost} since that snapshot and has settled the transfers \
             between them; restore before `snapledger store forget`, or from a backup of the store of {peer}"
        ),
        Untold::Replaced => format!(
            "the store of {peer} is not the one that recorded that snapshot: it was recreated or restored since; {instead}"
        ),
        Untold::Trimmed => format!("the journal of {peer} begins after that snapshot; {instead}"),
    })
}

fn report(args: &Args, published: &Published, made: &Rebuilt, since: &[PassedSince]) -> Report {
    let mut report = Report::default();
    let (state, restored) = (&published.state, &made.restored);
    let (lost, dir) = (&restored.process, args.into.display());
    let (snapshot, time) = (&state.snapshot, rfc3339(state.initiated_at.wall_us()));
    report.line(&format!(
        "process {lost} has a new store in {dir}: {} accounts with {} minor units in total, from snapshot {snapshot} of {time}",
        restored.accounts, restored.balance_total
    ));
    let rows = since.iter().map(|one| {
        vec![
            one.peer.to_string(),
            one.sent.to_string(),
            one.delivered.to_string(),
            one.difference().to_string(),
        ]
    });
    let sent = format!("sent to {lost} since");
    let got = format!("got from {lost} since");
    report.table(&["peer", &sent, &got, "difference"], rows.collect());
    let difference: i128 = since.iter().map(PassedSince::difference).sum();
    let booked = made.booked;
    report.line(&match booked {
        0.. => format!("{booked} minor units are booked into the account suspense of {lost}"),
        _ => format!(
            "{} minor units are taken from the account suspense of {lost}",
            -booked
        ),
    });
    if difference != booked {
        let sentence = unbooked_sentence(difference - booked);
        report.line(&format!("warning: {sentence}"));
    }
    let is_asked = |process: &&ProcessId| since.iter().any(|one| one.peer == **process);
    let others = state.parts.keys().filter(|process| *process != lost);
    let left_out: Vec<String> = others
        .clone()
        .filter(|process| !is_asked(process))
        .map(ToString::to_string)
        .collect();
    if !left_out.is_empty() {
        report.line(&format!(
            "warning: the transfers between {lost} and {} since the snapshot are unknown; name the stores of these \
             processes with --from",
            left_out.join(", ")
        ));
    }
    report.line("operations that only the lost store had, such as deposits and withdrawals since the snapshot, are lost");
    report.line("before the first start, with the other nodes stopped, for the store DIR of each:");
    report.line(&format!("  snapledger store forget DIR --peer {lost}"));
    report
}
