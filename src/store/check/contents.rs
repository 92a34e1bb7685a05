//! Checks chunks against their hashes and against everything that refers to them. Each chunk is read once; a summary of
//! about a hundred bytes per 64 KiB is kept for the other checks.

use std::collections::{HashMap, HashSet};

use super::opened_copy::{Stored, TreeWalk};
use super::{CheckProgress, Examiner};
use crate::history::part::{Chunk, Part, RecordedChannel, Run};
use crate::process::cell::Cell;
use crate::process::ids::{Hash, Seq};
use crate::store::chunks::unpack;
use crate::store::engine::schema;
use crate::store::error::StoreError;
use crate::store::stored::codec::audit_chunk;
use crate::store::stored::frame::{Damage, Kind};

/// Summaries of all chunks of a store.
#[derive(Default)]
pub(super) struct Contents {
    chunks: HashMap<Hash, Held>,
    /// The runs that were compared with their chunks, by their indices.
    compared: HashSet<Vec<Hash>>,
    /// Chunks that are referenced but missing or damaged.
    absent: HashSet<Hash>,
}

struct Held {
    bytes: u64,
    is_referenced: bool,
    content: Content,
}

enum Content {
    Cells { count: u64, first: Key, last: Key },
    Index,
    Messages(Messages),
}

type Key = (u8, Box<str>);

/// The counts of recorded messages.
#[derive(Clone, Copy, Default)]
pub(super) struct Messages {
    pub(super) count: u64,
    pub(super) transfers: u64,
    pub(super) amount: i128,
    first: Seq,
    last: Seq,
}

impl Contents {
    /// Reads all chunks.
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    pub(super) fn read(examiner: &mut Examiner) -> Result<Self, StoreError> {
        let mut contents = Self::default();
        let of = examiner.opened.trees.chunks.len() as u64;
        let mut walk = TreeWalk::new(&examiner.opened.trees.chunks);
        while let Some(stored) = walk.next()? {
            let read = contents.take(stored);
            examiner.findings.take(read);
            examiner.report.chunks += 1;
            let done = examiner.report.chunks;
            (examiner.step)(CheckProgress {
                what: "chunks",
                done,
                of,
            });
        }
        Ok(contents)
    }

    fn take(&mut self, stored: Stored) -> Result<(), StoreError> {
        let damaged = |damage| StoreError::damaged(schema::name(Kind::Chunk, &stored.key), damage);
        let odd = |problem: &str| damaged(Damage::Contradiction(problem.to_owned()));
        let hash = Hash(
            stored.key[..]
                .try_into()
                .map_err(|_| odd("its key is not a hash"))?,
        );
        let framed = stored.framed.map_err(damaged)?;
        let bytes = framed.len() as u64;
        let content = match audit_chunk(&hash, &unpack(&hash, framed)?)? {
            Chunk::Cells(cells) => {
                ascending(&cells).ok_or_else(|| odd("its cells do not ascend"))?
            }
            Chunk::Index(_) => Content::Index,
            Chunk::Messages(messages) => {
                let mut counted = Messages::default();
                for (before, one) in messages.iter().enumerate() {
                    if before > 0 && one.seq != counted.last.next() {
                        return Err(odd("it lacks a message"));
                    }
                    if before == 0 {
                        counted.first = one.seq;
                    }
                    counted.last = one.seq;
                    counted.count += 1;
                    if let Some(transfer) = one.message.body.transfer() {
                        counted.transfers += 1;
                        counted.amount += i128::from(transfer.amount.units());
                    }
                }
                Content::Messages(counted)
            }
        };
        let held = Held {
            bytes,
            is_referenced: false,
            content,
        };
        self.chunks.insert(hash, held);
        Ok(())
    }

    /// Compares a run with its chunks; `what` names it in findings.
    pub(super) fn run(&mut self, examiner: &mut Examiner, what: &str, run: &Run) {
        if self.compared.contains(&run.index) {
            return;
        }
        self.compared.insert(run.index.clone());
        let mut cells = 0;
        let mut last: Option<Key> = None;
        for index in &run.index {
            if !matches!(self.named(examiner, what, index), Some(Content::Index)) {
                return;
            }
            let lines = examiner.opened.chunks.index(index);
            let Some(lines) = examiner.findings.take(lines) else {
                return;
            };
            for line in lines {
                let Some(Content::Cells {
                    count,
                    first,
                    last: end,
                }) = self.named(examiner, what, &line.chunk)
                else {
                    return;
                };
                let follows = last.as_ref().is_none_or(|last| last < first);
                if !follows || (line.kind, &line.name) != (first.0, &first.1) {
                    let problem = format!(
                        "its index {index} does not match the contents of chunk {}",
                        line.chunk
                    );
                    examiner.findings.add(what, problem);
                    return;
                }
                cells += count;
                last = Some(end.clone());
            }
        }
        if cells != run.cells {
            let problem = format!("a run of it has {cells} cells, not {}", run.cells);
            examiner.findings.add(what, problem);
        }
    }

    /// Compares a part with its chunks, and counts the messages of its channels.
    pub(super) fn part(&mut self, examiner: &mut Examiner, what: &str, part: &Part) -> Messages {
        for run in &part.state.runs {
            self.run(examiner, what, run);
        }
        let mut all = Messages::default();
        for channel in &part.channels {
            let counted = self.channel(examiner, what, channel);
            all.count += counted.count;
            all.transfers += counted.transfers;
            all.amount += counted.amount;
        }
        all
    }

    fn channel(
        &mut self,
        examiner: &mut Examiner,
        what: &str,
        channel: &RecordedChannel,
    ) -> Messages {
        let mut all = Messages::default();
        let mut next = channel.first;
        for hash in &channel.chunks {
            let Some(Content::Messages(counted)) = self.named(examiner, what, hash) else {
                return all;
            };
            if counted.first != next {
                let problem = format!(
                    "chunk {hash} begins with message {}, not {next}",
                    counted.first
                );
                examiner.findings.add(what, problem);
            }
            next = counted.last.next();
            all.count += counted.count;
            all.transfers += counted.transfers;
            all.amount += counted.amount;
        }
        let found = (all.count, all.transfers, all.amount);
        let expected = (channel.messages(), channel.transfers, channel.amount);
        if found != expected {
            let problem = format!(
                "the channel from {:?} holds {} messages, {} of them transfers of {}; its figures state {}, {} and {}",
                channel.from, found.0, found.1, found.2, expected.0, expected.1, expected.2
            );
            examiner.findings.add(what, problem);
        }
        all
    }

    // Reports each missing chunk once.
    fn named(&mut self, examiner: &mut Examiner, what: &str, hash: &Hash) -> Option<&Content> {
        match self.chunks.get_mut(hash) {
            Some(held) => {
                held.is_referenced = true;
                Some(&held.content)
            }
            None => {
                if self.absent.insert(*hash) {
                    let problem = format!("it is missing or damaged, and {what} needs it");
                    examiner
                        .findings
                        .add(schema::name(Kind::Chunk, &hash.0), problem);
                }
                None
            }
        }
    }

    /// The number of different runs compared.
    pub(super) fn runs(&self) -> u64 {
        self.compared.len() as u64
    }

    /// The number of unreferenced chunks, and their bytes.
    pub(super) fn unreferenced(&self) -> (u64, u64) {
        let chunks = self.chunks.values().filter(|held| !held.is_referenced);
        chunks.fold((0, 0), |(count, bytes), held| {
            (count + 1, bytes + held.bytes)
        })
    }
}

fn ascending(cells: &[Cell]) -> Option<Content> {
    let key = |cell: &Cell| (cell.key().kind, cell.key().name.into());
    let (first, last) = (cells.first()?, cells.last()?);
    let ascends = cells.windows(2).all(|pair| pair[0].key() < pair[1].key());
    ascends.then(|| Content::Cells {
        count: cells.len() as u64,
        first: key(first),
        last: key(last),
    })
}
