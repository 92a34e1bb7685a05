//! A program that goes on although its disk was given up for lost, possibly frozen for a while, beside the restored one. It has
//! its store, its queue, its connections, and clients that still reach it. While one of its events happens, it takes the place
//! of its process. It ends once it finds that another start has taken over, before anything of what it did meanwhile has left
//! it.
//!
//! Not simulated: it assembles no snapshots. Revisions are numbered by the store, which two programs then have.

use snapledger::process::input::Input;
use snapledger::shipping::chain::Link;
use snapledger::shipping::writer::{Superseded, Writer};

use crate::network::StreamId;
use crate::node::{Asker, Node};
use crate::plan::SECOND;
use crate::sabotage::Sabotage;
use crate::world::{Checked, Event, Life, Place, World};

/// The longest time for which it is frozen.
const FROZEN_MAX: u64 = 5 * SECOND;

/// The old program.
pub(crate) struct Zombie {
    place: Place,
    /// The program, or the present one while an event of the old one happens.
    node: Node,
    boot: u64,
    thaws_at: u64,
    pub(crate) is_acting: bool,
    has_stopped: bool,
}

impl World {
    /// Leaves the program of a process running beside the one to come.
    pub(crate) fn leave_zombie(&mut self, place: Place) {
        let present = self.nodes[place].with_lost_disk();
        let mut node = std::mem::replace(&mut self.nodes[place], present);
        if let Some(alive) = &mut node.life {
            alive.collections.clear();
            alive.pinnings.clear();
        }
        let random = &mut self.archive.random;
        let frozen = random.below(2) * random.below(FROZEN_MAX);
        self.trace
            .say(|| format!("zombie of {place}, frozen for {frozen}"));
        self.sometimes.saw(match frozen {
            0 => "zombie that goes on",
            _ => "zombie that is frozen",
        });
        self.archive.zombie = Some(Zombie {
            place,
            boot: node.boot,
            node,
            thaws_at: self.now + frozen,
            is_acting: false,
            has_stopped: false,
        });
    }

    /// Whether this is the life of the zombie.
    pub(crate) fn is_zombie(&self, life: Life) -> bool {
        let zombie = self.archive.zombie.as_ref();
        zombie.is_some_and(|zombie| (zombie.place, zombie.boot) == (life.place, life.boot))
    }

    /// Whether this is a process whose zombie goes by a wrong clock that nothing contradicted.
    pub(crate) fn is_zombie_misled(&self, place: Place) -> bool {
        let zombie = self.archive.zombie.as_ref();
        zombie.is_some_and(|zombie| zombie.place == place && zombie.node.is_misled)
    }

    /// Whether an event of the zombie happens now.
    pub(crate) fn is_zombie_acting(&self) -> bool {
        let zombie = self.archive.zombie.as_ref();
        zombie.is_some_and(|zombie| zombie.is_acting)
    }

    /// Whether a stream has an end at a program that is not the present one of its process.
    pub(crate) fn is_of_zombie(&self, id: StreamId) -> bool {
        let stream = self.channels.get(&id.route);
        let stream = stream.and_then(|channel| channel.streams.get(&id.number));
        let is_old = |life: Life| self.nodes[life.place].boot != life.boot;
        self.is_zombie_acting() || stream.is_some_and(|it| is_old(it.sender) || is_old(it.receiver))
    }

    /// The life in which an event happens, if it is one of the zombie.
    pub(crate) fn is_of_zombie_event(&self, event: &Event) -> bool {
        if self.archive.zombie.is_none() {
            return false;
        }
        let stream = |id: &StreamId| self.channels.get(&id.route)?.streams.get(&id.number);
        let life = match event {
            Event::Frame(id) => stream(id).map(|stream| stream.receiver),
            Event::Ack(id) => stream(id).map(|stream| stream.sender),
            event => event.life(),
        };
        life.is_some_and(|life| self.is_zombie(life))
    }

    /// Has an event happen in the zombie.
    pub(crate) fn happen_in_zombie(&mut self, event: Event) -> Checked {
        let now = self.now;
        let Some(zombie) = &self.archive.zombie else {
            return Ok(());
        };
        if zombie.thaws_at > now {
            let thaws_at = zombie.thaws_at;
            self.at(thaws_at, event);
            return Ok(());
        }
        self.swap_zombie(true);
        let happened = self.happen_here(event);
        self.swap_zombie(false);
        happened?;
        let stopped = self.archive.zombie.take_if(|zombie| zombie.has_stopped);
        if let Some(zombie) = stopped {
            self.sometimes.saw("zombie that stopped");
            let (place, boot) = (zombie.place, zombie.boot);
            self.break_streams_of_life(Life { place, boot });
        }
        Ok(())
    }

    fn swap_zombie(&mut self, is_acting: bool) {
        if let Some(zombie) = &mut self.archive.zombie {
            std::mem::swap(&mut zombie.node, &mut self.nodes[zombie.place]);
            zombie.is_acting = is_acting;
        }
    }

    /// Handles that a writer finds a later one.
    pub(crate) fn superseded(&mut self, life: Life, superseded: Superseded) -> Checked {
        self.trace
            .say(|| format!("{life:?} is superseded by {superseded:?}"));
        let zombie = self
            .archive
            .zombie
            .as_mut()
            .filter(|zombie| zombie.is_acting);
        let Some(zombie) = zombie else {
            return Err(format!("{life:?} was superseded by {superseded:?}"));
        };
        if self.plan.is_sabotaged(Sabotage::LaterEpochIgnored) {
            return self.fence_again(life);
        }
        zombie.has_stopped = true;
        self.nodes[life.place].life = None;
        Ok(())
    }

    // Sabotage: opens the writer again behind all segments, so that it finds no later one.
    fn fence_again(&mut self, life: Life) -> Checked {
        let identity = self.identity(life.place);
        let folder = self.archive.folder(life.place);
        let tip = folder.tip()?;
        let id = folder.claim_of(identity);
        let is_continued =
            self.nodes[life.place].disk.hash_at(tip.journal.position) == Some(tip.journal.hash);
        let shipper = self.alive(life).and_then(|alive| alive.shipper.as_mut());
        if let (Some(id), Some(shipper), true) = (id, shipper, is_continued) {
            let owner = shipper.writer.owner().clone();
            let epoch = id.epoch;
            let (writer, first) = Writer::open(owner, id, 1, Link { epoch, ..tip });
            shipper.writer = writer;
            shipper.asked.clear();
            self.request(life, first);
        }
        Ok(())
    }

    /// Whether a program refuses new work, because the archive is too far behind.
    pub(crate) fn refuses_work(&mut self, life: Life) -> bool {
        let is_zombie = self.is_zombie(life) && !self.is_zombie_acting();
        if is_zombie {
            self.swap_zombie(true);
        }
        let is_behind = self.is_behind(life);
        if is_zombie {
            self.swap_zombie(false);
        }
        is_behind
    }

    /// Puts an input into the queue of the zombie.
    pub(crate) fn enqueue_in_zombie(&mut self, life: Life, input: Input, asker: Option<Asker>) {
        self.swap_zombie(true);
        self.enqueue(life, input, asker);
        self.swap_zombie(false);
    }

    /// The life of the zombie of a process, for a client that still reaches it.
    pub(crate) fn zombie_for_client(&mut self, place: Place) -> Option<Life> {
        let zombie = self.archive.zombie.as_ref();
        let zombie = zombie.filter(|zombie| zombie.place == place)?;
        let life = Life {
            place,
            boot: zombie.boot,
        };
        (self.archive.random.below(2) == 0).then_some(life)
    }
}
