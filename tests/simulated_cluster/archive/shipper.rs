//! Ships the journal of a running process and releases behind it: the real writer, called as `node/archive/shipper.rs` calls
//! it, and the real `shipping::hold`, asked where `node/archive/held.rs` asks it.

use std::collections::{BTreeSet, VecDeque};

use snapledger::process::clock::Hlc;
use snapledger::process::ids::{Lsn, SnapshotId};
use snapledger::process::input::Input;
use snapledger::shipping::attach::{Action, Attached};
use snapledger::shipping::hold::Audience;
use snapledger::shipping::lag::Lag;
use snapledger::shipping::writer::{Action as Wanted, Event as Told, Writer};

use crate::node::{Asker, Computed};
use crate::plan::SECOND;
use crate::sabotage::Sabotage;
use crate::world::{Checked, Event, Life, World};

/// The interval at which a writer without work looks whether another has taken over.
const LOOK_AHEAD_EVERY: u64 = 2 * SECOND;

/// The store remembers one in so many segments.
const REMEMBERED_ONCE_IN: u64 = 4;

/// The shipper of one life.
pub(crate) struct Shipper {
    pub(crate) writer: Writer,
    /// The requests that are not answered.
    pub(crate) asked: BTreeSet<u64>,
    /// The durable turns that are not released, oldest first.
    held: VecDeque<Computed>,
    lag: Lag<u64>,
    /// Whether the lag was over its limit.
    was_behind: bool,
}

impl Shipper {
    pub(crate) fn new(attached: Attached) -> Self {
        let mut lag = Lag::default();
        lag.archived(attached.archived.journal.position);
        Self {
            writer: attached.writer,
            asked: BTreeSet::new(),
            held: VecDeque::new(),
            lag,
            was_behind: false,
        }
    }

    /// The last turn that is known to be archived.
    pub(super) fn archived(&self) -> Lsn {
        self.lag.position()
    }

    /// Whether a durable turn waits for the archive.
    pub(crate) fn is_holding(&self) -> bool {
        !self.held.is_empty() || self.lag.since().is_some()
    }
}

impl Asker {
    // Who receives the reply, as the queue of the real node says it.
    fn audience(&self) -> Audience {
        match self {
            Self::Client(..) => Audience::Client,
            Self::Question(_) => Audience::of(&[Input::AdvanceClock {
                time: Hlc::default(),
            }]),
            Self::Initiator => Audience::of(&[Input::Initiate {
                snapshot: SnapshotId::parse("any").expect("a valid id"),
                start: None,
            }]),
            Self::Sending(_) | Self::Receiving(_) | Self::Frame(_) | Self::Part(..) => {
                Audience::Processes
            }
        }
    }
}

impl World {
    /// The number of turns of the next segment.
    pub(crate) fn turns_in_segment(&mut self) -> usize {
        let archive = &mut self.archive;
        let max = archive.plan.as_ref().map_or(1, |plan| plan.turns_max);
        1 + archive.random.index(max)
    }

    /// Handles that a turn is durable: it is released, or waits for the archive.
    pub(crate) fn made_durable(&mut self, life: Life, mut computed: Computed) -> Checked {
        let Some(waits) = self.archive.waits() else {
            return self.release(life, &mut computed);
        };
        let (now, position) = (self.now, computed.step.position);
        let is_turn = computed.hash.is_some();
        if !waits.holds(Audience::Client) {
            self.answer_early(life, &mut computed)?;
        }
        let is_sabotaged = self.plan.is_sabotaged(Sabotage::ReleaseBeforeArchived);
        let is_held = waits.holds(Audience::Processes) && !is_sabotaged;
        if !is_held {
            self.release(life, &mut computed)?;
        }
        let Some(shipper) = self.shipper(life) else {
            return Ok(());
        };
        if is_turn {
            shipper.lag.committed(position, now, |_| true);
        }
        if is_held {
            shipper.held.push_back(computed);
        }
        self.ship(life)?;
        self.release_archived(life)
    }

    // Answers what does not wait for the archive.
    fn answer_early(&mut self, life: Life, computed: &mut Computed) -> Checked {
        let waits = self.archive.waits();
        let is_held = |asker: &Asker| waits.is_some_and(|waits| waits.holds(asker.audience()));
        let (later, now): (Vec<_>, Vec<_>) = std::mem::take(&mut computed.step.replies)
            .into_iter()
            .partition(|said| said.to.as_ref().is_none_or(is_held));
        computed.step.replies = later;
        if !self.is_zombie_acting() {
            self.check_turn(life, computed)?;
        }
        let time = computed.step.time;
        for said in now {
            self.reply(life, said, time)?;
        }
        Ok(())
    }

    fn shipper(&mut self, life: Life) -> Option<&mut Shipper> {
        self.alive(life)?.shipper.as_mut()
    }

    /// Ships as many segments as the window permits.
    pub(crate) fn ship(&mut self, life: Life) -> Checked {
        loop {
            let end = self.nodes[life.place].disk.durable();
            let Some(shipper) = self.shipper(life).filter(|one| one.writer.has_room()) else {
                return Ok(());
            };
            let Some(before) = shipper.writer.shipped().filter(|one| one.position < end) else {
                return Ok(());
            };
            let count = self.turns_in_segment();
            let turns = self.nodes[life.place].disk.turns_behind(before, count);
            if let Some(shipper) = self.shipper(life) {
                let put = shipper.writer.ship(turns);
                self.request(life, put);
            }
        }
    }

    /// Sends a request of the writer.
    pub(crate) fn request(&mut self, life: Life, wanted: Wanted) {
        let number = self.ask_archive(life, Action::Ask(wanted));
        if let Some(shipper) = self.shipper(life) {
            shipper.asked.insert(number);
        }
    }

    /// Handles an answer to the writer.
    pub(crate) fn shipper_told(&mut self, life: Life, event: Told) -> Checked {
        let Some(shipper) = self.shipper(life) else {
            return Ok(());
        };
        for action in shipper.writer.on(event) {
            match action {
                Wanted::Look(_) | Wanted::Put(_) | Wanted::ReadBoundary => {
                    self.request(life, action);
                }
                Wanted::Opened(_) => {}
                Wanted::Archived(link) => {
                    let position = link.journal.position;
                    self.archive.folder(life.place).link(link)?;
                    if self.archive.random.below(REMEMBERED_ONCE_IN) == 0 {
                        self.nodes[life.place].disk.archived = Some(link);
                    }
                    if let Some(shipper) = self.shipper(life) {
                        shipper.lag.archived(position);
                    }
                    self.release_archived(life)?;
                }
                Wanted::Stop(superseded) => return self.superseded(life, superseded),
                Wanted::Refuse(broken) => return Err(format!("{life:?}: {broken}")),
            }
        }
        self.ship(life)
    }

    // Releases what the archive has, and takes up the messages that had to wait.
    fn release_archived(&mut self, life: Life) -> Checked {
        loop {
            let Some(shipper) = self.shipper(life) else {
                return Ok(());
            };
            let archived = shipper.lag.position();
            let released = |held: &mut Computed| held.step.position <= archived;
            let Some(mut computed) = shipper.held.pop_front_if(released) else {
                break;
            };
            self.release(life, &mut computed)?;
        }
        if !self.is_behind(life) {
            self.take_postponed(life);
        }
        Ok(())
    }

    /// Whether new work is refused, because the archive is too far behind.
    pub(crate) fn is_behind(&mut self, life: Life) -> bool {
        let now = self.now;
        let Some(plan) = &self.archive.plan else {
            return false;
        };
        let (waits, lag_max) = (plan.waits, plan.lag_max);
        let Some(shipper) = self.shipper(life) else {
            return false;
        };
        let lag = shipper.lag.since().map_or(0, |since| now - since);
        let is_behind = waits.refuses(lag, lag_max);
        let has_caught_up = shipper.was_behind && !is_behind;
        shipper.was_behind = is_behind;
        if has_caught_up {
            self.sometimes.saw("archive that has caught up");
        }
        is_behind
    }

    /// Checks that the archive has the turn on which an answer about an instant depends: other processes hear it.
    pub(crate) fn check_told(&mut self, life: Life, position: Lsn) -> Checked {
        let archived = self.shipper(life).map(|shipper| shipper.lag.position());
        match archived.is_none_or(|archived| position <= archived) {
            true => Ok(()),
            false => Err(format!(
                "{life:?} tells of turn {position}, and the archive ends at {archived:?}"
            )),
        }
    }

    /// Looks whether another writer has taken over, if there is no work.
    pub(crate) fn look_ahead(&mut self, life: Life) {
        let Some(shipper) = self.shipper(life) else {
            return;
        };
        let look = shipper.writer.look_ahead();
        if let Some(look) = look.filter(|_| shipper.asked.is_empty()) {
            self.request(life, look);
        }
        self.after(LOOK_AHEAD_EVERY, Event::LookAhead(life));
    }
}
