//! Requests for parts and their answers, as in `node/snapshots/parts/mod.rs` and `node/peers/service.rs`. A part travels as the
//! bytes of the real wire codec, its chunks as stored. Unlike over the network, chunks are copied at once; the case that
//! matters is simulated: their holder may be gone by then.

use prost::Message as _;
use snapledger::history::assembly::Event as Happening;
use snapledger::history::part::Part;
use snapledger::process::ids::{ProcessId, SnapshotId};
use snapledger::process::query::{Query as _, Recorded};
use snapledger::process::reply::RecordedHere;
use snapledger::proto::snapledger as wire;
use snapledger::transport::wire::{part_from_wire, part_to_wire};

use crate::node::Asker;
use crate::plan::{MS, SECOND};
use crate::world::{Checked, Event, Life, Place, World};

/// A request for a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fetch {
    pub(crate) by: Life,
    pub(crate) from: Place,
    pub(crate) snapshot: SnapshotId,
    pub(crate) purpose: Purpose,
}

/// The purpose of a request for a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The finished part, for the fetch of this number.
    Finished {
        number: u64,
        /// Whether a revision without it has been published.
        is_late: bool,
    },
    /// The part as it is, for the job of this number.
    AsItIs(u64),
}

/// The answer to a request for a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// There is none, or no connection.
    Nothing,
    /// The snapshot was deleted there.
    NotKept,
    /// The bytes of the part.
    Part(Vec<u8>),
}

impl World {
    /// Requests the part of a process.
    pub(crate) fn ask_for_part(
        &mut self,
        by: Life,
        (process, snapshot): (&ProcessId, &SnapshotId),
        purpose: Purpose,
    ) {
        let from = self.place_of(process);
        let delay = match from == by.place {
            true => 1,
            false => self.net_delay(),
        };
        let fetch = Fetch {
            by,
            from,
            snapshot: snapshot.clone(),
            purpose,
        };
        self.after(delay, Event::Asked(fetch));
    }

    /// Handles the arrival of a request.
    pub(crate) fn asked(&mut self, fetch: Fetch) -> Checked {
        let is_heard = fetch.from == fetch.by.place || self.reach(fetch.by.place, fetch.from);
        let Some(life) = self.life(fetch.from).filter(|_| is_heard) else {
            return self.answer(fetch, None);
        };
        let disk = &self.nodes[fetch.from].disk;
        let is_here = disk.parts.contains_key(&fetch.snapshot);
        if disk.deleted.contains(&fetch.snapshot) && !is_here && !self.is_coming(&fetch) {
            let delay = self.net_delay();
            self.after(delay, Event::Answered(fetch, Answer::NotKept));
            return Ok(());
        }
        let parts = &disk.parts;
        let part = parts.get(&fetch.snapshot).map(|part| part.value.clone());
        let is_own = fetch.from == fetch.by.place;
        // An early fetch that takes long returns the unfinished part.
        let is_shown = match fetch.purpose {
            Purpose::AsItIs(_) => true,
            Purpose::Finished { is_late, .. } => !is_own && !is_late && self.random.below(4) == 0,
        };
        if part.is_none() && is_shown {
            // A process that goes down meanwhile does not answer.
            self.after(SECOND, Event::Answered(fetch.clone(), Answer::Nothing));
            self.enqueue_query(life, move |process| {
                let seen = Recorded(fetch.snapshot.clone()).ask(process);
                Asker::Part(fetch, seen.map(Box::new))
            });
            return Ok(());
        }
        self.answer(fetch, part)
    }

    // Whether the part is not stored yet and can still be finished.
    fn is_coming(&self, fetch: &Fetch) -> bool {
        let life = self.nodes[fetch.from].life.as_ref();
        let seen = life.and_then(|life| Recorded(fetch.snapshot.clone()).ask(&life.process));
        seen.is_some_and(|seen| seen.is_coming())
    }

    /// Answers a request with the state of the snapshot at the process.
    pub(crate) fn answer_as_it_is(&mut self, fetch: Fetch, seen: Option<RecordedHere>) -> Checked {
        let me = self.id(fetch.from).clone();
        let disk = &mut self.nodes[fetch.from].disk;
        let part = match seen {
            None => {
                return self.answer(fetch, None);
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
            self.answer(fetch, part)?;
        } else {
            // The state is recorded, and its run is being written.
            self.after(10 * MS, Event::Asked(fetch));
        }
        Ok(())
    }

    fn answer(&mut self, fetch: Fetch, part: Option<Part>) -> Checked {
        if let Some(part) = part.as_ref().filter(|_| fetch.by.place != fetch.from) {
            self.check_archived(fetch.from, part)?;
        }
        let answer = part.map_or(Answer::Nothing, |part| {
            Answer::Part(part_to_wire(&part).encode_to_vec())
        });
        let delay = self.net_delay();
        self.after(delay, Event::Answered(fetch, answer));
        Ok(())
    }

    /// Handles the arrival of an answer.
    pub(crate) fn answered(&mut self, fetch: Fetch, answer: Answer) -> Checked {
        let is_not_kept = answer == Answer::NotKept;
        let part = match answer {
            Answer::Part(bytes) => self.take_part(&fetch, &bytes)?,
            Answer::Nothing | Answer::NotKept => None,
        };
        match fetch.purpose {
            Purpose::AsItIs(number) => self.answered_as_it_is(&fetch, number, part),
            Purpose::Finished { number, .. } => {
                let Some(collection) = self.collection(fetch.by, &fetch.snapshot) else {
                    return Ok(());
                };
                if collection.fetches.get(&fetch.from) != Some(&number) {
                    return Ok(());
                }
                collection.fetches.remove(&fetch.from);
                let is_done = part.as_ref().is_some_and(Part::is_finished);
                collection.delivered.extend(part);
                let process = self.id(fetch.from).clone();
                let ended = match is_not_kept {
                    true => {
                        self.sometimes.saw("part deleted before it was fetched");
                        Happening::NotKept(process)
                    }
                    false => Happening::FetchEnded { process, is_done },
                };
                self.tell_assembly(fetch.by, &fetch.snapshot, ended)
            }
        }
    }

    // A part with all its chunks; `None` if these are not available at present.
    fn take_part(&mut self, fetch: &Fetch, bytes: &[u8]) -> Checked<Option<Part>> {
        let part = wire::Part::decode(bytes).map_err(|error| error.to_string())?;
        let part = part_from_wire(part).map_err(|error| error.to_string())?;
        if part.process != *self.id(fetch.from) || part.snapshot != fetch.snapshot {
            return Err(format!("{fetch:?} was answered with another part"));
        }
        let is_whole = self.copy_chunks(fetch.by, fetch.from, &part)?;
        Ok(is_whole.then_some(part))
    }

    /// Copies the missing chunks of a part. Returns whether all are present.
    pub(crate) fn copy_chunks(&mut self, by: Life, from: Place, part: &Part) -> Checked<bool> {
        loop {
            let missing = self.nodes[by.place].disk.missing_chunks(part)?;
            if missing.is_empty() {
                return Ok(true);
            }
            for hash in missing {
                let is_near = self.reach(by.place, from);
                let stored = self.nodes[from].disk.framed_chunk(&hash);
                let Some(stored) = stored.filter(|_| is_near) else {
                    return Ok(false);
                };
                self.nodes[by.place].disk.adopt_chunk(hash, stored)?;
            }
        }
    }
}
