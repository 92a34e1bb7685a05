//! A simulated disk on which only synced data is certain to survive a power cut.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use crate::teller::Random;
use crate::trace::{Act, Event, Inode, Traced};

/// The unit that a disk writes atomically.
const SECTOR_BYTES: usize = 512;

/// What happens to data that was not synced.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Loss {
    /// All of it is lost.
    All,
    /// Each write and each directory entry may or may not survive.
    Some,
    /// As `Some`, and individual sectors of a write may be missing.
    Torn,
}

/// The events before a power cut.
pub(crate) struct Disk<'a> {
    events: &'a [Event],
    /// For each file, the line before which everything completed is on the disk.
    synced: BTreeMap<Inode, usize>,
    names_synced: usize,
}

impl<'a> Disk<'a> {
    /// Returns the disk right before an event began.
    pub(crate) fn at(traced: &'a Traced, event_index: usize) -> Self {
        let events = &traced.events[..event_index];
        let now = traced.events[event_index].began;
        let mut disk = Self {
            events,
            synced: BTreeMap::new(),
            names_synced: 0,
        };
        for event in events.iter().filter(|event| event.ended < now) {
            match event.act {
                Act::Sync { inode } => {
                    let synced = disk.synced.entry(inode).or_default();
                    *synced = event.began.max(*synced);
                }
                Act::SyncNames => disk.names_synced = event.began.max(disk.names_synced),
                _ => {}
            }
        }
        disk
    }

    /// Writes the surviving files; returns whether an engine snapshot was left half written.
    pub(crate) fn write(&self, into: &Path, loss: Loss, random: &mut Random) -> bool {
        let mut files: BTreeMap<Inode, Vec<u8>> = BTreeMap::new();
        let mut names: BTreeMap<&str, Inode> = BTreeMap::new();
        for event in self.events {
            match &event.act {
                Act::Write {
                    inode,
                    offset,
                    bytes,
                } => {
                    let file = files.entry(*inode).or_default();
                    let offset = usize::try_from(*offset).expect("files are small here");
                    if self.is_sure(event, *inode) {
                        put(file, offset, bytes);
                    } else {
                        write_some(file, (offset, bytes), loss, random);
                    }
                }
                Act::Truncate { inode, length }
                    if self.is_sure(event, *inode) || survives(loss, random) =>
                {
                    let length = usize::try_from(*length).expect("files are small here");
                    set_length(files.entry(*inode).or_default(), length);
                }
                Act::Name { name, inode }
                    if event.ended < self.names_synced || survives(loss, random) =>
                {
                    match inode {
                        Some(inode) => names.insert(name, *inode),
                        None => names.remove(name.as_str()),
                    };
                }
                _ => {}
            }
        }
        for (name, inode) in &names {
            let path = into.join(name);
            fs::create_dir_all(path.parent().expect("it is below")).expect("there is room");
            let bytes = files.get(inode).map_or(&[][..], Vec::as_slice);
            write_file(&path, bytes).expect("there is room");
        }
        let names: BTreeSet<&str> = names.into_keys().collect();
        names.iter().any(|name| name.ends_with(".generating"))
    }

    fn is_sure(&self, event: &Event, inode: Inode) -> bool {
        self.synced
            .get(&inode)
            .is_some_and(|synced| event.ended < *synced)
    }
}

fn survives(loss: Loss, random: &mut Random) -> bool {
    !matches!(loss, Loss::All) && random.below(2) == 0
}

fn write_some(
    file: &mut Vec<u8>,
    (offset, bytes): (usize, &[u8]),
    loss: Loss,
    random: &mut Random,
) {
    if !survives(loss, random) {
        return;
    }
    if matches!(loss, Loss::Some) {
        return put(file, offset, bytes);
    }
    let mut from = 0;
    while from < bytes.len() {
        // Sectors are counted from the beginning of the file.
        let to = bytes
            .len()
            .min(from + SECTOR_BYTES - (offset + from) % SECTOR_BYTES);
        if random.below(2) == 0 {
            put(file, offset + from, &bytes[from..to]);
        }
        from = to;
    }
}

// Trailing zeros become a hole, since an engine segment is mostly empty.
fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let is_used = |sector: &[u8]| sector != &[0; SECTOR_BYTES][..sector.len()];
    let used = bytes.chunks(SECTOR_BYTES).rposition(is_used);
    let end = used.map_or(0, |last| (last + 1) * SECTOR_BYTES);
    let mut file = File::create(path)?;
    file.write_all(&bytes[..end.min(bytes.len())])?;
    file.set_len(bytes.len() as u64)
}

fn put(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if file.len() < end {
        set_length(file, end);
    }
    file[offset..end].copy_from_slice(bytes);
}

// In bulk: byte by byte, this would dominate the runtime of a debug build.
fn set_length(file: &mut Vec<u8>, length: usize) {
    let mut zeros = vec![0; length.saturating_sub(file.len())];
    file.append(&mut zeros);
    file.truncate(length);
}
