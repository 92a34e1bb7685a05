//! The messages that channels may send: the real `channel::window` of each, read from the simulated disk where they are not in
//! memory.

use snapledger::channel::sender::Event as SenderEvent;
use snapledger::channel::window::{JournalReading, Window};
use snapledger::channel::{Closed, Envelope};
use snapledger::process::ids::{Lsn, Seq};

use crate::network::StreamId;
use crate::plan::MS;
use crate::world::{Checked, Life, Place, World};

impl World {
    pub(crate) fn window(&mut self, life: Life, to: Place) -> Checked<&mut Window> {
        let alive = self.alive(life);
        let window = alive.and_then(|alive| alive.outboxes.get_mut(&to));
        window.ok_or_else(|| "a channel without a window".to_owned())
    }

    /// Releases a durable message to the sending end.
    pub(crate) fn push(
        &mut self,
        life: Life,
        to: Place,
        envelope: Envelope,
        position: Lsn,
    ) -> Checked {
        self.window(life, to)?.push(envelope, position);
        let end = self.end(life, to);
        match end.and_then(|end| end.sender.waits_behind()) {
            Some(_) => self.sending(life, to, SenderEvent::Newer),
            None => Ok(()),
        }
    }

    /// Reads the messages after a sequence number, from memory or the journal.
    pub(crate) fn read_messages(&mut self, life: Life, id: StreamId, after: Seq) -> Checked {
        if !self.uses(life, id) {
            return Ok(());
        }
        let window = self.window(life, id.route.1)?;
        let event = match window.recent(after) {
            Some(recent) => SenderEvent::Read(Ok(recent)),
            None => {
                let reading = window.read(after);
                self.sometimes.saw("message read from the journal");
                let read = self.read_journal(life, id, reading)?;
                read.map_or_else(SenderEvent::Closed, |read| SenderEvent::Read(Ok(read)))
            }
        };
        self.sending(life, id.route.1, event)
    }

    /// Computes the digest of what was sent up to a sequence number.
    pub(crate) fn count_sent(&mut self, life: Life, id: StreamId, seq: Seq) -> Checked {
        if !self.uses(life, id) {
            return Ok(());
        }
        let event = match self.window(life, id.route.1)?.digest(seq) {
            Ok(known) => SenderEvent::Counted(Ok(known)),
            Err(reading) => {
                self.sometimes.saw("digest counted from the journal");
                SenderEvent::Counted(self.read_journal(life, id, reading)?)
            }
        };
        self.sending(life, id.route.1, event)
    }

    // Sometimes the stream breaks during the reading, which then ends at a place that is kept.
    fn read_journal<R: JournalReading>(
        &mut self,
        life: Life,
        id: StreamId,
        reading: R,
    ) -> Checked<Result<R::Output, Closed>> {
        let breaks = !self.is_healed && self.random.below(16) == 0;
        let node = &mut self.nodes[life.place];
        let alive = node.life.as_mut().ok_or("a reading without a life")?;
        let window = alive.outboxes.get_mut(&id.route.1);
        let window = window.ok_or("a reading without a window")?;
        let mut is_dropped = false;
        let turns = node.disk.durable_turns(reading.start());
        let read = reading.run(turns, |place| {
            window.keep(place);
            is_dropped |= breaks;
            !breaks
        })?;
        if !is_dropped {
            return Ok(Ok(read));
        }
        self.sometimes
            .saw("reading of the journal dropped with its stream");
        Ok(Err(Closed::Broken("the stream broke".to_owned())))
    }

    /// The duration of computing a digest: short, or longer than the receiver waits.
    pub(crate) fn counting_delay(&mut self) -> u64 {
        match !self.is_healed && self.random.below(24) == 0 {
            true => self.random.below(8_000 * MS),
            false => self.random.below(2 * MS),
        }
    }
}
