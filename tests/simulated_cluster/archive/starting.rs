//! The start of a process on its archive: the real `shipping::attach` decides, its actions are executed here over the simulated
//! disk and object store, as `node/archive/attach.rs` does.

use std::collections::{BTreeSet, VecDeque};

use snapledger::shipping::attach::{Action, Attaching, Event as Answer, Here, Starting, Unfit};
use snapledger::shipping::hold::Waits;
use snapledger::shipping::segment::Owner;

use crate::archive::desk::Task;
use crate::archive::shipper::Shipper;
use crate::disk::Disk;
use crate::sabotage::Sabotage;
use crate::world::{Checked, Life, Place, World};

/// One start in so many finds another archive in the place of its own.
const NOT_MOUNTED_ONCE_IN: u64 = 12;

/// A program that compares its journal with the archived one, before its process runs.
pub(crate) struct Start {
    pub(crate) life: Life,
    /// `None` if a task fills the disk.
    pub(super) attaching: Option<Attaching>,
    /// The requests that are not answered.
    pub(crate) asked: BTreeSet<u64>,
    pub(super) purpose: Purpose,
    pub(super) task: Option<Task>,
}

/// What a start is for.
pub(crate) enum Purpose {
    /// To run the process.
    Run,
    /// To fill the store of a lost one.
    Restore,
    /// To run the process from a copy of its directory, although it has been started since. The directory itself is kept, with
    /// its number of starts.
    OlderCopy(Box<Disk>, u64),
    /// To run the process, although another archive has the place of its own. This is the own one.
    NotMounted(usize),
}

impl Purpose {
    /// Whether it makes a store again.
    pub(crate) fn is_restore(&self) -> bool {
        matches!(self, Self::Restore)
    }

    /// Whether a start is on an archive that is not the own one.
    pub(crate) fn is_not_mounted(&self) -> bool {
        matches!(self, Self::NotMounted(_))
    }
}

impl Start {
    pub(crate) fn purpose(&self) -> &Purpose {
        &self.purpose
    }

    pub(super) fn task(&self) -> Option<&Task> {
        self.task.as_ref()
    }
}

impl World {
    /// Begins to compare. The number of the start is counted already.
    pub(crate) fn attach(&mut self, place: Place, purpose: Purpose) -> Checked {
        let Some(plan) = &self.archive.plan else {
            return Err("there is no archive".to_owned());
        };
        let node = &self.nodes[place];
        let life = Life {
            place,
            boot: node.boot,
        };
        let starting = Starting {
            owner: Owner {
                cluster: "simulated".to_owned(),
                process: self.id(place).to_string(),
            },
            identity: self.identity(place),
            window: plan.window,
            waits: match purpose.is_restore() {
                true => Waits::Nothing,
                false => plan.waits,
            },
            begins: node.disk.begins(),
            end: node.disk.head().0,
            known: node.disk.archived,
            claimed: node.disk.claimed,
            was_behind: node.disk.was_behind,
        };
        self.trace
            .say(|| format!("attach {place} {:?} at {}", starting.identity, starting.end));
        let (attaching, first) = Attaching::begin(starting);
        let asked = BTreeSet::from([self.ask_archive(life, first)]);
        self.nodes[place].start = Some(Start {
            life,
            attaching: Some(attaching),
            asked,
            purpose,
            task: None,
        });
        Ok(())
    }

    /// Passes an answer to a start, and executes the actions that follow.
    pub(crate) fn go_on_starting(&mut self, place: Place, answer: Answer) -> Checked {
        let mut answers = VecDeque::from([answer]);
        while let Some(answer) = answers.pop_front() {
            let start = self.nodes[place].start.as_mut();
            let Some(attaching) = start.and_then(|start| start.attaching.as_mut()) else {
                return Ok(());
            };
            match attaching.on(answer) {
                Ok(actions) => {
                    for action in actions {
                        answers.extend(self.execute_start(place, action)?);
                    }
                }
                Err(unfit) => return self.refused(place, &unfit),
            }
        }
        Ok(())
    }

    // Returns the answer of what is done at once.
    fn execute_start(&mut self, place: Place, action: Action) -> Checked<Option<Answer>> {
        let disk = &mut self.nodes[place].disk;
        Ok(match action {
            Action::Remember(claim) => {
                disk.claimed = Some(claim);
                Some(Answer::Remembered)
            }
            Action::NoteBehind => {
                disk.was_behind = true;
                Some(Answer::Noted)
            }
            Action::Append(segment) => {
                let before = segment.head.before().position.0;
                for (position, framed) in (before + 1..).zip(segment.entries()) {
                    let framed = framed.map_err(|error| error.to_string())?;
                    if position > disk.head().0.0 {
                        disk.append_framed(framed)?;
                    }
                }
                disk.synced(disk.stamp());
                self.sometimes.saw("turns taken from the archive");
                Some(Answer::Appended)
            }
            Action::Compare(point) => Some(Answer::Here(Here {
                first: disk.begins().position.next(),
                end: disk.head().0,
                hash: disk.hash_at(point.position),
            })),
            Action::ReadTurns(before) => {
                let count = self.turns_in_segment();
                self.sometimes
                    .saw("rest of the journal shipped before a start");
                let turns = self.nodes[place].disk.turns_behind(before, count);
                Some(Answer::Turns(turns))
            }
            Action::Attached(attached) => {
                if self.plan.is_sabotaged(Sabotage::FenceDeleted) && self.archive.zombie.is_some() {
                    let fence = attached.archived.index;
                    self.archive.folder(place).delete(fence)?;
                }
                if attached.was_behind {
                    self.nodes[place].disk.note_gap();
                    self.nodes[place].disk.was_behind = false;
                }
                self.nodes[place].disk.archived = Some(attached.archived);
                let shipper = Shipper::new(*attached);
                self.attached(place, shipper)?;
                None
            }
            request => {
                if matches!(request, Action::ReadLink(..)) {
                    self.sometimes.saw("start from a link of the archive");
                }
                let node = &self.nodes[place];
                let Some(life) = node.start.as_ref().map(|start| start.life) else {
                    return Ok(None);
                };
                let number = self.ask_archive(life, request);
                if let Some(start) = &mut self.nodes[place].start {
                    start.asked.insert(number);
                }
                None
            }
        })
    }

    fn attached(&mut self, place: Place, shipper: Shipper) -> Checked {
        let Some(purpose) = self.leave_start(place)? else {
            return Ok(());
        };
        self.trace.say(|| format!("attached {place}"));
        match purpose {
            Purpose::Run => self.begin(place, Some(shipper)),
            Purpose::Restore => self.restored(place),
            Purpose::OlderCopy(..) => Err(format!("{place} runs on an older copy of its store")),
            Purpose::NotMounted(_) => {
                Err(format!("{place} runs on an archive that is not its own"))
            }
        }
    }

    /// Ends a start that cannot read what it wants: it was deleted meanwhile. An operator starts the process again.
    pub(crate) fn end_start_for_nothing(&mut self, place: Place) -> Checked {
        self.trace
            .say(|| format!("start of {place} beside a deletion"));
        self.crash(place)
    }

    /// Ends a start. If it was on an archive that is not the own one, the own one is mounted again.
    pub(crate) fn leave_start(&mut self, place: Place) -> Checked<Option<Purpose>> {
        let Some(start) = self.nodes[place].start.take() else {
            return Ok(None);
        };
        if let Purpose::NotMounted(own) = start.purpose {
            self.archive.mount(place, own)?;
        }
        Ok(Some(start.purpose))
    }

    /// What the next start of a process is for: sometimes an operator has not mounted its archive.
    pub(crate) fn purpose_of_start(&mut self, place: Place) -> Purpose {
        let has_shipped = self.nodes[place].disk.archived.is_some();
        let is_free = self.archive.zombie.is_none() && self.plan.sabotage.is_none();
        match is_free && has_shipped && self.archive.random.below(NOT_MOUNTED_ONCE_IN) == 0 {
            true => Purpose::NotMounted(self.archive.unmount(place)),
            false => Purpose::Run,
        }
    }

    // Only an older copy, or an archive that is not the own one, may be refused.
    fn refused(&mut self, place: Place, unfit: &Unfit) -> Checked {
        let Some(purpose) = self.leave_start(place)? else {
            return Ok(());
        };
        self.trace.say(|| format!("refused {place}: {unfit}"));
        match (purpose, unfit) {
            (Purpose::NotMounted(_), Unfit::Lacking(_)) => {
                self.sometimes.saw("start without what was shipped refused");
                self.restart(place)
            }
            (Purpose::OlderCopy(original, boot), Unfit::OlderCopy(_)) => {
                self.sometimes.saw("start on an older copy refused");
                self.keep_copy(place);
                self.put_original_back(place, *original, boot);
                self.restart(place)
            }
            // The claim of an earlier attempt came late.
            (Purpose::Restore, Unfit::OlderCopy(_)) => self.restore(place),
            (_, unfit) => Err(format!("{place} may not start: {unfit}")),
        }
    }

    /// Ends the directory's absence during a start on a copy of it.
    pub(crate) fn put_original_back(&mut self, place: Place, original: Disk, boot: u64) {
        let node = &mut self.nodes[place];
        node.disk = original;
        node.boot = boot;
    }
}
