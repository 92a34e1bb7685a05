//! The sending end of a channel, by one of two carriers. Between nodes of this program a stream: connects, compares, resumes
//! behind what the receiver has, and goes on until the stream breaks; then again. The other one is in `calls.rs`.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use super::hello::{clocks_of, followed, known_from_wire, known_to_wire};
use super::link::Links;
use super::stream_slot::Eviction;
use super::wire::{
    Unreadable, digest_from_wire, digest_to_wire, envelope_to_wire, identity_from_wire,
    identity_to_wire,
};
use super::{Backlog, Closed, Envelope, Inbox, Local, TooEarly};
use crate::process::event::{Claim, Handshake};
use crate::process::ids::{ChannelId, ProcessId, Seq};
use crate::proto::snapledger::peer_service_client::PeerServiceClient;
use crate::proto::snapledger::{Ack, Agreed, Frame, Hello, Messages, Refusal, Welcome, ack, frame};

/// Messages that may be under way without an acknowledgement.
const WINDOW_MESSAGES: u64 = 16_384;
/// Frames that wait for the connection.
const FRAMES_WAITING: usize = 4;
/// For each step of the handshake that waits for the other end or the turn.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How messages reach the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// A native stream.
    Stream,
    /// One call after the other, to a process of another make.
    Calls,
}

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
    /// Which times of the receiver are not followed.
    pub too_early: TooEarly,
}

/// What the comparison came to.
struct Met {
    delivered: Seq,
    /// Of the receiver.
    run: u64,
    /// Taken before the channel the other way was looked at.
    eviction: Eviction,
}

/// A stream that both ends have agreed on.
struct Opened {
    frames: mpsc::Sender<Frame>,
    acks: Streaming<Ack>,
    met: Met,
    /// The messages right behind what is delivered.
    first: Vec<Envelope>,
}

impl<B: Backlog, I: Inbox> Outbound<B, I> {
    /// Keeps the channel going for ever.
    pub async fn run(self, carrier: Carrier) {
        let mut pause = PAUSE_MIN;
        let mut answered = self.backlog.acknowledged();
        loop {
            let before = self.backlog.acknowledged();
            let why = match carrier {
                Carrier::Stream => self.connect().await,
                Carrier::Calls => self.call(&mut answered).await,
            };
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

    pub(super) fn channel(&self) -> ChannelId {
        ChannelId {
            from: self.local.process.clone(),
            to: self.to.clone(),
        }
    }

    // One stream, from handshake to end.
    async fn connect(&self) -> Closed {
        let channel = self.channel();
        let opened = match self.handshake().await {
            Ok(opened) => opened,
            Err(why) => {
                self.links.fail(&channel, &why);
                return why;
            }
        };
        let Met { delivered, run, .. } = opened.met;
        let mut eviction = opened.met.eviction;
        let generation = self.links.open(&channel);
        let (acknowledged, progress) = watch::channel(delivered);
        let evicted = || Closed::Broken("the other channel is stopped".to_owned());
        let why = tokio::select! {
            why = self.send(opened.frames, progress, opened.first) => why,
            why = self.listen(opened.acks, acknowledged) => why,
            () = eviction.evicted() => self.links.held(&channel, run).unwrap_or_else(evicted),
        };
        self.links.end(&channel, generation, &why);
        why
    }

    // Hello, Welcome, Agreed: after that both ends have compared what they know. Only what waits for the other end or the
    // turn has a time-out; a long journal takes as long as it takes.
    async fn handshake(&self) -> Result<Opened, Closed> {
        let (frames, queue) = mpsc::channel(FRAMES_WAITING);
        let (mut acks, welcome) = in_time(self.greet(&frames, queue)).await?;
        let met = match self.meet(welcome, &mut acks).await {
            Err(Closed::Stopped(reason)) => {
                self.refuse(&frames, &mut acks, &reason).await;
                return Err(Closed::Stopped(reason));
            }
            met => met?,
        };
        in_time(async {
            post(&frames, frame::Body::Agreed(Agreed {})).await?;
            self.inbox.acknowledge(&self.to, met.delivered).await
        })
        .await?;
        // A channel is not open before its next message can be read: else one that is damaged would open and stop for ever.
        let waits = *self.backlog.newest().borrow() > met.delivered;
        let first = match waits {
            true => self.backlog.read(met.delivered).await?,
            false => Vec::new(),
        };
        Ok(Opened {
            frames,
            acks,
            met,
            first,
        })
    }

    async fn greet(
        &self,
        frames: &mpsc::Sender<Frame>,
        queue: mpsc::Receiver<Frame>,
    ) -> Result<(Streaming<Ack>, Welcome), Closed> {
        let Local {
            cluster,
            process,
            identity,
        } = &self.local;
        let clocks = clocks_of(&self.inbox).await;
        let hello = Hello {
            sender: Some(identity_to_wire(cluster, process, *identity)),
            receiver: self.to.to_string(),
            sent: Some(digest_to_wire(self.backlog.sent())),
            acknowledged: self.backlog.acknowledged().0,
            clocks: Some(clocks),
            known: known_to_wire(&self.inbox, &self.local, &self.to),
        };
        post(frames, frame::Body::Hello(hello)).await?;
        let mut client = PeerServiceClient::new(self.connection.clone());
        let mut acks = client
            .channel(ReceiverStream::new(queue))
            .await?
            .into_inner();
        match acks.message().await?.and_then(|ack| ack.body) {
            Some(ack::Body::Welcome(welcome)) => Ok((acks, welcome)),
            Some(ack::Body::Refusal(refusal)) => Err(Closed::Stopped(refusal.reason)),
            _ => Err(Closed::Broken("no welcome came".to_owned())),
        }
    }

    // Compares what the receiver says with what is here.
    async fn meet(&self, welcome: Welcome, acks: &mut Streaming<Ack>) -> Result<Met, Closed> {
        let stopped = |error: Unreadable| Closed::Stopped(error.to_string());
        let cluster = &self.local.cluster;
        let (peer, identity) = identity_from_wire(cluster, welcome.receiver).map_err(stopped)?;
        if peer != self.to {
            let sentence = format!("process {peer:?} answers where {:?} should be", self.to);
            return Err(Closed::Stopped(sentence));
        }
        if let Some(known) = known_from_wire(&self.local, welcome.known) {
            self.inbox.known_as(&peer, known).await?;
        }
        let delivered = digest_from_wire(welcome.delivered);
        let here = self.backlog.sent_by(delivered.flow.sequence).await?;
        // The receiver does not wait for ever; the next stream finds what was read.
        tokio::select! {
            biased;
            ack = acks.message() => return Err(instead_of_waiting(ack?)),
            () = std::future::ready(()) => {}
        }
        let (clocks, unfollowed) = followed(welcome.clocks, &self.too_early);
        let meeting = Handshake {
            peer,
            identity,
            clocks,
            unfollowed,
            claim: Claim::Receiver { delivered, here },
            agreed: true,
        };
        let (channel, run) = (self.channel(), identity.run);
        let eviction = self.links.eviction(&channel);
        if let Some(held) = self.links.held(&channel, run) {
            return Err(held);
        }
        match in_time(self.inbox.meet(meeting)).await {
            Ok(agreed) => Ok(Met {
                delivered: agreed.flow.sequence,
                run,
                eviction,
            }),
            Err(Closed::Stopped(why)) => {
                self.links.contradict(&channel, run, &why);
                Err(Closed::Stopped(why))
            }
            Err(broken) => Err(broken),
        }
    }

    // The receiver is to show it, too; it ends the stream when it has read it.
    async fn refuse(&self, frames: &mpsc::Sender<Frame>, acks: &mut Streaming<Ack>, reason: &str) {
        let reason = reason.to_owned();
        let told = in_time(async {
            post(frames, frame::Body::Refusal(Refusal { reason })).await?;
            while let Ok(Some(_)) = acks.message().await {}
            Ok(())
        });
        // It may have gone; what is wrong stays wrong.
        let _gone = told.await;
    }

    // Sends what is durable, as long as not too much is unacknowledged.
    async fn send(
        &self,
        frames: mpsc::Sender<Frame>,
        mut progress: watch::Receiver<Seq>,
        first: Vec<Envelope>,
    ) -> Closed {
        let gone = || Closed::Broken("the stream ended".to_owned());
        let mut newest = self.backlog.newest();
        let mut sent = *progress.borrow_and_update();
        let mut envelopes = first;
        loop {
            if let Some(last) = envelopes.last() {
                sent = last.seq;
                let messages = envelopes.iter().map(envelope_to_wire).collect();
                let body = frame::Body::Messages(Messages { messages });
                if let Err(why) = post(&frames, body).await {
                    return why;
                }
            }
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
            envelopes = match self.backlog.read(sent).await {
                Ok(envelopes) => envelopes,
                Err(why) => return why,
            };
            if envelopes.is_empty() {
                return Closed::Broken(format!("message {} is not in the journal", sent.next()));
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

// What came where the receiver was to wait until this end has compared.
fn instead_of_waiting(ack: Option<Ack>) -> Closed {
    match ack.and_then(|ack| ack.body) {
        Some(ack::Body::Refusal(refusal)) => Closed::Stopped(refusal.reason),
        _ => Closed::Broken("the receiver did not wait".to_owned()),
    }
}

async fn in_time<T>(step: impl Future<Output = Result<T, Closed>>) -> Result<T, Closed> {
    let late = |_| Closed::Broken("no answer to the handshake".to_owned());
    timeout(HANDSHAKE_MAX, step).await.map_err(late)?
}

async fn post(frames: &mpsc::Sender<Frame>, body: frame::Body) -> Result<(), Closed> {
    let frame = Frame { body: Some(body) };
    let gone = |_| Closed::Broken("the stream ended".to_owned());
    frames.send(frame).await.map_err(gone)
}
