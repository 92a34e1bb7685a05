//! Inputs with a reply, each with the type of its reply. Replies are transported as [`Reply`]; only `reply_to` converts them to
//! their types.

use std::marker::PhantomData;

use super::Process;
use super::answer::Answer;
use super::channel::ChannelDigest;
use super::clock::Hlc;
use super::decision::Decision;
use super::handshake::Handshake;
use super::ids::{ProcessId, RequestId, Seq, SnapshotId};
use super::input::{Input, Operation};
use super::message::Message;
use super::refusal::Refusal;
use super::reply::{Initiated, Reply, Settlement};
use super::start::Start;

/// An input, with the type of its reply.
pub trait Command {
    /// The reply.
    type Reply;

    /// The input.
    fn into_input(self) -> Input;

    /// The reply to such an input; `None` if it is the reply to another input.
    fn reply(reply: Reply) -> Option<Self::Reply>;
}

/// Takes the reply to a command.
///
/// # Panics
/// If it is the reply to another input, which [`Process::step`] never returns.
pub fn reply_to<C: Command>(reply: Reply) -> C::Reply {
    C::reply(reply).expect("a process replies to each input in the kind of that input")
}

impl Process {
    /// Decides and applies a command. Returns the reply to send once the turn is durable.
    pub fn execute<C: Command>(&mut self, command: C) -> C::Reply {
        reply_to::<C>(self.step(command.into_input()))
    }
}

/// Commands of one kind, to be decided in this order.
#[derive(Debug)]
pub struct Commands<C> {
    inputs: Vec<Input>,
    kind: PhantomData<fn(C)>,
}

impl<C: Command> Commands<C> {
    /// Whether there are no commands.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    /// The commands as inputs.
    #[must_use]
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// The commands as inputs, to be queued.
    #[must_use]
    pub fn into_inputs(self) -> Vec<Input> {
        self.inputs
    }
}

impl<C: Command> From<C> for Commands<C> {
    fn from(command: C) -> Self {
        Self {
            inputs: vec![command.into_input()],
            kind: PhantomData,
        }
    }
}

impl<C: Command> FromIterator<C> for Commands<C> {
    fn from_iter<I: IntoIterator<Item = C>>(commands: I) -> Self {
        Self {
            inputs: commands.into_iter().map(C::into_input).collect(),
            kind: PhantomData,
        }
    }
}

/// [`Input::Operation`]
#[derive(Debug)]
pub struct Operate {
    /// The id that makes a retry idempotent.
    pub request: Option<RequestId>,
    /// The operation.
    pub operation: Operation,
}

impl Command for Operate {
    type Reply = Answer;

    fn into_input(self) -> Input {
        let Self { request, operation } = self;
        Input::Operation { request, operation }
    }

    fn reply(reply: Reply) -> Option<Answer> {
        match reply {
            Reply::Operation(answer) => Some(answer),
            _ => None,
        }
    }
}

/// [`Input::Initiate`]
#[derive(Debug)]
pub struct Initiate {
    /// The snapshot id.
    pub snapshot: SnapshotId,
    /// How it is started, as in [`Input::Initiate`].
    pub start: Option<Start>,
}

impl Command for Initiate {
    type Reply = Result<Initiated, Refusal>;

    fn into_input(self) -> Input {
        let Self { snapshot, start } = self;
        Input::Initiate { snapshot, start }
    }

    fn reply(reply: Reply) -> Option<Self::Reply> {
        match reply {
            Reply::Initiated(initiated) => Some(initiated.map(|initiated| *initiated)),
            _ => None,
        }
    }
}

/// [`Input::Arrived`]
#[derive(Debug)]
pub struct Arrive {
    /// The sending process.
    pub from: ProcessId,
    /// The sequence number of the message on its channel.
    pub seq: Seq,
    /// The clock of the turn that sent it.
    pub time: Hlc,
    /// The message.
    pub message: Message,
}

impl Command for Arrive {
    /// The newest sequence number delivered on the channel.
    type Reply = Result<Seq, Refusal>;

    fn into_input(self) -> Input {
        let Self {
            from,
            seq,
            time,
            message,
        } = self;
        Input::Arrived {
            from,
            seq,
            time,
            message,
        }
    }

    fn reply(reply: Reply) -> Option<Self::Reply> {
        match reply {
            Reply::Arrived(arrived) => Some(arrived),
            _ => None,
        }
    }
}

/// [`Input::Called`]
#[derive(Debug)]
pub struct Call {
    /// The sending process.
    pub from: ProcessId,
    /// The id that makes a retry idempotent.
    pub message_id: Option<RequestId>,
    /// The message.
    pub message: Message,
}

impl Command for Call {
    /// Whether the message was the first marker of a snapshot.
    type Reply = Result<bool, Refusal>;

    fn into_input(self) -> Input {
        let Self {
            from,
            message_id,
            message,
        } = self;
        Input::Called {
            from,
            message_id,
            message,
        }
    }

    fn reply(reply: Reply) -> Option<Self::Reply> {
        match reply {
            Reply::Called(called) => Some(called),
            _ => None,
        }
    }
}

/// [`Input::Handshake`]
#[derive(Debug)]
pub struct Compare(pub Handshake);

impl Command for Compare {
    /// The digest of what was delivered on the channel.
    type Reply = Result<ChannelDigest, Refusal>;

    fn into_input(self) -> Input {
        Input::Handshake(Box::new(self.0))
    }

    fn reply(reply: Reply) -> Option<Self::Reply> {
        match reply {
            Reply::Handshake(compared) => Some(compared.map(|digest| *digest)),
            _ => None,
        }
    }
}

/// [`Input::Forget`]
#[derive(Debug)]
pub struct Forget {
    /// The peer whose store is given up.
    pub peer: ProcessId,
}

impl Command for Forget {
    type Reply = Result<Settlement, Refusal>;

    fn into_input(self) -> Input {
        Input::Forget { peer: self.peer }
    }

    fn reply(reply: Reply) -> Option<Self::Reply> {
        match reply {
            Reply::Forgotten(settled) => Some(settled.map(|settlement| *settlement)),
            _ => None,
        }
    }
}

/// [`Input::AdvanceClock`]
#[derive(Debug)]
pub struct Advance {
    /// The clock value that the clock must pass.
    pub time: Hlc,
}

impl Command for Advance {
    type Reply = ();

    fn into_input(self) -> Input {
        Input::AdvanceClock { time: self.time }
    }

    fn reply(reply: Reply) -> Option<()> {
        (reply == Reply::Nothing).then_some(())
    }
}

/// [`Input::Decide`]
#[derive(Debug)]
pub struct Decide(pub Decision);

impl Command for Decide {
    type Reply = ();

    fn into_input(self) -> Input {
        Input::Decide(Box::new(self.0))
    }

    fn reply(reply: Reply) -> Option<()> {
        (reply == Reply::Nothing).then_some(())
    }
}

/// [`Input::PartStored`]
#[derive(Debug)]
pub struct FinishPart {
    /// The snapshot whose part is stored.
    pub snapshot: SnapshotId,
}

impl Command for FinishPart {
    type Reply = ();

    fn into_input(self) -> Input {
        let Self { snapshot } = self;
        Input::PartStored { snapshot }
    }

    fn reply(reply: Reply) -> Option<()> {
        (reply == Reply::Nothing).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::clock::{Clocks, Lamport};
    use crate::process::decision::{Actor, Change};
    use crate::process::handshake::Claim;
    use crate::process::identity::Identity;
    use crate::process::ids::AccountId;
    use crate::process::message::Marker;
    use crate::process::topology::Topology;

    // Each command gets the reply of its own kind, or `execute` panics.
    #[test]
    fn every_command_gets_the_reply_of_its_kind() {
        let id = |id: &str| ProcessId::parse(id).expect("a valid id");
        let topology = Topology::full(&[id("p"), id("q")]).expect("two processes");
        let mut process = Process::new(id("p"), topology, 1);
        let snapshot = SnapshotId::parse("s").expect("a valid id");
        let message = Message {
            clock: Lamport(1),
            body: Marker {
                snapshot: snapshot.clone(),
                initiator: id("q"),
            }
            .into(),
        };
        process.begin_turn(1, Hlc::default());
        let initiated = process.execute(Initiate {
            start: None,
            snapshot: snapshot.clone(),
        });
        assert!(initiated.is_ok());
        process.execute(FinishPart { snapshot });
        process.execute(Advance {
            time: Hlc::default(),
        });
        process.execute(Decide(Decision {
            actor: Actor::default(),
            change: Change::Unpinned(SnapshotId::parse("s").expect("a valid id")),
        }));
        let operated = process.execute(Operate {
            request: None,
            operation: Operation::Deposit {
                account: AccountId::parse("a").expect("a valid id"),
                amount: 1,
            },
        });
        assert!(operated.outcome.is_ok());
        let (from, time) = (id("x"), Hlc::default());
        let arrived = process.execute(Arrive {
            from: from.clone(),
            seq: Seq(1),
            time,
            message: message.clone(),
        });
        assert!(arrived.is_err(), "there is no such process");
        let message_id = None;
        let called = process.execute(Call {
            from: from.clone(),
            message_id,
            message,
        });
        assert!(called.is_err(), "nor here");
        assert!(process.execute(Forget { peer: from }).is_err(), "nor here");
        let compared = process.execute(Compare(Handshake {
            peer: id("q"),
            identity: Identity {
                store: [1; 16],
                boot: 1,
                run: 1,
            },
            clocks: Clocks::default(),
            unfollowed: None,
            claim: Claim::Sender {
                sent: ChannelDigest::default(),
                acknowledged: Seq(0),
            },
            agreed: true,
        }));
        assert_eq!(compared, Ok(ChannelDigest::default()));
    }
}
