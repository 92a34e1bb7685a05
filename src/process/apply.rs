//! `apply`: the effect of a durable record on the state. It must not contain business rules: a changed rule would change the
//! result of a replay.

use super::Process;
use super::answer::Answer;
use super::cell::{CellChanges, SeenSnapshot};
use super::channel::{Flow, Incoming, Outgoing};
use super::identity::Identity;
use super::ids::{AccountId, ProcessId, Seq, SnapshotId};
use super::message::{Body, Message, Way};
use super::postings::{Posting, Postings};
use super::record::Record;
use super::recording::{ChannelRecording, Recording};
use super::registers::Sealed;

impl Process {
    /// Applies a record to the state. The records of a turn are applied in order, within that turn.
    pub(super) fn apply(&mut self, record: &Record) {
        self.unsealed += record.cost();
        self.post(record);
        match record {
            Record::Deposited { .. }
            | Record::Withdrawn { .. }
            | Record::Moved { .. }
            | Record::ClockAdvanced
            | Record::Decided(_)
            | Record::Unfollowed { .. }
            | Record::Started { .. } => {}
            Record::MovedToSuspense { suspense, .. } => self.note_suspense(suspense),
            Record::Written(write) => self.keys.write(write),
            Record::Sent { to, seq, message } | Record::Carried { to, seq, message } => {
                let channel = self.registers.outgoing.entry(to.clone()).or_default();
                channel.send(*seq, message, self.turn.position);
            }
            Record::Delivered {
                from,
                seq,
                way,
                suspense,
                message,
            } => self.apply_delivered(from, *seq, *way, suspense.as_deref(), message),
            Record::Acknowledged { to, seq } => {
                let channel = self.registers.outgoing.entry(to.clone()).or_default();
                channel.acknowledge(*seq);
            }
            Record::RecognizedOnce { peer, store, boot } => {
                let identity = Identity {
                    store: *store,
                    boot: *boot,
                    run: 0,
                };
                self.registers.peers.insert(peer.clone(), identity);
            }
            Record::Forgotten { peer, .. } => self.apply_forgotten(peer),
            Record::Recognized { peer, identity } => {
                self.registers.peers.insert(peer.clone(), *identity);
                self.to_meet.remove(peer);
            }
            Record::StateRecorded {
                snapshot,
                initiator,
                channels,
            } => self.apply_state_recorded(snapshot, initiator, channels),
            Record::PartStored { snapshot } => {
                self.registers.recordings.remove(snapshot);
                self.open_channels.remove(snapshot);
                self.finished
                    .retain(|recording| recording.snapshot != *snapshot);
            }
            Record::Checkpointed => self.seal(None),
            Record::Answered {
                request,
                fingerprint,
                outcome,
            } => {
                let answer = Answer {
                    position: self.turn.position,
                    time: self.turn.time,
                    outcome: outcome.clone(),
                };
                self.requests.remember(request, *fingerprint, answer);
            }
            Record::OldestForgotten(excess) => self.requests.forget_of_each(*excess),
            Record::AnswersForgotten { count } => self.requests.forget(*count),
        }
    }

    // What the record does to money.
    #[inline]
    fn post(&mut self, record: &Record) {
        let Postings { debit, credit } = record.postings();
        if let Some(Posting { account, amount }) = debit {
            self.bank.debit(account, amount);
        }
        if let Some(Posting { account, amount }) = credit {
            self.bank.credit(account, amount);
        }
        let outside = record.from_outside();
        if outside >= 0 {
            self.registers.deposits += outside;
        } else {
            self.registers.withdrawals -= outside;
        }
    }

    fn apply_delivered(
        &mut self,
        from: &ProcessId,
        seq: Seq,
        way: Way,
        suspense: Option<&AccountId>,
        message: &Message,
    ) {
        if let Some(suspense) = suspense {
            self.note_suspense(suspense);
        }
        let channel = self.registers.incoming.entry(from.clone()).or_default();
        let before = channel.delivered;
        channel.deliver(seq, message);
        channel.way = Some(way);
        match &message.body {
            Body::Transfer(_) => {}
            Body::Put(write) => self.keys.write(write),
            Body::Marker(marker) => self.close_channel(&marker.snapshot, from, before),
        }
    }

    fn apply_forgotten(&mut self, peer: &ProcessId) {
        if let Some(channel) = self.registers.outgoing.get_mut(peer) {
            *channel = Outgoing::default();
        }
        if let Some(channel) = self.registers.incoming.get_mut(peer) {
            *channel = Incoming::default();
        }
        self.registers.peers.remove(peer);
        let position = self.turn.position;
        self.registers.forgotten.insert(peer.clone(), position);
        self.end_recordings_of(peer);
    }

    // Finishes the recordings that waited only for markers of a peer whose store was lost.
    fn end_recordings_of(&mut self, peer: &ProcessId) {
        let waiting = self.registers.recordings.values();
        let waiting = waiting.filter(|recording| recording.open().any(|from| from == peer));
        let ended = waiting.filter(|recording| self.registers.has_ended(recording));
        self.finished.extend(ended.cloned());
    }

    fn close_channel(&mut self, snapshot: &SnapshotId, from: &ProcessId, before_marker: Flow) {
        let position = self.turn.position;
        let Some(recording) = self.registers.recordings.get(snapshot) else {
            return;
        };
        // The marker that this channel waited for was lost; a later marker of the same snapshot does not replace it.
        if self.registers.is_lost_since(from, recording.cut) {
            return;
        }
        let recording = self.registers.recordings.get_mut(snapshot);
        let recording = recording.expect("it was there a moment ago");
        if !recording.close(from, before_marker, position) {
            return;
        }
        let open = self.open_channels.get_mut(snapshot);
        let open = open.expect("every recording has its open channels counted");
        *open -= 1;
        // `has_ended` visits every channel of the recording, so it is called only where a store was lost.
        let is_finished = *open == 0;
        let recording = &self.registers.recordings[snapshot];
        if is_finished
            || (!self.registers.forgotten.is_empty() && self.registers.has_ended(recording))
        {
            self.finished.push(recording.clone());
        }
    }

    fn apply_state_recorded(
        &mut self,
        snapshot: &SnapshotId,
        initiator: &ProcessId,
        channels: &[ProcessId],
    ) {
        self.seal(Some(snapshot.clone()));
        let cut = self.registers.position;
        let channels = channels.iter().map(|from| {
            let incoming = self.registers.incoming.get(from);
            let opened = incoming
                .map(|channel| channel.delivered)
                .unwrap_or_default();
            let channel = ChannelRecording {
                opened,
                closed: None,
            };
            (from.clone(), channel)
        });
        let recording = Recording {
            snapshot: snapshot.clone(),
            initiator: initiator.clone(),
            cut,
            channels: channels.collect(),
        };
        if recording.is_finished() {
            self.finished.push(recording.clone());
        }
        self.open_channels
            .insert(snapshot.clone(), recording.channels.len());
        self.registers
            .recordings
            .insert(snapshot.clone(), recording);
        self.registers.see(SeenSnapshot {
            snapshot: snapshot.clone(),
            initiator: initiator.clone(),
            cut,
        });
        self.registers.newest = Some((snapshot.clone(), initiator.clone()));
        self.registers.snapshots_participated += 1;
        if *initiator == self.me {
            self.registers.snapshots_initiated += 1;
        }
    }

    // Recording is sealing: copies the registers and hands over the changed cells. Visits no account and no request.
    fn seal(&mut self, snapshot: Option<SnapshotId>) {
        self.unsealed = 0;
        let cells = CellChanges::of(vec![self.keys.seal(), self.requests.seal()]);
        let cells = cells.with(self.bank.seal());
        self.sealed.push(Sealed {
            snapshot,
            time: self.turn.time,
            registers: self.registers.clone(),
            accounts: self.bank.len(),
            balance_total: self.bank.balance_total(),
            cells,
        });
    }
}
