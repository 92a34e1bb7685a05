//! Revisions of other processes: requested where an assembly may have rivals, and replicated into every history, as
//! `node/replication/replicator.rs` does. A process lists what enters its history; its peers replicate what they lack.

use std::collections::BTreeSet;

use snapledger::history::assembly::Event as Happening;
use snapledger::history::global::GlobalState;
use snapledger::process::ids::{ProcessId, SnapshotId};

use crate::assembling::{Question, Running};
use crate::disk::Disk;
use crate::history::Listed;
use crate::world::{Checked, Event, Life, Place, World};

/// How far a process has read the list of another one.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Following {
    /// The life of the other process.
    boot: u64,
    seen: usize,
    is_busy: bool,
}

impl Following {
    /// Reads the list from its beginning.
    pub(crate) fn read_anew(&mut self) {
        self.seen = 0;
    }
}

/// A request for a complete revision.
#[derive(Debug, Clone)]
pub(crate) struct Inquiry {
    pub(crate) by: Life,
    pub(crate) of: Place,
    pub(crate) snapshot: SnapshotId,
    number: u64,
}

/// A revision of another process that is being replicated.
#[derive(Debug, Clone)]
pub(crate) struct Takeover {
    pub(crate) by: Life,
    pub(crate) of: Place,
    pub(crate) snapshot: SnapshotId,
    revision: u32,
    /// The job of the assembly that requested it.
    job: Option<u64>,
}

impl World {
    /// Requests a complete revision from these processes for an assembly. Returns the event of an immediate result.
    pub(crate) fn ask_for_complete(
        &mut self,
        life: Life,
        snapshot: &SnapshotId,
        processes: &[ProcessId],
    ) -> Option<Happening> {
        let initiator_is_up = self.is_initiator_up(life, snapshot);
        let asked: BTreeSet<_> = processes.iter().map(|one| self.place_of(one)).collect();
        let question = Question {
            at: self.now,
            asked: asked.clone(),
            initiator_is_up,
        };
        let collection = self.collection(life, snapshot)?;
        collection.question = Some(question);
        if initiator_is_up {
            self.sometimes.saw("assembler that stands back");
        }
        if self
            .newest(life.place, snapshot)
            .is_some_and(GlobalState::is_complete)
        {
            return Some(Happening::Adopted(true));
        }
        if asked.is_empty() {
            return Some(Happening::Adopted(false));
        }
        let number = self.number_job(life, snapshot);
        for of in asked.clone() {
            let inquiry = Inquiry {
                by: life,
                of,
                snapshot: snapshot.clone(),
                number,
            };
            let delay = self.net_delay();
            self.after(delay, Event::Inquired(inquiry));
        }
        if let Some(collection) = self.collection(life, snapshot) {
            collection.job = Some(Running::Adopting {
                number,
                waiting: asked,
            });
        }
        None
    }

    /// Handles the arrival of a request for a complete revision.
    pub(crate) fn inquired(&mut self, inquiry: Inquiry) {
        let is_heard = self.reach(inquiry.by.place, inquiry.of);
        let newest = self.newest(inquiry.of, &inquiry.snapshot);
        let complete = newest.filter(|newest| is_heard && newest.is_complete());
        let answer = complete.map(|complete| complete.revision);
        let delay = self.net_delay();
        self.after(delay, Event::Informed(inquiry, answer));
    }

    /// Handles the answer to a request for a complete revision.
    pub(crate) fn informed(&mut self, inquiry: Inquiry, answer: Option<u32>) -> Checked {
        let Inquiry {
            by,
            of,
            snapshot,
            number,
        } = inquiry;
        if !self.is_adopting(by, &snapshot, number) {
            return Ok(());
        }
        let Some(revision) = answer else {
            return self.not_informed(by, of, (&snapshot, number));
        };
        let takeover = Takeover {
            by,
            of,
            snapshot: snapshot.clone(),
            revision,
            job: Some(number),
        };
        match self.take_over(&takeover)? {
            true => Ok(()),
            false => self.not_informed(by, of, (&snapshot, number)),
        }
    }

    fn is_adopting(&mut self, life: Life, snapshot: &SnapshotId, number: u64) -> bool {
        let collection = self.collection(life, snapshot);
        let job = collection.and_then(|collection| collection.job.as_ref());
        matches!(job, Some(Running::Adopting { number: asked, .. }) if *asked == number)
    }

    fn not_informed(
        &mut self,
        life: Life,
        of: Place,
        (snapshot, number): (&SnapshotId, u64),
    ) -> Checked {
        let collection = self.collection(life, snapshot);
        let job = collection.and_then(|collection| collection.job.as_mut());
        let Some(Running::Adopting { waiting, .. }) = job else {
            return Ok(());
        };
        waiting.remove(&of);
        match waiting.is_empty() {
            true => self.end_job_in_time(life, snapshot, number),
            false => Ok(()),
        }
    }

    // Copies a revision with its chunks; it is listed once it is durable. Returns whether the copy has started.
    fn take_over(&mut self, takeover: &Takeover) -> Checked<bool> {
        let Takeover {
            by,
            of,
            snapshot,
            revision,
            ..
        } = takeover;
        let is_deleted = self.nodes[by.place].disk.is_gone(snapshot);
        if self.alive(*by).is_none() || !self.reach(by.place, *of) || is_deleted {
            return Ok(false);
        }
        let Some(state) = self.nodes[*of].disk.revision(snapshot, *revision) else {
            return Ok(false);
        };
        let state = state.clone();
        // If it is here, the sync of an earlier copy may still be running.
        if self.nodes[by.place]
            .disk
            .revision(snapshot, *revision)
            .is_none()
        {
            for part in state.parts.values() {
                if !self.copy_chunks(*by, *of, part)? {
                    return Ok(false);
                }
            }
        }
        if self.nodes[by.place].disk.write_revision(&state).is_err() {
            self.checkers.contradicted(&state)?;
            return Ok(false);
        }
        let me = &self.plan.ids[by.place];
        self.nodes[by.place].disk.keep_own_part(me, &state);
        let stamp = self.nodes[by.place].disk.stamp();
        let delay = 1 + self.random.below(self.plan.record_delay_max);
        self.after(delay, Event::TakenOver(takeover.clone(), stamp));
        Ok(true)
    }

    /// Handles the sync of a replicated revision.
    pub(crate) fn taken_over(&mut self, takeover: Takeover, stamp: u64) -> Checked {
        let Takeover {
            by,
            of,
            snapshot,
            revision,
            job,
        } = takeover;
        if self.alive(by).is_none() {
            return Ok(());
        }
        let disk = &mut self.nodes[by.place].disk;
        disk.synced(stamp);
        // It may have been deleted since.
        if let Some(state) = disk.revision(&snapshot, revision).cloned() {
            disk.list(&snapshot, revision, self.now);
            disk.end_deletion(&snapshot);
            self.trace
                .say(|| format!("{} takes {snapshot} revision {revision} over", by.place));
            self.sometimes.saw("revision taken over by a peer");
            let process = &self.plan.ids[by.place];
            self.checkers.taken_over(process, &state)?;
        }
        match job {
            Some(number) if self.is_adopting(by, &snapshot, number) => {
                self.end_job(by, &snapshot, Happening::Adopted(true))
            }
            Some(_) => Ok(()),
            None => {
                self.go_on_following(by, of, true);
                Ok(())
            }
        }
    }

    /// Has every process read what has entered the histories of the others.
    pub(crate) fn share_histories(&mut self) {
        for by in 0..self.nodes.len() {
            for of in 0..self.nodes.len() {
                if by != of
                    && self.reach(by, of)
                    && let Some(life) = self.life(by)
                {
                    self.follow(life, of);
                }
            }
        }
    }

    fn follow(&mut self, life: Life, of: Place) {
        let (node, other) = (&self.nodes[life.place], &self.nodes[of]);
        let (Some(alive), true) = (&node.life, other.life.is_some()) else {
            return;
        };
        let listed = &other.disk.listed;
        let mut following = alive.following[of];
        if following.boot != other.boot {
            following = Following {
                boot: other.boot,
                ..Following::default()
            };
        }
        let is_lacking = |one: &Listed| {
            let stored = |disk: &Disk| disk.revision(&one.snapshot, one.revision).is_some();
            // Snapshots deleted there can no longer be copied; a revision that is being written here need not be.
            stored(&other.disk) && !stored(&node.disk) && !node.disk.is_gone(&one.snapshot)
        };
        let mut wanted = None;
        if !following.is_busy {
            let unseen = &listed[following.seen..];
            let new = unseen.iter().position(is_lacking);
            following.seen += new.unwrap_or(unseen.len());
            wanted = listed.get(following.seen).cloned();
            following.is_busy = wanted.is_some();
        }
        if let Some(alive) = self.alive(life) {
            alive.following[of] = following;
        }
        if let Some(Listed {
            snapshot, revision, ..
        }) = wanted
        {
            let takeover = Takeover {
                by: life,
                of,
                snapshot,
                revision,
                job: None,
            };
            let delay = 2 * self.net_delay();
            self.after(delay, Event::Fetched(takeover));
        }
    }

    /// Handles the arrival of a requested revision.
    pub(crate) fn fetched(&mut self, takeover: &Takeover) -> Checked {
        if !self.take_over(takeover)? {
            self.go_on_following(takeover.by, takeover.of, false);
        }
        Ok(())
    }

    fn go_on_following(&mut self, by: Life, of: Place, is_taken: bool) {
        let Some(alive) = self.alive(by) else {
            return;
        };
        let following = &mut alive.following[of];
        following.is_busy = false;
        // A failed copy is tried again with the next greeting.
        if is_taken && self.reach(by.place, of) {
            self.follow(by, of);
        }
    }

    /// The newest revision of a snapshot in the history of a process.
    pub(crate) fn newest(&self, place: Place, snapshot: &SnapshotId) -> Option<&GlobalState> {
        let node = &self.nodes[place];
        node.life.as_ref().and_then(|_| node.disk.newest(snapshot))
    }
}
