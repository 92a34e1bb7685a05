//! Counters of rare paths. A path that is never taken proves nothing, so it fails the run.

use std::collections::BTreeMap;

/// The paths that must be taken at least once in a run of many seeds.
pub(crate) const WANTED: &[&str] = &[
    "crash",
    "crash between record and markers",
    "crash with turns on the way to the disk",
    "initiator crash while collecting",
    "one id started at several processes",
    "complete revision adopted",
    "snapshot completed by a rival while its initiator was down",
    "assembler that stands back",
    "stand-in for an initiator that is gone",
    "stand-in that finds a revision",
    "assembly that ends in vain",
    "part deleted before it was fetched",
    "damaged part fetched again",
    "revision taken over by a peer",
    "snapshot deleted over a limit",
    "update of a pin made again",
    "deleted snapshot wanted again for its pin",
    "revision of one that is not the initiator",
    "unsynced turn kept by the disk",
    "unsynced turn lost",
    "unsynced state, chunk or part lost",
    "unpublished revision lost",
    "unsynced revision kept by the disk",
    "recording resumed after a crash",
    "collection resumed after a crash",
    "restart from a recorded state",
    "restart that passes over a state that is not whole",
    "duplicate dropped",
    "frame sent twice",
    "frame that takes several turns",
    "frame of an old stream after the new one opened",
    "acknowledgement lost after a durable apply",
    "message read from the journal",
    "digest counted from the journal",
    "reading of the journal dropped with its stream",
    "receiver gone while the journal was counted",
    "handshake that took too long",
    "late completion",
    "partial that stays partial",
    "partial with an open channel",
    "revision after a revision that is still partial",
    "snapshots that overlap on one process",
    "message recorded in a channel",
    "request answered from memory",
    "request done again after its turn was lost",
    "operation refused",
    "snapshot refused",
    "money in suspense",
    "money of a blind client in suspense",
    "account over the limit",
    "key over the limit",
    "value over the limit",
    "wall clock put back",
    "store wiped",
    "older copy of a store put back",
    "instant behind an older copy",
    "instant before an older copy caught up",
    "instant after an older copy caught up",
    "older copy that is vouched for",
    "older copy with the boots of before",
    "another store refused",
    "lost store that a peer never met",
    "instant answered again",
    "balance from a recorded state and turns behind it",
    "instant that another journal knew",
    "instant before a process joined",
    "instant before a store that may have replaced another",
    "start compared with the clocks of others",
    "leap of a wall clock not followed",
    "wall clock followed where others confirm it",
    "process misled by its clock",
    "message that waits for the clock",
    "met a peer whose clock is not followed",
    "missing: down",
    "missing: never_seen",
    "missing: recording",
    "missing: channel_stopped",
    "missing: not_kept",
    "peer of an older boot refused",
    "late hello overtaken by deliveries",
    "agreement sent twice",
    "agreement lost with its stream",
    "older stream delivered between welcome and agreement",
    "stream evicted by a newer one",
    "stream evicted by a late agreement",
    "stream that waits for its place",
    "frame of an evicted stream dropped",
    "request to the archive repeated",
    "request to the archive that arrives after its repetition",
    "answer of the archive lost",
    "archive unreachable",
    "put that finds an object",
    "turns taken from the archive",
    "rest of the journal shipped before a start",
    "crash of a start on the archive",
    "crash of a restore",
    "disk lost",
    "disk lost where nothing waits",
    "store restored from the archive",
    "answers to clients lost with a disk",
    "start on an older copy refused",
    "start without what was shipped refused",
    "start from a link of the archive",
    "zombie that goes on",
    "zombie that is frozen",
    "zombie that stopped",
    "turn of a zombie archived before its fence",
    "new work refused behind the archive",
    "message that waits for the archive to catch up",
    "archive that has caught up",
    "recorded state archived",
    "part archived",
    "beginning of an archive moved",
    "beginning of an archive held for what is needed",
    "archived segment deleted",
    "archived state deleted",
    "archived part deleted",
    "archived revision deleted",
    "archived chunks deleted",
    "late deletion of what was put again",
    "deletion in the archive cut off",
    "deletion by a program that was given up",
    "restore with recorded states",
    "restore that begins at a state",
    "instant before a shortened journal",
    "instant restored from a shortened archive",
];

/// Counters by name.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Sometimes(BTreeMap<&'static str, u64>);

impl Sometimes {
    pub(crate) fn saw(&mut self, what: &'static str) {
        debug_assert!(WANTED.contains(&what), "{what} is not listed");
        *self.0.entry(what).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (what, times) in &other.0 {
            *self.0.entry(what).or_default() += times;
        }
    }

    /// The paths that were never taken.
    pub(crate) fn never(&self) -> Vec<&'static str> {
        let unseen = WANTED.iter().filter(|what| !self.0.contains_key(*what));
        unseen.copied().collect()
    }
}

impl std::fmt::Display for Sometimes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for what in WANTED {
            let times = self.0.get(what).copied().unwrap_or(0);
            writeln!(f, "{times:>10}  {what}")?;
        }
        Ok(())
    }
}
