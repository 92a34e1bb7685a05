//! A segment that counts, as links and boundaries say it.

use serde::{Deserialize, Serialize};

use super::sealed_json;
use crate::process::ids::{Hash, Lsn};
use crate::shipping::chain::Link;
use crate::shipping::{Epoch, JournalPoint, SegmentIndex};

/// A link as objects say it.
#[derive(Serialize, Deserialize)]
struct StoredLink {
    segment: u64,
    hash: String,
    epoch: u64,
    position: u64,
    journal: String,
}

pub(super) fn encode(link: Link) -> Vec<u8> {
    let stored = StoredLink {
        segment: link.index.0,
        hash: link.hash.to_string(),
        epoch: link.epoch.0,
        position: link.journal.position.0,
        journal: link.journal.hash.to_string(),
    };
    sealed_json::seal(&stored)
}

pub(super) fn decode(bytes: &[u8]) -> Option<Link> {
    let stored: StoredLink = sealed_json::open(bytes).ok()?;
    let hash = |text: &str| {
        let mut hash = [0; 32];
        hex::decode_to_slice(text, &mut hash).ok()?;
        Some(Hash(hash))
    };
    Some(Link {
        index: SegmentIndex(stored.segment),
        hash: hash(&stored.hash)?,
        epoch: Epoch(stored.epoch),
        journal: JournalPoint {
            position: Lsn(stored.position),
            hash: hash(&stored.journal)?,
        },
    })
}
