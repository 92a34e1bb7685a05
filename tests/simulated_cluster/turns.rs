//! Turns: taken by the real `Process::take_turn`, written, made durable and released in the order of `node/turn/driver.rs` and
//! `node/turn/committer.rs`. Nothing of a turn is released before its sync has ended; `archive/shipper.rs` says what
//! waits longer.

use snapledger::channel::Envelope;
use snapledger::process::Process;
use snapledger::process::clock::Hlc;
use snapledger::process::input::Input;
use snapledger::process::record::Record;
use snapledger::process::reply::Reply;
use snapledger::process::step::Replies;

use crate::node::{Asker, Computed};
use crate::sabotage::Sabotage;
use crate::world::{Checked, Event, Life, World};

impl World {
    /// Puts an input into the queue of a process.
    pub(crate) fn enqueue(&mut self, life: Life, input: Input, asker: Option<Asker>) {
        self.enqueue_together(life, vec![input], asker);
    }

    /// Puts inputs that are submitted together into the queue of a process.
    pub(crate) fn enqueue_together(
        &mut self,
        life: Life,
        inputs: Vec<Input>,
        asker: Option<Asker>,
    ) {
        if let Some(alive) = self.alive(life) {
            alive.waiting.push(inputs, asker);
            self.wake(life);
        }
    }

    /// Puts a query into the queue of a process.
    pub(crate) fn enqueue_query(
        &mut self,
        life: Life,
        query: impl FnOnce(&Process) -> Asker + Send + 'static,
    ) {
        if let Some(alive) = self.alive(life) {
            alive.waiting.push_query(Box::new(query));
            self.wake(life);
        }
    }

    pub(crate) fn wake(&mut self, life: Life) {
        let ahead = self.plan.turns_ahead;
        let Some(alive) = self.alive(life) else {
            return;
        };
        if !alive.wall.is_settled()
            || alive.is_woken
            || alive.waiting.is_empty()
            || alive.computed.len() > ahead
        {
            return;
        }
        alive.is_woken = true;
        let delay = self.random.below(500);
        self.after(delay, Event::Turn(life));
    }

    /// Takes one turn over the waiting inputs.
    pub(crate) fn take_turn(&mut self, life: Life) -> Checked {
        let (wall_us, weight_max) = (self.wall_us(life.place), self.plan.turn_weight_max);
        let Some(alive) = self.alive(life) else {
            return Ok(());
        };
        alive.is_woken = false;
        let before = alive.waiting.len();
        let step = alive
            .process
            .take_turn(wall_us, &mut alive.waiting, weight_max);
        if alive.waiting.len() == before {
            return Err(format!("a turn of {} took nothing", life.place));
        }
        self.trace
            .say(|| format!("turn {} {:?}", life.place, step.turn));
        let mut computed = Computed {
            step,
            hash: None,
            stamp: None,
            is_released: false,
            is_counted: false,
        };
        if !computed.step.turn.records.is_empty() {
            let hash = self.nodes[life.place].disk.append(&computed.step.turn)?;
            computed.hash = Some(hash);
        }
        if self.plan.is_sabotaged(Sabotage::ReleaseBeforeSync) {
            self.release(life, &mut computed)?;
        }
        if let Some(alive) = self.alive(life) {
            alive.computed.push_back(computed);
        }
        self.go_on_committing(life)?;
        self.wake(life);
        Ok(())
    }

    // Releases turns that need no sync, and starts the sync of the next one that does; one at a time.
    fn go_on_committing(&mut self, life: Life) -> Checked {
        loop {
            let stamp = self.nodes[life.place].disk.stamp();
            let Some(alive) = self.alive(life) else {
                return Ok(());
            };
            let Some(next) = alive.computed.front_mut() else {
                return Ok(());
            };
            if next.hash.is_some() {
                if next.stamp.is_none() {
                    next.stamp = Some(stamp);
                    let delay = 1 + self.random.below(self.plan.sync_delay_max);
                    self.after(delay, Event::Synced(life));
                }
                return Ok(());
            }
            let next = alive.computed.pop_front();
            if let Some(next) = next {
                self.made_durable(life, next)?;
            }
        }
    }

    /// Handles the end of a sync: the oldest turn is durable and is released.
    pub(crate) fn end_sync(&mut self, life: Life) -> Checked {
        let Some(alive) = self.alive(life) else {
            return Ok(());
        };
        let Some(computed) = alive.computed.pop_front() else {
            return Err("a sync ended for no turn".to_owned());
        };
        self.nodes[life.place]
            .disk
            .synced(computed.stamp.unwrap_or_default());
        self.made_durable(life, computed)?;
        self.go_on_committing(life)?;
        self.wake(life);
        Ok(())
    }

    /// Has the checkers take a turn of which something leaves.
    pub(crate) fn check_turn(&mut self, life: Life, computed: &mut Computed) -> Checked {
        if let Some(hash) = computed.hash.filter(|_| !computed.is_counted) {
            computed.is_counted = true;
            let turn = &computed.step.turn;
            self.check_time(life.place, turn)?;
            self.checkers.released(life.place, turn, hash)?;
        }
        Ok(())
    }

    /// Releases messages and acknowledgements, then replies, then what is to be recorded.
    pub(crate) fn release(&mut self, life: Life, computed: &mut Computed) -> Checked {
        if computed.is_released {
            return Ok(());
        }
        computed.is_released = true;
        self.check_turn(life, computed)?;
        if let Some(hash) = computed.hash.filter(|_| self.archive.holds()) {
            let position = computed.step.turn.position;
            self.checkers.left(life.place, position, hash)?;
            if self.is_zombie_acting() {
                self.sometimes
                    .saw("turn of a zombie archived before its fence");
            }
        }
        let step = &mut computed.step;
        for record in std::mem::take(&mut step.turn.records) {
            match record {
                Record::Sent { to, seq, message } => {
                    let to = self.place_of(&to);
                    let envelope = Envelope {
                        seq,
                        time: step.turn.time,
                        message,
                    };
                    self.push(life, to, envelope, step.turn.position)?;
                }
                Record::Acknowledged { to, seq } => {
                    let to = self.place_of(&to);
                    if let Some(outbox) = self
                        .alive(life)
                        .and_then(|alive| alive.outboxes.get_mut(&to))
                    {
                        outbox.acknowledge(seq);
                    }
                }
                _ => {}
            }
        }
        for said in std::mem::take(&mut step.replies) {
            self.reply(life, said, step.time)?;
        }
        let (sealed, finished) = (
            std::mem::take(&mut step.sealed),
            std::mem::take(&mut step.finished),
        );
        self.record(life, sealed, finished);
        Ok(())
    }

    /// Answers an asker.
    pub(crate) fn reply(&mut self, life: Life, said: Replies<Asker>, time: Hlc) -> Checked {
        let Some(asker) = said.to else {
            self.sometimes.saw("frame that takes several turns");
            return Ok(());
        };
        if let Asker::Part(fetch, seen) = asker {
            return self.answer_as_it_is(fetch, seen.map(|seen| *seen));
        }
        // The last of several replies covers all of them.
        let reply = said.replies.into_iter().next_back();
        let reply = reply.ok_or("nothing is said to who waits")?;
        self.settle(life, asker, (reply, time))
    }

    fn settle(&mut self, life: Life, asker: Asker, (reply, time): (Reply, Hlc)) -> Checked {
        match (asker, reply) {
            (Asker::Client(client, number), reply) => self.reply_to_client(client, number, reply),
            (Asker::Initiator, Reply::Initiated(initiated)) => {
                self.initiated(life, initiated.map(|initiated| *initiated), time)
            }
            (Asker::Sending(stream), Reply::Handshake(compared)) => {
                self.sender_compared(life, stream, compared.map(|digest| *digest))
            }
            (Asker::Receiving(stream), Reply::Handshake(compared)) => {
                self.receiver_compared(stream, compared.map(|digest| *digest))
            }
            (Asker::Question(number), Reply::Nothing) => self.passed(life, number),
            (Asker::Frame(stream), Reply::Arrived(arrived)) => self.settled(stream, arrived),
            (asker, reply) => Err(format!("{asker:?} was answered {reply:?}")),
        }
    }
}
