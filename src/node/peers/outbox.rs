//! The outbox of a channel: its window behind a lock, and the thread that reads the journal for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::channel::window::{JournalReading, Place, Window, WindowLimits};
use crate::channel::{Closed, Envelope};
use crate::node::store_worker::StoreWorker;
use crate::process::Process;
use crate::process::channel::{ChannelDigest, Outgoing, Waiting};
use crate::process::ids::{Lsn, ProcessId, Seq};
use crate::store::StoreError;
use crate::transport::Backlog;

/// The longest time for reading what waits on a channel. A peer that was away may need the journal.
const WAITING_MAX: Duration = Duration::from_millis(300);

/// The durable messages of one outgoing channel.
pub(in crate::node) struct Outbox {
    to: ProcessId,
    worker: StoreWorker,
    newest: watch::Sender<Seq>,
    window: Mutex<Window>,
    /// Only one reading of the journal runs at a time: a channel that reconnects repeatedly must not use up the threads.
    reading: Arc<tokio::sync::Mutex<()>>,
}

/// Expires with the task that waits for the reading.
type Asker = Weak<()>;

impl Outbox {
    /// The outbox of a channel in its state after a restart.
    pub(in crate::node) fn new(to: ProcessId, worker: StoreWorker, channel: Outgoing) -> Self {
        let (newest, _) = watch::channel(channel.sent.sequence);
        let window = Window::new(to.clone(), channel, WindowLimits::default());
        Self {
            to,
            worker,
            newest,
            window: Mutex::new(window),
            reading: Arc::default(),
        }
    }

    /// Releases a message that is durable in the turn at `position`.
    pub(in crate::node) fn push(&self, envelope: Envelope, position: Lsn) {
        let seq = envelope.seq;
        self.window().push(envelope, position);
        self.newest.send_replace(seq);
    }

    /// Drops the messages that the receiver has made durable.
    pub(in crate::node) fn acknowledge(&self, seq: Seq) {
        self.window().acknowledge(seq);
    }

    /// The number of messages that the receiver has not acknowledged.
    pub(in crate::node) fn in_flight(&self) -> u64 {
        self.window().channel().in_flight()
    }

    /// The messages that the receiver has not made durable. Reads the journal if the oldest one is not in memory.
    async fn waiting(self: &Arc<Self>) -> Result<Waiting, Closed> {
        let known = self.window().waiting();
        if let Ok(waiting) = known {
            return Ok(waiting);
        }
        from_journal(self, |outbox, asker| {
            let known = outbox.window().waiting();
            known.or_else(|reading| outbox.run(reading, asker))
        })
        .await
    }

    /// The same; `None` if they cannot be read soon.
    pub(in crate::node) async fn waiting_soon(self: &Arc<Self>) -> Option<Waiting> {
        timeout(WAITING_MAX, self.waiting()).await.ok()?.ok()
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn journaled(&self, after: Seq, asker: &Asker) -> Result<Vec<Envelope>, StoreError> {
        let reading = self.window().read(after);
        self.run(reading, asker)
    }

    fn counted(&self, seq: Seq, asker: &Asker) -> Result<ChannelDigest, StoreError> {
        let known = self.window().digest(seq);
        known.or_else(|reading| self.run(reading, asker))
    }

    fn run<R: JournalReading>(&self, reading: R, asker: &Asker) -> Result<R::Output, StoreError> {
        let turns = self.worker.store().journal().turns(reading.start());
        reading.run(turns, |place| {
            self.window().keep(place);
            asker.strong_count() > 0
        })
    }

    // Maps an error of the store. A fatal one stops the node; damage stops this channel, and the node continues.
    fn closed(&self, error: StoreError) -> Closed {
        let sentence = format!("cannot read the messages for {}: {error}", self.to);
        if error.is_fatal() {
            let _reported = self.worker.failed(error);
            return Closed::Broken(sentence);
        }
        Closed::Stopped(sentence)
    }
}

// Reads the journal, one reading at a time. The wait for an abandoned reading is short, because it ends at its next place.
async fn from_journal<T: Send + 'static>(
    outbox: &Arc<Outbox>,
    read: impl FnOnce(&Outbox, &Asker) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Closed> {
    let turn = Arc::clone(&outbox.reading).lock_owned().await;
    let asking = Arc::new(());
    let asker = Arc::downgrade(&asking);
    let reader = Arc::clone(outbox);
    let read = outbox.worker.spawn(move |_| {
        let _turn = turn;
        read(&reader, &asker)
    });
    let read = read.await;
    drop(asking);
    let read = read.map_err(|error| Closed::Broken(error.to_string()))?;
    read.map_err(|error| outbox.closed(error))
}

impl Backlog for Arc<Outbox> {
    fn newest(&self) -> watch::Receiver<Seq> {
        self.newest.subscribe()
    }

    fn acknowledged(&self) -> Seq {
        self.window().channel().acknowledged
    }

    fn sent(&self) -> ChannelDigest {
        self.window().channel().digest()
    }

    async fn sent_by(&self, seq: Seq) -> Result<ChannelDigest, Closed> {
        from_journal(self, move |outbox, asker| outbox.counted(seq, asker)).await
    }

    async fn read(&self, after: Seq) -> Result<Vec<Envelope>, Closed> {
        let recent = self.window().recent(after);
        if let Some(messages) = recent {
            return Ok(messages);
        }
        from_journal(self, move |outbox, asker| outbox.journaled(after, asker)).await
    }
}

/// The outboxes of all outgoing channels of a recovered process.
///
/// # Errors
/// [`StoreError`].
pub(in crate::node) fn outboxes(
    worker: &StoreWorker,
    process: &Process,
) -> Result<BTreeMap<ProcessId, Arc<Outbox>>, StoreError> {
    let registers = process.registers();
    let first = worker.store().first_messages(registers)?;
    let outboxes = registers.outgoing.iter().map(|(to, channel)| {
        let outbox = Outbox::new(to.clone(), worker.clone(), channel.clone());
        if let Some(first) = first.get(to) {
            // The landmark of an acknowledged message may be before the first turn.
            outbox.window().keep(Place::Counted(*first));
        }
        (to.clone(), Arc::new(outbox))
    });
    Ok(outboxes.collect())
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
