//! A node: the disk, which survives a crash, and the life, which does not.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use snapledger::channel::Local;
use snapledger::channel::links::LinkTable;
use snapledger::channel::window::{Place as Kept, Window};
use snapledger::history::assembly::{Membership, numbered_by};
use snapledger::history::part::Part;
use snapledger::process::Process;
use snapledger::process::cell::Cell;
use snapledger::process::identity::Identity;
use snapledger::process::ids::{ChannelId, Hash, ProcessId, SnapshotId};
use snapledger::process::registers::Registers;
use snapledger::process::reply::RecordedHere;
use snapledger::process::step::{InputQueue, Step};
use snapledger::process::wall::Wall;
use snapledger::store::first_messages;

use crate::adoption::Following;
use crate::archive::keeping::Keeper;
use crate::archive::shipper::Shipper;
use crate::archive::starting::Start;
use crate::assembling::Collection;
use crate::checkers::Publication;
use crate::disk::Disk;
use crate::fetch::Fetch;
use crate::network::StreamId;
use crate::part_writer::Storing;
use crate::peers::PeerView;
use crate::pinning::{HeardPins, Pinning};
use crate::plan::{MS, Plan, SECOND};
use crate::receiving::Postponed;
use crate::recorder::Work;
use crate::sabotage::Sabotage;
use crate::sending::SendingEnd;
use crate::world::{Checked, Event, Life, Place, World};

/// One process and its environment.
pub(crate) struct Node {
    pub(crate) membership: Arc<Membership>,
    pub(crate) disk: Disk,
    /// Chunks of other processes that have rotted on this disk.
    pub(crate) rotten: BTreeSet<Hash>,
    /// The store id, drawn when the store is created.
    pub(crate) store: [u8; 16],
    /// The boot number, incremented at every start.
    pub(crate) boot: u64,
    /// The number of starts that the store does not know, because it is an older copy.
    pub(crate) boots_lost: u64,
    /// Drawn at every start.
    pub(crate) run: u64,
    /// The error of its wall clock, microseconds.
    pub(crate) clock_off: i64,
    /// Whether its journal may hold times too far ahead, because no better clock was available.
    pub(crate) is_misled: bool,
    pub(crate) life: Option<Alive>,
    /// Its start on the archive, before the process runs.
    pub(crate) start: Option<Start>,
}

/// Everything that a crash destroys.
pub(crate) struct Alive {
    pub(crate) process: Process,
    pub(crate) wall: Wall,
    pub(crate) waiting: InputQueue<Asker>,
    /// Whether a turn is scheduled.
    pub(crate) is_woken: bool,
    /// The turns that are computed and not released, oldest first.
    pub(crate) computed: VecDeque<Computed>,
    pub(crate) work: VecDeque<Work>,
    pub(crate) storing: VecDeque<Storing>,
    pub(crate) links: LinkTable,
    pub(crate) outboxes: BTreeMap<Place, Window>,
    pub(crate) senders: BTreeMap<Place, SendingEnd>,
    pub(crate) peers: Vec<PeerView>,
    /// The time of its start.
    pub(crate) began: u64,
    pub(crate) collections: BTreeMap<SnapshotId, Collection>,
    /// How far the lists of the other processes were read.
    pub(crate) following: Vec<Following>,
    /// The updates of pins that are being told, by number.
    pub(crate) pinnings: BTreeMap<u64, Pinning>,
    /// The updates of pins that were read from the other processes.
    pub(crate) pins_heard: Vec<HeardPins>,
    /// With an archive.
    pub(crate) shipper: Option<Shipper>,
    /// With an archive that keeps more than the journal.
    pub(crate) keeper: Option<Keeper>,
    /// The frames that wait until the archive has caught up.
    pub(crate) postponed: VecDeque<Postponed>,
}

/// A turn that is being written to the disk.
pub(crate) struct Computed {
    pub(crate) step: Step<Asker>,
    /// The hash of its entry; `None` if there is nothing to write.
    pub(crate) hash: Option<Hash>,
    /// The stamp that the running sync covers, once it has begun.
    pub(crate) stamp: Option<u64>,
    pub(crate) is_released: bool,
    /// Whether the checkers have it.
    pub(crate) is_counted: bool,
}

/// The address for a reply.
#[derive(Debug, Clone)]
pub(crate) enum Asker {
    /// A client, for the operation with this number.
    Client(Place, u64),
    /// The starter of a snapshot.
    Initiator,
    /// The sending end of a stream, for a comparison.
    Sending(StreamId),
    /// The receiving end of a stream, for a comparison.
    Receiving(StreamId),
    /// The receiving end of a stream, for a frame.
    Frame(StreamId),
    /// A query about the past, by its number.
    Question(u64),
    /// A request for an unfinished part, with the progress of the snapshot.
    Part(Fetch, Option<Box<RecordedHere>>),
}

impl Node {
    pub(crate) fn new(place: Place, plan: &Plan, seed: u64) -> Self {
        let mut store = [0; 16];
        store[..8].copy_from_slice(&seed.to_le_bytes());
        store[8..].copy_from_slice(&(place as u64).to_le_bytes());
        let mut disk = Disk::default();
        disk.leaves_out_messages = plan.is_sabotaged(Sabotage::RecordedMessageLeftOut);
        let membership = Arc::new(Membership {
            me: plan.ids[place].clone(),
            topology: plan.topology.clone(),
            foreign: BTreeSet::new(),
        });
        Self {
            membership,
            disk,
            rotten: BTreeSet::new(),
            store,
            boot: 0,
            boots_lost: 0,
            run: 0,
            clock_off: 0,
            is_misled: false,
            life: None,
            start: None,
        }
    }

    /// The same process on another machine, without its store.
    pub(crate) fn with_lost_disk(&self) -> Self {
        Self {
            membership: Arc::clone(&self.membership),
            disk: Disk::default(),
            rotten: BTreeSet::new(),
            life: None,
            start: None,
            ..*self
        }
    }

    /// Whether chunks of this part have rotted here.
    pub(crate) fn is_rotten(&self, part: &Part) -> bool {
        let missing = self.disk.missing_chunks(part).unwrap_or_default();
        missing.iter().any(|hash| self.rotten.contains(hash))
    }
}

impl World {
    /// The state of a life, if it has not ended.
    pub(crate) fn alive(&mut self, life: Life) -> Option<&mut Alive> {
        let node = &mut self.nodes[life.place];
        (node.boot == life.boot).then_some(node.life.as_mut())?
    }

    pub(crate) fn identity(&self, place: Place) -> Identity {
        let node = &self.nodes[place];
        Identity {
            store: node.store,
            boot: node.boot - node.boots_lost,
            run: node.run,
        }
    }

    /// The identity that a process presents to its peers.
    pub(crate) fn local(&self, place: Place) -> Local {
        Local {
            cluster: "simulated".to_owned(),
            process: self.id(place).clone(),
            identity: self.identity(place),
        }
    }

    /// The present life of a process.
    pub(crate) fn life(&self, place: Place) -> Option<Life> {
        let node = &self.nodes[place];
        node.life.as_ref().map(|_| Life {
            place,
            boot: node.boot,
        })
    }

    /// The true time, microseconds.
    pub(crate) fn true_us(&self) -> u64 {
        1_700_000_000 * SECOND + self.now
    }

    /// Starts a process: it recovers, compares, and resumes what it finds unfinished.
    pub(crate) fn restart(&mut self, place: Place) -> Checked {
        let node = &self.nodes[place];
        if node.life.is_some() || node.start.is_some() || self.is_away(place) {
            return Ok(());
        }
        if self.archive.plan.is_some() && self.starts_on_copy(place) {
            return self.start_on_copy(place);
        }
        let node = &mut self.nodes[place];
        node.boot += 1;
        node.run = self.random.next();
        match &self.archive.plan {
            None => self.begin(place, None),
            Some(_) => {
                let purpose = self.purpose_of_start(place);
                self.attach(place, purpose)
            }
        }
    }

    /// Runs a process on its store.
    pub(crate) fn begin(&mut self, place: Place, shipper: Option<Shipper>) -> Checked {
        let (mut process, passed_over) = self.recover(place)?;
        process.runs_as(self.identity(place));
        if self.nodes[place].disk.is_gap(process.registers().position) {
            process.put_back();
        }
        let wall = self.wall(place, process.registers());
        let now = self.reading(place);
        if let Some(turn) = process.first_turn(wall.now_us(now)) {
            let disk = &mut self.nodes[place].disk;
            disk.append(&turn)?;
            disk.synced(disk.stamp());
        }
        let node = &self.nodes[place];
        let boot = node.boot;
        let life = Life { place, boot };
        self.trace.say(|| {
            format!(
                "start {place} boot {boot} at {}",
                process.registers().position
            )
        });
        self.checkers.recovered(place, &node.disk, &process)?;
        self.publish_found(place)?;
        self.note_restart(place, &process, passed_over);
        let found: Step<Asker> = process.take_found();
        let (outboxes, senders) = self.sending_ends(place, &process);
        let met = |id: &ProcessId| process.registers().peers.contains_key(id);
        let peers = self.plan.ids.iter().map(|id| PeerView::new(met(id)));
        let peers = peers.collect();
        self.nodes[place].disk.open_history(self.now);
        let destinations: Vec<_> = outboxes.keys().copied().collect();
        self.nodes[place].life = Some(Alive {
            process,
            wall,
            waiting: InputQueue::default(),
            is_woken: false,
            computed: VecDeque::new(),
            work: VecDeque::new(),
            storing: VecDeque::new(),
            links: LinkTable::default(),
            outboxes,
            senders,
            peers,
            began: self.now,
            collections: BTreeMap::new(),
            following: vec![Following::default(); self.plan.ids.len()],
            pinnings: BTreeMap::new(),
            pins_heard: vec![HeardPins::default(); self.plan.ids.len()],
            shipper,
            keeper: None,
            postponed: VecDeque::new(),
        });
        self.look_ahead(life);
        self.begin_to_keep(life);
        self.ship(life)?;
        self.begin_to_settle(life)?;
        self.record(life, found.sealed, found.finished);
        for to in destinations {
            let delay = self.net_delay();
            self.after(delay, Event::SenderTimer(life, to, 0));
        }
        for snapshot in self.unfinished(place) {
            self.sometimes.saw("collection resumed after a crash");
            self.resume(life, &snapshot)?;
        }
        Ok(())
    }

    // The windows and sending ends of its outgoing channels.
    fn sending_ends(
        &self,
        place: Place,
        process: &Process,
    ) -> (BTreeMap<Place, Window>, BTreeMap<Place, SendingEnd>) {
        let (mut outboxes, mut senders) = (BTreeMap::new(), BTreeMap::new());
        let begin = self.nodes[place].disk.first_state();
        let first = begin.map(|begin| first_messages(begin, process.registers()));
        let first = first.unwrap_or_default();
        for (to, channel) in &process.registers().outgoing {
            let mut window = Window::new(to.clone(), channel.clone(), self.plan.window_limits);
            if let Some(first) = first.get(to) {
                window.keep(Kept::Counted(*first));
            }
            let (from, to) = (self.id(place).clone(), to.clone());
            let channel = ChannelId { from, to };
            let to = self.place_of(&channel.to);
            let end = SendingEnd::new(channel, self.plan.unacknowledged_max);
            outboxes.insert(to, window);
            senders.insert(to, end);
        }
        (outboxes, senders)
    }

    // Publishes the revisions whose sync had not ended before the crash; they are durable now.
    fn publish_found(&mut self, place: Place) -> Checked {
        let disk = &self.nodes[place].disk;
        let by = &self.plan.ids[place];
        for state in disk.history.values().map(|written| &written.value) {
            let topology = &self.plan.topology;
            let publisher = numbered_by(state.revision, &state.initiator, topology);
            if publisher != Some(by) || self.checkers.knows(state) {
                self.checkers.taken_over(by, state)?;
                continue;
            }
            self.sometimes.saw("unsynced revision kept by the disk");
            self.checkers.published(&Publication {
                by,
                state,
                disk,
                topology,
            })?;
        }
        Ok(())
    }

    pub(crate) fn recover(&mut self, place: Place) -> Checked<(Process, bool)> {
        let mut disk = std::mem::take(&mut self.nodes[place].disk);
        let recovered = self.recovered_from(place, &mut disk);
        self.nodes[place].disk = disk;
        recovered
    }

    /// The process of a place as this disk has it.
    pub(crate) fn recovered_from(&self, place: Place, disk: &mut Disk) -> Checked<(Process, bool)> {
        let plan = &self.plan;
        let new = |registers| {
            let (me, topology) = (plan.ids[place].clone(), plan.topology.clone());
            let mut process = Process::restore(me, topology, plan.open_snapshots_max, registers);
            process.limit(plan.limits);
            process
        };
        let alter = |registers: &mut Registers, cells: &mut Vec<Cell>| {
            if plan.is_sabotaged(Sabotage::DeliveredApart) {
                for channel in registers.incoming.values_mut() {
                    channel.delivered = Default::default();
                }
            }
            if plan.is_sabotaged(Sabotage::AnswersForgotten) {
                cells.retain(|cell| !matches!(cell, Cell::Request { .. }));
            }
        };
        disk.recover(new, alter)
    }

    fn note_restart(&mut self, place: Place, process: &Process, passed_over: bool) {
        if passed_over {
            self.sometimes
                .saw("restart that passes over a state that is not whole");
        }
        if self.nodes[place].disk.newest.is_some() {
            self.sometimes.saw("restart from a recorded state");
        }
        let routes = self.channels.iter().filter(|(route, _)| route.0 == place);
        let mut routes = routes.map(|(route, channel)| (*route, channel.transmitted.0));
        if routes.any(|(route, transmitted)| self.checkers.has_unsent_marker(route, transmitted)) {
            self.sometimes.saw("crash between record and markers");
        }
        let mut recordings = process.registers().recordings.values();
        if recordings.any(|recording| !recording.is_finished()) {
            self.sometimes.saw("recording resumed after a crash");
        }
    }

    /// Crashes a process at its present step.
    pub(crate) fn crash(&mut self, place: Place) -> Checked {
        let is_start = self.nodes[place].start.is_some();
        if is_start && self.crash_start(place)? {
            return Ok(());
        }
        let Some(life) = self.nodes[place].life.take() else {
            if is_start && self.plan.never_returns == Some(place) {
                self.checkers.lost(place);
            } else if is_start {
                let down = self.archive.random.below(SECOND) + MS;
                self.after(down, Event::Restart(place));
            }
            return Ok(());
        };
        let is_power_cut = self.plan.power_cut.strikes(&mut self.random);
        self.trace
            .say(|| format!("crash {place} power cut {is_power_cut}"));
        self.checkers.figures.crashes += 1;
        self.sometimes.saw("crash");
        if life.computed.len() > 1 {
            self.sometimes
                .saw("crash with turns on the way to the disk");
        }
        if !life.collections.is_empty() {
            self.sometimes.saw("initiator crash while collecting");
        }
        self.note_cut_off(place, &life);
        let disk = &mut self.nodes[place].disk;
        disk.crash(is_power_cut, &mut self.random, &mut self.sometimes);
        if self.plan.sabotage == Some(Sabotage::LyingDisk) {
            disk.forget_newest();
        }
        self.forget_answers(place, &life);
        self.break_streams_of(place);
        if self.archive.plan.is_some() {
            let boot = self.nodes[place].boot;
            self.break_streams_of_life(Life { place, boot });
        }
        if self.plan.never_returns == Some(place) {
            self.checkers.lost(place);
        } else {
            let down = self.random.below(3 * SECOND) + MS;
            self.after(down, Event::Restart(place));
        }
        Ok(())
    }
}
