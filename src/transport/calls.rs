//! The second carrier of a channel: `SendMessage` and `ReceiveMarker` calls to a foreign process, in the order of the channel,
//! one at a time. A call is repeated with the same content and the same id until it is answered; the answer is the
//! acknowledgement. A refusal stops the channel: the message is kept and offered again.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use super::outbound::Outbound;
use super::wire::MessageJson;
use super::{Backlog, Closed, Envelope, Inbox};
use crate::channel::Backoff;
use crate::history::process_totals::StoreId;
use crate::process::ids::{ChannelId, ID_BYTES_MAX, Seq};
use crate::process::message::Body;
use crate::proto::chandy_lamport::snapshot_service_client::SnapshotServiceClient;
use crate::proto::chandy_lamport::{ApplicationMessage, MarkerMessage};

/// The time limit of one call, after which it is repeated.
const CALL_MAX: Duration = Duration::from_secs(10);

impl<B: Backlog, I: Inbox> Outbound<B, I> {
    /// Makes calls until the task is dropped, with a pause after each failure.
    pub(super) async fn call_for_ever(&self) {
        let mut backoff = Backoff::default();
        let mut answered = self.backlog.acknowledged();
        loop {
            let before = self.backlog.acknowledged();
            let why = self.call(&mut answered).await;
            let has_delivered = self.backlog.acknowledged() > before;
            let pause_ms = backoff.pause_ms(&why, has_delivered);
            sleep(Duration::from_millis(pause_ms)).await;
        }
    }

    // Makes calls until one fails. `answered` is the last answered message of this or an earlier attempt.
    async fn call(&self, answered: &mut Seq) -> Closed {
        let channel = self.channel();
        let mut opened = None;
        let why = self.call_in_order(answered, &mut opened).await;
        match opened {
            Some(generation) => self.links.end(&channel, generation, &why),
            None => self.links.fail(&channel, &why),
        }
        why
    }

    async fn call_in_order(&self, answered: &mut Seq, opened: &mut Option<u64>) -> Closed {
        let channel = self.channel();
        let mut client = SnapshotServiceClient::new(self.connection.clone());
        let mut newest = self.backlog.newest();
        loop {
            if newest.wait_for(|newest| newest > answered).await.is_err() {
                return Closed::Broken("the node is stopping".to_owned());
            }
            let envelopes = match self.backlog.read(*answered).await {
                Ok(envelopes) => envelopes,
                Err(why) => return why,
            };
            if envelopes.is_empty() {
                return Closed::Broken(format!(
                    "message {} is not in the journal",
                    answered.next()
                ));
            }
            for envelope in envelopes {
                if let Err(why) = self.call_once(&mut client, &channel, &envelope).await {
                    return why;
                }
                opened.get_or_insert_with(|| self.links.open(&channel));
                *answered = envelope.seq;
                if let Err(why) = self.inbox.acknowledge(&self.to, envelope.seq).await {
                    return why;
                }
            }
        }
    }

    async fn call_once(
        &self,
        client: &mut SnapshotServiceClient<Channel>,
        channel: &ChannelId,
        envelope: &Envelope,
    ) -> Result<(), Closed> {
        let message = &envelope.message;
        if let Body::Marker(marker) = &message.body {
            let call = MarkerMessage {
                snapshot_id: marker.snapshot.to_string(),
                sender_id: channel.from.to_string(),
                logical_clock: message.clock.0,
                initiator_id: marker.initiator.to_string(),
            };
            let answer = self.answer(client.receive_marker(bounded(call))).await?;
            let why = || format!("the marker of snapshot {:?}", marker.snapshot);
            return answer
                .success
                .then_some(())
                .ok_or_else(|| self.refused(why(), ""));
        }
        let payload = serde_json::to_vec(&MessageJson::from(&message.body));
        let call = ApplicationMessage {
            message_id: message_id(channel, self.local.identity.store, envelope),
            from_process: channel.from.to_string(),
            to_process: channel.to.to_string(),
            payload: payload.expect("a struct of strings and numbers is always JSON"),
            message_type: message.body.kind().to_owned(),
            sender_clock: message.clock.0,
        };
        let what = format!("message {:?}", call.message_id);
        let answer = self.answer(client.send_message(bounded(call))).await?;
        match answer.success {
            true => Ok(()),
            false => Err(self.refused(what, &answer.error)),
        }
    }

    async fn answer<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Closed> {
        let late = |_| Closed::Broken(format!("no answer from {} within {CALL_MAX:?}", self.to));
        match timeout(CALL_MAX, call).await.map_err(late)? {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => Err(self.failed(&status)),
        }
    }

    // Transient failures leave the state of the channel; the process's rejection of the call itself stops the channel.
    fn failed(&self, status: &Status) -> Closed {
        match status.code() {
            Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Unknown
            | Code::Aborted
            | Code::Internal
            | Code::ResourceExhausted => Closed::Broken(status.message().to_owned()),
            code => self.refused(
                "a call".to_owned(),
                &format!("{code}: {}", status.message()),
            ),
        }
    }

    fn refused(&self, what: String, why: &str) -> Closed {
        let why = match why {
            "" => "without a reason",
            why => why,
        };
        Closed::Stopped(format!(
            "process {:?} refused {what}: {why}; it is kept and sent again every second",
            self.to
        ))
    }
}

fn bounded<T>(call: T) -> Request<T> {
    let mut request = Request::new(call);
    request.set_timeout(CALL_MAX);
    request
}

// The id is the same for every repeat, also after a restart, and never that of another message: a store that was put back gives
// the same sequence numbers to other contents, and a new store may give them to the same contents again.
fn message_id(channel: &ChannelId, store: StoreId, envelope: &Envelope) -> String {
    let [a, b, c, d, ..] = store;
    let store = u32::from_be_bytes([a, b, c, d]);
    let (seq, sum) = (envelope.seq, envelope.message.checksum(0));
    let ends = format!("{}>{}", channel.from, channel.to);
    let id = format!("{ends}#{seq}.{store:08x}.{sum:08x}");
    match id.len() <= ID_BYTES_MAX {
        true => id,
        false => format!(
            "#{}#{seq}.{store:08x}.{sum:08x}",
            &blake3::hash(ends.as_bytes()).to_hex()[..32]
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::clock::{Hlc, Lamport};
    use crate::process::ids::{ProcessId, SnapshotId};
    use crate::process::message::{Marker, Message};

    #[test]
    fn a_store_that_was_made_anew_gives_other_names() {
        let process = |id: &str| ProcessId::parse(id).expect("a valid id");
        let body = Body::from(Marker {
            snapshot: SnapshotId::parse("s").expect("a valid id"),
            initiator: process("p"),
        });
        let envelope = Envelope {
            seq: Seq(u64::MAX),
            time: Hlc(1),
            message: Message {
                clock: Lamport(1),
                body,
            },
        };
        for length in [1, ID_BYTES_MAX] {
            let channel = ChannelId {
                from: process(&"p".repeat(length)),
                to: process("x"),
            };
            let named = |store| message_id(&channel, [store; 16], &envelope);
            assert_eq!(named(7), named(7));
            assert_ne!(named(7), named(8));
            assert!(named(7).len() <= ID_BYTES_MAX, "{}", named(7));
        }
    }
}
