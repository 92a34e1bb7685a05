//! How two ends of a channel meet: what they say of themselves, and what the real process makes of it. All that the
//! simulation knows of `Meeting` and `Identity` stands here.

use snapledger::process::event::{Claim, Identity, Input, Meeting};
use snapledger::process::ids::Seq;
use snapledger::process::refusal::Refusal;
use snapledger::proto::snapledger::{Frame, Hello, Welcome, ack, frame};
use snapledger::transport::wire::{identity_from_wire, identity_to_wire};

use crate::node::Asker;
use crate::stream::{Route, SendingEnd, StreamId};
use crate::world::{Checked, Life, Place, World};

const CLUSTER: &str = "simulated";

impl World {
    fn identity(&self, place: Place) -> Identity {
        let node = &self.nodes[place];
        Identity {
            store: node.store,
            boot: node.boot,
        }
    }

    /// The first frame of a stream.
    pub(crate) fn hello(&self, sender: Life, route: Route) -> Checked<Frame> {
        let life = self.nodes[sender.place].life.as_ref();
        let outbox = life.and_then(|alive| alive.outboxes.get(&route.1));
        let outbox = outbox.ok_or("a stream without an outbox")?;
        let (me, identity) = (self.id(sender.place), self.identity(sender.place));
        let hello = Hello {
            sender: Some(identity_to_wire(CLUSTER, me, identity)),
            receiver: self.id(route.1).to_string(),
            sent: outbox.newest().0,
            acknowledged: outbox.channel.acknowledged.0,
        };
        Ok(Frame {
            body: Some(frame::Body::Hello(hello)),
        })
    }

    /// The receiving end compares what the sender says with what it knows.
    pub(crate) fn meet_sender(&mut self, receiver: Life, id: StreamId, hello: Hello) -> Checked {
        let claim = Claim::Sender {
            sent: Seq(hello.sent),
            acknowledged: Seq(hello.acknowledged),
        };
        let met = identity_from_wire(CLUSTER, hello.sender).map_err(|error| error.to_string())?;
        self.meet(receiver, (met.0, met.1, claim), Asker::Welcome(id));
        Ok(())
    }

    /// The sending end does the same with the answer.
    pub(crate) fn meet_receiver(
        &mut self,
        sender: Life,
        id: StreamId,
        welcome: Welcome,
    ) -> Checked {
        let delivered = Seq(welcome.delivered);
        let claim = Claim::Receiver { delivered };
        let met =
            identity_from_wire(CLUSTER, welcome.receiver).map_err(|error| error.to_string())?;
        self.meet(sender, (met.0, met.1, claim), Asker::Met(id));
        Ok(())
    }

    fn meet(
        &mut self,
        life: Life,
        (peer, identity, claim): (snapledger::process::ids::ProcessId, Identity, Claim),
        asker: Asker,
    ) {
        let meeting = Meeting {
            peer,
            identity,
            claim,
        };
        self.enqueue(life, Input::Met(meeting), Some(asker));
    }

    /// The receiving end answers a hello once its meeting is durable.
    pub(crate) fn welcome(
        &mut self,
        life: Life,
        id: StreamId,
        met: Result<Seq, Refusal>,
    ) -> Checked {
        let delivered = match met {
            Ok(delivered) => delivered,
            // The hello of a stream that is gone comes late, and says what was true once.
            Err(refusal) if !self.is_current(id) => {
                if matches!(refusal, Refusal::OlderBoot { .. }) {
                    self.sometimes.saw("peer of an older boot refused");
                }
                return Ok(());
            }
            Err(refusal) => return Err(format!("{id:?} was not welcome: {refusal}")),
        };
        let (me, identity) = (self.id(life.place), self.identity(life.place));
        let welcome = Welcome {
            receiver: Some(identity_to_wire(CLUSTER, me, identity)),
            delivered: delivered.0,
        };
        self.send_ack(id, ack::Body::Welcome(welcome));
        Ok(())
    }

    /// The sending end goes on behind what the receiver has, once its own meeting is durable.
    pub(crate) fn open(&mut self, life: Life, id: StreamId, met: Result<Seq, Refusal>) -> Checked {
        if !self.is_current(id) {
            return Ok(());
        }
        let delivered = met.map_err(|refusal| format!("{id:?} could not open: {refusal}"))?;
        if let Some(stream) = self.stream(id) {
            stream.end = SendingEnd::Open {
                sent: delivered,
                acknowledged: delivered,
                is_woken: false,
            };
        }
        self.trace.say(|| format!("open {id:?} behind {delivered}"));
        self.note_acknowledged(life, id, delivered);
        Ok(())
    }
}
