//! All processes of a cluster at an instant.

use std::collections::{BTreeMap, BTreeSet};

use super::{ArchivedJournal, NotArchived, NotedGaps, Share};
use crate::archive::Objects;
use crate::history::audit::{Absence, Absent, Audit};
use crate::history::process_totals::{ProcessTotals, StoresKnown};
use crate::offsite::refill::Until;
use crate::process::clock::Hlc;
use crate::process::ids::{ChannelId, Lsn, ProcessId};

/// The journals of the processes that have one in the archive, by id.
pub async fn journals(
    archive: &Objects,
    cluster: &str,
) -> Result<Vec<ArchivedJournal>, NotArchived> {
    let mut journals = Vec::new();
    for name in archive.below(cluster).folders().await? {
        if let Ok(process) = ProcessId::parse(&name) {
            journals.extend(ArchivedJournal::of(archive, cluster, &process).await?);
        }
    }
    match journals.is_empty() {
        false => Ok(journals),
        true => Err(NotArchived::no_cluster(archive, cluster).await?),
    }
}

/// The newest instant, as people write it, that is known of every process that had not left the cluster by then; the newest to which
/// they all reach if none is known.
pub async fn common_end(journals: &[ArchivedJournal]) -> Result<Hlc, NotArchived> {
    let mut totals = BTreeMap::new();
    for journal in journals {
        let end = Until::Instant(journal.ends);
        totals.insert(&journal.process, journal.totals(end).await?);
    }
    let stays = |journal: &&ArchivedJournal| !has_left(&journal.process, totals.values());
    let (staying, left): (Vec<_>, Vec<_>) = journals.iter().partition(stays);
    let common = end_of(staying.iter().copied());
    let gone = match left.is_empty() {
        true => BTreeSet::new(),
        false => left_by(journals, common).await?,
    };
    // It may have left only after that instant.
    if left.iter().all(|journal| gone.contains(&journal.process)) {
        let known = newest_known(&staying, common).await?;
        return Ok(known.unwrap_or(common));
    }
    let all: Vec<_> = journals.iter().collect();
    let end = end_of(journals.iter());
    Ok(newest_known(&all, end).await?.unwrap_or(end))
}

/// The newest instant, not after this one, at which no process has a gap; `None` if the archive has none.
pub async fn newest_known(
    journals: &[&ArchivedJournal],
    end: Hlc,
) -> Result<Option<Hlc>, NotArchived> {
    let mut at = end;
    loop {
        let mut known = at;
        for journal in journals {
            match journal.known_until(at).await? {
                Some(until) => known = known.min(until),
                None => return Ok(None),
            }
        }
        if known == at {
            return Ok(Some(at));
        }
        at = known;
    }
}

// Within the last microsecond of a journal there may be more turns.
fn end_of<'a>(journals: impl Iterator<Item = &'a ArchivedJournal>) -> Hlc {
    let ends = journals.map(|journal| journal.ends.wall_us());
    let end = ends.min().unwrap_or_default().saturating_sub(1);
    Hlc::at(end).last_of_label()
}

/// The processes that had left the cluster by an instant: their journals end before it, and by then the others had given them up.
pub async fn left_by(
    journals: &[ArchivedJournal],
    at: Hlc,
) -> Result<BTreeSet<ProcessId>, NotArchived> {
    let (short, long): (Vec<_>, Vec<_>) = journals.iter().partition(|one| one.ends < at);
    let mut totals = Vec::new();
    if !short.is_empty() {
        for journal in long {
            totals.push(journal.totals(Until::Instant(at)).await?);
        }
    }
    let ended = short.into_iter().map(|journal| journal.process.clone());
    Ok(ended
        .filter(|process| has_left(process, totals.iter()))
        .collect())
}

// Whether one of the others has given up a process, and none knows it any more.
fn has_left<'a>(
    process: &ProcessId,
    others: impl Iterator<Item = &'a ProcessTotals> + Clone,
) -> bool {
    let knows = |totals: &ProcessTotals| {
        let known = totals.peers.get(process);
        known.is_some_and(|known| !known.is_given_up)
    };
    let has_given_up = |totals: &ProcessTotals| {
        let given_up = totals.given_up.as_ref();
        given_up.is_some_and(|given_up| given_up.contains_key(process))
    };
    !others.clone().any(knows) && others.clone().any(has_given_up)
}

/// The cluster at an instant; `told` hears how many bytes were read, and of which process.
pub async fn audit_at(
    journals: &[ArchivedJournal],
    at: Hlc,
    told: &dyn Fn(&ProcessId, u64),
) -> Result<Audit, NotArchived> {
    let mut shares = BTreeMap::new();
    for journal in journals {
        let process = &journal.process;
        told(process, 0);
        let until = Until::Instant(at);
        let share = journal.share(until, &|read| told(process, read)).await?;
        shares.insert(process.clone(), share);
    }
    let mut audit = gathered(at, shares);
    if !audit.later.is_empty() && audit.is_complete() {
        audit.known_now = known_now(journals, &audit).await?;
    }
    leave_out_all(&mut audit, Audit::take_back_doubted);
    leave_out_strangers(&mut audit);
    leave_out_all(&mut audit, Audit::take_back_doubted);
    Ok(audit)
}

// What each process knows at its end of the stores of the others. It has to reach the beginning of those that joined later, and to have
// no gap in which it may have forgotten some.
async fn known_now(
    journals: &[ArchivedJournal],
    audit: &Audit,
) -> Result<BTreeMap<ProcessId, StoresKnown>, NotArchived> {
    let mut begun = Hlc::default();
    for journal in journals {
        if audit.later.contains_key(&journal.process) {
            begun = begun.max(journal.time(Lsn(1)).await?);
        }
    }
    let mut known = BTreeMap::new();
    for journal in journals {
        if journal.ends >= begun && journal.gaps == NotedGaps::default() {
            let newest = journal.totals(Until::Instant(journal.ends)).await?;
            known.insert(journal.process.clone(), StoresKnown::from(&newest));
        }
    }
    Ok(known)
}

/// The cluster at an instant, from the journals up to there alone. Those of processes that joined later are taken at their word.
pub fn audit_of(at: Hlc, shares: BTreeMap<ProcessId, Share>) -> Audit {
    let mut audit = gathered(at, shares);
    leave_out_strangers(&mut audit);
    audit
}

fn gathered(at: Hlc, shares: BTreeMap<ProcessId, Share>) -> Audit {
    let mut audit = Audit {
        at: Some(at),
        ..Audit::default()
    };
    for (process, Share { totals, doubt, .. }) in shares {
        match (doubt, totals.begins_later()) {
            (Some(absence), _) => leave_out(&mut audit, process, absence),
            (None, Some(store)) => _ = audit.later.insert(process, store),
            (None, None) if totals.is_known() => _ = audit.shares.insert(process, totals),
            (None, None) => leave_out(&mut audit, process, Absence::OtherJournal),
        }
    }
    let Audit {
        shares, missing, ..
    } = &mut audit;
    missing.retain(|process, _| !has_left(process, shares.values()));
    connect(&mut audit);
    for process in audit.removed() {
        audit.add_channels_of(&process);
        leave_out(&mut audit, process, Absence::NotArchived);
    }
    for process in unarchived(&audit) {
        leave_out(&mut audit, process, Absence::NotArchived);
    }
    audit.leave_out_unused_channels();
    audit
}

// Those with which messages were exchanged, and of which the archive has nothing.
fn unarchived(audit: &Audit) -> BTreeSet<ProcessId> {
    let is_known = |process: &&ProcessId| {
        audit.shares.contains_key(*process)
            || audit.later.contains_key(*process)
            || audit.missing.contains_key(*process)
    };
    let shares = audit.shares.values();
    let used = shares.flat_map(|share| share.sent.keys().chain(share.delivered.keys()));
    used.filter(|process| !is_known(process)).cloned().collect()
}

fn leave_out_strangers(audit: &mut Audit) {
    leave_out_all(audit, |audit| audit.strangers());
}

fn leave_out_all(audit: &mut Audit, find: impl FnOnce(&mut Audit) -> BTreeMap<ProcessId, Absence>) {
    for (process, why) in find(audit) {
        leave_out(audit, process, why);
    }
}

fn leave_out(audit: &mut Audit, process: ProcessId, reason: Absence) {
    audit.shares.remove(&process);
    let known = None;
    audit.missing.insert(process, Absent { reason, known });
}

// There is a channel in both directions between processes of which one knows the other, or has sent something to it.
fn connect(audit: &mut Audit) {
    for (process, share) in &audit.shares {
        let known = share.peers.keys();
        for peer in known.chain(share.sent.keys()).chain(share.delivered.keys()) {
            let (from, to) = (process.clone(), peer.clone());
            let there = ChannelId { from, to };
            audit.channels.insert(there.reversed());
            audit.channels.insert(there);
        }
    }
}
