//! How two ends of a channel meet: what they say of themselves, and what the sending end makes of it, as
//! `transport/outbound.rs`. The receiving end is in `receiving.rs`.

use snapledger::process::channel::ChannelDigest;
use snapledger::process::clock::{Clocks, Hlc};
use snapledger::process::event::{Claim, Handshake, Identity, Input};
use snapledger::process::ids::Seq;
use snapledger::process::refusal::Refusal;
use snapledger::proto::snapledger as wire;
use snapledger::proto::snapledger::{Agreed, Frame, Hello, Welcome, frame};
use snapledger::transport::wire::{
    clocks_to_wire, digest_from_wire, digest_to_wire, identity_from_wire, identity_to_wire,
};

use crate::node::Asker;
use crate::outbox::Outbox;
use crate::receiving::ReceivingEnd;
use crate::stream::{Route, SendingEnd, StreamId};
use crate::world::{Checked, Life, Place, World};

pub(crate) const CLUSTER: &str = "simulated";

impl World {
    pub(crate) fn identity(&self, place: Place) -> Identity {
        let node = &self.nodes[place];
        Identity {
            store: node.store,
            boot: node.boot - node.boots_lost,
            run: node.run,
        }
    }

    /// The clocks of the newest durable turn.
    pub(crate) fn durable_clocks(&self, place: Place) -> Checked<Clocks> {
        let disk = &self.nodes[place].disk;
        let newest = disk.turns(disk.durable()).next().transpose()?;
        let clocks = newest.map(|turn| Clocks {
            logical: turn.clock,
            time: turn.time,
        });
        Ok(clocks.unwrap_or_default())
    }

    /// The same for the other end of a channel, with what turns would be labelled with now.
    pub(crate) fn clocks_of(&self, place: Place) -> Checked<wire::Clocks> {
        let life = self.nodes[place].life.as_ref();
        let wall = life.map(|alive| &alive.wall);
        let wall = wall.filter(|wall| wall.is_settled());
        let present = wall.map(|wall| Hlc::at(wall.now_us(self.reading(place))));
        Ok(wire::Clocks {
            present: present.unwrap_or_default().0,
            ..clocks_to_wire(self.durable_clocks(place)?)
        })
    }

    fn outbox(&self, sender: Life, to: Place) -> Checked<&Outbox> {
        let life = self.nodes[sender.place].life.as_ref();
        let outbox = life.and_then(|alive| alive.outboxes.get(&to));
        outbox.ok_or_else(|| "a stream without an outbox".to_owned())
    }

    /// The first frame of a stream.
    pub(crate) fn hello(&self, sender: Life, route: Route) -> Checked<Frame> {
        let channel = &self.outbox(sender, route.1)?.channel;
        let (me, identity) = (self.id(sender.place), self.identity(sender.place));
        let hello = Hello {
            sender: Some(identity_to_wire(CLUSTER, me, identity)),
            receiver: self.id(route.1).to_string(),
            sent: Some(digest_to_wire(channel.digest())),
            acknowledged: channel.acknowledged.0,
            clocks: Some(self.clocks_of(sender.place)?),
            known: None, // what would be found out so is known here from the start
        };
        Ok(Frame {
            body: Some(frame::Body::Hello(hello)),
        })
    }

    /// The receiving end compares what the sender says with what it knows.
    pub(crate) fn meet_sender(&mut self, receiver: Life, id: StreamId, hello: Hello) -> Checked {
        let claim = Claim::Sender {
            sent: digest_from_wire(hello.sent),
            acknowledged: Seq(hello.acknowledged),
        };
        let (peer, identity) =
            identity_from_wire(CLUSTER, hello.sender).map_err(|error| error.to_string())?;
        let (clocks, unfollowed) = self.followed(receiver, hello.clocks);
        let meeting = Handshake {
            peer,
            identity,
            clocks,
            unfollowed,
            claim,
            agreed: false,
        };
        self.put(id, ReceivingEnd::Greeted(meeting.clone()));
        self.enqueue(
            receiver,
            Input::Handshake(Box::new(meeting)),
            Some(Asker::Welcome(id)),
        );
        Ok(())
    }

    /// The sending end compares the answer with what its own journal says at the receiver's number.
    pub(crate) fn meet_receiver(
        &mut self,
        sender: Life,
        id: StreamId,
        welcome: Welcome,
    ) -> Checked {
        let delivered = digest_from_wire(welcome.delivered);
        let outbox = self.outbox(sender, id.route.1)?;
        let disk = &self.nodes[sender.place].disk;
        let here = outbox.sent_by(delivered.flow.sequence, disk)?;
        let (peer, identity) =
            identity_from_wire(CLUSTER, welcome.receiver).map_err(|error| error.to_string())?;
        let (clocks, unfollowed) = self.followed(sender, welcome.clocks);
        let meeting = Handshake {
            peer,
            identity,
            clocks,
            unfollowed,
            claim: Claim::Receiver { delivered, here },
            agreed: true,
        };
        self.enqueue(
            sender,
            Input::Handshake(Box::new(meeting)),
            Some(Asker::Met(id)),
        );
        Ok(())
    }

    /// The sending end agrees once its own meeting is durable, and goes on behind what the receiver has.
    pub(crate) fn open(
        &mut self,
        life: Life,
        id: StreamId,
        met: Result<ChannelDigest, Refusal>,
    ) -> Checked {
        if !self.is_current(id) {
            return Ok(());
        }
        if met.is_err() && self.may_contradict(id.route) {
            self.sometimes.saw("another store refused");
            self.break_stream(id);
            return Ok(());
        }
        let delivered = met.map_err(|refusal| format!("{id:?} could not open: {refusal}"))?;
        let delivered = delivered.flow.sequence;
        if let Some(stream) = self.stream(id) {
            stream.end = SendingEnd::Open {
                sent: delivered,
                acknowledged: delivered,
                is_woken: false,
            };
        }
        self.trace.say(|| format!("open {id:?} behind {delivered}"));
        let agreed = frame::Body::Agreed(Agreed {});
        let agreed = Frame { body: Some(agreed) };
        self.send_frame(id, &agreed);
        if self.plan.duplicate.strikes(&mut self.random) {
            self.sometimes.saw("agreement sent twice");
            self.send_frame(id, &agreed);
        }
        self.note_acknowledged(life, id, delivered);
        Ok(())
    }
}
