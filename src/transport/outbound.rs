//! The sending end of a channel: connects, compares, resumes behind what the receiver has, and goes on until the
//! stream breaks; then again.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use super::link::Links;
use super::wire::{
    Unreadable, envelope_to_wire, identity_from_wire, identity_to_wire, tally_from_wire,
    tally_to_wire,
};
use super::{Backlog, Closed, Inbox, Local};
use crate::process::event::{Claim, Meeting};
use crate::process::ids::{ChannelId, ProcessId, Seq};
use crate::proto::snapledger::peer_service_client::PeerServiceClient;
use crate::proto::snapledger::{Ack, Agreed, Frame, Hello, Messages, Refusal, Welcome, ack, frame};

/// Messages that may be under way without an acknowledgement.
const WINDOW_MESSAGES: u64 = 16_384;
/// Frames that wait for the connection.
const FRAMES_WAITING: usize = 4;
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The sending end of one channel.
pub struct Outbound<B, I> {
    /// Who sends.
    pub local: Local,
    /// The receiving process.
    pub to: ProcessId,
    /// The connection to it; made when it is first used.
    pub connection: Channel,
    /// Where the messages come from.
    pub backlog: B,
    /// Where acknowledgements go.
    pub inbox: I,
    /// Where the state of the connection is shown.
    pub links: Links,
}

impl<B: Backlog, I: Inbox> Outbound<B, I> {
    /// Keeps the channel going for ever.
    pub async fn run(self) {
        let mut pause = PAUSE_MIN;
        loop {
            let before = self.backlog.acknowledged();
            let why = self.connect().await;
            if self.backlog.acknowledged() > before {
                pause = PAUSE_MIN;
            }
            if matches!(why, Closed::Stopped(_)) {
                pause = PAUSE_MAX;
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn channel(&self) -> ChannelId {
        ChannelId {
            from: self.local.process.clone(),
            to: self.to.clone(),
        }
    }

    // One stream, from handshake to end.
    async fn connect(&self) -> Closed {
        let (frames, queue) = mpsc::channel(FRAMES_WAITING);
        let handshake = timeout(HANDSHAKE_MAX, self.handshake(&frames, queue)).await;
        let late = || Closed::Broken("no answer to the handshake".to_owned());
        let (acks, delivered) = match handshake.unwrap_or_else(|_| Err(late())) {
            Ok(opened) => opened,
            Err(why) => {
                self.links.fail(&self.channel(), &why);
                return why;
            }
        };
        let generation = self.links.open(&self.channel());
        let mut eviction = self.links.eviction(&self.channel());
        let (acknowledged, progress) = watch::channel(delivered);
        let why = tokio::select! {
            why = self.send(frames, progress) => why,
            why = self.listen(acks, acknowledged) => why,
            () = eviction.evicted() => Closed::Broken("the other channel is stopped".to_owned()),
        };
        self.links.end(&self.channel(), generation, &why);
        why
    }

    // Hello, Welcome, Agreed: after that both ends have compared what they know.
    async fn handshake(
        &self,
        frames: &mpsc::Sender<Frame>,
        queue: mpsc::Receiver<Frame>,
    ) -> Result<(Streaming<Ack>, Seq), Closed> {
        let Local {
            cluster,
            process,
            identity,
        } = &self.local;
        let hello = Hello {
            sender: Some(identity_to_wire(cluster, process, *identity)),
            receiver: self.to.to_string(),
            sent: Some(tally_to_wire(self.backlog.sent())),
            acknowledged: self.backlog.acknowledged().0,
        };
        post(frames, frame::Body::Hello(hello)).await?;
        let mut client = PeerServiceClient::new(self.connection.clone());
        let mut acks = client
            .channel(ReceiverStream::new(queue))
            .await?
            .into_inner();
        let answer = acks.message().await?.and_then(|ack| ack.body);
        let welcome = match answer {
            Some(ack::Body::Welcome(welcome)) => welcome,
            Some(ack::Body::Refusal(refusal)) => return Err(Closed::Stopped(refusal.reason)),
            _ => return Err(Closed::Broken("no welcome came".to_owned())),
        };
        match self.meet(welcome).await {
            Ok(delivered) => {
                post(frames, frame::Body::Agreed(Agreed {})).await?;
                self.inbox.acknowledge(&self.to, delivered).await?;
                Ok((acks, delivered))
            }
            Err(Closed::Stopped(reason)) => {
                // The receiver is to show it, too; it ends the stream when it has read it.
                let refusal = Refusal {
                    reason: reason.clone(),
                };
                post(frames, frame::Body::Refusal(refusal)).await?;
                while let Ok(Some(_)) = acks.message().await {}
                Err(Closed::Stopped(reason))
            }
            Err(broken) => Err(broken),
        }
    }

    // Compares what the receiver says with what is here.
    async fn meet(&self, welcome: Welcome) -> Result<Seq, Closed> {
        let stopped = |error: Unreadable| Closed::Stopped(error.to_string());
        let cluster = &self.local.cluster;
        let (peer, identity) = identity_from_wire(cluster, welcome.receiver).map_err(stopped)?;
        if peer != self.to {
            let sentence = format!("process {peer:?} answers where {:?} should be", self.to);
            return Err(Closed::Stopped(sentence));
        }
        let delivered = tally_from_wire(welcome.delivered);
        let here = self.backlog.sent_by(delivered.flow.sequence).await?;
        let meeting = Meeting {
            peer,
            identity,
            claim: Claim::Receiver { delivered, here },
            agreed: true,
        };
        let (channel, run) = (self.channel(), identity.run);
        if let Some(held) = self.links.held(&channel, run) {
            return Err(held);
        }
        match self.inbox.meet(meeting).await {
            Ok(agreed) => Ok(agreed.flow.sequence),
            Err(Closed::Stopped(why)) => {
                self.links.contradict(&channel, run, &why);
                Err(Closed::Stopped(why))
            }
            Err(broken) => Err(broken),
        }
    }

    // Sends what is durable, as long as not too much is unacknowledged.
    async fn send(
        &self,
        frames: mpsc::Sender<Frame>,
        mut progress: watch::Receiver<Seq>,
    ) -> Closed {
        let gone = || Closed::Broken("the stream ended".to_owned());
        let mut newest = self.backlog.newest();
        let mut sent = *progress.borrow_and_update();
        loop {
            let waited = async {
                newest
                    .wait_for(|newest| *newest > sent)
                    .await
                    .map_err(|_| gone())?;
                let room = |acknowledged: &Seq| sent.0 < acknowledged.0 + WINDOW_MESSAGES;
                progress.wait_for(room).await.map_err(|_| gone())?;
                Ok(())
            };
            if let Err(why) = waited.await {
                return why;
            }
            let envelopes = match self.backlog.read(sent).await {
                Ok(envelopes) => envelopes,
                Err(why) => return why,
            };
            let Some(last) = envelopes.last() else {
                return Closed::Broken(format!("message {} is not in the journal", sent.next()));
            };
            sent = last.seq;
            let messages = envelopes.iter().map(envelope_to_wire).collect();
            let body = frame::Body::Messages(Messages { messages });
            if let Err(why) = post(&frames, body).await {
                return why;
            }
        }
    }

    // Hands acknowledgements on.
    async fn listen(&self, mut acks: Streaming<Ack>, acknowledged: watch::Sender<Seq>) -> Closed {
        loop {
            let body = match acks.message().await {
                Ok(Some(ack)) => ack.body,
                Ok(None) => return Closed::Broken("the receiver closed the stream".to_owned()),
                Err(status) => return status.into(),
            };
            match body {
                Some(ack::Body::Delivered(seq)) => {
                    if let Err(why) = self.inbox.acknowledge(&self.to, Seq(seq)).await {
                        return why;
                    }
                    acknowledged.send_replace(Seq(seq));
                }
                Some(ack::Body::Refusal(refusal)) => return Closed::Stopped(refusal.reason),
                Some(ack::Body::Welcome(_)) | None => {}
            }
        }
    }
}

async fn post(frames: &mpsc::Sender<Frame>, body: frame::Body) -> Result<(), Closed> {
    let frame = Frame { body: Some(body) };
    let gone = |_| Closed::Broken("the stream ended".to_owned());
    frames.send(frame).await.map_err(gone)
}
