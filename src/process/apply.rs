//! `apply`: what a durable record changes. No rule of the bank stands here, or the past would change with it.

use super::Process;
use super::cell::{Changes, SeenSnapshot};
use super::channel::{Flow, Incoming, Outgoing};
use super::event::{Answer, Identity, Record, Way};
use super::ids::{ProcessId, Seq, SnapshotId};
use super::message::{Body, Message};
use super::postings::{Posting, Postings};
use super::registers::Sealed;
use super::snapshot::{ChannelRecording, Recording};

impl Process {
    /// Changes the state as the record says. Records of one turn are applied in order, within that turn.
    pub(super) fn apply(&mut self, record: &Record) {
        self.unsealed += record.weight();
        match record {
            Record::Deposited { .. } | Record::Withdrawn { .. } | Record::Moved { .. } => {
                self.post(record.postings());
            }
            Record::Reached | Record::Unfollowed { .. } => {}
            Record::Written(write) => self.keys.write(write),
            Record::Sent { to, seq, message } | Record::Carried { to, seq, message } => {
                self.post(record.postings());
                let channel = self.registers.outgoing.entry(to.clone()).or_default();
                channel.send(*seq, message, self.turn.position);
            }
            Record::Delivered {
                from,
                seq,
                way,
                suspense: _,
                message,
            } => {
                self.post(record.postings());
                self.apply_delivered(from, (*seq, *way), message);
            }
            Record::Acknowledged { to, seq } => {
                let channel = self.registers.outgoing.entry(to.clone()).or_default();
                channel.acknowledge(*seq);
            }
            Record::Met { peer, store, boot } => {
                let identity = Identity {
                    store: *store,
                    boot: *boot,
                    run: 0,
                };
                self.registers.peers.insert(peer.clone(), identity);
            }
            Record::Forgotten {
                peer,
                written_off: _,
            } => {
                self.post(record.postings());
                self.apply_forgotten(peer);
            }
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
            Record::AnswersForgotten { count } => self.requests.forget(*count),
        }
    }

    #[inline]
    fn post(&mut self, postings: Postings) {
        if postings.from_outside != 0 {
            self.registers.deposits += postings.deposited();
            self.registers.withdrawals += postings.withdrawn();
        }
        if let Some(Posting { account, amount }) = postings.debit {
            self.bank.debit(account, amount);
        }
        if let Some(Posting { account, amount }) = postings.credit {
            self.bank.credit(account, amount);
        }
    }

    fn apply_delivered(&mut self, from: &ProcessId, (seq, way): (Seq, Way), message: &Message) {
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

    // Markers that were lost are waited for no longer.
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
        // The marker that this channel waited for is lost; no other is taken for it.
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
        // Of many channels it would take long to look at all.
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

    // Recording is sealing: the registers are copied, the changed cells handed over. No account is visited, no request.
    fn seal(&mut self, snapshot: Option<SnapshotId>) {
        self.unsealed = 0;
        let cells = Changes::of(vec![self.keys.seal(), self.requests.seal()]);
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
