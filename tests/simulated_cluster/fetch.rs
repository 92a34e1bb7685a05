//! Questions for parts and their answers, as `node/parts.rs` and `node/peer_service.rs`: a part travels as the bytes of
//! the real wire codec, its chunks as they are stored. Chunks are handed over at once, which the network does not do;
//! whoever holds them may be gone by then, and that is what matters.

use prost::Message as _;
use snapledger::history::part::Part;
use snapledger::process::event::{Input, Read, RecordedHere};
use snapledger::process::ids::SnapshotId;
use snapledger::proto::snapledger as wire;
use snapledger::transport::wire::{part_from_wire, part_to_wire};

use crate::node::Asker;
use crate::plan::MS;
use crate::world::{Checked, Event, Life, Place, World};

/// A question for a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fetch {
    pub(crate) by: Life,
    pub(crate) from: Place,
    pub(crate) snapshot: SnapshotId,
    /// Whether a part with open channels is wanted, too.
    pub(crate) as_it_is: bool,
}

/// The bytes of a part, if there is one.
pub(crate) type Answer = Option<Vec<u8>>;

impl World {
    /// A question arrives.
    pub(crate) fn asked(&mut self, fetch: Fetch) -> Checked {
        let is_heard = fetch.from == fetch.by.place || self.reach(fetch.by.place, fetch.from);
        let Some(life) = self.life(fetch.from).filter(|_| is_heard) else {
            self.answer(fetch, None);
            return Ok(());
        };
        if fetch.as_it_is {
            let read = Input::Read(Read::Snapshot(fetch.snapshot.clone()));
            self.enqueue(life, read, Some(Asker::Part(fetch)));
            return Ok(());
        }
        let parts = &self.nodes[fetch.from].disk.parts;
        let part = parts.get(&fetch.snapshot).map(|part| part.value.clone());
        self.answer(fetch, part);
        Ok(())
    }

    /// The process has said how far the snapshot is.
    pub(crate) fn answer_as_it_is(&mut self, fetch: Fetch, seen: Option<RecordedHere>) -> Checked {
        let me = self.id(fetch.from).clone();
        let disk = &mut self.nodes[fetch.from].disk;
        let part = match seen {
            None => {
                self.answer(fetch, None);
                return Ok(());
            }
            Some(RecordedHere {
                recording: None, ..
            }) => disk
                .parts
                .get(&fetch.snapshot)
                .map(|part| part.value.clone()),
            Some(RecordedHere {
                recording: Some(recording),
                ..
            }) => disk.build_part(&me, &recording)?,
        };
        if part.is_some() {
            self.answer(fetch, part);
        } else {
            // Recorded, and its run is being written.
            self.after(10 * MS, Event::Asked(fetch));
        }
        Ok(())
    }

    fn answer(&mut self, fetch: Fetch, part: Option<Part>) {
        let bytes = part.map(|part| part_to_wire(&part).encode_to_vec());
        let delay = self.net_delay();
        self.after(delay, Event::Answered(fetch, bytes));
    }

    /// An answer comes back.
    pub(crate) fn answered(&mut self, fetch: Fetch, answer: Answer) -> Checked {
        let now = self.now;
        let part = match answer {
            Some(bytes) => self.take_part(&fetch, &bytes)?,
            None => None,
        };
        let Some(collection) = self.collection(fetch.by, &fetch.snapshot) else {
            return Ok(());
        };
        if fetch.as_it_is {
            if let Some(round) = &mut collection.round {
                round.asked.remove(&fetch.from);
                round.got.extend(part);
            }
        } else if let Some(part) = part {
            collection.add(part, now);
        } else {
            let pause = self.pause_for(&fetch);
            self.after(pause, Event::Asked(fetch));
        }
        Ok(())
    }

    // A part with all its chunks; `None` where they cannot be had now.
    fn take_part(&mut self, fetch: &Fetch, bytes: &[u8]) -> Checked<Option<Part>> {
        let part = wire::Part::decode(bytes).map_err(|error| error.to_string())?;
        let part = part_from_wire(part).map_err(|error| error.to_string())?;
        if part.process != *self.id(fetch.from) || part.snapshot != fetch.snapshot {
            return Err(format!("{fetch:?} was answered with another part"));
        }
        let by = fetch.by.place;
        loop {
            let missing = self.nodes[by].disk.missing_chunks(&part)?;
            if missing.is_empty() {
                return Ok(Some(part));
            }
            for hash in missing {
                let is_near = self.reach(by, fetch.from);
                let stored = self.nodes[fetch.from]
                    .disk
                    .framed_chunk(&hash)
                    .filter(|_| is_near);
                let Some(stored) = stored else {
                    return Ok(None);
                };
                self.nodes[by].disk.adopt_chunk(hash, stored)?;
            }
        }
    }
}
