//! The receiving end of a channel: answers the handshake, hands messages to the turn in order, and acknowledges what
//! has become durable.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tonic::{Status, Streaming};

use super::hello::{clocks_of, followed, known_from_wire, known_to_wire};
use super::link::Links;
use super::stream_slot::StreamSlot;
use super::wire::{
    Unreadable, digest_from_wire, digest_to_wire, envelope_from_wire, identity_from_wire,
    identity_to_wire,
};
use super::{Closed, Envelope, Inbox, Local, Settling, TooEarly};
use crate::process::channel::ChannelDigest;
use crate::process::event::{Claim, Handshake};
use crate::process::ids::{ChannelId, ProcessId, Seq};
use crate::proto::snapledger::{Ack, Agreed, Frame, Hello, Refusal, Welcome, ack, frame};

/// Frames whose turn is not durable yet; beyond that the sender has to wait.
const FRAMES_PENDING: usize = 32;
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// How often a message that is too early is looked at again.
const EARLY_LOOK_EVERY: Duration = Duration::from_millis(50);

/// Where acknowledgements go.
pub type Acks = mpsc::Sender<Result<Ack, Status>>;

/// The receiving end of one stream.
pub struct Inbound<I> {
    /// Who receives.
    pub local: Local,
    /// Where messages go.
    pub inbox: I,
    /// Where the state of the connection is shown.
    pub links: Links,
    /// Which messages have to wait.
    pub too_early: TooEarly,
    /// Where acknowledgements go.
    pub acks: Acks,
}

impl<I: Inbox> Inbound<I> {
    /// Serves one stream to its end.
    pub async fn run(self, mut frames: Streaming<Frame>) {
        let handshake = timeout(HANDSHAKE_MAX, self.handshake(&mut frames)).await;
        let late = || Closed::Broken("no handshake came".to_owned());
        let (from, run, mut entered) = match handshake.unwrap_or_else(|_| Err(late())) {
            Ok(opened) => opened,
            Err(why) => return self.refuse(&why).await,
        };
        let channel = self.channel(&from);
        let generation = self.links.open(&channel);
        let (pending, settled) = mpsc::channel(FRAMES_PENDING);
        let why = tokio::select! {
            why = self.receive(&from, frames, pending) => why,
            why = self.acknowledge(settled) => why,
            () = entered.evicted() => self.evicted(&channel, run),
        };
        self.links.end(&channel, generation, &why);
        // Whoever comes next must not wait for a sender that may be gone.
        drop(entered);
        self.refuse(&why).await;
    }

    fn channel(&self, from: &ProcessId) -> ChannelId {
        ChannelId {
            from: from.clone(),
            to: self.local.process.clone(),
        }
    }

    // The other channel contradicts, or the peer comes anew.
    fn evicted(&self, channel: &ChannelId, run: u64) -> Closed {
        let anew = || Closed::Broken("another stream is to come".to_owned());
        self.links.held(channel, run).unwrap_or_else(anew)
    }

    // A sender that could go on after a pause is not told anything; one that cannot is told why.
    async fn refuse(&self, why: &Closed) {
        if let Closed::Stopped(reason) = why {
            let reason = reason.clone();
            let refusal = ack::Body::Refusal(Refusal { reason });
            let _gone = self.answer(refusal).await;
        }
    }

    async fn answer(&self, body: ack::Body) -> Result<(), Closed> {
        let ack = Ack { body: Some(body) };
        let gone = |_| Closed::Broken("the sender is gone".to_owned());
        self.acks.send(Ok(ack)).await.map_err(gone)
    }

    async fn handshake(
        &self,
        frames: &mut Streaming<Frame>,
    ) -> Result<(ProcessId, u64, StreamSlot), Closed> {
        let first = frames.message().await?.and_then(|frame| frame.body);
        let Some(frame::Body::Hello(hello)) = first else {
            return Err(Closed::Broken("the first frame is no hello".to_owned()));
        };
        let known = known_from_wire(&self.local, hello.known.clone());
        // What is no hello of this cluster to this process says nothing of its store.
        let meeting = self.meeting(hello)?;
        if let Some(known) = known {
            self.inbox.known_as(&meeting.peer, known).await?;
        }
        let (peer, run) = (meeting.peer.clone(), meeting.identity.run);
        match self.agree(frames, meeting).await {
            Ok(entered) => Ok((peer, run, entered)),
            Err(why) => {
                if matches!(why, Closed::Stopped(_)) {
                    self.links.fail(&self.channel(&peer), &why);
                }
                Err(why)
            }
        }
    }

    // Compares, says what was delivered, and waits until the sender has compared as well.
    async fn agree(
        &self,
        frames: &mut Streaming<Frame>,
        meeting: Handshake,
    ) -> Result<StreamSlot, Closed> {
        let channel = self.channel(&meeting.peer);
        let run = meeting.identity.run;
        if let Some(held) = self.links.held(&channel, run) {
            return Err(held);
        }
        let delivered = self.meet(&channel, meeting.clone()).await?;
        let Local {
            cluster,
            process,
            identity,
        } = &self.local;
        self.answer(ack::Body::Welcome(Welcome {
            receiver: Some(identity_to_wire(cluster, process, *identity)),
            delivered: Some(digest_to_wire(delivered)),
            clocks: Some(clocks_of(&self.inbox).await),
            known: known_to_wire(&self.inbox, &self.local, &channel.from),
        }))
        .await?;
        match frames.message().await?.and_then(|frame| frame.body) {
            Some(frame::Body::Agreed(Agreed {})) => {}
            Some(frame::Body::Refusal(refusal)) => return Err(Closed::Stopped(refusal.reason)),
            _ => return Err(Closed::Broken("the sender did not agree".to_owned())),
        }
        // Not before: who is refused does not disturb the stream that is open.
        let entered = self.links.enter(&channel).await;
        // What was found to contradict before has told those who were here then; from now on it ends this stream.
        if let Some(held) = self.links.held(&channel, run) {
            return Err(held);
        }
        if self.meet(&channel, meeting.clone()).await? != delivered {
            let sentence = "messages of an older stream came in between";
            return Err(Closed::Broken(sentence.to_owned()));
        }
        let agreed = Handshake {
            agreed: true,
            ..meeting
        };
        self.meet(&channel, agreed).await?;
        self.links.agree(&channel, run);
        Ok(entered)
    }

    // A contradiction stops the channel the other way, too; a hello that comes late is none.
    async fn meet(&self, channel: &ChannelId, meeting: Handshake) -> Result<ChannelDigest, Closed> {
        let run = meeting.identity.run;
        match self.inbox.meet(meeting).await {
            Err(Closed::Stopped(_)) if self.links.has_agreed(channel, run) => {
                let sentence = "a newer stream has delivered more than this one says";
                Err(Closed::Broken(sentence.to_owned()))
            }
            Err(Closed::Stopped(why)) => {
                self.links.contradict(channel, run, &why);
                Err(Closed::Stopped(why))
            }
            met => met,
        }
    }

    fn meeting(&self, hello: Hello) -> Result<Handshake, Closed> {
        let stopped = |error: Unreadable| Closed::Stopped(error.to_string());
        let me = &self.local.process;
        if hello.receiver != me.as_str() {
            let sentence = format!("this is process {me:?}, not {:?}", hello.receiver);
            return Err(Closed::Stopped(sentence));
        }
        let (peer, identity) =
            identity_from_wire(&self.local.cluster, hello.sender).map_err(stopped)?;
        let claim = Claim::Sender {
            sent: digest_from_wire(hello.sent),
            acknowledged: Seq(hello.acknowledged),
        };
        let (clocks, unfollowed) = followed(hello.clocks, &self.too_early);
        Ok(Handshake {
            peer,
            identity,
            clocks,
            unfollowed,
            claim,
            agreed: false,
        })
    }

    // Hands on what comes; the acknowledgement waits until it is durable, the next frame does not.
    async fn receive(
        &self,
        from: &ProcessId,
        mut frames: Streaming<Frame>,
        pending: mpsc::Sender<Settling>,
    ) -> Closed {
        loop {
            let body = match frames.message().await {
                Ok(Some(frame)) => frame.body,
                Ok(None) => return Closed::Broken("the sender closed the stream".to_owned()),
                Err(status) => return status.into(),
            };
            let Some(frame::Body::Messages(messages)) = body else {
                continue;
            };
            let envelopes = messages.messages.into_iter().map(envelope_from_wire);
            let handed = match envelopes.collect::<Result<Vec<_>, _>>() {
                Ok(envelopes) => {
                    self.wait_for_clock(from, &envelopes).await;
                    self.inbox.deliver(from, envelopes).await
                }
                Err(error) => Err(Closed::Stopped(error.to_string())),
            };
            let gone = |_| Closed::Broken("the acknowledgements ended".to_owned());
            let handed = match handed {
                Ok(settling) => pending.send(settling).await.map_err(gone),
                Err(why) => Err(why),
            };
            if let Err(why) = handed {
                return why;
            }
        }
    }

    // Whatever is behind it waits, too: so the channel stays in order, and its window bounds what waits here.
    async fn wait_for_clock(&self, from: &ProcessId, envelopes: &[Envelope]) {
        let Some(newest) = envelopes.iter().map(|envelope| envelope.time).max() else {
            return;
        };
        while let Some(why) = (self.too_early)(newest) {
            self.links.wait_for_clock(&self.channel(from), why);
            sleep(EARLY_LOOK_EVERY).await;
        }
        self.links.go_on(&self.channel(from));
    }

    async fn acknowledge(&self, mut pending: mpsc::Receiver<Settling>) -> Closed {
        while let Some(settling) = pending.recv().await {
            let acknowledged = match settling.await {
                Ok(delivered) => self.answer(ack::Body::Delivered(delivered.0)).await,
                Err(why) => Err(why),
            };
            if let Err(why) = acknowledged {
                return why;
            }
        }
        Closed::Broken("the sender closed the stream".to_owned())
    }
}
